"""The signal between the resampler and the filter, compiled: whole numbers at the target rate, four channels at once.

Products of 16-bit numbers, eight sums at a time: the processor's own instruction where it has one. Taps take 21 bits,
but those beyond 16 are few and stand together, so only these are multiplied twice. Imported only where numba is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from brainbrr.core.arrays import Int16, Int64
from brainbrr.core.compiled import compiled
from brainbrr.core.vectors import (
    F64,
    I16,
    I32,
    I64,
    SHORTS,
    load,
    offset,
    products_of_neighbours,
    rounded,
    splat,
    store,
)
from brainbrr.eeg.signal.fir import Resampler

_LANES = 4
_TAPS = SHORTS  # taps are padded to a multiple of them
_LOW_BITS = 8  # of a tap that 16 bits do not hold, in its first part


class Taps(NamedTuple):
    """The taps of each phase for products of 16-bit numbers: tap = low + 2^8 · high, high only around the largest.

    `low` int16 (phases, padded) has `lead` zeros before the taps, `high` int16 (phases, any) begins at tap `begin` of
    them. `stops` int64: 0, and where to go on with new sums, so that they stay below 2^31 whatever the samples.
    """

    low: Int16
    high: Int16
    lead: int
    begin: int
    stops: Int64

    @property
    def cost(self) -> int:
        """About how many instructions an output takes."""
        return int(self.low.shape[1] + self.high.shape[1]) // _TAPS * 2 + 5 * len(self.stops)


@lru_cache(maxsize=8)
def taps_of(resampler: Resampler | None) -> Taps:
    """Return the taps of a resampler, with the lead for which the least is to be done."""
    if resampler is None:
        none = np.zeros((1, 0), dtype=np.int16)
        return Taps(none, none, 0, 0, np.zeros(1, dtype=np.int64))
    taps = resampler.every_phase().astype(np.int64)
    return min((_with_lead(taps, lead) for lead in range(_TAPS)), key=lambda each: each.cost)


def _with_lead(taps: Int64, lead: int) -> Taps:
    low = np.pad(taps, ((0, 0), (lead, -(taps.shape[1] + lead) % _TAPS)))
    large = np.flatnonzero((np.abs(low).max(axis=0) > 32767).reshape(-1, _TAPS).any(axis=1))
    begin, end = (int(large[0]) * _TAPS, (int(large[-1]) + 1) * _TAPS) if len(large) else (0, 0)
    high = (low[:, begin:end] + (1 << (_LOW_BITS - 1))) >> _LOW_BITS
    low[:, begin:end] -= high << _LOW_BITS
    in_lanes = np.abs(low).reshape(len(low), -1, _TAPS // 2, 2).sum(axis=3)
    stops, total = [0], np.zeros_like(in_lanes[:, 0])
    for n in range(in_lanes.shape[1]):
        total = total + in_lanes[:, n]
        if total.max() >= 1 << 16:
            stops.append(n * _TAPS)
            total = in_lanes[:, n]
    stops.append(low.shape[1])
    return Taps(low.astype(np.int16), high.astype(np.int16), lead, begin, np.array(stops))


def _interleaved(parts: list[Any], builder: Any) -> Any:
    """Return vectors as one: an element of each, then the next of each."""
    while len(parts) > 1:
        half = len(parts) // 2
        n = parts[0].type.count
        mask = ir.Constant(ir.VectorType(I32, 2 * n), [i // 2 + (i % 2) * n for i in range(2 * n)])
        parts = [builder.shuffle_vector(parts[i], parts[i + half], mask) for i in range(half)]
    return parts[0]


@intrinsic
def _spread(_typing: Any, a: Any, b: Any, c: Any, d: Any, into: Any) -> Any:
    """Put 8 int16 of four channels side by side, as int32."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        *channels, into = arguments
        shorts = ir.VectorType(I16, 8)
        found = _interleaved([load(builder, each, shorts, 2) for each in channels], builder)
        store(builder, builder.sext(found, ir.VectorType(I32, 32)), into, 16)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


def _widened(builder: Any, sums: Any) -> Any:
    """Return the sums of the lower and the upper half of an int32 vector, as float64."""
    half = sums.type.count // 2
    kind, undefined = ir.VectorType(I32, half), ir.Constant(sums.type, ir.Undefined)
    halves = (builder.shuffle_vector(sums, undefined, ir.Constant(kind, list(range(i, i + half)))) for i in (0, half))
    return builder.fadd(*(builder.sitofp(each, ir.VectorType(F64, half)) for each in halves))


def _summed(builder: Any, parts: list[Any]) -> Any:
    """Return the sum of each of four vectors of four, as one vector."""

    def picked(a: Any, b: Any, places: list[int]) -> Any:
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, 4), places))

    pairs = [
        builder.fadd(picked(a, b, [0, 4, 2, 6]), picked(a, b, [1, 5, 3, 7]))
        for a, b in zip(parts[0::2], parts[1::2], strict=True)
    ]
    return builder.fadd(picked(pairs[0], pairs[1], [0, 1, 4, 5]), picked(pairs[0], pairs[1], [2, 3, 6, 7]))


