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

from brainbrr.eeg.dequantise import MIXED, Floats, Integers, ManyKernels, Places, Rows, Tiles, check

_LINE = 64
_FLOATS, _SHORTS = _LINE // 4, _LINE // 2
_MIXED = MIXED


class CompiledMany:
    """Many windows in one call; the interpreter's lock is released."""

    def rows(self, places: Places, source: Integers, centre: Integers, gain: Floats, clip: Any, out: Any) -> None:
        """Fill those windows of `out` float32 (windows, rows, length) whose places have an address; padding is 0.

        source, centre int32 and gain float32 (windows, rows): no row is mixed.
        """
        _many_rows(places, source, centre, gain, clip, out)

    def raw(self, places: Places, source: Integers, fill: int, out: Any) -> None:
        """Fill those windows of `out` int16 (windows, rows, length) whose places have an address."""
        _many_raw(places, source, np.int16(fill), out)


class Compiled:
    """The compiled kernels; they release the interpreter's lock."""

    many: ManyKernels | None = CompiledMany()

    def rows(self, tiles: Tiles, tile: int, first: int, n: int, rows: Rows, out: Floats) -> None:
        """Fill `out` float32 (rows, length); padding is 0."""
        check(tiles, tile, first, n, rows.n_channels, out.shape[1])
        _rows(tiles, tile, first, n, rows, out)

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


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _stream(builder: Any, vector: Any, address: Any) -> None:
    """Store a whole, aligned cache line past the caches."""
    store = builder.store(vector, _pointer(builder, address, vector.type), align=_LINE)
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


