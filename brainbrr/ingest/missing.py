"""Build what an ingest found missing, and return its recordings as that leaves them."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from brainbrr.core.digest import xxh3_128
from brainbrr.core.files import check_space
from brainbrr.core.progress import Progress
from brainbrr.core.statcache import keep
from brainbrr.eeg.corpus.annotations import Annotations
from brainbrr.eeg.edf.header import EdfHeader
from brainbrr.eeg.signal.preprocess import check, prove
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.local import local_engine
from brainbrr.errors import BrainbrrError, RecordingError, SpaceError
from brainbrr.ingest.batches import build_all
from brainbrr.ingest.build import Builder, Built, Task
from brainbrr.ingest.checksums import normal
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.remotes import At
from brainbrr.ingest.reuse import Made, Reusable, remember
from brainbrr.ingest.scan import (
    CorpusScan,
    Outcome,
    ScannedRecording,
    Updates,
    seems_stored,
    to_identify,
    was_checked,
    with_length_checked,
)
from brainbrr.store.formats import SAVES_AT_MOST, stored_bytes
from brainbrr.store.layout import INODES_PER_OBJECT
from brainbrr.store.store import Store

_HEADERS = 8  # are opened to foresee what builds need
_LONG_S = 2.0  # loading compiled kernels takes less


def build_missing(scan: CorpusScan, store: Store, chosen: Sequence[ScannedRecording], progress: Progress) -> Updates:
    """Build all pending recordings, each known source once, and yield each of them as its build ends.

    Raises SpaceError before any work when the disk is too small.
    """
    options, n_ended = scan.options, Counter[str]()
    tasks = tasks_of(chosen, options)
    sharing = _sharing(tasks, chosen)
    _check_space(store, [task for task in tasks if not seems_stored(scan, sharing[task.path][0])], options.recipe)
    sink, host = options.sink, options.host
    at = At(sink.remote.name, sink.remote.url, os.fspath(host.folder)) if sink and host else None
    builder = Builder.for_ingest(
        store.location, scan.corpus.root, options.recipe, verify=options.rehash, remote=at, corpus=scan.corpus.name
    )
    engine = options.engine or local_engine(options.workers, len(tasks))
    if tasks and options.engine is None:
        compile_kernels(progress.say)
    gc.collect()
    gc.freeze()  # looking through all of it again and again takes a tenth of a build
    progress.start("building", sum(task.n_bytes for task in tasks), "B")
    left = {task.path: task for task in tasks}
    ended_tasks: list[Task] = []
    try:
        with closing(build_all(tasks, builder, engine=engine, notify=progress.say)) as ended:
            for task, outcome in ended:
                left.pop(task.path, None)
                ended_tasks.append(task)
                if sink and isinstance(outcome, Built) and outcome.remote is None:
                    sink.add([task.key])
                if scan.sources and task.seen and task.source:
                    with contextlib.suppress(OSError):  # gone again: nothing of it is remembered
                        scan.sources.take_over(task.edf, task.seen, task.source)
                yield from (_ended(scan, recording, task, outcome) for recording in sharing[task.path])
                n_ended["failed" if isinstance(outcome, BrainbrrError) else "new"] += 1
                note = f"{n_ended['new']} new · {n_ended['failed']} failed · {Path(task.path).name}"
                progress.advance(task.n_bytes, note=note)
    except SpaceError as error:
        raise _full(error, store, list(left.values()), options.recipe) from error
    finally:
        progress.stop()
        gc.unfreeze()
        if scan.sources and (trouble := keep(scan.sources.save)):
            progress.say(trouble)
    if scan.records:
        made = (Made(task.source, scan.recipe_digest) for task in ended_tasks if task.source is not None)
        remember(store, made, scan.records)
        if trouble := keep(scan.records.save):
            progress.say(trouble)


def _sharing(tasks: Sequence[Task], chosen: Sequence[ScannedRecording]) -> dict[str, list[ScannedRecording]]:
    """Return the recordings that each task is for, by its path: all of its source, where that is known."""
    # not by key: two sources of one key are a collision, which the store refuses
    owners = {task.source: task.path for task in tasks if task.source is not None}
    sharing: dict[str, list[ScannedRecording]] = defaultdict(list)
    for recording in chosen:
        sharing[owners.get(recording.source or "", recording.path)].append(recording)
    return sharing


def _ended(
    scan: CorpusScan, recording: ScannedRecording, task: Task, outcome: Built | BrainbrrError
) -> ScannedRecording:
    """Return a recording after the build of its task, with what was found where it was built."""
    if recording.source is not None:
        return after_build(recording, task, outcome)
    labels = Annotations.from_json(task.annotations) if task.annotations is not None else None
    if isinstance(outcome, BrainbrrError):
        return recording.having(source=task.source, was_read=True).failed(outcome)
    known = recording.having(source=task.source, key=task.key, was_read=True, annotations=labels)
    built = after_build(known, task, outcome)
    return with_length_checked(scan, built) if outcome.existed and not was_checked(scan, built) else built


def compile_kernels(say: Callable[[str], None]) -> None:
    """Compile what this processor's kernels lack, here, so that no two workers do the same; say so where it takes long.

    Raises BrainbrrError as `prove`.
    """
    text = "compiling the kernels for this processor: once, which takes about 20 s"
    timer = threading.Timer(_LONG_S, say, (text,))
    timer.start()
    try:
        prove()
    finally:
        timer.cancel()


def tasks_of(recordings: Iterable[ScannedRecording], options: IngestOptions) -> list[Task]:
    """Return the builds of all pending recordings, one for each source."""
    tasks: dict[str, Task] = {}
    accept = tuple(sorted(options.accept))
    for each in recordings:
        if to_identify(each):
            annotations = each.annotations.to_json() if each.annotations else None
            name = xxh3_128(os.fsencode(each.path))
            listed = None if options.checksums is None else options.checksums.get(normal(each.file.edf), "")
            file = (each.path, each.file.edf, None, each.n_bytes, name, accept)
            tasks[each.path] = Task(*file, annotations=annotations, listed=listed)
        elif each.outcome is Outcome.PENDING and each.key and each.source and each.source not in tasks:
            tasks[each.source] = Task(each.path, each.file.edf, each.source, each.n_bytes, each.key, accept)
    return list(tasks.values())


def after_build(recording: ScannedRecording, task: Task, outcome: Built | BrainbrrError) -> ScannedRecording:
    """Return a recording after the build of its key; one that shares the source of another reuses its object."""
    if isinstance(outcome, BrainbrrError):
        return recording.failed(outcome)
    reusable = Reusable.of(outcome.record)
    if outcome.remote is not None:
        return dataclasses.replace(recording.reused(reusable), remote=outcome.remote)
    if recording.path != task.path:
        return recording.reused(reusable)
    built = dataclasses.replace(
        recording,
        reusable=reusable,
        outcome=Outcome.NEW,
        was_read=recording.was_read or not outcome.existed,
        bytes_written=recording.bytes_written + outcome.n_bytes_written,
        computed_twice=recording.computed_twice + (not (outcome.is_new or outcome.existed)),
        notes=outcome.notes,
    )
    return built if outcome.is_new else built.reused(reusable)


def bytes_of(header: EdfHeader, recipe: Recipe) -> int:
    """Return the bytes that one recording takes in a store without a codec."""
    return stored_bytes(len(recipe.channels), math.ceil(header.duration_s * recipe.rate_hz), recipe.rate_hz)


def _at_least(store: Store, tasks: Sequence[Task], recipe: Recipe) -> int:
    """Return about how many bytes builds take at least, in the store's codec, by the sizes of their files.

    What is stored of a byte is taken from a few headers, the least of them: a corpus has too many to open them all.
    """
    ordered = sorted(tasks, key=lambda task: task.n_bytes)
    shares = []
    for task in ordered[:: -(-len(ordered) // _HEADERS) or 1]:
        with contextlib.suppress(RecordingError):  # its header refuses it: nothing will be written
            shares.append(bytes_of(check(task.edf, recipe, accept=task.accept), recipe) / max(1, task.n_bytes))
    return int(min(shares, default=0) * sum(task.n_bytes for task in tasks)) // SAVES_AT_MOST[store.codec]


def _check_space(store: Store, tasks: Sequence[Task], recipe: Recipe) -> None:
    if tasks:
        n_bytes = _at_least(store, tasks, recipe)
        check_space(store.location, n_bytes=n_bytes, n_inodes=INODES_PER_OBJECT * len(tasks))


def _full(error: SpaceError, store: Store, left: Sequence[Task], recipe: Recipe) -> SpaceError:
    """Return the error of a disk that is full in the middle, with what the rest of the work needs."""
    needed = f"{_at_least(store, left, recipe):,} bytes and {INODES_PER_OBJECT * len(left):,} inodes"
    return SpaceError(
        f"{error.what}; the {len(left)} recordings that are left need {needed}",
        where=error.where,
        fix=f"free {needed} and run the same command again, or choose a smaller --profile, or another --store",
    )
