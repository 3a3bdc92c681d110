"""Work that misbehaves over one marked task. Importable, since workers in other processes need it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from brainbrr.engines import slurm
from brainbrr.engines.engine import Engine
from brainbrr.engines.local import local_engine
from brainbrr.errors import BrainbrrError, SpaceError
from brainbrr.ingest.batches import build_all
from brainbrr.ingest.build import Builder, Built, Busy, Task, build
from brainbrr.store import leases
from brainbrr.store.store import Store


@dataclass(frozen=True)
class Marked:
    """A builder that does as `how` says when it comes to the task `key`; `aside` is a file of its own."""

    builder: Builder
    how: str
    key: str
    aside: Path
    also: dict[str, str] = field(default_factory=dict)

    def __call__(self, task: Task) -> Built | BrainbrrError:
        how = {self.key: self.how, **self.also}.get(task.key)
        if how == "kill" or (how == "kill once" and not self.aside.exists()):
            if how == "kill once":
                self.aside.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "wait":
            deadline = time.monotonic() + 60
            while not self.aside.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert self.aside.exists(), "nothing else went on meanwhile"
        if how == "full disk":
            raise SpaceError("the disk is full")
        return self.builder(task)

    def existing(self, task: Task) -> Built | None:
        return self.builder.existing(task)

    def check(self) -> None:
        self.builder.check()

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "builder": self.builder.to_json(), "aside": str(self.aside)}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Marked:
        return cls(**{**value, "builder": Builder.of(value["builder"]), "aside": Path(value["aside"])})

    def task_to_json(self, task: Task) -> dict[str, Any]:
        return self.builder.task_to_json(task)

    def task_of(self, value: Mapping[str, Any]) -> Task:
        return self.builder.task_of(value)

    def result_to_json(self, result: Built | Busy) -> dict[str, Any]:
        return self.builder.result_to_json(result)

    def result_of(self, value: Mapping[str, Any]) -> Built | Busy:
        return self.builder.result_of(value)


def run(engine: Engine, work: Marked | Builder, tasks: Sequence[Task]) -> dict[str, Built | BrainbrrError]:
    """Return how each task ended, by path."""
    return {task.path: outcome for task, outcome in engine.run(work, tasks, lambda _: None)}


def build_beside(builder: Builder, tasks: Sequence[Task], engine: Engine) -> None:
    """Build all tasks, the first of which another process builds at that time: it is waited for, not built again."""
    theirs, rest = tasks[0], {task.key for task in tasks[1:]}
    told: dict[str, Built | BrainbrrError] = {}
    said: list[str] = []
    begun = threading.Event()

    def other() -> None:
        with leases.hold(Store.open(builder.location).layout, theirs.key) as is_free:
            assert is_free
            begun.set()
            deadline = time.monotonic() + 120
            while not (told.keys() >= rest and said) and time.monotonic() < deadline:
                time.sleep(0.02)
            build(builder.location, theirs, builder.recipe)

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    for task, outcome in build_all(tasks, builder, engine=engine, notify=said.append):
        told[task.key] = outcome
    thread.join()
    assert all(isinstance(built, Built) for built in told.values()) and told.keys() == {theirs.key, *rest}
    assert {key for key, built in told.items() if isinstance(built, Built) and built.existed} == {theirs.key}
    assert [text for text in said if "waiting" in text] == [
        "waiting for another process, which builds 1 of these recordings"
    ]
    assert list((builder.location / "leases").iterdir()) == []


@dataclass(frozen=True)
class InPlace(slurm.Slurm):
    """SLURM whose one job runs where it is submitted, in this process."""

    max_jobs: int = 1
    cluster: str = "local"

    def _submit(self, executor: Any, shares: Sequence[slurm.Share]) -> list[Any]:
        processes, slurm.Processes = slurm.Processes, lambda _: local_engine(1, 1)  # type: ignore[assignment,misc]
        try:
            for share in shares:
                share()
        finally:
            slurm.Processes = processes  # type: ignore[misc]
        return [SimpleNamespace(job_id="1", done=lambda: True, cancel=lambda check: None) for _ in shares]
