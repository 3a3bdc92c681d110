"""A whole view in a device's memory as int16, and its batches cut and dequantised there; labels come from the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainbrr.eeg.dequantise import MIXED
from brainbrr.errors import SpaceError
from brainbrr.learn.gather import gather, mix
from brainbrr.loading.augment import Variation, varied
from brainbrr.loading.batches import Batch, Filler, Plan
from brainbrr.loading.index import Index
from brainbrr.loading.memory import free_bytes
from brainbrr.windows import IntArray

_GRID = 8


@dataclass(frozen=True)
class OnDevice:
    """Stored integers of all recordings of an index on a device: `flat` int16, each (channels, its of `strides`).

    Rows begin on a multiple of eight samples, so that a device loads 16 bytes at a time. `bases` int64 are the first
    element of each recording.
    """

    index: Index
    flat: Tensor
    bases: IntArray
    strides: IntArray

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
        device, everything = self.flat.device, slice(None)
        variations = filler.variations(plan, everything)
        starts = filler.starts(plan.recordings, plan.starts, variations)
        label = np.empty((len(starts), *filler.labeller.shape), dtype=np.uint8)
        valid = np.empty((len(starts), self.index.frame.length), dtype=np.bool_)
        filler.labeller.fill(plan.recordings, starts, label, valid)
        host = (torch.from_numpy(each) for each in (label, valid, plan.windows))
        signal = self._signal(filler, plan.recordings, starts, variations)
        return Batch(signal, *(each.to(device, non_blocking=True) for each in host))

    def _signal(
        self, filler: Filler, recordings: IntArray, starts: IntArray, variations: list[Variation] | None
    ) -> Tensor:
        frame = self.index.frame
        n_samples = self.index.n_samples[recordings]
        base, stride, n_real = (
            torch.from_numpy(each)
            for each in (
                self.bases[recordings] + starts,
                self.strides[recordings],
                np.minimum(n_samples - starts, frame.length),
            )
        )
        every = torch.arange(len(frame.channels), dtype=torch.int32).expand(len(starts), -1)
        if filler.dtype == "int16":
            return gather(self.flat, base, stride, n_real, every, length=frame.length, dtype=torch.int16)
        table = self.index.table(recordings)
        sources, centre, gain = map(torch.from_numpy, varied(table, variations) if variations else table)
        clip = None if np.isinf(self.index.clip) else float(self.index.clip)
        dtype = getattr(torch, filler.dtype)
        out = gather(
            self.flat, base, stride, n_real, sources, centre, gain, length=frame.length, clip=clip, dtype=dtype
        )
        mixed = sources == MIXED
        some = mixed.any(dim=1).nonzero().flatten()
        if len(some):
            raw = gather(
                self.flat, base[some], stride[some], n_real[some], every[some], length=frame.length, dtype=torch.int16
            )
            rows = [self.index.rows(int(recordings[i])) for i in some.tolist()]
            if variations:
                rows = [variations[i].rows(each) for i, each in zip(some.tolist(), rows, strict=True)]
            weights, offset = (
                torch.from_numpy(np.stack([getattr(r, name) for r in rows])) for name in ("weights", "offset")
            )
            part = mix(raw, weights, offset, mixed[some], n_real=n_real[some], clip=clip, out=out[some])
            out[some.to(out.device)] = part
        return out


def free_on(device: torch.device) -> int:
    """Return the bytes of a device that nobody uses, what this process's torch keeps for itself included."""
    if device.type != "cuda":
        return free_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
