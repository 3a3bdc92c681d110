"""Work that misbehaves over one marked task. Importable, since workers in other processes need it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from brainbrr.errors import BrainbrrError, SpaceError
from brainbrr.verbs.build import Built, Task
from brainbrr.verbs.builder import Builder


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

    def found(self, task: Task) -> Built | None:
        return self.builder.found(task)

    def check(self) -> None:
        self.builder.check()
