"""Where keys came from (recording, recipe, and the EDF on this host), and how to restore them, record and object.

From another store, else by building them again from their EDF.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from brainbrr.core.digest import key_of, recipe_digest, source_digest
from brainbrr.core.progress import Progress
from brainbrr.core.statcache import Host
from brainbrr.eeg.signal.recipe import PRESETS, Recipe
from brainbrr.engines.local import local_engine
from brainbrr.errors import BrainbrrError, Fix, NotReproducibleError, RecordingError, SpaceError
from brainbrr.ingest.batches import build_all
from brainbrr.ingest.build import Builder, Built, Task
from brainbrr.ingest.options import ACCEPT
from brainbrr.store import copy, records
from brainbrr.store.catalog import Row
from brainbrr.store.damage import Restored, succeeds
from brainbrr.store.frozen_views import frozen_digest
from brainbrr.store.integrity import verify_record, verify_record_file
from brainbrr.store.restore import place_file
from brainbrr.store.store import Store

_FROM = Fix(("repair", "--from", "STORE"))


@dataclass(frozen=True)
class Ingredients:
    """What a key was made from: two digests, and the recipe's fields where the store has them."""

    source: str
    recipe: str
    recipe_fields: Mapping[str, object] | None


@dataclass(frozen=True)
class Origin:
    """One EDF that hashes to its source, below a root, and the recipe that made the key of it."""

    root: Path
    edf: Path
    source: str
    n_bytes: int
    recipe: Recipe


class Provenance:
    """What a store's catalogs, records and frozen views know of where its keys came from."""

    def __init__(self, store: Store, host: Host | None, roots: Mapping[str, Path]) -> None:
        self._store, self._host, self._roots = store, host, roots

    def of(self, key: str) -> Origin:
        """Return the origin of a key. Raises RecordingError."""
        return self.locate(self.made_from(key))

    def locate(self, found: Ingredients | RecordingError) -> Origin:
        """Return the origin of the result of made_from(), after hashing the EDF. Raises RecordingError."""
        if isinstance(found, RecordingError):
            raise found
        recipe = self._recipe(found)
        return Origin(*self._edf(found.source), recipe)

    def made_from(self, key: str) -> Ingredients:
        """Return what a key was made from, according to its record or whatever names it. Raises RecordingError."""
        try:
            record = self._store.record(key)
        except (BrainbrrError, OSError):
            record = None
        if record is not None:
            return Ingredients(record.source, record.recipe, record.recipe_fields)
        if key not in self._named:
            raise RecordingError(
                "no catalog and no frozen view says what it was made from",
                fix=Fix(
                    _FROM, " that has its catalog, too; or ", ("verify", "--accept", "gone"), " if it is not needed"
                ),
            )
        return self._named[key]

    @staticmethod
    def _recipe(found: Ingredients) -> Recipe:
        if found.recipe_fields is None:
            raise RecordingError(f"nothing in the store says what recipe {found.recipe[:8]} is", fix=Fix(_FROM))
        preset = next((recipe.name for recipe in PRESETS.values() if recipe.digest == found.recipe), "repaired")
        try:
            return Recipe.from_identity(found.recipe_fields, name=preset)
        except ValidationError:
            raise RecordingError(
                f"this brainbrr cannot build recipe {found.recipe[:8]}",
                fix=Fix(_FROM, ", or with the version that built it"),
            ) from None

    def _edf(self, source: str) -> tuple[Path, Path, str, int]:
        lost = RecordingError("no catalog names the EDF that it was made from", fix=Fix(_FROM))
        for corpus, row in self._rows.get(source, ()):
            fix = Fix(("repair", "--root", f"{corpus}=DIR"), ", or --from STORE")
            root = self._root(corpus)
            if root is None:
                lost = RecordingError(f"this host does not know where corpus {corpus} is", fix=fix)
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
            catalog = self._store.newest_readable_catalog(corpus)
            for row in catalog.rows.values() if catalog else ():
                if row.source is not None:
                    rows[row.source].append((corpus, row))
        return rows

    @cached_property
    def _named(self) -> dict[str, Ingredients]:
        """By key: what it was made from, as far as catalogs and frozen views name it."""
        views = list(self._views())
        known = {recipe_digest(fields): fields for fields in (*self._recipe_fields(), *(fields for fields, _ in views))}
        made = [
            (source, recipe)
            for source, rows in self._rows.items()
            for recipe in {*known, *(recipe for _, row in rows for recipe in row.contents)}
        ]
        made += [(source, recipe_digest(fields)) for fields, sources in views for source in sources]
        return {
            key_of(source=source, recipe=recipe): Ingredients(source, recipe, known.get(recipe))
            for source, recipe in made
        }

    def _views(self) -> Iterator[tuple[Mapping[str, object], list[str]]]:
        """Yield the recipe's fields and the sources of every whole frozen view."""
        for digest in self._store.frozen_views():
            with suppress(BrainbrrError, OSError, KeyError, TypeError, ValueError, AttributeError):
                view = self._store.frozen(digest) or {}
                if frozen_digest(view) == digest:
                    yield view["recipe"]["fields"], [each["source"] for each in view["recordings"]]

    def _recipe_fields(self) -> Iterator[Mapping[str, object]]:
        """Yield the fields of the presets' and the records' recipes, also of whole records that were moved aside."""
        yield from (recipe.identity() for recipe in PRESETS.values())
        for key in self._store.keys():  # noqa: SIM118  # a store is no dict
            with suppress(BrainbrrError, OSError):
                yield verify_record_file(self._store, key).recipe_fields
        aside = self._store.location / "quarantine"
        for path in aside.rglob("*.json"):  # of a whole folder that was in a wrong place
            with suppress(BrainbrrError, OSError):
                if (record := records.read(path)) is not None:
                    record.check_identity()
                    yield record.recipe_fields


