"""Cut windows out of int16 that is already on a device, and dequantise them there in one pass.

A row of one recorded channel is float32(x - centre) * gain, rounded once: equal bits on every path and device.
Rows that mix channels are `mix`'s, with a stated tolerance. Knows nothing of views, stores or files.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from brainbrr.errors import DependencyError, UsageError
from brainbrr.learn.scans import installed

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


class Places(NamedTuple):
    """Where windows are in int16 samples of a device.

    `flat` int16 holds recordings one after another, each (channels, n_samples). Per window, int64 (n_windows,): `base`
    is the element of its first sample of channel 0; `stride`, samples from one channel to the next; `n_real`, samples
    that exist: the rest is padding. These three may be on the host.
    """

    flat: Tensor
    base: Tensor
    stride: Tensor
    n_real: Tensor


class RowTensors(NamedTuple):
    """What each row of each window is made of, (n_windows, n_rows) each, on the host or beside the samples.

    sources int32: the recorded channel, or -1 for none; centre int32 and gain float32 of float32(x - centre) * gain.
    """

    sources: Tensor
    centre: Tensor | None = None
    gain: Tensor | None = None


def gather(
    places: Places,
    rows: RowTensors,
    *,
    length: int,
    clip: float | None = None,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
    by: By = "auto",
) -> Tensor:
    """Return windows (n_windows, n_rows, length), zeros where nothing was recorded, on the device of the samples.

    Rows are float32(x - centre) * gain, clipped to ±clip (NaN stays NaN), then rounded to even to `dtype`.
    int16 gives the samples as they are, and FILL for padding and missing rows.

    `by` auto: Triton on CUDA where it is installed, else torch, which waits for the device. Raises UsageError for
    tables of another form and for windows outside the samples; Triton does not wait for tables that are on the device,
    and gives such rows NaN (raw: FILL) instead, never zeros.
    Raises DependencyError when Triton is asked for and cannot run.
    """
    flat = places.flat
    if dtype == torch.int16 or rows.centre is None or rows.gain is None:
        rows = RowTensors(rows.sources)
    _check_form(places, rows, dtype, length, clip)
    out = _output(out, (*rows.sources.shape, length), dtype, flat.device)
    use_triton = by == "triton" or (by == "auto" and flat.is_cuda and installed("triton"))
    if not use_triton or all(table.device.type == "cpu" for table in (*places[1:], rows.sources)):
        _check_bounds(places, rows.sources, length)
    if not use_triton:
        _by_torch(places, rows, clip, out)
        return out
    try:
        from brainbrr.learn.cuda.gather_triton import launch
    except ImportError as error:
        raise DependencyError(f"Triton cannot be imported: {error}", fix="pip install triton") from error
    launch(
        Places(flat, *(_beside(flat, table) for table in places[1:])),
        RowTensors(*(None if table is None else _beside(flat, table) for table in rows)),  # type: ignore[arg-type]
        out,
        clip=clip,
    )
    return out


def _beside(flat: Tensor, table: Tensor) -> Tensor:
    """Return a table on the device of the samples; from pinned memory, so that the host does not wait for the copy."""
    if flat.is_cuda and not table.is_cuda:
        table = table.pin_memory()
    return table.to(flat.device, non_blocking=True).contiguous()


def _output(out: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the caller's output, or a new one. Raises UsageError for one of another form."""
    if out is None:
        return torch.empty(shape, dtype=dtype, device=device)
    if out.shape != shape or out.dtype != dtype or out.device != device or not out.is_contiguous():
        raise UsageError(
            f"out is {tuple(out.shape)}, {out.dtype}, on {out.device}; "
            f"it must be {shape}, {dtype}, on {device}, and contiguous"
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


def _by_torch(places: Places, rows: RowTensors, clip: float | None, out: Tensor) -> None:
    """Fill `out` window by window, each small enough for the processor's own memory."""
    flat, sources = places.flat, rows.sources.cpu()
    for window, (first, step, n) in enumerate(zip(*(table.tolist() for table in places[1:]), strict=True)):
        filled = (sources[window] >= 0).nonzero().flatten()
        wanted = sources[window][filled].to(torch.int64)
        filled = filled.to(flat.device)
        if n < out.shape[2] or len(filled) < out.shape[1]:
            out[window] = FILL if out.dtype == torch.int16 else 0
        if not len(filled) or not n:
            continue
        channels = flat.as_strided((int(wanted.max()) + 1, n), (step, 1), flat.storage_offset() + first)
        samples = channels.index_select(0, wanted.to(flat.device))
        if rows.centre is not None and rows.gain is not None:
            centred = samples - rows.centre[window].to(flat.device)[filled, None]  # int32
            samples = centred.float().mul_(rows.gain[window].to(flat.device)[filled, None])
            if clip is not None:
                samples.clamp_(-clip, clip)
        if len(filled) == out.shape[1]:
            out[window, :, :n] = samples
        else:
            out[window, filled, :n] = samples.to(out.dtype)


def _check_form(places: Places, rows: RowTensors, dtype: torch.dtype, length: int, clip: float | None) -> None:
    flat = places.flat
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype}: windows are {', '.join(map(str, _DTYPES))}")
    if dtype != torch.int16 and rows.gain is None:
        raise UsageError(f"{dtype} windows need centre and gain; without them ask for torch.int16")
    if flat.dtype != torch.int16 or flat.ndim != 1 or not flat.is_contiguous():
        raise UsageError(f"flat is {flat.dtype} with {flat.ndim} axes; it must be int16, contiguous, with one")
    if length < 1 or (clip is not None and not clip >= 0):
        raise UsageError(f"length = {length}, clip = {clip}: 1 and 0 at least")
    of_window, of_row = places._asdict(), rows._asdict()
    n_windows = len(places.base)
    for name, needed in _WIDTHS.items():
        table: Tensor | None = of_row.get(name, of_window.get(name))
        shape = (n_windows, rows.sources.shape[-1]) if name in of_row else (n_windows,)
        if table is not None and (table.dtype != needed or table.shape != shape):
            raise UsageError(f"{name} is {table.dtype} {tuple(table.shape)}; it must be {needed} {tuple(shape)}")


def _check_bounds(places: Places, sources: Tensor, length: int) -> None:
    """Raise UsageError, with the first window that reaches outside. Waits for tables that are on a device."""
    n_flat = places.flat.numel()
    base, stride, n_real, sources = (table.cpu() for table in (*places[1:], sources))
    starts = base[:, None] + sources * stride[:, None]
    outside = (sources >= 0) & (n_real[:, None] > 0) & (starts + n_real[:, None] > n_flat)
    wrong = outside.any(dim=1) | (base < 0) | (stride < 0) | (n_real < 0) | (n_real > length)
    if wrong.any():
        window = int(wrong.nonzero()[0])
        raise UsageError(
            f"window {window} reaches outside of the {n_flat} samples: base {int(base[window])}, stride "
            f"{int(stride[window])}, n_real {int(n_real[window])} of {length}, sources {sources[window].tolist()}"
        )
