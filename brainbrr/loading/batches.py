"""Batches in buffers that are filled again, by threads that read ahead. numpy only; writes nothing, keeps nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count, islice, pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from brainbrr.errors import UsageError
from brainbrr.loading.augment import Augmenter, Variation
from brainbrr.loading.index import Index
from brainbrr.loading.labels import Labeller
from brainbrr.loading.order import Order
from brainbrr.loading.reader import WindowReader
from brainbrr.windows import IntArray

DType = Literal["float32", "float16", "bfloat16", "int16"]

_STORED = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16, "int16": np.int16}
_LINE = 64
_READ_AHEAD = 32
"""Windows that the system is told of before they are read, at least."""


Memory = Callable[[int], np.ndarray[Any, np.dtype[np.uint8]]]
"""Gives so many bytes that nobody has written to."""


def host_memory(n_bytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return memory of this process."""
    return np.empty(n_bytes, dtype=np.uint8)


class Batch(NamedTuple):
    """Windows of one step, in buffers that are filled again: use it before asking for the next.

    signal (batch, rows, length), int16 (batch, recorded channels, length); label uint8 (batch, ...) as
    `labels.Labeller` says, 255 where nobody labelled; valid bool (batch, length), false in padding and where nobody
    labelled; index int64 (batch,) into the view. bfloat16 is given to numpy as its bits, uint16.
    """

    signal: Any
    label: Any
    valid: Any
    index: Any  # a tuple's own index() finds a value, which nobody asks a batch for


@dataclass(frozen=True)
class Filler:
    """Everything that makes one window: signal, label, what it may also have looked like, and memory for it."""

    reader: WindowReader
    labeller: Labeller
    dtype: DType
    augmenter: Augmenter | None = None
    memory: Memory = host_memory

    def __post_init__(self) -> None:
        if self.dtype not in _STORED:
            raise UsageError(f"dtype = {self.dtype!r}", fix=", ".join(_STORED))

    def empty(self, n: int) -> Batch:
        """Return unfilled buffers for n windows."""
        index = self.reader.index
        n_rows = len(index.frame.channels if self.dtype == "int16" else index.frame.rows)
        return Batch(
            signal=self._on_lines((n, n_rows, index.frame.length), np.dtype(_STORED[self.dtype])),
            label=np.empty((n, *self.labeller.shape), dtype=np.uint8),
            valid=np.empty((n, index.frame.length), dtype=np.bool_),
            index=np.empty(n, dtype=np.int64),
        )

    def _on_lines(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Return an unfilled array that begins on a cache line."""
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        memory = self.memory(n_bytes + _LINE)
        first = -memory.ctypes.data % _LINE
        return memory[first : first + n_bytes].view(dtype).reshape(shape)

    def fill(self, batch: Batch, plan: Plan, rows: slice) -> None:
        """Fill some rows of a batch with windows of a plan."""
        recordings, signal = plan.recordings[rows], batch.signal[rows]
        variations = self.variations(plan, rows)
        starts = self.starts(recordings, plan.starts[rows], variations)
        self.labeller.fill(recordings, starts, batch.label[rows], batch.valid[rows])
        if self.dtype == "int16":
            self.reader.raw_many(recordings, starts, signal)
        elif self.dtype == "float32":
            self.reader.fill_many(recordings, starts, signal, variations)
        else:
            exact = np.empty(signal.shape[1:], dtype=np.float32)[None]
            for i in range(len(signal)):
                one = slice(i, i + 1)
                self.reader.fill_many(recordings[one], starts[one], exact, variations and variations[one])
                signal[i] = bfloat16(exact[0]) if self.dtype == "bfloat16" else exact[0]

    def variations(self, plan: Plan, rows: slice) -> list[Variation] | None:
        """Return what windows of a plan may also have looked like, None without augmentation."""
        if self.augmenter is None:
            return None
        return [self.augmenter.draw(plan.place + row) for row in range(len(plan.windows))[rows]]

    def starts(self, recordings: IntArray, starts: IntArray, variations: list[Variation] | None) -> IntArray:
        """Return where windows really begin."""
        if variations is None or self.augmenter is None:
            return starts
        index = self.reader.index
        shift = self.augmenter.config.shift_s * index.frame.rate_hz * np.array([each.shift for each in variations])
        latest = np.maximum(index.n_samples[recordings] - index.frame.length, 0)
        # a last window that is padded begins later than that: without a shift it stays where it is
        return np.where(shift == 0, starts, np.clip(starts + np.rint(shift).astype(np.int64), 0, latest))


def bfloat16(exact: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return float32 rounded to the nearest bfloat16, ties to even, as bits."""
    bits = exact.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(exact), 0x7FC0, rounded).astype(np.uint16)


