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
    """Hold signals back: give what is set when one came. A second one does at once what it did before."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in _ASKING}

    def release() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hold(*_: object) -> None:
        asked.set()
        release()

    for number in before:
        signal.signal(number, hold)
    try:
        yield asked
    finally:
        release()