@intrinsic
def _resampled(
    _typing: Any,
    a: Any,
    b: Any,
    c: Any,
    d: Any,
    low: Any,
    stops: Any,
    n_stops: Any,
    high: Any,
    begin: Any,
    n_high: Any,
    into: Any,
) -> Any:
    """Store one output of four channels, int32 in units of 2^-6, from the inputs at addresses: see Taps."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        *channels, low, stops, n_stops, high, begin, n_high, into = arguments
        shorts, ints = ir.VectorType(I16, _TAPS), ir.VectorType(I32, _TAPS // 2)
        doubles = ir.VectorType(F64, _LANES)
        no_int = ir.Constant(ints, [0] * (_TAPS // 2))
        sums = [cgutils.alloca_once(builder, ints) for _ in channels]
        totals = [cgutils.alloca_once(builder, doubles) for _ in channels]

        def product(taps: Any, start: Any, stop: Any, shift: Any) -> list[Any]:
            """Return the sums of products of taps start to stop with inputs `shift` further on, as float64 (4,)."""
            for part in sums:
                builder.store(no_int, part)
            with cgutils.for_range_slice(builder, start, stop, ir.Constant(I64, _TAPS)) as (i, _):
                tap = load(builder, offset(builder, taps, (i, 2)), shorts, 2)
                for part, channel in zip(sums, channels, strict=True):
                    at = offset(builder, channel, (i, 2), (shift, 2))
                    found = products_of_neighbours(builder, load(builder, at, shorts, 2), tap)
                    builder.store(builder.add(builder.load(part), found), part)
            return [_widened(builder, builder.load(part)) for part in sums]

        none = ir.Constant(I64, 0)
        scale = splat(builder, ir.Constant(F64, 2.0**_LOW_BITS), doubles)
        for total, found in zip(totals, product(high, none, n_high, begin), strict=True):
            builder.store(builder.fmul(found, scale), total)
        with cgutils.for_range(builder, n_stops) as loop:
            at = offset(builder, stops, (loop.index, 8))
            start, stop = (load(builder, offset(builder, at, 8 * i), I64, 8) for i in (0, 1))
            for total, found in zip(totals, product(low, start, stop, none), strict=True):
                builder.store(builder.fadd(builder.load(total), found), total)
        scale = splat(builder, ir.Constant(F64, 2.0**-14), doubles)
        found = builder.fmul(_summed(builder, [builder.load(total) for total in totals]), scale)
        whole = builder.fptosi(rounded(builder, found, doubles), ir.VectorType(I32, _LANES))
        store(builder, whole, into, 16)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 11), generate


@compiled
def between(
    x: Any, first: Any, rows: Any, c: Any, ends: Any, taps: Any, ratio: Any, origin: Any, at: Any, stop: Any, into: Any
) -> None:
    """Fill a row of inputs with what comes between the filters at times `at` to `stop`, four channels from c on.

    `ends`: what precedes and what follows the times that inputs alone give, and these; the first begins at `origin`.
    """
    head, tail, low, high = ends
    phases, step, reach = ratio
    last = len(rows) - 1
    channels = min(c, last), min(c + 1, last), min(c + 2, last), min(c + 3, last)  # the last one again, for no output
    base, stride = x.ctypes.data, x.strides[0]
    sources = (
        base + stride * rows[channels[0]],
        base + stride * rows[channels[1]],
        base + stride * rows[channels[2]],
        base + stride * rows[channels[3]],
    )
    taps_low, taps_high, lead, begin, stops = taps
    n_taps, n_high = taps_low.shape[1], taps_high.shape[1]
    t = at
    i = 0
    while t < stop and t < low:
        for lane in range(4):
            into[i, lane] = head[channels[lane], t - origin]
        t += 1
        i += 1
    inner = min(stop, high)
    if t < inner:
        if n_taps:
            whole, phase = divmod(t * step, phases)
            here, more, rest = 2 * (whole - reach + 1 - first - lead), step // phases, step % phases
            address = into.ctypes.data + 16 * i
            while t < inner:
                _resampled(
                    sources[0] + here, sources[1] + here, sources[2] + here, sources[3] + here,
                    taps_low.ctypes.data + 2 * n_taps * phase, stops.ctypes.data, len(stops) - 1,
                    taps_high.ctypes.data + 2 * n_high * phase, begin, n_high, address,
                )  # fmt: skip
                phase += rest
                here += 2 * more
                if phase >= phases:
                    phase -= phases
                    here += 2
                address += 16
                t += 1
                i += 1
        else:
            while t + 8 <= inner:
                here = 2 * (t - first)
                _spread(
                    sources[0] + here,
                    sources[1] + here,
                    sources[2] + here,
                    sources[3] + here,
                    into.ctypes.data + 16 * i,
                )
                t += 8
                i += 8
            while t < inner:
                for lane in range(4):
                    into[i, lane] = x[rows[channels[lane]], t - first]
                t += 1
                i += 1
    while t < stop:
        for lane in range(4):
            k = t - high
            into[i, lane] = tail[channels[lane], k] if k < tail.shape[1] else 0
        t += 1
        i += 1
