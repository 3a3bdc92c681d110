"""The loader for torch: batches as tensors on a device, and a map-style Dataset for DataLoader, Lightning, Accelerate.

Tensors on the CPU share the memory of numpy's batches; on CUDA, stored integers are dequantised on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset

from brainbrr.core.arrays import UInt8
from brainbrr.errors import DependencyError, UsageError
from brainbrr.learn.cuda.resident import OnDevice, dequantised, free_on
from brainbrr.learn.cuda.ring import to_device
from brainbrr.loading.index import Index
from brainbrr.loading.loader import (
    Batch,
    Choices,
    Filler,
    Loader,
    Mode,
    Plan,
    filler_of,
    numpy_loader,
    order_of,
    plans_of,
    stream,
)
from brainbrr.loading.order import Order
from brainbrr.loading.reader import resident_bytes
from brainbrr.store.store import Store


def tensors(batch: Batch, dtype: str) -> Batch:
    """Return a batch as tensors; nothing is copied. bfloat16 comes as its bits."""
    signal = torch.from_numpy(batch.signal)
    return Batch(
        signal=signal.view(torch.bfloat16) if dtype == "bfloat16" else signal,
        label=torch.from_numpy(batch.label),
        valid=torch.from_numpy(batch.valid),
        index=torch.from_numpy(batch.index),
    )


class Items(list[Batch]):
    """The windows of a batch one by one, as DataLoader's own collate_fn takes them, and the batch itself."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(map(Batch._make, zip(*batch, strict=True)))
        self.batch = batch


class WindowDataset(Dataset[Batch]):
    """All windows of a view; item i is (signal, label, valid, index) of window i as tensors.

    Picklable, and safe under fork, spawn and forkserver: each worker opens its own files. A DataLoader's windows are
    read at once; `collate_fn=WindowDataset.whole` saves it a copy of them.
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

    def __getitems__(self, windows: Sequence[int]) -> Items:
        """Return windows that were read at once, one by one: DataLoader calls this where it exists."""
        return Items(self._read(windows))

    @staticmethod
    def whole(items: Any) -> Batch:
        """Return the batch that items were read as, uncopied: a collate_fn that is faster than DataLoader's own."""
        batch: Batch = items.batch
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "staged": None}  # the process that staged the objects deletes the copies

    def _read(self, windows: Sequence[int]) -> Batch:
        index = np.asarray(windows, dtype=np.int64)
        filler = self._filler
        batch = filler.empty(len(index))._replace(index=index)
        filler.fill(batch, Plan(index, *filler.reader.index.locate(index), place=0), slice(None))
        return tensors(batch, filler.dtype)


class Batches:
    """A batch_sampler for DataLoader: the windows of each step of one epoch of an order, from `epoch` on.

    Each iteration is the next epoch; set `epoch` to resume.
    """

    def __init__(self, order: Order) -> None:
        self._order, self.epoch = order, 0

    def __len__(self) -> int:
        return self._order.steps(1)

    def __iter__(self) -> Iterator[list[int]]:
        first, self.epoch = self.epoch * len(self), self.epoch + 1
        for step in range(first, first + len(self)):
            yield self._order.step(step).tolist()


_STEP_BYTES = 8 << 30
"""What "auto" leaves free on a device, for the model, its gradients and activations."""


def torch_loader(index: Index, store: Store, choices: Choices, *, mode: Mode, device: str | torch.device) -> Loader:
    """Return a loader of tensors on a device.

    "auto" is resident on a CUDA device whose free memory holds the view and a model beside it, else stream.
    Raises DependencyError without the device, SpaceError where a resident view does not fit.
    """
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device = {str(device)[:40]!r}", fix="cpu, cuda or cuda:N") from error
    if place.type not in ("cpu", "cuda"):
        raise UsageError(f"device = {str(place)!r}: there is no loader for this device", fix="cpu, cuda or cuda:N")
    if place.type == "cuda" and not torch.cuda.is_available():
        raise DependencyError("torch finds no CUDA device", fix='device = "cpu"')
    if place.type == "cpu":
        host = numpy_loader(index, store, choices, mode=mode)
        return Loader(_tensors(host, choices.dtype), order=host.order, types=host.types, mode=host.mode)
    order, filler = order_of(index, choices), filler_of(index, store, choices)
    if mode == "auto":
        fits = resident_bytes(index) + _STEP_BYTES < free_on(place)
        mode = "resident" if fits else "stream"
    if mode == "resident":
        plans = plans_of(index, order, choices.start_step, choices.epochs)
        batches = OnDevice.upload(filler, place).batches(filler, plans)
        return Loader(batches, order=order, types=filler.labeller.types, mode=mode)
    return Loader(_streamed(filler, order, choices, place), order=order, types=filler.labeller.types, mode="stream")


def dataset(index: Index, store: Store, choices: Choices) -> WindowDataset:
    """Return a map-style Dataset of tensors in host memory."""
    return WindowDataset(filler_of(index, store, choices), order_of(index, choices))


def by_dataloader(filler: Filler, order: Order) -> Iterator[Batch]:
    """Give batches without end through torch's DataLoader in this process, to compare a loader with."""
    windows = WindowDataset(filler, order)
    while True:
        yield from DataLoader(windows, batch_sampler=windows.batches, collate_fn=windows.whole)


def _streamed(filler: Filler, order: Order, choices: Choices, device: torch.device) -> Iterator[Batch]:
    """Read stored integers into pinned memory, copy them during the consumer's step, and dequantise them there."""
    raw = replace(filler, dtype="int16", memory=_pinned)
    index, first, epochs = filler.reader.index, choices.start_step, choices.epochs
    host = stream(raw, order, first=first, epochs=epochs, threads=choices.threads, depth=choices.depth)
    batches = to_device((tensors(batch, "int16") for batch in host), device)
    try:
        yield from dequantised(filler, plans_of(index, order, first, epochs), batches, choices.dtype)
    finally:
        host.close()


def _pinned(n_bytes: int) -> UInt8:
    """Return memory that a device can copy from while the host continues."""
    return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True).numpy()


def _tensors(host: Loader, dtype: str) -> Iterator[Batch]:
    with host:
        for batch in host:
            yield tensors(batch, dtype)


def in_this_world(choices: Choices) -> Choices:
    """Return choices with this process's rank, where torch.distributed is set up."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return choices
    return replace(choices, rank=distributed.get_rank(), world=distributed.get_world_size())
