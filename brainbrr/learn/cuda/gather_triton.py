"""Cut windows from int16 on a device and dequantise them by one Triton kernel. Imported only by `gather`.

Tuned for nothing but memory: each sample is read once and written once. TRITON_INTERPRET=1 runs it on the CPU.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from brainbrr.errors import DependencyError

BLOCK = 1024
"""Samples of one program: 128 threads that load 16 bytes each."""

N_WARPS = 4


@triton.jit  # type: ignore[untyped-decorator]
def gather_kernel(  # type: ignore[no-untyped-def]
    flat,
    base,
    stride,
    n_real,
    sources,
    centre,
    gain,
    out,
    n_flat,
    n_rows,
    length,
    limit,
    CLIPPED: tl.constexpr,  # noqa: N803
    RAW: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """Write BLOCK samples of one output row; tensors as in `gather.Places` and `gather.RowTensors`, contiguous.

    Triton takes no tuples of tensors in every version that we support, so each is an argument of its own.

    A row that would reach outside `flat` reads nothing and becomes NaN (raw: the fill value): never zeros.
    """
    row = tl.program_id(0)
    window = row // n_rows
    first = tl.program_id(1) * BLOCK
    steps = tl.arange(0, BLOCK)

    source = tl.load(sources + row)
    start = tl.load(base + window) + source.to(tl.int64) * tl.load(stride + window)
    n = tl.minimum(tl.load(n_real + window), length)
    outside = (source >= 0) & ((n < 0) | ((n > 0) & ((start < 0) | (start + n > n_flat))))
    n = tl.where((source < 0) | outside, 0, n)

    here = start + first
    if (here % 8 == 0) & (first + BLOCK <= n):
        x = tl.load(flat + here // 8 * 8 + steps)  # so the compiler knows: 8 samples in one load
    else:
        x = tl.load(flat + here + steps, mask=first + steps < n, other=0)

    is_real = first + steps < n
    target = out + row.to(tl.int64) * length + first + steps
    if RAW:
        tl.store(target, tl.where(is_real, x, -32768).to(tl.int16), mask=first + steps < length)
    else:
        y = (x.to(tl.int32) - tl.load(centre + row)).to(tl.float32) * tl.load(gain + row)
        if CLIPPED:  # comparisons, not minimum and maximum: NaN stays NaN
            y = tl.where(y > limit, limit, y)
            y = tl.where(y < -limit, -limit, y)
        y = tl.where(is_real, y, tl.where(outside, float("nan"), 0.0))
        tl.store(target, y.to(out.dtype.element_ty), mask=first + steps < length)


def launch(
    places: tuple[Tensor, Tensor, Tensor, Tensor],
    rows: tuple[Tensor, Tensor | None, Tensor | None],
    out: Tensor,
    *,
    clip: float | None,
) -> None:
    """Fill `out` (windows, rows, length), by one launch on the current stream.

    `places` and `rows` are `gather.Places` and `gather.RowTensors`, all on one device.

    Raises DependencyError where neither CUDA nor Triton's interpreter can run it.
    """
    flat = places[0]
    if not flat.is_cuda and isinstance(gather_kernel, triton.runtime.JITFunction):
        raise DependencyError(
            f"Triton cannot run on {flat.device}",
            fix='leave the choice to `by="auto"`, or set TRITON_INTERPRET=1 before the start to try the kernel',
        )
    n_windows, n_rows, length = out.shape
    if not out.numel():
        return
    where: AbstractContextManager[Any] = torch.cuda.device(flat.device) if flat.is_cuda else nullcontext()
    with where:
        gather_kernel[(n_windows * n_rows, triton.cdiv(length, BLOCK))](
            *places,
            *rows,
            out,
            flat.numel(),
            n_rows,
            length,
            0.0 if clip is None else float(clip),
            CLIPPED=clip is not None,
            RAW=out.dtype == torch.int16,
            BLOCK=BLOCK,
            num_warps=N_WARPS,
            enable_fp_fusion=False,
        )
