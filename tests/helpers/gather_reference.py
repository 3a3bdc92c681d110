"""What `gather` must give, in numpy, a window and a row at a time; run as a script, proof that padding is not read."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

FILL = -32768


@dataclass(frozen=True)
class Tables:
    """The arguments of `gather`, and the recordings they were made of."""

    recordings: Sequence[np.ndarray[Any, np.dtype[np.int16]]]
    windows: Sequence[tuple[int, int]]  # recording, first sample
    length: int
    sources: np.ndarray[Any, np.dtype[np.int32]]
    centre: np.ndarray[Any, np.dtype[np.int32]]
    gain: np.ndarray[Any, np.dtype[np.float32]]

    def n_real(self) -> list[int]:
        return [min(self.length, self.recordings[r].shape[1] - start) for r, start in self.windows]

    def arguments(self, *, rows: bool = True, device: str = "cpu") -> list[Tensor]:
        lies_at = np.cumsum([0] + [r.size for r in self.recordings])
        tables = [
            np.concatenate([r.ravel() for r in self.recordings]),
            np.array([lies_at[r] + start for r, start in self.windows], dtype=np.int64),
            np.array([self.recordings[r].shape[1] for r, _ in self.windows], dtype=np.int64),
            np.array(self.n_real(), dtype=np.int64),
            self.sources,
        ]
        return [torch.from_numpy(t).to(device) for t in tables + [self.centre, self.gain] * rows]

    def expected(self, dtype: torch.dtype, clip: float | None) -> np.ndarray[Any, Any]:
        """Return the bits of every window, as integers of dtype's width."""
        rows = []
        for window, ((recording, start), n) in enumerate(zip(self.windows, self.n_real(), strict=True)):
            for row, source in enumerate(self.sources[window]):
                raw = self.recordings[recording][source, start : start + n] if source >= 0 else np.empty(0, np.int16)
                if dtype == torch.int16:
                    rows.append(np.concatenate([raw, np.full(self.length - len(raw), FILL, dtype=np.int16)]))
                    continue
                centred = raw.astype(np.int32) - self.centre[window, row]
                scaled = centred.astype(np.float32) * self.gain[window, row]
                if clip is not None:
                    np.clip(scaled, -clip, clip, out=scaled)
                rows.append(
                    rounded(np.concatenate([scaled, np.zeros(self.length - n * (source >= 0), np.float32)]), dtype)
                )
        return np.array(rows).reshape(*self.sources.shape, self.length)


def cut(*arguments: Tensor, **options: Any) -> Tensor:
    """Return what `gather` makes of `Tables.arguments`."""
    from brainbrr.learn.cuda.gather import Places, RowTensors, gather

    return gather(Places(*arguments[:4]), RowTensors(*arguments[4:]), **options)


def rounded(x: np.ndarray[Any, np.dtype[np.float32]], dtype: torch.dtype) -> np.ndarray[Any, Any]:
    """Return the bits of float32 rounded to even; every NaN has the same."""
    x = np.where(np.isnan(x), np.float32(np.nan), x)
    if dtype == torch.float32:
        return x.view(np.uint32)
    if dtype == torch.float16:
        with np.errstate(over="ignore"):
            return x.astype(np.float16).view(np.uint16)
    bits = x.view(np.uint32)
    even = (bits >> 16) & 1
    return np.where(np.isnan(x), np.uint32(0x7FC0), (bits + 0x7FFF + even) >> 16).astype(np.uint16)


def bits(out: Tensor) -> np.ndarray[Any, Any]:
    """Return a result's bits as `Tables.expected` writes them."""
    if out.dtype == torch.int16:
        return out.cpu().numpy()
    out = torch.where(out.isnan(), torch.full_like(out, torch.nan), out).cpu()
    signed = out.view(torch.int32 if out.dtype == torch.float32 else torch.int16).numpy()
    return signed.view(np.uint32 if out.dtype == torch.float32 else np.uint16)


def _read_up_to_a_forbidden_page(by: str) -> None:
    """Cut windows whose padding lies in memory that kills the process when it is read."""
    n_samples, page = 3 * mmap.PAGESIZE // 2, mmap.PAGESIZE
    area = mmap.mmap(-1, 4 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(address + 3 * page), page, 0) == 0
    samples = np.frombuffer(area, dtype=np.int16, count=n_samples)
    samples[:] = 7
    one = torch.ones((1, 1), dtype=torch.float32)
    for n_real in (0, 1, 1000, 1024, n_samples):  # 1000: on the grid of 8, and less than a block
        tables = [torch.tensor([value]) for value in (n_samples - n_real, n_samples, n_real)]
        rows = [torch.tensor([[0]], dtype=torch.int32)] * 2
        out = cut(torch.from_numpy(samples), *tables, *rows, one, length=n_samples + 3000, by=by)
        assert out.sum() == 7 * n_real


if __name__ == "__main__":
    _read_up_to_a_forbidden_page(sys.argv[1])
