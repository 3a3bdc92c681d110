"""What tests of training share beside fixtures."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from brainbrr.core.progress import Silent
from brainbrr.learn.config import TrainConfig
from brainbrr.loading.recordings import Members, ViewRecording
from brainbrr.views.view import View


class StopAfter(Silent):
    """Progress that presses Ctrl-C when so many steps are done, or sends what signals it is told to."""

    def __init__(self, steps: int, *numbers: signal.Signals) -> None:
        self.left, self.numbers = steps, numbers or (signal.SIGINT,)

    def advance(self, n: int = 1, *, note: str = "") -> None:
        self.left -= n
        if self.left == 0:
            for number in self.numbers:
                signal.raise_signal(number)  # one after the other: a second one that waits with its like is lost


def changed(config: TrainConfig, section: str, **fields: Any) -> TrainConfig:
    told = config.model_dump()
    told[section] = {**told[section], **fields}
    return TrainConfig.model_validate(told)


def with_recordings(view: View, recordings: tuple[ViewRecording, ...]) -> View:
    return View(view.store, Members(recordings), scope=view.scope, recipe=view.recipe, window=view.window)


def same_bits(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()
