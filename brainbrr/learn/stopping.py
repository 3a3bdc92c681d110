"""How a person or a scheduler stops a training: signals wait until the step is whole. Knows nothing of training."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; a scheduler's end; a scheduler's warning, as of `#SBATCH --signal=USR1@120`."""


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Hold signals back: give what is set when one came. A second Ctrl-C does at once what it did before.

    A scheduler may say it twice, to all of a job's processes while their launcher passes it on: only a person means
    more by that.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in _ASKING}

    def hold(number: int, *_: object) -> None:
        asked.set()
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    for number in before:
        signal.signal(number, hold)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
