"""Batches of a view, read into buffers that are used again. The order is a pure function of (seed, step).

Writes nothing and keeps nothing: a loader started at step n gives what one started at 0 gives from there on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch

from brainbrr.errors import UsageError
from brainbrr.views import View
from brainbrr.windows import BACKGROUND, FULL, PARTIAL, UNKNOWN, UNLABELLED

_AHEAD = 2
_PATTERN = (BACKGROUND, PARTIAL, BACKGROUND, FULL)

IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Batch:
    """Windows of one step, in buffers that the loader fills again: use it before asking for the next.

    signal float32 (batch, channels, length); label float32 (batch, length), 1 in a seizure; valid bool
    (batch, length), false in padding and where nobody labelled; index int64 (batch,) into the view.
    """

    signal: torch.Tensor
    label: torch.Tensor
    valid: torch.Tensor
    index: IntArray
    step: int


class Order:
    """Which windows each step takes: a pure function of (seed, step) over a view's classes.

    Balanced: half background, a quarter partial and a quarter full seizures, where the view has them; every class
    is gone through in a new random order each time round. Windows without any label are never taken.
    Raises UsageError when no window has one.
    """

    def __init__(
        self, classes: np.ndarray[Any, np.dtype[np.uint8]], *, batch: int, seed: int, balanced: bool = True
    ) -> None:
        self._batch, self._seed = batch, seed
        if balanced:
            members = {int(c): np.flatnonzero(classes == c) for c in sorted({*_PATTERN})}
            self._members = {c: indices for c, indices in members.items() if len(indices)}
            self._pattern = [c for c in _PATTERN if c in self._members]
        else:
            self._members = {0: np.flatnonzero(classes != UNLABELLED)}
            self._pattern = [0] * bool(len(self._members[0]))
        if not self._pattern:
            raise UsageError("no window of the view is labelled")
        self._orders: dict[int, tuple[int, IntArray]] = {}

    def step(self, step: int) -> IntArray:
        """Return the windows of one step, int64 (batch,)."""
        return np.array([self._draw(step * self._batch + slot) for slot in range(self._batch)], dtype=np.int64)

    def _draw(self, slot: int) -> int:
        turn, place = divmod(slot, len(self._pattern))
        kind = self._pattern[place]
        nth = turn * self._pattern.count(kind) + self._pattern[:place].count(kind)
        epoch, place_in_epoch = divmod(nth, len(self._members[kind]))
        known, order = self._orders.get(kind, (-1, self._members[kind]))
        if known != epoch:
            random = np.random.Generator(
                np.random.Philox(key=np.array([self._seed, kind << 32 | epoch], dtype=np.uint64))
            )
            order = random.permutation(self._members[kind])
            self._orders[kind] = (epoch, order)
        return int(order[place_in_epoch])


class _Slot:
    """One set of buffers of the ring."""

    def __init__(self, n_windows: int, n_channels: int, length: int) -> None:
        self.signal = np.empty((n_windows, n_channels, length), dtype=np.float32)
        self.raw_label = np.empty((n_windows, length), dtype=np.uint8)
        self.label = np.empty((n_windows, length), dtype=np.float32)
        self.valid = np.empty((n_windows, length), dtype=np.bool_)

    def fill(self, view: View, indices: IntArray, rows: Sequence[int]) -> None:
        """Read some rows of a batch."""
        for row in rows:
            view.fill(int(indices[row]), self.signal[row], self.raw_label[row], self.valid[row])
            np.equal(self.raw_label[row], 1, out=self.label[row], casting="unsafe")
            self.valid[row] &= self.raw_label[row] != UNKNOWN  # whatever was drawn: unlabelled is not background


def loader(
    view: View, *, batch: int, seed: int, start_step: int = 0, balanced: bool = True, threads: int = 1
) -> Iterator[Batch]:
    """Give batches without end, from `start_step` on; `threads` read ahead.

    Raises UsageError for a view without labelled windows, IntegrityError where stored bytes are damaged.
    """
    if batch < 1 or threads < 1 or start_step < 0 or not 0 <= seed < 2**63:
        raise UsageError(
            f"batch = {batch}, threads = {threads}, start_step = {start_step}, seed = {seed}: 1, 1, 0 and 0 at least"
        )
    order = Order(view.classes(), batch=batch, seed=seed, balanced=balanced)
    return _batches(view, order, batch, start_step, threads)


def _batches(view: View, order: Order, batch: int, start_step: int, threads: int) -> Iterator[Batch]:
    ring = [_Slot(batch, len(view.channels), view.length) for _ in range(_AHEAD + 1)]
    pending: deque[tuple[int, IntArray, _Slot, list[Future[None]]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="brainbrr-loader") as pool:
        try:
            for step in count(start_step):
                indices, slot = order.step(step), ring[step % len(ring)]
                parts = [range(part, batch, threads) for part in range(min(threads, batch))]
                pending.append((step, indices, slot, [pool.submit(slot.fill, view, indices, part) for part in parts]))
                if len(pending) > _AHEAD:
                    yield _finish(*pending.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finish(step: int, indices: IntArray, slot: _Slot, reading: list[Future[None]]) -> Batch:
    for part in reading:
        part.result()
    return Batch(
        signal=torch.from_numpy(slot.signal),
        label=torch.from_numpy(slot.label),
        valid=torch.from_numpy(slot.valid),
        index=indices,
        step=step,
    )
