"""A device that is none: two streams whose work is done late, in any order that their events allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Choose = Callable[[], bool]


class Event:
    """Done when the stream that marked it gets there."""

    def __init__(self, queues: PretendedQueues) -> None:
        self.queues, self.done = queues, False

    def synchronize(self) -> None:
        while not self.done:
            self.queues.advance()


class Stream:
    """Work in its order: functions to call, and events to wait for."""

    def __init__(self) -> None:
        self.work: deque[Callable[[], None] | Event] = deque()
        self.held = False

    def wait_event(self, event: Event) -> None:
        self.work.append(event)

    def step(self) -> bool:
        """Do the next piece, if it can be done."""
        if self.held or not self.work or (isinstance(self.work[0], Event) and not self.work[0].done):
            return False
        piece = self.work.popleft()
        if not isinstance(piece, Event):
            piece()
        return True


class PretendedQueues:
    """Streams and memory of a device on the CPU; `choose` says which stream goes on, and when."""

    def __init__(self, choose: Choose, *, pinned: bool) -> None:
        self.choose, self.pinned = choose, pinned
        self.copies, self.used = Stream(), Stream()
        self.n_copied = 0

    def consumer(self) -> Stream:
        return self.used

    def mark(self, stream: Stream) -> Event:
        event = Event(self)
        stream.work.append(lambda: setattr(event, "done", True))
        self.idle()
        return event

    def copy(self, source: Tensor, target: Tensor) -> None:
        def done() -> None:
            target.copy_(source)  # what is in the source when the device gets there
            self.n_copied += 1

        self.copies.work.append(done)
        self.idle()

    def is_pinned(self, source: Tensor) -> bool:
        return self.pinned

    def staging(self, like: Tensor) -> Tensor:
        return torch.full_like(like, -1)

    def buffer(self, like: Tensor) -> Tensor:
        memory = torch.full_like(like, -2)
        self.used.work.append(lambda: memory.fill_(-4))  # by whom it belonged to before, still to be done
        return memory

    def advance(self) -> None:
        """Do one piece of work that a device would be at while the host waits."""
        assert self._step(), "the host waits for ever"

    def idle(self) -> None:
        """Do as much work as a device may have done while the host was busy with something else."""
        while self.choose() and self._step():
            pass

    def _step(self) -> bool:
        streams = (self.copies, self.used) if self.choose() else (self.used, self.copies)
        return any(stream.step() for stream in streams)

    def finish(self) -> None:
        while self.copies.work or self.used.work:
            self.advance()


class Made(NamedTuple):
    """A batch."""

    signal: Tensor
    label: Tensor
    index: Tensor
    step: int


class Source:
    """Batches in one buffer that is filled again for each, as a loader's is; counts what was taken."""

    def __init__(self, n_batches: int, *, last: int = 4) -> None:
        self.n_batches, self.last, self.taken = n_batches, last, 0

    def __iter__(self) -> Iterator[Made]:
        made = Made(torch.empty(4, 3), torch.empty(4, dtype=torch.int16), torch.empty(4, dtype=torch.int64), 0)
        for step in range(self.n_batches):
            self.taken += 1
            n = self.last if step == self.n_batches - 1 else 4
            made.signal.fill_(step)
            made.label.fill_(100 + step)
            made.index.fill_(step)
            yield Made(made.signal[:n], made.label[:n], made.index[:n], step)
            made.signal.fill_(-3)
            made.label.fill_(-3)
