"""Build objects from EDF files, in this process or in several. Each build is idempotent and stands alone."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from threadpoolctl import threadpool_limits

from brainbrr.digest import source_digest
from brainbrr.eeg.preprocess import Preprocessed, preprocess
from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import BrainbrrError, EdfError, RecordingError
from brainbrr.store.objects import ArrayMeta
from brainbrr.store.records import Record
from brainbrr.store.store import Store
from brainbrr.verbs.examine import keep_findings


@dataclass(frozen=True)
class Task:
    """One recording to build: where it lies, what it must hash to, and the key it becomes."""

    path: str
    edf: Path
    source: str
    n_bytes: int
    key: str
    accept_truncated: bool


@dataclass(frozen=True)
class Built:
    """One key that is now in the store; new unless another process was faster."""

    is_new: bool
    record: Record
    n_bytes_written: int
    notes: tuple[str, ...]


Done = Callable[[Task, Built | BrainbrrError], None]


def preprocess_alone(edf: Path, recipe: Recipe, *, accept_truncated: bool = False) -> Preprocessed:
    """Preprocess on one thread: recordings are the unit of parallel work, and threads of BLAS inside only collide."""
    with threadpool_limits(limits=1, user_api="blas"):
        return preprocess(edf, recipe, accept_truncated=accept_truncated)


def build(location: Path, task: Task, recipe: Recipe) -> Built:
    """Preprocess one EDF and put it into the store.

    Raises RecordingError when the recording is refused, SpaceError when the disk is full.
    """
    try:
        made = preprocess_alone(task.edf, recipe, accept_truncated=task.accept_truncated)
        if source_digest(task.edf) != task.source:
            raise EdfError("the file changed while it was read", where=task.edf, fix="ingest again when it is at rest")
    except OSError as error:
        raise RecordingError(f"the EDF cannot be read: {error.strerror}", where=task.edf) from error
    store = Store.open(location)
    put = store.put(
        made.samples,
        meta=ArrayMeta(
            channels=made.channels,
            absent=made.absent,
            n_samples=made.samples.shape[1],
            rate_hz=made.rate_hz,
            quantum_uv=made.quantum_uv,
            k=made.k,
        ),
        key=task.key,
        source=task.source,
        recipe=recipe.digest,
        recipe_fields=recipe.identity(),
        statistics=made.statistics,
        signal=made.facts,
        provenance={
            "recipe_name": recipe.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: version(name) for name in ("brainbrr", "numpy")},
        },
    )
    with threadpool_limits(limits=1, user_api="blas"):
        n_bytes = put.n_bytes_written + keep_findings(store, task.key, task.edf, recipe, source=task.source)
    flat = made.facts["flat"]
    notes = [*made.facts["notes"], *([f"flat channels: {', '.join(flat)}"] if flat else [])]
    return Built(put.new_object or put.new_record, put.record, n_bytes, tuple(notes))


def build_all(location: Path, tasks: list[Task], recipe: Recipe, *, workers: int | None, done: Done) -> None:
    """Build every task, telling `done` of each as it ends; one that fails never stops the rest.

    Errors that are not about one recording (a full disk, damage) stop the work after what is in flight.
    """
    n_workers = min(workers or os.cpu_count() or 1, len(tasks))
    if n_workers <= 1:
        for task in tasks:
            done(task, _attempt(location, task, recipe))
        return
    while tasks:
        suspects, tasks = _in_pool(location, tasks, recipe, n_workers, done)
        for task in suspects:  # a worker died: find out over which file, one at a time
            for again in _in_pool(location, [task], recipe, 1, done)[0]:
                done(again, RecordingError("the worker that read it died (killed, or out of memory)", where=again.edf))


def _attempt(location: Path, task: Task, recipe: Recipe) -> Built | BrainbrrError:
    try:
        return build(location, task, recipe)
    except RecordingError as error:
        return error


def _in_pool(
    location: Path, tasks: list[Task], recipe: Recipe, n_workers: int, done: Done
) -> tuple[list[Task], list[Task]]:
    """Run tasks in worker processes; when one dies, return what was under way with it, and what never began."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_be_worker) as pool:
        waiting = list(reversed(tasks))
        running: dict[Future[Built | BrainbrrError], Task] = {}
        try:
            while waiting or running:
                while waiting and len(running) < 2 * n_workers:
                    future = pool.submit(_attempt, location, waiting[-1], recipe)
                    running[future] = waiting.pop()
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    built = future.result()
                    done(running.pop(future), built)
        except BrokenProcessPool:
            return list(running.values()), list(reversed(waiting))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return [], []


def _be_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's: a worker ends its file first
    driver = multiprocessing.parent_process()
    if driver is not None:
        threading.Thread(target=_end_with, args=(driver,), daemon=True).start()


def _end_with(driver: multiprocessing.process.BaseProcess) -> None:
    """End this worker when its driver is gone: nobody waits for it any more."""
    driver.join()
    os._exit(1)
