"""Windows cut out of int16 that already lies on a device, and dequantised there in one pass.

A row of one recorded channel is float32(x - centre) * gain, rounded once: equal bits on every path and device.
Rows that mix channels are `mix`'s, with a stated tolerance. Knows nothing of views, stores or files.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from brainbrr.errors import DependencyError, UsageError

FILL = -32768
"""What raw int16 holds where nothing was recorded: no legal sample."""

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int16)
_WIDTHS = {
    "base": torch.int64,
    "stride": torch.int64,
    "n_real": torch.int64,
    "sources": torch.int32,
    "centre": torch.int32,
    "gain": torch.float32,
}

By = Literal["auto", "torch", "triton"]


def gather(
    flat: Tensor,
    base: Tensor,
    stride: Tensor,
    n_real: Tensor,
    sources: Tensor,
    centre: Tensor | None = None,
    gain: Tensor | None = None,
    *,
    length: int,
    clip: float | None = None,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
    by: By = "auto",
) -> Tensor:
    """Return windows (n_windows, n_rows, length), zeros where nothing was recorded, on the device of `flat`.

    flat int16: recordings one after another, each (channels, n_samples). Per window, int64: base, where its first
    sample of channel 0 lies; stride, samples from one channel to the next; n_real, samples that exist (the rest is
    padding). Per row, (n_windows, n_rows): sources int32, the recorded channel or -1 for none; centre int32 and
    gain float32 of float32(x - centre) * gain, clipped to ±clip (NaN stays NaN), then rounded to even to `dtype`.
    int16 gives the samples as they are, and FILL for padding and missing rows.

    `by` auto: Triton on CUDA where it is installed, else torch, which waits for the device. Tables may lie on the
    host (copied over) or beside `flat`. Raises UsageError for tables of another form and for windows outside
    `flat`; Triton does not wait for tables of the device, and gives such rows NaN (raw: FILL) instead, never zeros.
    Raises DependencyError when Triton is asked for and cannot run.
    """
    tables = {"base": base, "stride": stride, "n_real": n_real, "sources": sources}
    if dtype != torch.int16 and centre is not None and gain is not None:
        tables |= {"centre": centre, "gain": gain}
    shape = (*sources.shape, length)
    _check_form(flat, tables, dtype, length, clip)
    if out is None:
        out = torch.empty(shape, dtype=dtype, device=flat.device)
    elif out.shape != shape or out.dtype != dtype or out.device != flat.device or not out.is_contiguous():
        raise UsageError(
            f"out is {tuple(out.shape)}, {out.dtype}, on {out.device}; "
            f"it must be {shape}, {dtype}, on {flat.device}, and contiguous"
        )
    use_triton = by == "triton" or (by == "auto" and flat.is_cuda and find_spec("triton") is not None)
    if not use_triton or all(tables[name].device.type == "cpu" for name in ("base", "stride", "n_real", "sources")):
        _check_bounds(flat.numel(), base, stride, n_real, sources, length)
    if not use_triton:
        _by_torch(flat, base, stride, n_real, sources, tables.get("centre"), tables.get("gain"), clip, out)
        return out
    try:
        from brainbrr.learn.cuda.gather_triton import launch
    except ImportError as error:
        raise DependencyError(f"Triton cannot be imported: {error}", fix="pip install triton") from error
    there = {name: table.to(flat.device, non_blocking=True).contiguous() for name, table in tables.items()}
    launch(
        flat,
        there["base"],
        there["stride"],
        there["n_real"],
        there["sources"],
        there.get("centre"),
        there.get("gain"),
        out,
        clip=clip,
    )
    return out


def mix(
    raw: Tensor,
    weights: Tensor,
    offset: Tensor,
    rows: Tensor,
    *,
    n_real: Tensor,
    clip: float | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Fill the rows that mix channels: weights @ raw - offset in float64, rounded once to float32, then clipped.

    raw int16 (n_windows, channels, length); weights float64 (n_windows, n_rows, channels); offset float64 and rows
    bool (n_windows, n_rows): only where `rows` is true is `out` written, zeros past n_real (n_windows,). `out` is
    zeros float32 unless given, and may be narrower. Keep `rows` on the host: elsewhere it is waited for.

    float64 on CUDA too, so no TF32: the matrices are small and the time is memory's. Sums run in any order: against
    one of fixed order, float32 results differ by at most their own rounding plus
    2 (channels + 2) 2^-53 (sum |weight x| + |offset|). The same call on the same machine gives the same bits.
    """
    n_windows, _, length = raw.shape
    if out is None:
        out = torch.zeros((n_windows, weights.shape[1], length), dtype=torch.float32, device=raw.device)
    steps = torch.arange(length, device=raw.device)
    for window in rows.any(dim=1).nonzero().flatten().tolist():  # one at a time: float64 stays small
        chosen = rows[window].nonzero().flatten().to(raw.device)
        weight, shift = (table[window].to(raw.device)[chosen] for table in (weights, offset))
        mixed = (weight @ raw[window].double() - shift[:, None]).float()
        if clip is not None:
            mixed.clamp_(-clip, clip)
        mixed.masked_fill_(steps >= n_real[window].to(raw.device), 0.0)
        out[window, chosen] = mixed.to(out.dtype)
    return out


