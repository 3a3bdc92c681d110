"""Build one object from one EDF file. Each build is idempotent and stands alone.

Build many recordings, wherever: the work that engines are sent, and in which order.

Findings of recordings, as `ingest` writes them: with a build, and later for what an older detector looked at.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from brainbrr.core.digest import key_of
from brainbrr.core.progress import Progress
from brainbrr.core.threads import one_blas_thread
from brainbrr.eeg.quality import detector
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.eeg.signal.preprocess import Preprocessed, preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.engine import Engine, Say, Work
from brainbrr.engines.local import local_engine
from brainbrr.errors import BrainbrrError, EdfError, ExecutorError, RecordingError
from brainbrr.ingest.scan import Entry, stored
from brainbrr.store import leases
from brainbrr.store.create import open_existing
from brainbrr.store.formats import ArrayMeta
from brainbrr.store.records import Record
from brainbrr.store.store import Deleted, Put, Store


@dataclass(frozen=True)
class Task:
    """One recording to build: where it lies, what it must hash to, and the key it becomes.

    `expected`: the content that the key is known to have, though no record says so.
    """

    path: str
    edf: Path
    source: str
    n_bytes: int
    key: str
    accept_truncated: bool
    expected: str | None = None


@dataclass(frozen=True)
class Built:
    """One key that is now in the store; new unless another process was faster. `was_found`: nothing was computed."""

    is_new: bool
    record: Record
    n_bytes_written: int
    notes: tuple[str, ...]
    was_found: bool = False


@dataclass(frozen=True)
class Busy:
    """One key that another process builds just now."""


Done = Callable[[Task, Built | BrainbrrError], None]


def build(location: Path, task: Task, recipe: Recipe) -> Built:
    """Preprocess one EDF and put it into the store.

    Raises RecordingError when the recording is refused, SpaceError when the disk is full.
    """
    while True:
        with contextlib.suppress(Deleted):
            return _built(location, task, recipe)


def _built(location: Path, task: Task, recipe: Recipe) -> Built:
    with one_blas_thread():
        made = preprocess(task.edf, recipe, accept_truncated=task.accept_truncated)
        if made.source != task.source:
            raise EdfError("the file changed while it was read", where=task.edf, fix="ingest again when it is at rest")
        store = Store.open(location)
        put = _put(store, task, recipe, made)
    n_bytes = store.put_findings(task.key, QUALITY_VERSION, made.findings)
    facts = made.facts
    notes = [*facts["notes"], *([f"flat channels: {', '.join(facts['flat'])}"] if facts["flat"] else [])]
    return Built(put.new_object or put.new_record, put.record, put.n_bytes_written + n_bytes, tuple(notes))


def _put(store: Store, task: Task, recipe: Recipe, made: Preprocessed) -> Put:
    meta = ArrayMeta(
        channels=made.channels,
        absent=made.absent,
        n_samples=made.n_samples,
        rate_hz=made.rate_hz,
        quantum_uv=made.quantum_uv,
        k=made.k,
    )
    with store.draft(meta) as draft:
        for block in made.blocks():
            draft.append(block)
        return store.keep(
            draft,
            source=task.source,
            recipe_fields=recipe.identity(),
            statistics=made.statistics,
            signal=made.facts,
            provenance={
                "recipe_name": recipe.name,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "certificate": made.certificate,
                **_versions(),
            },
            expected=task.expected,
        )


@cache
def _versions() -> dict[str, str]:
    names = ("brainbrr", "numpy", "scipy")
    own = {"python": platform.python_version(), "machine": platform.machine()}
    return {**own, **{name: version(name) for name in names}}


_LOOK_AFTER_S, _LOOK_AFTER_AT_MOST_S = 0.5, 4.0
_SAME_BRAINBRR = "install the same version on every machine"


@dataclass(frozen=True)
class Builder:
    """The build of any task of one ingest, ready to be sent to other processes and machines.

    `recipe_digest`, `version` and `store_made` are the driver's: another installation, or another store under the
    same path, would build something else.
    """

    location: Path
    root: Path
    recipe: Recipe
    prove: bool
    recipe_digest: str
    version: str
    store_made: int
    lease_s: float = leases.TTL_S

    @classmethod
    def for_ingest(
        cls, location: Path, root: Path, recipe: Recipe, *, prove: bool = False, lease_s: float = leases.TTL_S
    ) -> Builder:
        """Return the builder for a store, as this process sees it. `prove` is for found objects."""
        location, made_by = location.absolute(), version("brainbrr")
        return cls(location, root.absolute(), recipe, prove, recipe.digest, made_by, _when_made(location), lease_s)

    def __call__(self, task: Task) -> Built | Busy | RecordingError:
        """Build one task unless somebody else just did, or does; return what is wrong with the recording alone.

        What is raised is not about one recording: a full disk, damage, a store that cannot be written.
        """
        try:
            with leases.hold(open_existing(self.location), task.key, ttl_s=self.lease_s) as is_free:
                if not is_free:
                    return Busy()
                return self.found(task) or build(self.location, task, self.recipe)
        except RecordingError as error:
            return error
        except (BrainbrrError, OSError):
            raise
        except MemoryError:
            return RecordingError("not enough memory to build it", where=task.edf, fix="fewer --workers at a time")
        except Exception as error:  # noqa: BLE001  # one file that shows a defect of ours must not stop the rest
            return RecordingError(f"a defect of brainbrr: {_described(error)}", where=task.edf, fix="please report it")

    def found(self, task: Task) -> Built | None:
        """Return a task's record when it can be reused."""
        store = Store.open(self.location)
        record = store.record(task.key) if stored(store, task.key, prove=self.prove) else None
        return None if record is None else Built(False, record, 0, (), was_found=True)

    def built_elsewhere(self, tasks: Iterable[Task]) -> set[str]:
        """Return the keys of those tasks that another process builds just now."""
        return leases.living(open_existing(self.location), [task.key for task in tasks], ttl_s=self.lease_s)

    def check(self) -> None:
        """Raise ExecutorError naming this machine where it cannot build, or would build something else."""
        here = f"worker {platform.node()}, process {os.getpid()}"
        same = "; mount it there under the same path"
        if self.version != (ours := _own_version()):
            raise ExecutorError(f"{here} has brainbrr {ours}, and {self.version} sent the work", fix=_SAME_BRAINBRR)
        if self.recipe.digest != self.recipe_digest:
            raise ExecutorError(f"{here} has another brainbrr: its recipe has another digest", fix=_SAME_BRAINBRR)
        if not self.root.is_dir():
            raise ExecutorError(
                f"{here} cannot see the corpus", where=self.root, fix=f"workers read the EDF files{same}"
            )
        try:
            made = _when_made(self.location)
        except (BrainbrrError, OSError) as error:
            raise ExecutorError(
                f"{here} cannot see the store: {error}", where=self.location, fix=f"workers write to it{same}"
            ) from None
        if made != self.store_made:
            raise ExecutorError(f"{here} sees another store", where=self.location, fix=f"workers write to it{same}")


