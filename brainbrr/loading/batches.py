"""Batches in buffers that are filled again, by threads that read ahead. numpy only; writes nothing, keeps nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Literal, NamedTuple

import numpy as np

from brainbrr.errors import UsageError
from brainbrr.loading.augment import Augmenter
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
    """Everything that makes one window: its signal, its label, and what it may also have looked like."""

    reader: WindowReader
    labeller: Labeller
    dtype: DType
    augmenter: Augmenter | None = None

    def __post_init__(self) -> None:
        if self.dtype not in _STORED:
            raise UsageError(f"dtype = {self.dtype!r}", fix=", ".join(_STORED))
        if self.dtype == "int16" and self.augmenter:
            raise UsageError("stored integers cannot be augmented", fix='dtype = "float32"')

    def empty(self, n: int) -> Batch:
        """Return unfilled buffers for n windows."""
        index = self.reader.index
        n_rows = len(index.frame.channels if self.dtype == "int16" else index.frame.rows)
        return Batch(
            signal=_on_lines((n, n_rows, index.frame.length), np.dtype(_STORED[self.dtype])),
            label=np.empty((n, *self.labeller.shape), dtype=np.uint8),
            valid=np.empty((n, index.frame.length), dtype=np.bool_),
            index=np.empty(n, dtype=np.int64),
        )

    def start(self, recording: int, start: int, place: int) -> int:
        """Return where the window at a place in the order really begins."""
        if self.augmenter is None or not self.augmenter.config.shift_s:
            return start
        frame = self.reader.index.frame
        moved = start + round(self.augmenter.draw(place).shift * self.augmenter.config.shift_s * frame.rate_hz)
        return min(max(moved, 0), max(int(self.reader.index.n_samples[recording]) - frame.length, 0))

    def fill(self, batch: Batch, row: int, recording: int, start: int, place: int) -> None:
        """Fill one row of a batch with a window."""
        start = self.start(recording, start, place)
        self.labeller.fill(recording, start, batch.label[row, ...], batch.valid[row])
        out = batch.signal[row]
        if self.dtype == "int16":
            self.reader.raw(recording, start, out)
            return
        rows = self.augmenter.draw(place).rows(self.reader.index.rows(recording)) if self.augmenter else None
        if self.dtype == "float32":
            self.reader.fill(recording, start, out, rows)
            return
        exact = np.empty(out.shape, dtype=np.float32)
        self.reader.fill(recording, start, exact, rows)
        out[...] = bfloat16(exact) if self.dtype == "bfloat16" else exact


def _on_lines(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return an unfilled array that begins on a cache line."""
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(n_bytes + _LINE, dtype=np.uint8)
    first = -memory.ctypes.data % _LINE
    return memory[first : first + n_bytes].view(dtype).reshape(shape)


def bfloat16(exact: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return float32 rounded to the nearest bfloat16, ties to even, as bits."""
    bits = exact.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(exact), 0x7FC0, rounded).astype(np.uint16)


def stream(
    filler: Filler, order: Order, *, first: int = 0, epochs: int | None = None, threads: int = 1, depth: int = 2
) -> Iterator[Batch]:
    """Give batches from step `first` on, without end or to the end of some epochs; `threads` read `depth` ahead.

    The last batch of the last epoch holds what is left. No more than depth + 1 batches of memory are ever used:
    whoever does not ask for the next one stops the reading.
    Raises UsageError for numbers below 1, IntegrityError where stored bytes are damaged.
    """
    if threads < 1 or depth < 1 or first < 0:
        raise UsageError(f"threads = {threads}, depth = {depth}, first step = {first}: 1, 1 and 0 at least")
    return _stream(filler, _plans(filler.reader.index, order, first, epochs), order.batch, threads, depth)


class Plan(NamedTuple):
    """What one step takes: windows, where each lies, and the first of their places in the order."""

    windows: IntArray
    recordings: list[int]
    starts: list[int]
    place: int


def _plans(index: Index, order: Order, first: int, epochs: int | None) -> Iterator[Plan]:
    for step in count(first):
        place = order.place(step)
        n = order.batch if epochs is None else min(order.batch, epochs * order.epoch - place)
        if n < 1:
            return
        windows = order.take(place, n)
        recordings, starts = index.locate(windows)
        yield Plan(windows, recordings.tolist(), starts.tolist(), place)


def _stream(filler: Filler, plans: Iterator[Plan], batch: int, threads: int, depth: int) -> Iterator[Batch]:
    ahead = 1 - -_READ_AHEAD // batch  # told of while the batch before is read
    ring = [filler.empty(batch) for _ in range(depth + 1)]
    pending: deque[tuple[Batch, list[Future[None]]]] = deque()
    told: deque[Plan] = deque(islice(plans, 1))  # the first batch is wanted now
    with ThreadPoolExecutor(threads, thread_name_prefix="brainbrr-loader") as pool:
        try:
            for turn in count():
                if told:
                    plan = told.popleft()
                    slot = _first(ring[turn % len(ring)], plan.windows)
                    parts = [range(part, len(plan.windows), threads) for part in range(threads)]
                    pending.append((slot, [pool.submit(_fill, filler, slot, plan, part) for part in parts if part]))
                elif not pending:
                    return
                for coming in islice(plans, ahead - len(told)):
                    told.append(coming)
                    pool.submit(_advise, filler.reader, coming)
                if len(pending) > depth or not told:
                    yield _ready(*pending.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _first(slot: Batch, windows: IntArray) -> Batch:
    """Return as much of a slot as some windows need."""
    n = len(windows)
    return Batch(slot.signal[:n], slot.label[:n], slot.valid[:n], windows)


def _fill(filler: Filler, batch: Batch, plan: Plan, rows: range) -> None:
    for row in rows:
        filler.fill(batch, row, plan.recordings[row], plan.starts[row], plan.place + row)


def _advise(reader: WindowReader, plan: Plan) -> None:
    for recording, start in zip(plan.recordings, plan.starts, strict=True):
        reader.advise(recording, start)


def _ready(batch: Batch, reading: list[Future[None]]) -> Batch:
    for part in reading:
        part.result()
    return batch
