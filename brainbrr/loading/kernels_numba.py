"""The kernels of `kernels.Numpy`, compiled by numba: limited by memory bandwidth, not by arithmetic.

A large batch is written once and read much later, so full cache lines go straight to memory (non-temporal stores):
reading a line only to overwrite it would double the traffic. Imported only where numba is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from brainbrr.core import crc_compiled
from brainbrr.core.arrays import Float32, Int16, Int32, UInt32
from brainbrr.core.compiled import compiled
from brainbrr.core.crc_compiled import crc_of
from brainbrr.core.vectors import LINE, pointer, splat
from brainbrr.loading.rows import MIXED, PROVEN, UNKNOWN, Places, Rows, check_tiles
from brainbrr.store.formats import CRC_BYTES

_CACHED = 8 << 20
"""Bytes of output that may still be in the caches when they are read: those go there."""

_FLOATS, _SHORTS = LINE // 4, LINE // 2
_MIXED, _PROVEN, _UNKNOWN = MIXED, PROVEN, UNKNOWN


class CompiledMany:
    """Many windows in one call; the interpreter's lock is released."""

    def __init__(self) -> None:
        self.verifies = crc_compiled.is_fast()

    def rows(self, places: Places, source: Int32, centre: Int32, gain: Float32, clip: Any, out: Any) -> int:
        """Fill those windows of `out` float32 (windows, rows, length) whose places have an address; padding is 0.

        source, centre int32 and gain float32 (windows, rows): no row is mixed. Returns the first window with a damaged
        tile, −1 where all are intact.
        """
        table = self._table(places)
        return int(_many_rows(places, table, source, centre, gain, clip, out, out.nbytes > _CACHED))

    def raw(self, places: Places, source: Int32, fill: int, out: Any) -> int:
        """Fill those windows of `out` int16 (windows, rows, length) whose places have an address; returns as rows()."""
        return int(_many_raw(places, self._table(places), source, np.int16(fill), out, out.nbytes > _CACHED))

    def _table(self, places: Places) -> UInt32:
        """Return what the checksums of tiles are joined with: all tiles have one length."""
        return crc_compiled.joining(max(int(places.step[0]) - CRC_BYTES, 0) if len(places.step) else 0)


class Compiled:
    """The compiled kernels; they release the interpreter's lock."""

    def __init__(self) -> None:
        self.many = CompiledMany()

    def rows(self, tiles: Int16, tile: int, first: int, n: int, rows: Rows, out: Float32) -> None:
        """Fill `out` float32 (rows, length); padding is 0."""
        check_tiles(tiles, tile, first, n, rows.n_channels, out.shape[1])
        _rows(tiles, tile, first, n, rows, crc_compiled.joining(0), out)

    def raw(self, tiles: Int16, tile: int, first: int, n: int, source: Int32, fill: int, out: Int16) -> None:
        """Fill `out` int16 (rows, length) with recorded channels as they are stored; padding is `fill`."""
        check_tiles(tiles, tile, first, n, int(source.max()) + 1, out.shape[1])
        _raw(tiles, tile, first, n, source, np.int16(fill), crc_compiled.joining(0), out)


def _store(builder: Any, vector: Any, address: Any, *, past: bool) -> None:
    """Store a full, aligned cache line past the caches, or a vector in the ordinary way."""
    store = builder.store(vector, pointer(builder, address, vector.type), align=LINE if past else 2)
    if past:
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


