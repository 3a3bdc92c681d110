"""Where a key came from: which recording under which recipe, and where its EDF lies on this host. Changes nothing.

Bringing keys back, record and object: from another store, else from the EDF that they were made from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from brainbrr.core.digest import key_of, recipe_digest, source_digest
from brainbrr.core.progress import Progress
from brainbrr.core.statcache import Host
from brainbrr.eeg.signal.recipe import PRESETS, Recipe
from brainbrr.engines.local import local_engine
from brainbrr.errors import BrainbrrError, Fix, IntegrityError, NotReproducibleError, RecordingError, UsageError
from brainbrr.ingest.build import Builder, Built, Task, build_all
from brainbrr.store import catalog as catalogs
from brainbrr.store import copy
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.copy import place_file
from brainbrr.store.damage import Outcome
from brainbrr.store.store import Store, proven_record, verify_record

_FROM = Fix(("repair", "--from", "STORE"))


@dataclass(frozen=True)
class Made:
    """What a key was made from."""

    source: str
    recipe_fields: Mapping[str, object]


@dataclass(frozen=True)
class Origin:
    """One EDF that hashes to its source, below a root, and the recipe that made the key of it."""

    root: Path
    edf: Path
    source: str
    n_bytes: int
    recipe: Recipe


class Origins:
    """Everything that a store's catalogs, records and frozen views know of where its keys came from."""

    def __init__(self, store: Store, host: Host | None, roots: Mapping[str, Path]) -> None:
        self._store, self._host, self._roots = store, host, roots

    def of(self, key: str) -> Origin:
        """Return the origin of a key. Raises RecordingError."""
        return self.locate(self.made_from(key))

    def locate(self, made: Made | RecordingError) -> Origin:
        """Return the origin of what made_from() said, after hashing the EDF. Raises RecordingError."""
        if isinstance(made, RecordingError):
            raise made
        recipe = self._recipe(made.recipe_fields)
        return Origin(*self._edf(made.source), recipe)

    def made_from(self, key: str) -> Made:
        """Return what a key was made from, as its record says, or what is known else. Raises RecordingError."""
        try:
            record = self._store.record(key)
        except (BrainbrrError, OSError):
            record = None
        if record is not None:
            return Made(record.source, record.recipe_fields)
        for recipe, fields in self._recipes.items():
            for source in self._rows:
                if key_of(source=source, recipe=recipe) == key:
                    return Made(source, fields)
        raise RecordingError(
            "no recording in a catalog gives this key under a known recipe",
            fix=Fix(_FROM, "; or ", ("verify", "--accept", "gone"), " if it is no longer needed"),
        )

    @staticmethod
    def _recipe(fields: Mapping[str, object]) -> Recipe:
        digest = recipe_digest(fields)
        preset = next((recipe.name for recipe in PRESETS.values() if recipe.digest == digest), "repaired")
        try:
            return Recipe.from_identity(fields, name=preset)
        except ValidationError:
            raise RecordingError(
                f"this brainbrr cannot build recipe {digest[:8]}",
                fix=Fix(_FROM, ", or with the version that built it"),
            ) from None

    def _edf(self, source: str) -> tuple[Path, Path, str, int]:
        lost = RecordingError("no catalog names the EDF that it was made from", fix=Fix(_FROM))
        for corpus, row in self._rows.get(source, ()):
            fix = Fix(("repair", "--root", f"{corpus}=DIR"), ", or --from STORE")
            root = self._root(corpus)
            if root is None:
                lost = RecordingError(f"this host does not know where corpus {corpus} lies", fix=fix)
                continue
            edf = root / row.path
            try:
                if source_digest(edf) == source:
                    return root, edf, source, row.n_bytes
                lost = RecordingError(f"{edf} is another file now", fix=fix)
            except OSError as error:
                lost = RecordingError(f"{edf} cannot be read: {error.strerror}", fix=fix)
        raise lost

    def _root(self, corpus: str) -> Path | None:
        if corpus in self._roots:
            return self._roots[corpus]
        return self._host.root(self._store.location, corpus) if self._host else None

    @cached_property
    def _rows(self) -> dict[str, list[tuple[str, Row]]]:
        """By source: the recordings that hash to it."""
        rows: dict[str, list[tuple[str, Row]]] = defaultdict(list)
        for corpus in self._store.corpora():
            catalog = self._newest(corpus)
            for row in catalog.rows.values() if catalog else ():
                if row.source is not None:
                    rows[row.source].append((corpus, row))
        return rows

    def _newest(self, corpus: str) -> Catalog | None:
        for seq in reversed(self._store.layout.generations(corpus)):
            try:
                return catalogs.generation(self._store.layout, corpus, seq)[0]
            except (BrainbrrError, OSError):
                continue
        return None

    @cached_property
    def _recipes(self) -> dict[str, Mapping[str, object]]:
        """By digest: the fields of every recipe that is known."""
        return {recipe_digest(fields): fields for fields in self._said()}

    def _said(self) -> Iterator[Mapping[str, object]]:
        yield from (recipe.identity() for recipe in PRESETS.values())
        for key in self._store.keys():  # noqa: SIM118
            with suppress(BrainbrrError, OSError):
                yield proven_record(self._store, key).recipe_fields
        for digest in self._store.frozen_views():
            with suppress(BrainbrrError, OSError, KeyError, TypeError):
                yield (self._store.frozen(digest) or {})["recipe"]["fields"]