class Plan(NamedTuple):
    """What one step takes: windows, where each lies, and the first of their places in the order."""

    windows: IntArray
    recordings: IntArray
    starts: IntArray
    place: int


def plans_of(index: Index, order: Order, first: int, epochs: int | None) -> Iterator[Plan]:
    """Give the plans from step `first` on, without end or to the end of some epochs."""
    for step in count(first):
        place = order.place(step)
        n = order.batch if epochs is None else min(order.batch, epochs * order.epoch - place)
        if n < 1:
            return
        windows = order.take(place, n)
        recordings, starts = index.locate(windows)
        yield Plan(windows, recordings, starts, place)


def stream(
    filler: Filler, order: Order, *, first: int = 0, epochs: int | None = None, threads: int = 2, depth: int = 2
) -> Generator[Batch]:
    """Give batches from step `first` on, without end or to the end of some epochs; `threads` read `depth` ahead.

    The last batch of the last epoch holds what is left. No more than depth + 1 batches of memory are ever used:
    whoever does not ask for the next one stops the reading.
    Raises IntegrityError where stored bytes are damaged.
    """
    batch, plans = order.batch, plans_of(filler.reader.index, order, first, epochs)
    ahead = 1 - -_READ_AHEAD // batch  # told of while the batch before is read
    ring = [filler.empty(batch) for _ in range(depth + 1)]
    pending: deque[tuple[Batch, list[Future[None]]]] = deque()
    told: deque[Plan] = deque(islice(plans, 1))
    with (
        ThreadPoolExecutor(
            1, thread_name_prefix="brainbrr-loader-ahead"
        ) as advising,  # while the others wait for a disk
        ThreadPoolExecutor(threads, thread_name_prefix="brainbrr-loader") as pool,
    ):
        try:
            for turn in count():
                if told:
                    plan = told.popleft()
                    slot = _first(ring[turn % len(ring)], plan.windows)
                    cuts = [len(plan.windows) * part // threads for part in range(threads + 1)]
                    parts = [slice(*each) for each in pairwise(cuts)]
                    pending.append((slot, [pool.submit(filler.fill, slot, plan, part) for part in parts]))
                elif not pending:
                    return
                if turn == 0 and pending:
                    wait(pending[0][1])  # somebody waits for the first batch: nothing is read beside it
                for coming in islice(plans, ahead - len(told)):
                    told.append(coming)
                    advising.submit(filler.reader.advise, coming.recordings, coming.starts)
                if len(pending) > depth or not told:
                    yield _ready(*pending.popleft())
        finally:
            advising.shutdown(wait=True, cancel_futures=True)
            pool.shutdown(wait=True, cancel_futures=True)


def _first(slot: Batch, windows: IntArray) -> Batch:
    """Return as much of a slot as some windows need."""
    n = len(windows)
    return Batch(slot.signal[:n], slot.label[:n], slot.valid[:n], windows)


def _ready(batch: Batch, reading: list[Future[None]]) -> Batch:
    for part in reading:
        part.result()
    return batch
