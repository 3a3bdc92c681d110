"""How long work says where it is. Silent by default; only `cli` draws it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a verb tells while it works."""

    def start(self, task: str, total: int | None, unit: str, *, done: int = 0) -> None:
        """Begin a task of `total` units (None: not known), of which some were done before."""

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """`n` more units are done."""

    def say(self, text: str) -> None:
        """Tell one line that stays."""

    def stop(self) -> None:
        """The task is over."""


class Silent:
    """Progress that tells nothing."""

    def start(self, task: str, total: int | None, unit: str, *, done: int = 0) -> None:
        """Tell nothing."""

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Tell nothing."""

    def say(self, text: str) -> None:
        """Tell nothing."""

    def stop(self) -> None:
        """Tell nothing."""
