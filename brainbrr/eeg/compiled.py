"""The kernels of `dequantise`, compiled by numba: bounded by memory, not by arithmetic.

A batch is written once and read much later, so whole cache lines go straight to memory (non-temporal stores): reading
a line only to overwrite it would double the traffic. Imported only where numba is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from brainbrr.eeg.dequantise import MIXED, Floats, Integers, Rows, Tiles, check

_LINE = 64
_FLOATS, _SHORTS = _LINE // 4, _LINE // 2
_MIXED = MIXED


class Compiled:
    """The compiled kernels; they release the interpreter's lock."""

    def rows(self, tiles: Tiles, tile: int, first: int, n: int, rows: Rows, out: Floats) -> None:
        """Fill `out` float32 (rows, length); padding is 0."""
        check(tiles, tile, first, n, rows.n_channels, out.shape[1])
        _rows(tiles, tile, first, n, rows.source, rows.centre, rows.gain, rows.weights, rows.offset, rows.clip, out)

    def raw(self, tiles: Tiles, tile: int, first: int, n: int, source: Integers, fill: int, out: Tiles) -> None:
        """Fill `out` int16 (rows, length) with recorded channels as they are stored; padding is `fill`."""
        check(tiles, tile, first, n, int(source.max()) + 1, out.shape[1])
        _raw(tiles, tile, first, n, source, np.int16(fill), out)


def _compiled(function: Callable[..., None]) -> Any:
    """Compile a function at its first call, and keep what was compiled for other processes where that can be kept."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder can be written to: each process compiles for itself
        return njit(nogil=True)(function)


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    """Return a vector of `kind` with one value in each place."""
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None))


def _element(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Return the address of an element of a contiguous array."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _stream(builder: Any, vector: Any, address: Any) -> None:
    """Store a whole, aligned cache line past the caches."""
    store = builder.store(vector, builder.bitcast(address, vector.type.as_pointer()), align=_LINE)
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


@intrinsic
def _stream_floats(
    _typing: Any, source: Any, at: Any, out: Any, to: Any, n: Any, centre: Any, gain: Any, clip: Any
) -> Any:
    """out[to:to+n] = clip(float32(source[at:at+n] - centre) * gain): n a multiple of 16, out[to] aligned to a line."""
    signature = types.void(
        source, types.int64, out, types.int64, types.int64, types.int32, types.float32, types.float32
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, at, out, to, n, centre, gain, clip = arguments
        i64, n_lanes = ir.IntType(64), _FLOATS
        shorts, ints = ir.VectorType(ir.IntType(16), n_lanes), ir.VectorType(ir.IntType(32), n_lanes)
        floats = ir.VectorType(ir.FloatType(), n_lanes)
        read = _element(context, builder, signature.args[0], source, at)
        write = _element(context, builder, signature.args[2], out, to)
        centres, gains = _splat(builder, centre, ints), _splat(builder, gain, floats)
        high = _splat(builder, clip, floats)
        low = builder.fneg(high)
        lanes = ir.Constant(i64, n_lanes)
        with cgutils.for_range(builder, builder.sdiv(n, lanes)) as loop:
            i = builder.mul(loop.index, lanes)
            x = builder.load(builder.bitcast(builder.gep(read, [i]), shorts.as_pointer()), align=2)
            y = builder.fmul(builder.sitofp(builder.sub(builder.sext(x, ints), centres), floats), gains)
            y = builder.select(builder.fcmp_ordered(">", y, high), high, y)  # NaN is not greater: it stays
            y = builder.select(builder.fcmp_ordered("<", y, low), low, y)
            _stream(builder, y, builder.gep(write, [i]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _stream_shorts(_typing: Any, source: Any, at: Any, out: Any, to: Any, n: Any) -> Any:
    """out[to:to+n] = source[at:at+n]: n a multiple of 32, out[to] aligned to a line."""
    signature = types.void(source, types.int64, out, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, at, out, to, n = arguments
        shorts = ir.VectorType(ir.IntType(16), _SHORTS)
        read = _element(context, builder, signature.args[0], source, at)
        write = _element(context, builder, signature.args[2], out, to)
        lanes = ir.Constant(ir.IntType(64), _SHORTS)
        with cgutils.for_range(builder, builder.sdiv(n, lanes)) as loop:
            i = builder.mul(loop.index, lanes)
            x = builder.load(builder.bitcast(builder.gep(read, [i]), shorts.as_pointer()), align=2)
            _stream(builder, x, builder.gep(write, [i]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _fence(_typing: Any) -> Any:
    """Make streamed lines visible before anything that follows, such as the word that the window is ready."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@_compiled
def _rows(
    tiles: Any,
    tile: Any,
    first: Any,
    n: Any,
    source: Any,
    centre: Any,
    gain: Any,
    weights: Any,
    offset: Any,
    clip: Any,
    out: Any,
) -> None:
    total = np.empty(tile if weights.size else 0, dtype=np.float64)
    for row in range(source.size):
        to = out[row]
        lead = (-(to.ctypes.data // 4)) % _FLOATS  # samples before the first whole line
        c, g = centre[row], gain[row]
        channel = source[row]
        at = 0
        while at < n:
            nth, begin = divmod(first + at, tile)
            size = min(tile - begin, n - at)
            x = tiles[nth]
            if channel == _MIXED:
                part = total[:size]
                part[:] = 0.0
                for k in range(weights.shape[1]):
                    w = weights[row, k]
                    if w != 0.0:
                        y = x[k * tile + begin : k * tile + begin + size]
                        for i in range(size):
                            part[i] += w * y[i]
                for i in range(size):
                    to[at + i] = _clipped(np.float32(part[i] - offset[row]), clip)
            else:
                begin += channel * tile
                head = min((lead - at) % _FLOATS, size)
                body = (size - head) // _FLOATS * _FLOATS
                for i in range(head):
                    to[at + i] = _clipped(np.float32(np.int32(x[begin + i]) - c) * g, clip)
                _stream_floats(x, begin + head, to, at + head, body, c, g, clip)  # type: ignore[call-arg]
                for i in range(head + body, size):
                    to[at + i] = _clipped(np.float32(np.int32(x[begin + i]) - c) * g, clip)
            at += size
        to[n:] = np.float32(0.0)
    _fence()  # type: ignore[call-arg]


@_compiled
def _clipped(y: Any, clip: Any) -> Any:
    if y > clip:
        return clip
    if y < -clip:
        return -clip
    return y


@_compiled
def _raw(tiles: Any, tile: Any, first: Any, n: Any, source: Any, fill: Any, out: Any) -> None:
    for row in range(source.size):
        to = out[row]
        lead = (-(to.ctypes.data // 2)) % _SHORTS
        at = 0
        while at < n:
            nth, begin = divmod(first + at, tile)
            size = min(tile - begin, n - at)
            x = tiles[nth]
            begin += source[row] * tile
            head = min((lead - at) % _SHORTS, size)
            body = (size - head) // _SHORTS * _SHORTS
            to[at : at + head] = x[begin : begin + head]
            _stream_shorts(x, begin + head, to, at + head, body)  # type: ignore[call-arg]
            to[at + head + body : at + size] = x[begin + head + body : begin + size]
            at += size
        to[n:] = fill
    _fence()  # type: ignore[call-arg]
