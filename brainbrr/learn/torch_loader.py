"""The loader for torch: batches as tensors on a device, and a map-style Dataset for DataLoader, Lightning, Accelerate.

Tensors on the CPU share the memory of numpy's batches; on CUDA, stored integers are dequantised on the device.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, get_worker_info

from brainbrr.core.arrays import UInt8
from brainbrr.errors import DependencyError, SpaceError, UsageError
from brainbrr.learn.cuda.resident import OnDevice, dequantised, free_on
from brainbrr.learn.cuda.ring import to_device
from brainbrr.learn.distributed import is_set_up
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

    def __init__(self, filler: Filler, order: Order, *, everywhere: bool = True) -> None:
        if filler.augmenter is not None:
            raise UsageError("a map-style dataset does not augment: an item has no place in an order of windows")
        self._filler, self.batches = filler, Batches(order, everywhere=everywhere)
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
        if get_worker_info() is not None:
            check_shared_memory(sum(array.nbytes for array in batch))
        filler.fill(batch, Plan(index, *filler.reader.index.locate(index), place=0), slice(None))
        return tensors(batch, filler.dtype)


_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where torch puts what a worker process sends


def check_shared_memory(n_bytes: int) -> None:
    """Raise SpaceError where a worker could not hand so many bytes over: it would die by SIGBUS, or all would wait."""
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:  # not on this system
        return
    if free < n_bytes:
        raise SpaceError(
            f"a batch has {n_bytes / 1e6:.0f} MB, and {free / 1e6:.0f} MB of shared memory are free for it",
            where=_SHARED_MEMORY,
            fix="num_workers=0, since brainbrr reads by threads; smaller batches; or `docker run --shm-size=8g`",
        )


class Batches:
    """A batch_sampler for DataLoader: the windows of each step of one epoch of an order, from `epoch` on.

    Each iteration is the next epoch; set `epoch` to resume. Where torch.distributed is set up by then each process has
    its part of every step, the last one filled up with windows of the next epoch, so that all have as many steps.
    Where Accelerate runs it deals the steps out itself.
    """

    drop_last = False

    def __init__(self, order: Order, *, everywhere: bool = True) -> None:
        """Take what `order` takes; with `everywhere`, the part of the process that iterates instead of the order's."""
        self._order, self._everywhere, self.epoch = order, everywhere, 0
        self.batch_size = order.batch

    def __len__(self) -> int:
        return self._here().steps(1)

    def __iter__(self) -> Iterator[list[int]]:
        order, first = self._here(), self.epoch * self._order.epoch
        self.epoch += 1
        for step in range(order.steps(1)):
            place = order.place(step)
            n = order.batch if order.world > 1 else min(order.batch, order.epoch - place)
            yield order.take(first + place, n).tolist()

    def _here(self) -> Order:
        """Return the order of this process."""
        if not self._everywhere or _accelerated() or not is_set_up():
            return self._order
        return self._order.of(distributed.get_rank(), distributed.get_world_size())


def _accelerated() -> bool:
    """Say whether Accelerate runs in this process."""
    state = sys.modules.get("accelerate.state")
    return state is not None and bool(state.PartialState._shared_state)


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


def dataset(index: Index, store: Store, choices: Choices, *, everywhere: bool = True) -> WindowDataset:
    """Return a map-style Dataset of tensors in host memory; `everywhere`, as `Batches` takes it."""
    return WindowDataset(filler_of(index, store, choices), order_of(index, choices), everywhere=everywhere)


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
        for batch in dequantised(filler, plans_of(index, order, first, epochs), batches, choices.dtype):
            yield batch if choices.reuse else Batch(batch.signal, *(each.clone() for each in batch[1:]))
    finally:
        host.close()


def _pinned(n_bytes: int) -> UInt8:
    """Return memory that a device can copy from while the host continues."""
    return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True).numpy()


def _tensors(host: Loader, dtype: str) -> Iterator[Batch]:
    with host:
        yield from map(partial(tensors, dtype=dtype), host)  # a name for the batch would keep it


def in_this_world(choices: Choices) -> Choices:
    """Return choices with this process's rank, where torch.distributed is set up."""
    if not is_set_up():
        return choices
    return replace(choices, rank=distributed.get_rank(), world=distributed.get_world_size())
