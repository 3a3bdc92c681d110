"""Build objects from EDF files: one file in this process, or all that are missing, wherever an engine runs them.

Each build is idempotent and independent of the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import os
import platform
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from brainbrr.core.files import check_space, leads_to_folder
from brainbrr.core.progress import Progress
from brainbrr.core.statcache import keep
from brainbrr.core.threads import one_blas_thread
from brainbrr.eeg.edf.header import EdfHeader
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.eeg.signal.preprocess import Preprocessed, check, preprocess, prove
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.engine import Ended, Engine, Notify, Transferable
from brainbrr.engines.local import local_engine
from brainbrr.errors import BrainbrrError, EdfError, ExecutorError, RecordingError, SpaceError
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.reuse import Made, Reusable, remember, reuse
from brainbrr.ingest.scan import CorpusScan, Outcome, ScannedRecording, Updates
from brainbrr.store import leases
from brainbrr.store.create import open_existing
from brainbrr.store.formats import SAVES_AT_MOST, ArrayMeta, stored_bytes
from brainbrr.store.layout import INODES_PER_OBJECT
from brainbrr.store.records import Record
from brainbrr.store.store import Deleted, Put, Store


@dataclass(frozen=True)
class Task:
    """One recording to build: its file, the source that this must hash to, and the key that it becomes.

    `accept`: what `preprocess` may accept. `expected`: the content that the key is known to have, although it has no
    record.
    """

    path: str
    edf: Path
    source: str
    n_bytes: int
    key: str
    accept: tuple[str, ...] = ()
    expected: str | None = None


@dataclass(frozen=True)
class Built:
    """One key that is now in the store; new unless another process was faster. `existed`: nothing was computed."""

    is_new: bool
    record: Record
    n_bytes_written: int
    notes: tuple[str, ...]
    existed: bool = False


@dataclass(frozen=True)
class Busy:
    """One key that another process is building."""


def build(location: Path, task: Task, recipe: Recipe) -> Built:
    """Preprocess one EDF and put it into the store.

    Raises RecordingError when the recording is refused, SpaceError when the disk is full.
    """
    while True:
        with contextlib.suppress(Deleted):
            return _built(location, task, recipe)


def _built(location: Path, task: Task, recipe: Recipe) -> Built:
    with one_blas_thread():
        made = preprocess(task.edf, recipe, accept=task.accept)
        if made.source != task.source:
            raise EdfError(
                "the file changed while it was read", where=task.edf, fix="ingest again, once no program writes to it"
            )
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
        gaps=made.gaps,
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
                **_versions(exact=recipe.exact),
            },
            expected=task.expected,
        )


@cache
def _versions(*, exact: bool) -> dict[str, str]:
    names = ("brainbrr", "numpy") if exact else ("brainbrr", "numpy", "scipy")
    own = {"python": platform.python_version(), "machine": platform.machine()}
    return {**own, **{name: version(name) for name in names}}


_LONG_S = 2.0  # loading compiled kernels takes less
_POLL_S, _POLL_AT_MOST_S = 0.5, 4.0
_SAME_BRAINBRR = "install the same version on every machine"


@dataclass(frozen=True)
class Builder:
    """The build of any task of one ingest, ready to be sent to other processes and machines.

    `verify`: verify existing objects in full before reusing them. `recipe_digest`, `version` and `store_made` are the
    driver's: another installation, or another store under the same path, would build something else.
    """

    location: Path
    root: Path
    recipe: Recipe
    verify: bool
    recipe_digest: str
    version: str
    store_made: int
    lease_s: float = leases.TTL_S
    preload: ClassVar[tuple[str, ...]] = ("brainbrr.ingest.ready",)

    @classmethod
    def for_ingest(
        cls, location: Path, root: Path, recipe: Recipe, *, verify: bool = False, lease_s: float = leases.TTL_S
    ) -> Builder:
        """Return the builder for a store, as this process sees it."""
        location, made_by = location.absolute(), version("brainbrr")
        return cls(location, root.absolute(), recipe, verify, recipe.digest, made_by, _when_made(location), lease_s)

    def __call__(self, task: Task) -> Built | Busy | RecordingError:
        """Build one task unless it is built already or another process builds it. An error of the file is returned.

        Errors that are not about one recording are raised: a full disk, damage, a store that cannot be written.
        """
        try:
            with leases.hold(open_existing(self.location), task.key, ttl_s=self.lease_s) as is_free:
                if not is_free:
                    return Busy()
                return self.existing(task) or build(self.location, task, self.recipe)
        except RecordingError as error:
            return error
        except (BrainbrrError, OSError):
            raise
        except MemoryError:
            return RecordingError("not enough memory to build it", where=task.edf, fix="fewer --workers at a time")
        except Exception as error:  # noqa: BLE001  # a defect of ours that one file shows must not stop the rest
            return RecordingError(f"a defect of brainbrr: {_described(error)}", where=task.edf, fix="please report it")

    def existing(self, task: Task) -> Built | None:
        """Return a task's record where it can be reused."""
        store = Store.open(self.location)
        made = Made(task.source, self.recipe_digest)
        record = store.record(task.key) if reuse(store, made, verify=self.verify) else None
        return None if record is None else Built(False, record, 0, (), existed=True)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        paths = {"location": os.fspath(self.location), "root": os.fspath(self.root)}
        return {**vars(self), **paths, "recipe": {"name": self.recipe.name, "fields": self.recipe.identity()}}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Builder:
        """Return the builder that to_json() gave."""
        recipe = Recipe.from_identity(value["recipe"]["fields"], name=value["recipe"]["name"])
        paths = {name: Path(value[name]) for name in ("location", "root")}
        return cls(**{**value, **paths, "recipe": recipe})

    def task_to_json(self, task: Task) -> dict[str, Any]:
        """Return a task's fields as JSON."""
        return {**vars(task), "edf": os.fspath(task.edf)}

    def task_of(self, value: Mapping[str, Any]) -> Task:
        """Return the task that task_to_json() gave."""
        return Task(**{**value, "edf": Path(value["edf"]), "accept": tuple(value["accept"])})

    def result_to_json(self, result: Built | Busy) -> dict[str, Any]:
        """Return a result's fields as JSON; none for Busy."""
        return {} if isinstance(result, Busy) else {**vars(result), "record": result.record.to_json()}

    def result_of(self, value: Mapping[str, Any]) -> Built | Busy:
        """Return the result that result_to_json() gave."""
        if not value:
            return Busy()
        return Built(**{**value, "record": Record.from_json(value["record"]), "notes": tuple(value["notes"])})

    def built_elsewhere(self, tasks: Iterable[Task]) -> set[str]:
        """Return the keys of those tasks that another process is building."""
        return leases.living(open_existing(self.location), [task.key for task in tasks], ttl_s=self.lease_s)

    def check(self) -> None:
        """Raise ExecutorError naming this machine where it cannot build, or would build something else."""
        here = f"worker {platform.node()}, process {os.getpid()}"
        same = "; mount it there under the same path"
        if self.version != (ours := _own_version()):
            raise ExecutorError(f"{here} has brainbrr {ours}, and {self.version} sent the work", fix=_SAME_BRAINBRR)
        if self.recipe.digest != self.recipe_digest:
            raise ExecutorError(f"{here} has another brainbrr: its recipe has another digest", fix=_SAME_BRAINBRR)
        if not leads_to_folder(self.root):
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
    """Return an exception with the place that raised it, since the report has no traceback."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


def build_all(
    tasks: Sequence[Task], builder: Builder, *, engine: Engine | None = None, notify: Notify | None = None
) -> Ended[Task, Built]:
    """Build every task, and yield each as it ends; one that fails never stops the rest.

    The largest files go first, so that none of them runs alone at the end. Tasks that another process is building wait
    until all others are done; they are then reused, or built here once that process has released them.
    Errors that are not about one recording (a full disk, damage) stop the work after the tasks that are under way.
    """
    notify = notify or (lambda text: None)
    busy: list[Task] = []

    def run(some: Sequence[Task]) -> Ended[Task, Built]:
        work: Transferable[Task, Built | Busy] = builder
        ended = (engine or local_engine(None, len(some))).run(work, some, notify)
        with closing(ended):
            for task, outcome in ended:
                if isinstance(outcome, Busy):
                    busy.append(task)
                else:
                    yield task, outcome

    ordered = sorted(tasks, key=lambda task: (-task.n_bytes, task.key))
    # absolute: other machines have other working directories
    yield from run([dataclasses.replace(task, edf=task.edf.absolute()) for task in ordered])
    if busy:
        notify(f"waiting for another process, which builds {len(busy)} of these recordings")
    pause_s = _POLL_S
    while n := len(busy):
        elsewhere = builder.built_elsewhere(busy)
        released = [task for task in busy if task.key not in elsewhere]
        busy[:] = [task for task in busy if task.key in elsewhere]
        missing = []
        for task in released:
            try:
                existing = builder.existing(task)
            except RecordingError as error:
                yield task, error
                continue
            if existing:
                yield task, existing
            else:
                missing.append(task)
        if missing:  # the process that had it died, or could not build it
            yield from run(missing)
        if len(busy) < n:
            pause_s = _POLL_S
        else:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _POLL_AT_MOST_S)


def build_missing(scan: CorpusScan, store: Store, chosen: Sequence[ScannedRecording], progress: Progress) -> Updates:
    """Build all pending recordings, each source once, and yield each of them as its build ends.

    Raises SpaceError before any work when the disk is too small.
    """
    options, n_ended = scan.options, Counter[str]()
    tasks = tasks_of(chosen, options)
    sharing: dict[str | None, list[ScannedRecording]] = defaultdict(list)
    for recording in chosen:  # not by key: two sources of one key are a collision, which the store refuses
        sharing[recording.source].append(recording)
    _check_space(store, tasks, options.recipe)
    builder = Builder.for_ingest(store.location, scan.corpus.root, options.recipe, verify=options.rehash)
    engine = options.engine or local_engine(options.workers, len(tasks))
    if tasks and options.engine is None:
        compile_kernels(progress.say)
    gc.collect()
    gc.freeze()  # looking through all of it again and again takes a tenth of a build
    progress.start("building", sum(task.n_bytes for task in tasks), "B")
    left = {task.source: task for task in tasks}
    try:
        with closing(build_all(tasks, builder, engine=engine, notify=progress.say)) as ended:
            for task, outcome in ended:
                left.pop(task.source, None)
                yield from (after_build(recording, task, outcome) for recording in sharing[task.source])
                n_ended["failed" if isinstance(outcome, BrainbrrError) else "new"] += 1
                note = f"{n_ended['new']} new · {n_ended['failed']} failed · {Path(task.path).name}"
                progress.advance(task.n_bytes, note=note)
    except SpaceError as error:
        raise _full(error, store, list(left.values()), options.recipe) from error
    finally:
        progress.stop()
        gc.unfreeze()
    if scan.records:
        remember(store, (Made(task.source, scan.recipe_digest) for task in tasks), scan.records)
        if trouble := keep(scan.records.save):
            progress.say(trouble)


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
    for each in recordings:
        if each.outcome is Outcome.PENDING and each.key and each.source and each.source not in tasks:
            accept = tuple(sorted(options.accept))
            tasks[each.source] = Task(each.path, each.file.edf, each.source, each.n_bytes, each.key, accept)
    return list(tasks.values())


def after_build(recording: ScannedRecording, task: Task, outcome: Built | BrainbrrError) -> ScannedRecording:
    """Return a recording after the build of its key; one that shares the source of another reuses its object."""
    if isinstance(outcome, BrainbrrError):
        return recording.failed(outcome)
    reusable = Reusable.of(outcome.record)
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


def _at_least(store: Store, tasks: Iterable[Task], recipe: Recipe) -> int:
    """Return the bytes that builds take at least, in the store's codec."""
    needed = 0
    for task in tasks:
        with contextlib.suppress(RecordingError):  # its header refuses it: nothing will be written
            needed += bytes_of(check(task.edf, recipe, accept=task.accept), recipe)
    return needed // SAVES_AT_MOST[store.codec]


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
