"""Build many tasks in batches that are stored together, wherever an engine runs them."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from brainbrr.engines.engine import Ended, Engine, Notify, Transferable
from brainbrr.engines.local import local_engine
from brainbrr.errors import BrainbrrError, RecordingError
from brainbrr.ingest.build import Builder, Built, Busy, Identified, Result, Task

AT_MOST = 32
"""So many recordings are stored together."""
_TOGETHER_BYTES = 1 << 26  # of EDF: about a second's work
_POLL_S, _POLL_AT_MOST_S = 0.5, 4.0
_SHARES = 4  # batches for each place, at least: the last ones end together


@dataclass(frozen=True)
class Batch:
    """Tasks that one process builds one after the other, and stores together."""

    tasks: tuple[Task, ...]

    @property
    def key(self) -> str:
        """The key of its first task: batches are distributed by it."""
        return self.tasks[0].key

    @property
    def edf(self) -> Path:
        """The file of its first task."""
        return self.tasks[0].edf


def batches_of(tasks: Sequence[Task], n: int) -> list[Batch]:
    """Return tasks in their order, in batches of at most n and of about a second's work."""
    batches: list[list[Task]] = []
    n_bytes = 0
    for task in tasks:
        if not batches or len(batches[-1]) == n or n_bytes + task.n_bytes > _TOGETHER_BYTES:
            batches.append([])
            n_bytes = 0
        batches[-1].append(task)
        n_bytes += task.n_bytes
    return [Batch(tuple(each)) for each in batches]


def _n_together(n_tasks: int, engine: Engine | None) -> int:
    width = (engine or local_engine(None)).width()[0] or AT_MOST
    return min(AT_MOST, max(1, n_tasks // (_SHARES * width)))


def _existing(builder: Builder, task: Task) -> Built | RecordingError | None:
    try:
        return builder.existing(task)
    except RecordingError as error:
        return error


@dataclass(frozen=True)
class BatchBuilder:
    """The build of any batch of one ingest."""

    builder: Builder
    preload: ClassVar[tuple[str, ...]] = Builder.preload

    def __call__(self, task: Batch) -> tuple[Result, ...]:
        """Build a batch: see `Builder.several`."""
        return tuple(self.builder.several(task.tasks))

    def existing(self, task: Batch) -> tuple[Result, ...] | None:
        """Return the outcomes of a batch that is done already."""
        found = [built for each in task.tasks if (built := _existing(self.builder, each)) is not None]
        return tuple(found) if len(found) == len(task.tasks) else None

    def check(self) -> None:
        """Raise ExecutorError where this process cannot build."""
        self.builder.check()

    def to_json(self) -> dict[str, Any]:
        """Return the builder as JSON."""
        return self.builder.to_json()

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> BatchBuilder:
        """Return what to_json() gave."""
        return cls(Builder.of(value))

    def task_to_json(self, task: Batch) -> dict[str, Any]:
        """Return a batch as JSON."""
        return {"tasks": [self.builder.task_to_json(each) for each in task.tasks]}

    def task_of(self, value: Mapping[str, Any]) -> Batch:
        """Return the batch that task_to_json() gave."""
        return Batch(tuple(map(self.builder.task_of, value["tasks"])))

    def result_to_json(self, result: tuple[Result, ...]) -> dict[str, Any]:
        """Return outcomes as JSON."""
        return {"outcomes": [self.builder.outcome_to_json(each) for each in result]}

    def result_of(self, value: Mapping[str, Any]) -> tuple[Result, ...]:
        """Return the outcomes that result_to_json() gave."""
        return tuple(map(self.builder.outcome_of, value["outcomes"]))


def _each(
    builder: Builder, batch: Batch, outcomes: tuple[Result, ...] | BrainbrrError
) -> Iterator[tuple[Task, Built | Busy | BrainbrrError]]:
    """Yield each task of a batch, as far as it is known now, and what became of it."""
    if isinstance(outcomes, BrainbrrError):  # its job was lost: some may be done
        for task in batch.tasks:
            found = _existing(builder, task)
            yield task, outcomes if found is None else found
        return
    for task, outcome in zip(batch.tasks, outcomes, strict=True):
        yield (outcome.task, outcome.outcome) if isinstance(outcome, Identified) else (task, outcome)


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

    def run(some: Sequence[Task], n_together: int | None = None) -> Ended[Task, Built]:
        batches = batches_of(some, n_together or _n_together(len(some), engine))
        work: Transferable[Batch, tuple[Result, ...]] = BatchBuilder(builder)
        suspects: list[Task] = []
        ended = (engine or local_engine(None, len(batches))).run(work, batches, notify)
        with closing(ended):
            for batch, outcomes in ended:
                if isinstance(outcomes, RecordingError) and len(batch.tasks) > 1:
                    suspects += batch.tasks  # one of them killed its worker
                    continue
                for task, outcome in _each(builder, batch, outcomes):
                    if isinstance(outcome, Busy):
                        busy.append(task)
                    else:
                        yield task, outcome
        if suspects:
            yield from run(suspects, 1)

    ordered = sorted(tasks, key=lambda task: (-task.n_bytes, task.path))
    if builder.remote is not None:  # others fill it too: in one order, all would build the same
        random.shuffle(ordered)
    # absolute: other machines have other working directories
    yield from run([dataclasses.replace(task, edf=task.edf.absolute()) for task in ordered])
    if n := len(builder.built_elsewhere(busy)):
        notify(f"waiting for another process, which builds {n} of these recordings")
    pause_s = _POLL_S
    while n := len(busy):
        elsewhere = builder.built_elsewhere(busy)
        released = [task for task in busy if task.key not in elsewhere]
        busy[:] = [task for task in busy if task.key in elsewhere]
        missing = []
        for task in released:
            if (found := _existing(builder, task)) is None:
                missing.append(task)
            else:
                yield task, found
        if missing:  # the process that had it died, or could not build it
            yield from run(missing)
        if len(busy) < n:
            pause_s = _POLL_S
        else:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _POLL_AT_MOST_S)