@cache
def _own_version() -> str:
    return version("brainbrr")


def _when_made(location: Path) -> int:
    return int(open_existing(location).mark.stat().st_mtime)


def _described(error: Exception) -> str:
    """Return an exception with the place that raised it, since no traceback crosses to the report."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


def build_all(
    tasks: Sequence[Task], builder: Builder, *, done: Done, engine: Engine | None = None, say: Say | None = None
) -> None:
    """Build every task, telling `done` of each as it ends; one that fails never stops the rest.

    The largest files go first, so that none of them is what the end waits for. What another process builds is put
    off until all else is done, and is then found, or built here once that process let it go.
    Errors that are not about one recording (a full disk, damage) stop the work after what is in flight.
    """
    ordered = sorted(tasks, key=lambda task: (-task.n_bytes, task.key))
    waiting = [dataclasses.replace(task, edf=task.edf.absolute()) for task in ordered]  # other machines, other folders
    say = say or (lambda text: None)
    put_off: list[Task] = []

    def told(task: Task, outcome: Built | Busy | BrainbrrError) -> None:
        if isinstance(outcome, Busy):
            put_off.append(task)
        else:
            done(task, outcome)

    work: Work[Task, Built | Busy] = builder
    (engine or local_engine(None, len(tasks))).run(work, waiting, told, say)
    if put_off:
        say(f"waiting for another process, which builds {len(put_off)} of these recordings")
    pause_s = _LOOK_AFTER_S
    while n := len(put_off):
        elsewhere = builder.built_elsewhere(put_off)
        free = [task for task in put_off if task.key not in elsewhere]
        put_off[:] = [task for task in put_off if task.key in elsewhere]
        missing = []
        for task in free:
            if found := builder.found(task):
                done(task, found)
            else:
                missing.append(task)
        if missing:  # whoever had it died, or could not build it
            (engine or local_engine(None, len(missing))).run(work, missing, told, say)
        if len(put_off) < n:
            pause_s = _LOOK_AFTER_S
        else:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_AFTER_AT_MOST_S)


def keep_findings(store: Store, key: str, edf: Path, recipe: Recipe, *, source: str | None) -> int:
    """Examine an EDF and keep what was found under its key; return the bytes written, 0 where it was there.

    Raises RecordingError when the file does not hash to its source, or cannot be read; SpaceError.
    """
    if store.has_findings(key, detector.QUALITY_VERSION, prove=True):
        return 0
    # truncated or not: whoever stored it has accepted that
    found = detector.examine(edf, recipe, accept_truncated=True, source=source)
    return store.put_findings(key, detector.QUALITY_VERSION, found)


def examine_stored(
    store: Store, entries: Sequence[Entry], recipe: Recipe, *, workers: int | None, prove: bool, progress: Progress
) -> tuple[int, dict[str, str]]:
    """Examine what is stored without findings of this version; return the bytes written, and by path what failed.

    Costs one stat for each recording that has them; with `prove` they are read, and damaged ones made anew.
    """
    digest = recipe.digest
    waiting: dict[str, Entry] = {}
    for entry in entries:
        if entry.outcome == "reused" and entry.source is not None:
            key = key_of(source=entry.source, recipe=digest)
            if key not in waiting and not store.has_findings(key, detector.QUALITY_VERSION, prove=prove):
                waiting[key] = entry
    if not waiting:
        return 0, {}

    def one(key: str, entry: Entry) -> int | str:
        try:
            return keep_findings(store, key, entry.file.edf, recipe, source=entry.source)
        except RecordingError as error:
            return f"not examined: {error.what}"

    n_bytes, failed = 0, {}
    progress.start("examining", sum(entry.n_bytes for entry in waiting.values()), "B")
    try:
        with one_blas_thread(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            for entry, done in zip(waiting.values(), pool.map(one, *zip(*waiting.items(), strict=True)), strict=True):
                if isinstance(done, str):
                    failed[entry.file.path] = done
                else:
                    n_bytes += done
                    entry.was_read = True
                progress.advance(entry.n_bytes)
    finally:
        progress.stop()
    return n_bytes, failed
