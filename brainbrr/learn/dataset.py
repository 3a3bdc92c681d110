"""A view as torch's map-style Dataset: for DataLoader, Lightning, Accelerate and whatever else takes one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from brainbrr.errors import UsageError
from brainbrr.learn.tensors import tensors
from brainbrr.loading.batches import Batch, Filler, Plan
from brainbrr.loading.order import Order


class WindowDataset(Dataset[Batch]):
    """All windows of a view; item i is (signal, label, valid, index) of window i as tensors.

    Picklable, and safe under fork, spawn and forkserver: each worker opens its own files. A DataLoader that asks for
    a whole batch gets one that is read in one go: give it `collate_fn=WindowDataset.whole`.
    Nothing is shuffled or balanced here; `batches` is a batch_sampler that does both.
    """

    def __init__(self, filler: Filler, order: Order) -> None:
        if filler.augmenter is not None:
            raise UsageError("a map-style dataset does not augment: an item has no place in an order of windows")
        self._filler, self.batches = filler, Batches(order)
        self.staged: Any = None

    def __len__(self) -> int:
        return len(self._filler.reader.index)

    def __getitem__(self, window: int) -> Batch:
        if not -len(self) <= window < len(self):
            raise IndexError(f"window {window} of {len(self)}")
        batch = self._read([window % len(self)])
        return Batch(batch.signal[0], batch.label[0], batch.valid[0], batch.index[0])

    def __getitems__(self, windows: Sequence[int]) -> Batch:
        """Return windows as one batch: what DataLoader asks for when it can."""
        return self._read(windows)

    @staticmethod
    def whole(batch: Any) -> Any:
        """Return a batch as it is: the collate_fn for batches that come whole."""
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "staged": None}  # who staged it takes the copies away

    def _read(self, windows: Sequence[int]) -> Batch:
        index = np.asarray(windows, dtype=np.int64)
        filler = self._filler
        batch = filler.empty(len(index))._replace(index=index)
        filler.fill(batch, Plan(index, *filler.reader.index.locate(index), place=0), slice(None))
        return tensors(batch, filler.dtype)


class Batches:
    """A batch_sampler for DataLoader: the windows of each step of one epoch of an order, from `epoch` on.

    Each time round is the next epoch; set `epoch` to resume.
    """

    def __init__(self, order: Order) -> None:
        self._order, self.epoch = order, 0

    def __len__(self) -> int:
        return self._order.steps(1)

    def __iter__(self) -> Iterator[list[int]]:
        first, self.epoch = self.epoch * len(self), self.epoch + 1
        for step in range(first, first + len(self)):
            yield self._order.step(step).tolist()
