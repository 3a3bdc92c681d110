"""CRC-32C at the pace of memory: three streams side by side, each by the processor's own instruction, then joined.

One stream waits for each result; three keep the instruction busy, and memory with it (Gopal et al., "Fast CRC
computation for iSCSI polynomial using CRC32 instruction", Intel 2011). Imported only where numba is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from brainbrr.core.arrays import UInt32
from brainbrr.core.compiled import compiled, has_feature
from brainbrr.core.vectors import I32, I64, call, load, offset

_POLYNOMIAL = 0x82F63B78  # of iSCSI (RFC 3720), bits reversed
_STREAMS = 3


def is_fast() -> bool:
    """Say whether the processor has the instruction."""
    return has_feature("sse4.2")


@lru_cache(maxsize=8)
def joining(n: int) -> UInt32:
    """Return the table that crc_of() needs for n bytes: what the bytes of a stream's length make of each byte of a sum.

    uint32 (4, 256).
    """
    columns = [1 << i for i in range(32)]

    def applied(matrix: list[int], value: int) -> int:
        total = 0
        for i in range(32):
            if value >> i & 1:
                total ^= matrix[i]
        return total

    one_bit = [value >> 1 ^ (_POLYNOMIAL if value & 1 else 0) for value in columns]
    power, bits = one_bit, 8 * _stream(n)
    while bits:
        if bits & 1:
            columns = [applied(power, value) for value in columns]
        power, bits = [applied(power, value) for value in power], bits >> 1
    table = [[applied(columns, byte << 8 * i) for byte in range(256)] for i in range(4)]
    return np.array(table, dtype=np.uint32)


def _stream(n: int) -> int:
    """Return the length of each stream of n bytes; what is left follows behind the last one."""
    return n // (8 * _STREAMS) * 8


def _continued(builder: Any, total: Any, data: Any) -> Any:
    """Return a sum (int64) once some data, of 8 or 64 bits, has followed: by the instruction, or bit by bit."""
    n_bits = data.type.width
    if is_fast():
        kind = I64 if n_bits == 64 else I32
        found = call(builder, f"llvm.x86.sse42.crc32.{kind.width}.{n_bits}", kind, [_cast(builder, total, kind), data])
        return _cast(builder, found, I64)
    place = cgutils.alloca_once(builder, I64)
    builder.store(builder.xor(total, _cast(builder, data, I64)), place)
    with cgutils.for_range(builder, ir.Constant(I64, n_bits)):
        value = builder.load(place)
        odd = builder.and_(value, ir.Constant(I64, 1))
        shifted = builder.lshr(value, ir.Constant(I64, 1))
        builder.store(builder.xor(shifted, builder.mul(odd, ir.Constant(I64, _POLYNOMIAL))), place)
    return builder.load(place)


def _cast(builder: Any, value: Any, kind: Any) -> Any:
    if value.type.width > kind.width:
        return builder.trunc(value, kind)
    return builder.zext(value, kind) if value.type.width < kind.width else value


@intrinsic
def _three(_typing: Any, address: Any, n: Any, first: Any) -> Any:
    """Return the sums of three neighbouring stretches of n bytes, a multiple of 8; the first one continues a sum."""

    def generate(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, n, first = arguments
        starts = [address, builder.add(address, n), builder.add(address, builder.add(n, n))]
        sums = [cgutils.alloca_once(builder, I64) for _ in starts]
        for each, value in zip(sums, (first, ir.Constant(I64, 0), ir.Constant(I64, 0)), strict=True):
            builder.store(value, each)
        with cgutils.for_range_slice(builder, ir.Constant(I64, 0), n, ir.Constant(I64, 8)) as (i, _):
            for start, each in zip(starts, sums, strict=True):
                data = load(builder, offset(builder, start, (i, 1)), I64, 1)
                builder.store(_continued(builder, builder.load(each), data), each)
        return cgutils.pack_array(builder, [builder.load(each) for each in sums])

    return types.UniTuple(types.int64, _STREAMS)(types.int64, types.int64, types.int64), generate


@intrinsic
def _one(_typing: Any, address: Any, n: Any, first: Any) -> Any:
    """Return the sum of n bytes that continues another one."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, n, first = arguments
        total = cgutils.alloca_once(builder, I64)
        builder.store(first, total)
        whole = builder.and_(n, ir.Constant(I64, -8))
        with cgutils.for_range_slice(builder, ir.Constant(I64, 0), whole, ir.Constant(I64, 8)) as (i, _):
            data = load(builder, offset(builder, address, (i, 1)), I64, 1)
            builder.store(_continued(builder, builder.load(total), data), total)
        with cgutils.for_range_slice(builder, whole, n, ir.Constant(I64, 1)) as (i, _):
            data = load(builder, offset(builder, address, (i, 1)), ir.IntType(8), 1)
            builder.store(_continued(builder, builder.load(total), data), total)
        return builder.load(total)

    return types.int64(types.int64, types.int64, types.int64), generate


@compiled
def _joined(total: Any, table: Any) -> Any:
    """Return a sum once a stream's length of zeros has followed."""
    return np.int64(
        table[0, total & 255] ^ table[1, total >> 8 & 255] ^ table[2, total >> 16 & 255] ^ table[3, total >> 24 & 255]
    )


@compiled
def crc_of(address: Any, n: Any, table: Any) -> Any:
    """Return the CRC-32C of n bytes at an address; `table` is joining(n)."""
    stream = n // 24 * 8
    sums: Any = _three(address, stream, 0xFFFFFFFF)
    total = _joined(_joined(sums[0], table) ^ sums[1], table) ^ sums[2]
    return _one(address + 3 * stream, n - 3 * stream, total) ^ 0xFFFFFFFF
