"""Exact sums of products, and counts of values, of int16 rows, compiled. Imported only where numba is."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from brainbrr.core.arrays import Int16, Int32, Int64
from brainbrr.core.compiled import compiled
from brainbrr.core.vectors import I16, I32, I64, SHORTS, call, load, offset, products_of_neighbours, store

_BLOCK = 32 * SHORTS  # samples of a row at a time: those of some rows stay in the first-level cache
_TOGETHER = 4


def products(block: Int16, rows: Any, largest: int) -> Int64:
    """Return the sums of products of some rows of int16 (any, any) with each other: int64 (rows, rows).

    No sample is larger than `largest`, which is at most 32767.
    """
    n = len(rows)
    found = np.zeros((n, -(-n // _TOGETHER) * _TOGETHER), dtype=np.int64)
    _gram(block, rows, max(((1 << 31) - 1) // (2 * largest * largest), 1), found)
    found = np.triu(found[:, :n])
    return found + np.triu(found, 1).T


def counts(row: Int16) -> tuple[int, Int64]:
    """Return the lowest value of a row, not empty, and how often it, and each value up to the highest, occurs."""
    tables: Int32 | None = getattr(_threads, "tables", None)
    if tables is None:
        tables = _threads.tables = np.zeros((2, 1 << 16), dtype=np.int32)
    lowest, highest = int(row.min()), int(row.max())
    _count(row, tables)
    found = tables[:, lowest + 32_768 : highest + 32_769]
    total = found.sum(axis=0, dtype=np.int64)
    found[...] = 0
    return lowest, total


_threads = threading.local()


@intrinsic
def _dots(_typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, n: Any, each: Any, into: Any) -> Any:
    """Add to four int64 the sums of products of the row at address a with four others, over n times 16 samples.

    The sums of `each` times 16 samples stay below 2^31.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        a, *others, n, each, into = arguments
        shorts, ints = ir.VectorType(I16, SHORTS), ir.VectorType(I32, SHORTS // 2)
        longs = ir.VectorType(I64, SHORTS // 2)
        sums = [cgutils.alloca_once(builder, ints) for _ in others]
        totals = [cgutils.alloca_once(builder, longs) for _ in others]
        for total in totals:
            builder.store(ir.Constant(longs, [0] * longs.count), total)
        with cgutils.for_range_slice(builder, ir.Constant(I64, 0), n, each) as (start, _):
            end = builder.add(start, each)
            stop = builder.select(builder.icmp_signed("<", end, n), end, n)
            for part in sums:
                builder.store(ir.Constant(ints, [0] * ints.count), part)
            with cgutils.for_range_slice(builder, start, stop, ir.Constant(I64, 1)) as (i, _):
                x = load(builder, offset(builder, a, (i, 2 * SHORTS)), shorts, 2)
                for part, other in zip(sums, others, strict=True):
                    y = load(builder, offset(builder, other, (i, 2 * SHORTS)), shorts, 2)
                    found = products_of_neighbours(builder, x, y)
                    builder.store(builder.add(builder.load(part), found), part)
            for part, total in zip(sums, totals, strict=True):
                builder.store(builder.add(builder.load(total), builder.sext(builder.load(part), longs)), total)
        for i, total in enumerate(totals):
            found = call(builder, f"llvm.vector.reduce.add.v{longs.count}i64", I64, [builder.load(total)])
            at = offset(builder, into, 8 * i)
            store(builder, builder.add(load(builder, at, I64, 8), found), at, 8)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), generate


@compiled
def _gram(block: Any, rows: Any, each: Any, products: Any) -> None:
    n_rows, n = len(rows), block.shape[1]
    base, stride = block.ctypes.data, block.strides[0]
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        n_whole = (stop - start) // SHORTS
        for i in range(n_rows):
            here = base + stride * rows[i] + 2 * start
            for j in range(i // _TOGETHER * _TOGETHER, n_rows, _TOGETHER):
                last = n_rows - 1
                _dots(
                    here,
                    base + stride * rows[j] + 2 * start,
                    base + stride * rows[min(j + 1, last)] + 2 * start,
                    base + stride * rows[min(j + 2, last)] + 2 * start,
                    base + stride * rows[min(j + 3, last)] + 2 * start,
                    n_whole,
                    each,
                    products.ctypes.data + products.strides[0] * i + 8 * j,
                )
            for j in range(i, n_rows):
                for t in range(start + SHORTS * n_whole, stop):
                    products[i, j] += np.int64(block[rows[i], t]) * np.int64(block[rows[j], t])


@compiled
def _count(row: Any, tables: Any) -> None:
    # two tables: the next sample is often the same, and would wait for its count
    for i in range(0, len(row) - 1, 2):
        tables[0, np.int64(row[i]) + 32768] += 1
        tables[1, np.int64(row[i + 1]) + 32768] += 1
    if len(row) % 2:
        tables[0, np.int64(row[-1]) + 32768] += 1