def _converting(*, past: bool) -> Any:
    @intrinsic
    def convert(_typing: Any, source: Any, out: Any, n: Any, centre: Any, gain: Any, clip: Any) -> Any:
        """Write clip(float32(x - centre) * gain) of n int16 at an address: n a multiple of 16."""
        signature = types.void(types.int64, types.int64, types.int64, types.int32, types.float32, types.float32)

        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            source, out, n, centre, gain, clip = arguments
            i64, n_lanes = ir.IntType(64), _FLOATS
            shorts, ints = ir.VectorType(ir.IntType(16), n_lanes), ir.VectorType(ir.IntType(32), n_lanes)
            floats = ir.VectorType(ir.FloatType(), n_lanes)
            centres, gains = splat(builder, centre, ints), splat(builder, gain, floats)
            high = splat(builder, clip, floats)
            low = builder.fneg(high)
            with cgutils.for_range(builder, builder.sdiv(n, ir.Constant(i64, n_lanes))) as loop:
                read = builder.add(source, builder.mul(loop.index, ir.Constant(i64, LINE // 2)))
                write = builder.add(out, builder.mul(loop.index, ir.Constant(i64, LINE)))
                x = builder.load(pointer(builder, read, shorts), align=2)
                y = builder.fmul(builder.sitofp(builder.sub(builder.sext(x, ints), centres), floats), gains)
                y = builder.select(builder.fcmp_ordered(">", y, high), high, y)  # NaN is not greater: it stays
                y = builder.select(builder.fcmp_ordered("<", y, low), low, y)
                _store(builder, y, write, past=past)
            return context.get_dummy_value()

        return signature, generate

    return convert


def _copying(*, past: bool) -> Any:
    @intrinsic
    def copy(_typing: Any, source: Any, out: Any, n: Any) -> Any:
        """Copy n int16 from address to address: n a multiple of 32."""
        signature = types.void(types.int64, types.int64, types.int64)

        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            source, out, n = arguments
            i64, shorts = ir.IntType(64), ir.VectorType(ir.IntType(16), _SHORTS)
            with cgutils.for_range(builder, builder.sdiv(n, ir.Constant(i64, _SHORTS))) as loop:
                shift = builder.mul(loop.index, ir.Constant(i64, LINE))
                x = builder.load(pointer(builder, builder.add(source, shift), shorts), align=2)
                _store(builder, x, builder.add(out, shift), past=past)
            return context.get_dummy_value()

        return signature, generate

    return copy


_convert, _convert_past = _converting(past=False), _converting(past=True)
_copy, _copy_past = _copying(past=False), _copying(past=True)


@intrinsic
def _short_at(_typing: Any, address: Any) -> Any:
    """Return the int16 at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(pointer(builder, arguments[0], ir.IntType(16)), align=2)

    return types.int16(types.int64), generate


@intrinsic
def _fence(_typing: Any) -> Any:
    """Make streamed lines visible before anything that follows, such as the flag that the window is ready."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _word_at(_typing: Any, address: Any) -> Any:
    """Return the four bytes at an address, as a number without a sign."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = builder.load(pointer(builder, arguments[0], ir.IntType(32)), align=1)
        return builder.zext(word, ir.IntType(64))

    return types.int64(types.int64), generate


@compiled
def _is_intact(tile: Any, step: Any, checks: Any, nth: Any, table: Any) -> Any:
    """Say whether the checksum of a tile is the one that follows it, and the one that it must have."""
    found = crc_of(tile, step - 4, table)
    if found != _word_at(tile + step - 4):
        return False
    return checks == _UNKNOWN or found == _word_at(checks + 4 * nth)


@compiled
def _clipped(y: Any, clip: Any) -> Any:
    if y > clip:
        return clip
    if y < -clip:
        return -clip
    return y


@compiled
def _floats(x: Any, to: Any, centre: Any, gain: Any, clip: Any, past: Any) -> None:
    """Fill `to` float32 from int16 at address x: vectors at once, the ends sample by sample."""
    n = to.size
    head = min(-(to.ctypes.data // 4) % _FLOATS, n) if past else 0
    body = (n - head) // _FLOATS * _FLOATS
    for i in range(head):
        to[i] = _clipped(np.float32(np.int32(_short_at(x + 2 * i)) - centre) * gain, clip)
    if past:
        _convert_past(x + 2 * head, to.ctypes.data + 4 * head, body, centre, gain, clip)
    else:
        _convert(x, to.ctypes.data, body, centre, gain, clip)
    for i in range(head + body, n):
        to[i] = _clipped(np.float32(np.int32(_short_at(x + 2 * i)) - centre) * gain, clip)


@compiled
def _shorts(x: Any, to: Any, past: Any) -> None:
    """Fill `to` int16 from address x in the same way."""
    n = to.size
    head = min(-(to.ctypes.data // 2) % _SHORTS, n) if past else 0
    body = (n - head) // _SHORTS * _SHORTS
    for i in range(head):
        to[i] = _short_at(x + 2 * i)
    if past:
        _copy_past(x + 2 * head, to.ctypes.data + 2 * head, body)
    else:
        _copy(x, to.ctypes.data, body)
    for i in range(head + body, n):
        to[i] = _short_at(x + 2 * i)


@compiled
def _window(place: Any, table: Any, source: Any, centre: Any, gain: Any, clip: Any, out: Any, past: Any) -> Any:
    """Fill the rows of a window that are one channel, each tile once it is verified; say whether all were intact.

    `place` is one of `Places`, as a tuple.
    """
    address, step, tile, first, n, checks = place
    at = 0
    while at < n:  # tile by tile, in the order of memory: what was verified is still in the cache
        nth, begin = divmod(first + at, tile)
        if checks != _PROVEN and not _is_intact(address + nth * step, step, checks, nth, table):
            return False
        size = min(tile - begin, n - at)
        for row in range(source.size):
            if source[row] != _MIXED:
                x = address + nth * step + 2 * (source[row] * tile + begin)
                _floats(x, out[row, at : at + size], centre[row], gain[row], clip, past)
        at += size
    for row in range(source.size):
        if source[row] != _MIXED:
            out[row, n:] = np.float32(0.0)
    return True


@compiled
def _mixed_row(tiles: Any, place: Any, weights: Any, offset: Any, clip: Any, to: Any) -> None:
    """Fill a row that mixes channels from tiles of one recording."""
    _, _, tile, first, n, _ = place
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


@compiled
def _raw_window(place: Any, table: Any, source: Any, fill: Any, out: Any, past: Any) -> Any:
    address, step, tile, first, n, checks = place
    at = 0
    while at < n:
        nth, begin = divmod(first + at, tile)
        if checks != _PROVEN and not _is_intact(address + nth * step, step, checks, nth, table):
            return False
        size = min(tile - begin, n - at)
        for row in range(source.size):
            x = address + nth * step + 2 * (source[row] * tile + begin)
            _shorts(x, out[row, at : at + size], past)
        at += size
    out[:, n:] = fill
    return True


@compiled
def _rows(tiles: Any, tile: Any, first: Any, n: Any, rows: Any, table: Any, out: Any) -> None:
    place = tiles.ctypes.data, tiles.strides[0], tile, first, n, _PROVEN
    _window(place, table, rows.source, rows.centre, rows.gain, rows.clip, out, False)
    for row in range(rows.source.size):
        if rows.source[row] == _MIXED:
            _mixed_row(tiles, place, rows.weights[row], rows.offset[row], rows.clip, out[row])


@compiled
def _raw(tiles: Any, tile: Any, first: Any, n: Any, source: Any, fill: Any, table: Any, out: Any) -> None:
    _raw_window((tiles.ctypes.data, tiles.strides[0], tile, first, n, _PROVEN), table, source, fill, out, False)


@compiled
def _place(places: Any, i: Any) -> Any:
    return places.address[i], places.step[i], places.tile[i], places.first[i], places.n[i], places.checks[i]


@compiled
def _many_rows(places: Any, table: Any, source: Any, centre: Any, gain: Any, clip: Any, out: Any, past: Any) -> Any:
    damaged = -1
    for i in range(len(places.address)):
        if places.address[i] and not _window(
            _place(places, i), table, source[i], centre[i], gain[i], clip, out[i], past
        ):
            damaged = i
            break
    _fence()
    return damaged


@compiled
def _many_raw(places: Any, table: Any, source: Any, fill: Any, out: Any, past: Any) -> Any:
    damaged = -1
    for i in range(len(places.address)):
        if places.address[i] and not _raw_window(_place(places, i), table, source, fill, out[i], past):
            damaged = i
            break
    _fence()
    return damaged
