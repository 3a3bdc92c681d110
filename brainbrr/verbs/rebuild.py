"""Bringing keys back, record and object: from another store, else from the EDF that they were made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import BrainbrrError, IntegrityError, NotReproducibleError, RecordingError, UsageError
from brainbrr.progress import Progress
from brainbrr.store import proof, recoding
from brainbrr.store.mending import place_file
from brainbrr.store.store import Store
from brainbrr.verbs.build import Built, Task
from brainbrr.verbs.builder import Builder, build_all, local_engine
from brainbrr.verbs.mended import Outcome
from brainbrr.verbs.origins import Made, Origins


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
        return each.content in (None, proof.verify_record(store, each.key).content)
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
        recoding.copy_object(source, store, content)
        if each.record:
            recoding.copy_record(source, store, each.key)
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
            fix = "brainbrr repair --from STORE; the new one is kept for comparison"
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
