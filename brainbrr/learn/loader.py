"""The loader for torch: batches as tensors, on the device that wants them, from wherever the integers lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader

from brainbrr.errors import DependencyError, UsageError
from brainbrr.learn.dataset import WindowDataset
from brainbrr.learn.device_ring import to_device
from brainbrr.learn.on_device import OnDevice, dequantised, free_on
from brainbrr.learn.tensors import tensors
from brainbrr.loading.batches import Batch, Filler, plans_of, stream
from brainbrr.loading.index import Index
from brainbrr.loading.loader import Choices, Loader, Mode, filler_of, numpy_loader, order_of
from brainbrr.loading.memory import resident_bytes
from brainbrr.loading.order import Order
from brainbrr.store.store import Store

_STEP_BYTES = 8 << 30
"""What "auto" leaves free on a device: for the model, its gradients and activations."""


def torch_loader(index: Index, store: Store, choices: Choices, *, mode: Mode, device: str | torch.device) -> Loader:
    """Return a loader of tensors on a device.

    "auto" is resident on a CUDA device whose free memory holds the view and as much as a model needs beside it,
    stream anywhere else.
    Raises DependencyError without the device, SpaceError where a resident view does not fit.
    """
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device = {str(device)[:40]!r}", fix="cpu, cuda or cuda:N") from error
    if place.type not in ("cpu", "cuda"):
        raise UsageError(f"device = {str(place)!r}: nobody has made a loader for it", fix="cpu, cuda or cuda:N")
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
    """Give batches without end through torch's DataLoader, in this process: what a loader is compared with."""
    windows = WindowDataset(filler, order)
    while True:
        yield from DataLoader(windows, batch_sampler=windows.batches, collate_fn=windows.whole)


def _streamed(filler: Filler, order: Order, choices: Choices, device: torch.device) -> Iterator[Batch]:
    """Read stored integers into pinned memory, copy them beside the step that runs, and make rows of them there."""
    raw = replace(filler, dtype="int16", memory=_pinned)
    index, first, epochs = filler.reader.index, choices.start_step, choices.epochs
    host = stream(raw, order, first=first, epochs=epochs, threads=choices.threads, depth=choices.depth)
    batches = to_device((tensors(batch, "int16") for batch in host), device)
    try:
        yield from dequantised(filler, plans_of(index, order, first, epochs), batches, choices.dtype)
    finally:
        host.close()


def _pinned(n_bytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return memory that a device copies from while the host goes on."""
    return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True).numpy()


def _tensors(host: Loader, dtype: str) -> Iterator[Batch]:
    with host:
        for batch in host:
            yield tensors(batch, dtype)


def in_this_world(choices: Choices) -> Choices:
    """Return choices with this process's rank, where torch.distributed has been set up."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return choices
    return replace(choices, rank=distributed.get_rank(), world=distributed.get_world_size())
