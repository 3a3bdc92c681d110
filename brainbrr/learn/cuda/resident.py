"""A view's recordings in a device's memory as int16; batches are made there, labels on the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainbrr.core.arrays import Int64
from brainbrr.errors import SpaceError
from brainbrr.learn.cuda.gather import Places, RowTensors, gather, mix
from brainbrr.loading.augment import Variation, varied
from brainbrr.loading.index import Index
from brainbrr.loading.loader import Batch, DType, Filler, Plan
from brainbrr.loading.reader import free_bytes
from brainbrr.loading.rows import MIXED

_GRID = 8


@dataclass(frozen=True)
class OnDevice:
    """Stored integers of all recordings of an index on a device: `flat` int16, each (channels, its of `strides`).

    Rows begin on a multiple of eight samples, so that a device loads 16 bytes at a time. `bases` int64 are the first
    element of each recording.
    """

    index: Index
    flat: Tensor
    bases: Int64
    strides: Int64

    @classmethod
    def upload(cls, filler: Filler, device: torch.device) -> OnDevice:
        """Read every recording once and copy it over. Raises SpaceError, before anything is read, if it cannot fit."""
        index = filler.reader.index
        n_channels, strides = len(index.frame.channels), -(-index.n_samples // _GRID) * _GRID
        ends = np.cumsum(strides) * n_channels
        needed, free = 2 * int(ends[-1]), free_on(device)
        if needed > free:
            raise SpaceError(
                f"the view takes {needed / 1e9:.1f} GB as int16, and {free / 1e9:.1f} GB of {device} are free",
                fix='mode = "stream" reads it from the store',
            )
        flat = torch.empty(needed // 2, dtype=torch.int16, device=device)
        bases = ends - strides * n_channels
        memory = torch.empty(n_channels * int(strides.max()), dtype=torch.int16, pin_memory=device.type == "cuda")
        for recording, (base, stride) in enumerate(zip(bases.tolist(), strides.tolist(), strict=True)):
            part = memory[: n_channels * stride]
            filler.reader.raw(recording, 0, part.numpy().reshape(n_channels, stride))
            flat[base : base + len(part)].copy_(part)  # waits: the memory is filled again
        return cls(index, flat, bases, strides)

    def batches(self, filler: Filler, plans: Iterator[Plan]) -> Iterator[Batch]:
        """Give the batches of plans, each in new memory of the device."""
        for plan in plans:
            yield self._batch(filler, plan)

    def _batch(self, filler: Filler, plan: Plan) -> Batch:
        everything = slice(None)
        variations = filler.variations(plan, everything)
        starts = filler.starts(plan.recordings, plan.starts, variations)
        label = np.empty((len(starts), *filler.labeller.shape), dtype=np.uint8)
        valid = np.empty((len(starts), self.index.frame.length), dtype=np.bool_)
        filler.labeller.fill(plan.recordings, starts, label, valid)
        base, stride = self.bases[plan.recordings] + starts, self.strides[plan.recordings]
        places = Places(self.flat, torch.from_numpy(base), torch.from_numpy(stride), _n_real(self.index, plan, starts))
        signal = _signal(self.index, places, plan.recordings, starts, variations, filler.dtype)
        host = (torch.from_numpy(each) for each in (label, valid, plan.windows))
        if self.flat.is_cuda:
            host = (each.pin_memory() for each in host)  # from other memory the host would wait for the copy
        return Batch(signal, *(each.to(self.flat.device, non_blocking=True) for each in host))


def dequantised(filler: Filler, plans: Iterator[Plan], batches: Iterator[Batch], dtype: DType) -> Iterator[Batch]:
    """Give batches of stored integers, which are on a device, as what `plans` and the filler make of them there."""
    for plan, batch in zip(plans, batches, strict=True):
        n, n_channels, length = batch.signal.shape
        stride = torch.full((n,), length, dtype=torch.int64)
        variations = filler.variations(plan, slice(None))
        starts = filler.starts(plan.recordings, plan.starts, variations)
        n_real = _n_real(filler.reader.index, plan, starts)
        places = Places(batch.signal.view(-1), torch.arange(n) * (n_channels * length), stride, n_real)
        signal = _signal(filler.reader.index, places, plan.recordings, starts, variations, dtype)
        yield batch._replace(signal=signal)


def _n_real(index: Index, plan: Plan, starts: Int64) -> Tensor:
    return torch.from_numpy(np.minimum(index.n_samples[plan.recordings] - starts, index.frame.length))


def _signal(
    index: Index, places: Places, recordings: Int64, starts: Int64, variations: list[Variation] | None, dtype: DType
) -> Tensor:
    """Return windows as rows of the view, (windows, rows, length), on the device of their samples."""
    length = index.frame.length
    every = torch.arange(len(index.frame.channels), dtype=torch.int32).expand(len(recordings), -1)
    if dtype == "int16":
        return gather(places, RowTensors(every), length=length, dtype=torch.int16)
    table = index.table(recordings)
    rows = RowTensors(*map(torch.from_numpy, varied(table, variations) if variations else table))
    clip = None if np.isinf(index.clip) else float(index.clip)
    out = gather(places, rows, length=length, clip=clip, dtype=getattr(torch, dtype))
    mixed = rows.sources == MIXED
    some = mixed.any(dim=1).nonzero().flatten()
    if len(some):
        mixing = Places(places.flat, *(table[some] for table in places[1:]))
        raw = gather(mixing, RowTensors(every[some]), length=length, dtype=torch.int16)
        numbers = [index.rows(int(recordings[i])) for i in some.tolist()]
        if variations:
            numbers = [variations[i].rows(each) for i, each in zip(some.tolist(), numbers, strict=True)]
        weights, offset = (
            torch.from_numpy(np.stack([getattr(each, name) for each in numbers])) for name in ("weights", "offset")
        )
        place = some.to(out.device)
        out[place] = mix(raw, weights, offset, mixed[some], n_real=mixing.n_real, clip=clip, out=out[place])
    for i, first, last in index.gaps_in(recordings, starts, places.n_real.numpy()):
        out[i, :, first:last] = 0
    return out


def free_on(device: torch.device) -> int:
    """Return the free bytes of a device, those that this process's torch reserves included."""
    if device.type != "cuda":
        return free_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