@dataclass(frozen=True)
class Wanted:
    """A key to bring back. `content`: what it has to be, as far as anybody says.

    `record`: whether its record is to be replaced, too; `whole`: whether that one is whole, and only wrong: it comes
    back where no other one can be had.
    """

    key: str
    content: str | None
    record: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Result:
    """What became of a key."""

    outcome: Outcome
    how: str
    fix: str | None = None


def rebuild(
    store: Store,
    source: Store | None,
    origins: Origins,
    wanted: Iterable[Wanted],
    workers: int | None,
    progress: Progress,
) -> dict[str, Result]:
    """Bring keys back; return what became of each. One that differs from what it has to be is kept apart."""
    results: dict[str, Result] = {}
    made: dict[str, Made | RecordingError] = {}
    aside: dict[str, Path] = {}
    tasks: dict[tuple[Recipe, Path], list[Task]] = defaultdict(list)
    try:
        for each in wanted:
            if each.record and not each.whole and _is_there(store, each):
                results[each.key] = Result("restored", "another process stored it meanwhile")
                continue
            try:
                made[each.key] = origins.made_from(each.key)  # while its record is still there to say it
            except RecordingError as error:
                made[each.key] = error
            theirs = each.record and source is not None and _same(store, source, each.key)
            if each.record and (moved := store.layout.quarantine(store.layout.record(each.key))) and each.whole:
                aside[each.key] = moved
            if source is not None and not theirs and _copied(store, source, each):
                results[each.key] = Result("restored", f"from {source.location}")
                continue
            try:
                origin = origins.locate(made[each.key])
            except RecordingError as error:
                results[each.key] = Result("not restored", error.what, error.fix)
                continue
            row = origin.edf.relative_to(origin.root).as_posix()
            task = Task(row, origin.edf, origin.source, origin.n_bytes, each.key, True, each.content)
            tasks[origin.recipe, origin.root].append(task)
        for (recipe, root), those in tasks.items():
            results |= _built(store, recipe, root, those, workers, progress)
    finally:
        for key, path in aside.items():
            if key not in results or results[key].outcome != "restored":
                place_file(store.layout, path, store.layout.record(key))
    return results


def _is_there(store: Store, each: Wanted) -> bool:
    """Say whether a key that was damaged or gone is whole now: others write meanwhile."""
    try:
        return each.content in (None, verify_record(store, each.key).content)
    except (BrainbrrError, OSError):
        return False


def _same(store: Store, source: Store, key: str) -> bool:
    """Say whether the other store has the very record that is wrong here."""
    try:
        return store.record(key) == source.record(key)
    except (BrainbrrError, OSError):
        return False


def _copied(store: Store, source: Store, each: Wanted) -> bool:
    """Bring a key from another store, where that has it whole and as it has to be."""
    try:
        content = each.content
        if each.record:
            record = source.record(each.key)
            if record is None or content not in (None, record.content):
                return False
            content = record.content
        if content is None:
            return False
        copy.copy_object(source, store, content)
        if each.record:
            copy.copy_record(source, store, each.key)
    except (IntegrityError, UsageError, OSError):  # what that one's disk does not give, the EDF may
        return False
    return True


def _built(
    store: Store, recipe: Recipe, root: Path, tasks: list[Task], workers: int | None, progress: Progress
) -> Mapping[str, Result]:
    results: dict[str, Result] = {}

    def done(task: Task, built: Built | BrainbrrError) -> None:
        if isinstance(built, Built):
            results[task.key] = Result("restored", f"made again from {task.edf}")
        elif isinstance(built, NotReproducibleError):
            fix = Fix(_FROM, "; the new one is kept for comparison")
            results[task.key] = Result("kept apart", f"{built.what}, which lies in {built.where}", fix)
        else:
            results[task.key] = Result("not restored", built.what, built.fix)
        progress.advance(task.n_bytes)

    progress.start("restoring", sum(task.n_bytes for task in tasks), "B")
    try:
        builder = Builder.for_ingest(store.location, root, recipe)
        build_all(tasks, builder, done=done, engine=local_engine(workers, len(tasks)), say=progress.say)
    finally:
        progress.stop()
    return results
