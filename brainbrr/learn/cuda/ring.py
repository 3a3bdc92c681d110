"""Copy batches from the host to a device, on a stream of their own, into buffers that are reused.

The next batch is copied while the consumer works on this one. Knows nothing of what a batch's fields mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from brainbrr.errors import DependencyError, UsageError
from brainbrr.loading.loader import Batch


class Queues(Protocol):
    """A device's two streams, `copies` and the consumer's; streams and events have torch.cuda's methods."""

    copies: Any

    def consumer(self) -> Any:
        """Return the stream that the consumer queues its work on."""

    def mark(self, stream: Any) -> Any:
        """Return an event that completes once all work queued on the stream so far is done."""

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Queue a copy on `copies`."""

    def is_pinned(self, source: Tensor) -> bool:
        """Return whether the device can copy from there while the host continues."""

    def staging(self, like: Tensor) -> Tensor:
        """Return pinned memory of the host."""

    def buffer(self, like: Tensor) -> Tensor:
        """Return memory of the device."""


@dataclass
class _Slot:
    """One batch's place on the device; `free` and `filled` are events. Lent: it is copied from the batch itself."""

    staged: dict[str, Tensor] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    free: Any = None
    filled: Any = None
    is_lent: bool = False


def to_device(
    batches: Iterable[Batch], device: torch.device | str, *, depth: int = 1, keep: Collection[str] = ()
) -> Iterator[Batch]:
    """Give the same batches, named tuples, with their arrays and tensors as tensors of `device`; fields in `keep` stay.

    A batch is the consumer's until it asks for the next; so is a batch of `batches`, which may be filled again then.
    At most `depth` batches are taken ahead of the one in use; each takes a place on the device. Where the tensors
    of `batches` are pinned they are copied from there, else by way of pinned staging. A CPU gets them uncopied.
    Raises UsageError for depth < 1, DependencyError where CUDA is asked for and missing.
    """
    device = torch.device(device)
    if depth < 1:
        raise UsageError(f"depth = {depth}: 1 at least")
    if device.type != "cuda":
        return (batch._replace(**{k: t.to(device) for k, t in _tensors(batch, keep).items()}) for batch in batches)
    if not torch.cuda.is_available():
        raise DependencyError("no CUDA device can be used here", fix='choose device = "cpu"')
    return ring(batches, _Cuda(device), depth=depth, keep=keep)


def ring(batches: Iterable[Batch], queues: Queues, *, depth: int, keep: Collection[str] = ()) -> Iterator[Batch]:
    """Give batches as `to_device` does, through the streams of one device."""
    slots = cycle(known := [_Slot() for _ in range(depth + 1)])
    ahead: deque[tuple[_Slot, Batch]] = deque()
    try:
        for batch in batches:
            slot = next(slots)
            ahead.append((slot, _send(batch, slot, queues, keep)))
            if len(ahead) > depth:
                yield from _lend(*ahead.popleft(), queues)
            if slot.is_lent:
                slot.filled.synchronize()  # it is copied from the batch itself, which is filled again now
        while ahead:
            yield from _lend(*ahead.popleft(), queues)
    finally:
        for slot in known:  # memory that is still written to must not go back to the allocator
            if slot.filled is not None:
                slot.filled.synchronize()


def _lend(slot: _Slot, batch: Batch, queues: Queues) -> Iterator[Batch]:
    queues.consumer().wait_event(slot.filled)
    yield batch
    slot.free = queues.mark(queues.consumer())


def _send(batch: Batch, slot: _Slot, queues: Queues, keep: Collection[str]) -> Batch:
    """Queue a batch's copies into a slot; return the batch as it will be there."""
    tensors = _tensors(batch, keep)
    for name, tensor in tensors.items():
        if not _alike(slot.buffers.get(name), tensor):
            slot.buffers[name] = queues.buffer(tensor)
            slot.free = queues.mark(queues.consumer())  # its memory may have been another's until now
    if slot.free is not None:
        queues.copies.wait_event(slot.free)
    if slot.filled is not None:
        slot.filled.synchronize()  # until then its staging is read
    slot.is_lent = any(queues.is_pinned(tensor) for tensor in tensors.values())
    for name, tensor in tensors.items():
        origin = tensor
        if not queues.is_pinned(tensor):
            if not _alike(slot.staged.get(name), tensor):
                slot.staged[name] = queues.staging(tensor)
            origin = slot.staged[name].copy_(tensor)
        queues.copy(origin, slot.buffers[name])
    slot.filled = queues.mark(queues.copies)
    return batch._replace(**{name: slot.buffers[name] for name in tensors})


def _tensors(batch: Batch, keep: Collection[str]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(array) if isinstance(array, np.ndarray) else array
        for name, array in batch._asdict().items()
        if name not in keep and isinstance(array, (np.ndarray, Tensor))
    }


def _alike(known: Tensor | None, tensor: Tensor) -> bool:
    return known is not None and known.shape == tensor.shape and known.dtype == tensor.dtype


class _Cuda:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def consumer(self) -> Any:
        return torch.cuda.current_stream(self._device)

    def mark(self, stream: Any) -> Any:
        # blocking: the host sleeps while it waits, instead of taking a core from the readers
        return stream.record_event(torch.cuda.Event(blocking=True))  # type: ignore[no-untyped-call]

    def copy(self, source: Tensor, target: Tensor) -> None:
        with torch.cuda.stream(self.copies):
            target.copy_(source, non_blocking=True)

    def is_pinned(self, source: Tensor) -> bool:
        return source.is_pinned() and source.is_contiguous()

    def staging(self, like: Tensor) -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def buffer(self, like: Tensor) -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype, device=self._device)
