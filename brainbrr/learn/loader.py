"""The loader for torch: batches as tensors, on the device that wants them, from wherever the integers lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import distributed

from brainbrr.errors import DependencyError
from brainbrr.learn.dataset import WindowDataset
from brainbrr.learn.tensors import tensors
from brainbrr.loading.batches import Batch
from brainbrr.loading.index import Index
from brainbrr.loading.loader import Choices, Loader, Mode, filler_of, numpy_loader, order_of
from brainbrr.store.store import Store


def torch_loader(index: Index, store: Store, choices: Choices, *, mode: Mode, device: str | torch.device) -> Loader:
    """Return a loader of tensors on a device.

    "auto" is resident on a CUDA device whose free memory holds the view, stream anywhere else.
    Raises DependencyError without the device, SpaceError where a resident view does not fit.
    """
    place = torch.device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise DependencyError("torch finds no CUDA device", fix='device = "cpu"')
    if place.type == "cpu":
        host = numpy_loader(index, store, choices, mode=mode)
        return Loader(_tensors(host, choices.dtype), order=host.order, types=host.types, mode=host.mode)
    raise NotImplementedError


def dataset(index: Index, store: Store, choices: Choices) -> WindowDataset:
    """Return a map-style Dataset of tensors in host memory."""
    return WindowDataset(filler_of(index, store, choices), order_of(index, choices))


def _tensors(host: Loader, dtype: str) -> Iterator[Batch]:
    with host:
        for batch in host:
            yield tensors(batch, dtype)


def in_this_world(choices: Choices) -> Choices:
    """Return choices with this process's rank, where torch.distributed has been set up."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return choices
    return replace(choices, rank=distributed.get_rank(), world=distributed.get_world_size())