@intrinsic
def _stream_floats(_typing: Any, source: Any, out: Any, n: Any, centre: Any, gain: Any, clip: Any) -> Any:
    """Write clip(float32(x - centre) * gain) of n int16 at an address: n a multiple of 16, `out` aligned to a line."""
    signature = types.void(types.int64, types.int64, types.int64, types.int32, types.float32, types.float32)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source, out, n, centre, gain, clip = arguments
        i64, n_lanes = ir.IntType(64), _FLOATS
        shorts, ints = ir.VectorType(ir.IntType(16), n_lanes), ir.VectorType(ir.IntType(32), n_lanes)
        floats = ir.VectorType(ir.FloatType(), n_lanes)
        centres, gains = _splat(builder, centre, ints), _splat(builder, gain, floats)
        high = _splat(builder, clip, floats)
        low = builder.fneg(high)
        with cgutils.for_range(builder, builder.sdiv(n, ir.Constant(i64, n_lanes))) as loop:
            read = builder.add(source, builder.mul(loop.index, ir.Constant(i64, _LINE // 2)))
            write = builder.add(out, builder.mul(loop.index, ir.Constant(i64, _LINE)))
            x = builder.load(_pointer(builder, read, shorts), align=2)
            y = builder.fmul(builder.sitofp(builder.sub(builder.sext(x, ints), centres), floats), gains)
            y = builder.select(builder.fcmp_ordered(">", y, high), high, y)  # NaN is not greater: it stays
            y = builder.select(builder.fcmp_ordered("<", y, low), low, y)
            _stream(builder, y, write)
        return _context.get_dummy_value()

    return signature, generate


@intrinsic
def _stream_shorts(_typing: Any, source: Any, out: Any, n: Any) -> Any:
    """Copy n int16 from address to address: n a multiple of 32, `out` aligned to a line."""
    signature = types.void(types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source, out, n = arguments
        i64, shorts = ir.IntType(64), ir.VectorType(ir.IntType(16), _SHORTS)
        with cgutils.for_range(builder, builder.sdiv(n, ir.Constant(i64, _SHORTS))) as loop:
            shift = builder.mul(loop.index, ir.Constant(i64, _LINE))
            x = builder.load(_pointer(builder, builder.add(source, shift), shorts), align=2)
            _stream(builder, x, builder.add(out, shift))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _short_at(_typing: Any, address: Any) -> Any:
    """Return the int16 at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, arguments[0], ir.IntType(16)), align=2)

    return types.int16(types.int64), generate


@intrinsic
def _fence(_typing: Any) -> Any:
    """Make streamed lines visible before anything that follows, such as the word that the window is ready."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@_compiled
def _clipped(y: Any, clip: Any) -> Any:
    if y > clip:
        return clip
    if y < -clip:
        return -clip
    return y


@_compiled
def _floats(x: Any, to: Any, centre: Any, gain: Any, clip: Any) -> None:
    """Fill `to` float32 from int16 at address x: whole lines at once, the ends sample by sample."""
    n = to.size
    head = min(-(to.ctypes.data // 4) % _FLOATS, n)
    body = (n - head) // _FLOATS * _FLOATS
    for i in range(head):
        to[i] = _clipped(np.float32(np.int32(_short_at(x + 2 * i)) - centre) * gain, clip)  # type: ignore[call-arg]
    _stream_floats(x + 2 * head, to.ctypes.data + 4 * head, body, centre, gain, clip)  # type: ignore[call-arg]
    for i in range(head + body, n):
        to[i] = _clipped(np.float32(np.int32(_short_at(x + 2 * i)) - centre) * gain, clip)


@_compiled
def _shorts(x: Any, to: Any) -> None:
    """Fill `to` int16 from address x in the same way."""
    n = to.size
    head = min(-(to.ctypes.data // 2) % _SHORTS, n)
    body = (n - head) // _SHORTS * _SHORTS
    for i in range(head):
        to[i] = _short_at(x + 2 * i)  # type: ignore[call-arg]
    _stream_shorts(x + 2 * head, to.ctypes.data + 2 * head, body)  # type: ignore[call-arg]
    for i in range(head + body, n):
        to[i] = _short_at(x + 2 * i)


@_compiled
def _row(
    address: Any, step: Any, tile: Any, first: Any, n: Any, channel: Any, centre: Any, gain: Any, clip: Any, to: Any
) -> None:
    """Fill one row of a window from tiles that begin at an address, every `step` bytes."""
    at = 0
    while at < n:
        nth, begin = divmod(first + at, tile)
        size = min(tile - begin, n - at)
        _floats(address + nth * step + 2 * (channel * tile + begin), to[at : at + size], centre, gain, clip)
        at += size
    to[n:] = np.float32(0.0)


@_compiled
def _mixed_row(tiles: Any, tile: Any, first: Any, n: Any, weights: Any, offset: Any, clip: Any, to: Any) -> None:
    total = np.empty(tile, dtype=np.float64)
    at = 0
    while at < n:
        nth, begin = divmod(first + at, tile)
        size = min(tile - begin, n - at)
        part = total[:size]
        part[:] = 0.0
        for k in range(weights.size):
            if weights[k] != 0.0:
                x = tiles[nth, k * tile + begin : k * tile + begin + size]
                for i in range(size):
                    part[i] += weights[k] * x[i]
        for i in range(size):
            to[at + i] = _clipped(np.float32(part[i] - offset), clip)
        at += size
    to[n:] = np.float32(0.0)


@_compiled
def _raw_row(address: Any, step: Any, tile: Any, first: Any, n: Any, channel: Any, fill: Any, to: Any) -> None:
    at = 0
    while at < n:
        nth, begin = divmod(first + at, tile)
        size = min(tile - begin, n - at)
        _shorts(address + nth * step + 2 * (channel * tile + begin), to[at : at + size])
        at += size
    to[n:] = fill


@_compiled
def _rows(tiles: Any, tile: Any, first: Any, n: Any, rows: Any, out: Any) -> None:
    for row in range(rows.source.size):
        channel = rows.source[row]
        if channel == _MIXED:
            _mixed_row(tiles, tile, first, n, rows.weights[row], rows.offset[row], rows.clip, out[row])
        else:
            address, step = tiles.ctypes.data, tiles.strides[0]
            _row(address, step, tile, first, n, channel, rows.centre[row], rows.gain[row], rows.clip, out[row])
    _fence()  # type: ignore[call-arg]


@_compiled
def _raw(tiles: Any, tile: Any, first: Any, n: Any, source: Any, fill: Any, out: Any) -> None:
    for row in range(source.size):
        _raw_row(tiles.ctypes.data, tiles.strides[0], tile, first, n, source[row], fill, out[row])
    _fence()  # type: ignore[call-arg]


@_compiled
def _many_rows(places: Any, source: Any, centre: Any, gain: Any, clip: Any, out: Any) -> None:
    for i in range(len(places.address)):
        address, step, tile = places.address[i], places.step[i], places.tile[i]
        for row in range(source.shape[1] if address else 0):
            channel, c, g = source[i, row], centre[i, row], gain[i, row]
            _row(address, step, tile, places.first[i], places.n[i], channel, c, g, clip, out[i, row])
    _fence()  # type: ignore[call-arg]


@_compiled
def _many_raw(places: Any, source: Any, fill: Any, out: Any) -> None:
    for i in range(len(places.address)):
        address, step, tile = places.address[i], places.step[i], places.tile[i]
        for row in range(source.size if address else 0):
            _raw_row(address, step, tile, places.first[i], places.n[i], source[row], fill, out[i, row])
    _fence()  # type: ignore[call-arg]