@dataclass(frozen=True)
class Wanted:
    """A key to restore. `content`: the content that it must have, as far as it is known.

    `record`: whether its record is to be replaced, too; `whole`: whether that record is whole and only wrong: it is
    put back if no other can be had.
    """

    key: str
    content: str | None
    record: bool = False
    whole: bool = False


class Rebuild:
    """Restores keys from another store, or from the EDFs that they were made from."""

    def __init__(self, store: Store, source: Store | None, provenance: Provenance) -> None:
        self._store, self._source, self._provenance = store, source, provenance
        self._results: dict[str, Restored] = {}
        self._aside: dict[str, Path] = {}
        """By key: wrong records that were moved aside."""

    def run(self, wanted: Iterable[Wanted], workers: int | None, progress: Progress) -> dict[str, Restored]:
        """Restore keys; return the result for each. A content that differs from the wanted one is kept apart."""
        tasks: dict[tuple[Recipe, Path], list[Task]] = defaultdict(list)
        try:
            for each in wanted:
                found = self._restore(each)
                if isinstance(found, Restored):
                    self._results[each.key] = found
                    continue
                row = found.edf.relative_to(found.root).as_posix()
                task = Task(row, found.edf, found.source, found.n_bytes, each.key, ACCEPT, each.content)
                tasks[found.recipe, found.root].append(task)
            for (recipe, root), those in tasks.items():
                self._results |= _built(self._store, recipe, root, those, workers, progress)
        finally:
            for key, path in self._aside.items():
                if key not in self._results or self._results[key].outcome != "restored":
                    place_file(self._store, path, "record", key)
        return self._results

    def _restore(self, each: Wanted) -> Restored | Origin:
        """Restore a key from the other store, or return the origin that it can be built from."""
        store, source, key = self._store, self._source, each.key

        def is_there() -> bool:
            return each.content in (None, verify_record(store, key).content)

        if each.record and not each.whole and succeeds(is_there):
            return Restored("restored", "another process stored it meanwhile")
        ingredients: Ingredients | RecordingError
        try:
            ingredients = self._provenance.made_from(each.key)  # while its record is still there to say it
        except RecordingError as error:
            ingredients = error
        # a store that has the same wrong record is of no help
        same = each.record and source is not None and succeeds(lambda: store.record(key) == source.record(key))
        if each.record and (moved := store.quarantine("record", each.key)) and each.whole:
            self._aside[each.key] = moved
        if source is not None and not same and _copied(store, source, each, ingredients):
            return Restored("restored", f"from {source.location}")
        try:
            return self._provenance.locate(ingredients)
        except RecordingError as error:
            return Restored("not restored", error.what, error.fix)


def _copied(store: Store, source: Store, each: Wanted, ingredients: Ingredients | RecordingError) -> bool:
    """Copy a key from another store, if that has it whole, of the wanted source, recipe and content.

    A record is not taken where nothing here says what its key was made from: another source can have the same key.
    """
    try:
        content = each.content
        if each.record:
            record = source.record(each.key)
            if record is None or isinstance(ingredients, RecordingError) or content not in (None, record.content):
                return False
            record.check_made_from(source=ingredients.source, recipe=ingredients.recipe, where=source.location)
            content = record.content
        if content is None:
            return False
        copy.copy_object(source, store, content)
        if each.record:
            copy.copy_record(source, store, each.key)
    except SpaceError:
        raise
    except (BrainbrrError, OSError):  # if its disk cannot be read, the EDF may help
        return False
    return True


def _built(
    store: Store, recipe: Recipe, root: Path, tasks: list[Task], workers: int | None, progress: Progress
) -> Mapping[str, Restored]:
    results: dict[str, Restored] = {}

    builder, engine = Builder.for_ingest(store.location, root, recipe), local_engine(workers, len(tasks))
    progress.start("restoring", sum(task.n_bytes for task in tasks), "B")
    try:
        with closing(build_all(tasks, builder, engine=engine, notify=progress.say)) as ended:
            for task, built in ended:
                results[task.key] = _result(task, built)
                progress.advance(task.n_bytes)
    finally:
        progress.stop()
    return results


def _result(task: Task, built: Built | BrainbrrError) -> Restored:
    if isinstance(built, Built):
        return Restored("restored", f"made again from {task.edf}")
    if isinstance(built, NotReproducibleError):
        fix = Fix(_FROM, "; the new one is kept for comparison")
        return Restored("kept apart", f"{built.what}, which is in {built.where}", fix)
    return Restored("not restored", built.what, built.fix)