def _by_torch(
    flat: Tensor,
    base: Tensor,
    stride: Tensor,
    n_real: Tensor,
    sources: Tensor,
    centre: Tensor | None,
    gain: Tensor | None,
    clip: float | None,
    out: Tensor,
) -> None:
    """Fill `out` window by window, each small enough for the processor's own memory."""
    sources = sources.cpu()
    for window, (first, step, n) in enumerate(zip(base.tolist(), stride.tolist(), n_real.tolist(), strict=True)):
        rows = (sources[window] >= 0).nonzero().flatten()
        wanted = sources[window][rows].to(torch.int64)
        rows = rows.to(flat.device)
        if n < out.shape[2] or len(rows) < out.shape[1]:
            out[window] = FILL if out.dtype == torch.int16 else 0
        if not len(rows) or not n:
            continue
        channels = flat.as_strided((int(wanted.max()) + 1, n), (step, 1), flat.storage_offset() + first)
        samples = channels.index_select(0, wanted.to(flat.device))
        if centre is not None and gain is not None:
            centred = samples - centre[window].to(flat.device)[rows, None]  # int32
            samples = centred.float().mul_(gain[window].to(flat.device)[rows, None])
            if clip is not None:
                samples.clamp_(-clip, clip)
        if len(rows) == out.shape[1]:
            out[window, :, :n] = samples
        else:
            out[window, rows, :n] = samples.to(out.dtype)


def _check_form(flat: Tensor, tables: dict[str, Tensor], dtype: torch.dtype, length: int, clip: float | None) -> None:
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype}: windows are {', '.join(map(str, _DTYPES))}")
    if dtype != torch.int16 and "gain" not in tables:
        raise UsageError(f"{dtype} windows need centre and gain; without them ask for torch.int16")
    if flat.dtype != torch.int16 or flat.ndim != 1 or not flat.is_contiguous():
        raise UsageError(f"flat is {flat.dtype} with {flat.ndim} axes; it must be int16, contiguous, with one")
    if length < 1 or (clip is not None and not clip >= 0):
        raise UsageError(f"length = {length}, clip = {clip}: 1 and 0 at least")
    n_windows = len(tables["base"])
    for name, table in tables.items():
        per_row = name in ("sources", "centre", "gain")
        shape = (n_windows, tables["sources"].shape[-1]) if per_row else (n_windows,)
        if table.dtype != _WIDTHS[name] or table.shape != shape:
            raise UsageError(f"{name} is {table.dtype} {tuple(table.shape)}; it must be {_WIDTHS[name]} {tuple(shape)}")


def _check_bounds(n_flat: int, base: Tensor, stride: Tensor, n_real: Tensor, sources: Tensor, length: int) -> None:
    """Raise UsageError, with the first window that reaches outside. Waits for tables that lie on a device."""
    base, stride, n_real, sources = (table.cpu() for table in (base, stride, n_real, sources))
    starts = base[:, None] + sources * stride[:, None]
    outside = (sources >= 0) & (n_real[:, None] > 0) & (starts + n_real[:, None] > n_flat)
    wrong = outside.any(dim=1) | (base < 0) | (stride < 0) | (n_real < 0) | (n_real > length)
    if wrong.any():
        window = int(wrong.nonzero()[0])
        raise UsageError(
            f"window {window} reaches outside of the {n_flat} samples: base {int(base[window])}, stride "
            f"{int(stride[window])}, n_real {int(n_real[window])} of {length}, sources {sources[window].tolist()}"
        )
