"""Fourier transforms of 8,192 points for overlap-save filters: four channels side by side in vectors, two blocks each.

Two blocks of a channel are the real and the imaginary part of one signal: a real response does not mix them. Points are
a grid of 64 × 128: columns, rows and columns again, each of which stays in the first-level cache. Forward in
decimation by frequency and back by time, so no order is ever restored: the response is in the order that comes out.
Imported only where numba is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from brainbrr.core.arrays import Float64
from brainbrr.core.vectors import F64, I16, I32, I64, call, load, offset, rounded, splat, store

LANES, ROWS, COLUMNS = 4, 64, 128
SIZE = ROWS * COLUMNS
_VECTOR = ir.VectorType(F64, LANES)
_POINT = 2 * 8 * LANES  # bytes of a complex vector
GRID_ROW = (COLUMNS + 1) * _POINT  # one more: columns would all fall on the same lines of the cache
GRID_BYTES = ROWS * GRID_ROW

INPUT_ROW = (COLUMNS + LANES) * LANES * 4
"""Bytes from one row of inputs (int32, channels side by side) to the next."""
OUTPUT_ROW = (COLUMNS + 8) * LANES * 2
"""Bytes from one row of outputs (int16, channels side by side) to the next."""


class Point(NamedTuple):
    """A complex number: a vector of real parts and one of imaginary parts."""

    re: Any
    im: Any

    def swapped(self) -> Point:
        """Return i times the conjugate: the inverse transform is the transform of those, swapped back."""
        return Point(self.im, self.re)


class _Writer:
    """Writes complex arithmetic into a builder."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def add(self, a: Point, b: Point) -> Point:
        return Point(self.builder.fadd(a.re, b.re), self.builder.fadd(a.im, b.im))

    def sub(self, a: Point, b: Point) -> Point:
        return Point(self.builder.fsub(a.re, b.re), self.builder.fsub(a.im, b.im))

    def times(self, a: Point, factor: Point) -> Point:
        """Return a · factor, fused where the processor can: the result is rounded to whole numbers in the end."""
        b = self.builder
        re = self._fused(a.re, factor.re, b.fneg(b.fmul(a.im, factor.im)))
        return Point(re, self._fused(a.re, factor.im, b.fmul(a.im, factor.re)))

    def _fused(self, a: Any, b: Any, c: Any) -> Any:
        return call(self.builder, f"llvm.fmuladd.v{LANES}f64", _VECTOR, [a, b, c])

    def constant(self, turn: float) -> Point:
        """Return exp(-2 pi i turn) in each lane."""
        value = np.exp(-2j * np.pi * turn)
        return Point(*(ir.Constant(_VECTOR, [float(part)] * LANES) for part in (value.real, value.imag)))

    def minus_i(self, a: Point) -> Point:
        """Return -i times a."""
        return Point(a.im, self.builder.fneg(a.re))

    def dft(self, x: list[Point]) -> list[Point]:
        """Return the transform of 2, 4, 8 or 16 points."""
        n = len(x)
        if n == 2:
            return [self.add(*x), self.sub(*x)]
        if n == 16:  # four by four
            columns = [self.dft(x[b::4]) for b in range(4)]
            turned = [[self._turned(columns[b][k], b * k, 16) for b in range(4)] for k in range(4)]
            rows = [self.dft(each) for each in turned]
            return [rows[k % 4][k // 4] for k in range(16)]
        even, odd = self.dft(x[0::2]), self.dft(x[1::2])
        odd = [self._turned(each, k, n) for k, each in enumerate(odd)]
        return [self.add(a, b) for a, b in zip(even, odd, strict=True)] + [
            self.sub(a, b) for a, b in zip(even, odd, strict=True)
        ]

    def _turned(self, a: Point, k: int, n: int) -> Point:
        """Return a · exp(-2 pi i k / n)."""
        if not k:
            return a
        if 4 * k == n:
            return self.minus_i(a)
        if 8 * k in (n, 3 * n):  # one product in place of two
            b = self.builder
            root = ir.Constant(_VECTOR, [float(np.sqrt(0.5))] * LANES)
            plus, minus = b.fadd(a.re, a.im), b.fsub(a.im, a.re)
            if 8 * k == n:
                return Point(b.fmul(plus, root), b.fmul(minus, root))
            return Point(b.fmul(minus, root), b.fneg(b.fmul(plus, root)))
        return self.times(a, self.constant(k / n))

    def inverse(self, x: list[Point]) -> list[Point]:
        """Return the inverse transform, not divided."""
        return [each.swapped() for each in self.dft([each.swapped() for each in x])]

    def load(self, address: Any, at: int = 0) -> Point:
        return Point(
            *(load(self.builder, offset(self.builder, address, at + i * 8 * LANES), _VECTOR, 32) for i in (0, 1))
        )

    def store(self, x: Point, address: Any, at: int = 0) -> None:
        for i, part in enumerate(x):
            store(self.builder, part, offset(self.builder, address, at + i * 8 * LANES), 32)

    def factor(self, address: Any, at: int = 0) -> Point:
        """Load a complex number and repeat it in each lane."""
        b = self.builder
        return Point(*(splat(b, load(b, offset(b, address, at + 8 * i), F64, 8), _VECTOR) for i in (0, 1)))

    def times_conjugate(self, a: Point, factor: Point) -> Point:
        """Return a · conj(factor)."""
        b = self.builder
        re = self._fused(a.re, factor.re, b.fmul(a.im, factor.im))
        return Point(re, self._fused(a.im, factor.re, b.fneg(b.fmul(a.re, factor.im))))


def _loop(builder: Any, n: int) -> Any:
    return cgutils.for_range(builder, ir.Constant(I64, n))


def _columns(builder: Any) -> Any:
    return _loop(builder, COLUMNS)


_INT64 = types.int64


@intrinsic
def forward(_typing: Any, x: Any, shift: Any, grid: Any, scratch: Any, turns: Any, roots: Any) -> Any:
    """Transform the columns of inputs at address x; those of the second block begin `shift` bytes later."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        x, shift, grid, scratch, turns, roots = arguments
        w, ints = _Writer(builder), ir.VectorType(I32, LANES)

        def point(address: Any, row: int) -> Point:
            at = offset(builder, address, row * INPUT_ROW)
            parts = (at, builder.add(at, shift))
            return Point(*(builder.sitofp(load(builder, part, ints, 16), _VECTOR) for part in parts))

        with _columns(builder) as column:
            source = offset(builder, x, (column.index, 4 * LANES))
            with _loop(builder, 8) as b:
                first = offset(builder, source, (b.index, INPUT_ROW))
                found = w.dft([point(first, 8 * a) for a in range(8)])
                for k, each in enumerate(found):
                    factor = w.factor(offset(builder, roots, (b.index, 16 * 8)), 16 * k)
                    w.store(
                        w.times(each, factor) if k else each,
                        offset(builder, scratch, (b.index, _POINT)),
                        8 * k * _POINT,
                    )
            with _loop(builder, 8) as k:
                row = offset(builder, scratch, (k.index, 8 * _POINT))
                found = w.dft([w.load(row, b * _POINT) for b in range(8)])
                into = offset(builder, grid, (k.index, 8 * GRID_ROW), (column.index, _POINT))
                turn = offset(builder, turns, (column.index, 16 * ROWS), (k.index, 16 * 8))
                for i, each in enumerate(found):
                    w.store(w.times(each, w.factor(turn, 16 * i)), into, i * GRID_ROW)
        return context.get_dummy_value()

    return types.void(*[_INT64] * 6), generate


@intrinsic
def rows(_typing: Any, grid: Any, roots: Any, response: Any) -> Any:
    """Transform each row of the grid, multiply it with the response, transform it back."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        grid, roots, response = arguments
        w = _Writer(builder)
        with _loop(builder, ROWS) as r:
            row = offset(builder, grid, (r.index, GRID_ROW))
            with _loop(builder, 16) as j:
                at = offset(builder, row, (j.index, _POINT))
                factors = offset(builder, roots, (j.index, 16 * 8))
                for k, each in enumerate(w.dft([w.load(at, 16 * m * _POINT) for m in range(8)])):
                    w.store(w.times(each, w.factor(factors, 16 * k)) if k else each, at, 16 * k * _POINT)
            with _loop(builder, 8) as k:
                at = offset(builder, row, (k.index, 16 * _POINT))
                gains = offset(builder, response, (r.index, 8 * COLUMNS), (k.index, 8 * 16))
                found = w.dft([w.load(at, j * _POINT) for j in range(16)])
                for i, each in enumerate(found):
                    gain = splat(builder, load(builder, offset(builder, gains, 8 * i), F64, 8), _VECTOR)
                    found[i] = Point(builder.fmul(each.re, gain), builder.fmul(each.im, gain))
                for i, each in enumerate(w.inverse(found)):
                    w.store(each, at, i * _POINT)
            with _loop(builder, 16) as j:
                at = offset(builder, row, (j.index, _POINT))
                factors = offset(builder, roots, (j.index, 16 * 8))
                found = [w.load(at, 16 * k * _POINT) for k in range(8)]
                found[1:] = [w.times_conjugate(each, w.factor(factors, 16 * k)) for k, each in enumerate(found) if k]
                for m, each in enumerate(w.inverse(found)):
                    w.store(each, at, 16 * m * _POINT)
        return context.get_dummy_value()

    return types.void(*[_INT64] * 3), generate


@intrinsic
def backward(
    _typing: Any,
    grid: Any,
    scratch: Any,
    turns: Any,
    roots: Any,
    masks: Any,
    gains: Any,
    seen: Any,
    wholes: Any,
    out: Any,
) -> Any:
    """Transform one column back, round it, and store it multiplied by gains and rounded again, as int16.

    At `masks`: 64 bits for each row of each block, all but the sign for those that count in the extremes. At `seen`:
    the largest distance from whole numbers, the largest of those, and the largest distance of a product from whole
    numbers. At `wholes` float64 (2, ROWS, LANES), at `out` rows of int16 of one block after those of the other.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        grid, scratch, turns, roots, masks, gains, seen, wholes, out = arguments
        w = _Writer(builder)
        longs, shorts = ir.VectorType(I64, LANES), ir.VectorType(I16, LANES)
        positive = ir.Constant(longs, [(1 << 63) - 1] * LANES)
        gain = load(builder, gains, _VECTOR, 32)

        def magnitude(value: Any, mask: Any) -> Any:
            return builder.bitcast(builder.and_(builder.bitcast(value, longs), mask), _VECTOR)

        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        with _loop(builder, 8) as k:
            at = offset(builder, grid, (k.index, 8 * GRID_ROW))
            turn = offset(builder, turns, (k.index, 16 * 8))
            found = [w.times_conjugate(w.load(at, i * GRID_ROW), w.factor(turn, 16 * i)) for i in range(8)]
            for b, each in enumerate(w.inverse(found)):
                w.store(each, offset(builder, scratch, (k.index, 8 * _POINT)), b * _POINT)
        with _loop(builder, 8) as b:
            at = offset(builder, scratch, (b.index, _POINT))
            factors = offset(builder, roots, (b.index, 16 * 8))
            found = [w.load(at, 8 * k * _POINT) for k in range(8)]
            found[1:] = [w.times_conjugate(each, w.factor(factors, 16 * k)) for k, each in enumerate(found) if k]
            largest = [load(builder, offset(builder, seen, 8 * LANES * i), _VECTOR, 32) for i in range(3)]
            for a, each in enumerate(w.inverse(found)):
                for block, value in enumerate(each):
                    row = ROWS * block + 8 * a
                    whole = rounded(builder, value, _VECTOR)
                    mask = splat(builder, load(builder, offset(builder, masks, (b.index, 8), 8 * row), I64, 8), longs)
                    product = builder.fmul(whole, gain)
                    stored = rounded(builder, product, _VECTOR)
                    found_here = (
                        magnitude(builder.fsub(value, whole), positive),
                        magnitude(whole, mask),
                        magnitude(builder.fsub(product, stored), positive),
                    )
                    largest = [larger(x, y) for x, y in zip(found_here, largest, strict=True)]
                    store(builder, whole, offset(builder, wholes, (b.index, 8 * LANES), 8 * LANES * row), 32)
                    short = builder.trunc(builder.fptosi(stored, ir.VectorType(I32, LANES)), shorts)
                    store(builder, short, offset(builder, out, (b.index, OUTPUT_ROW), OUTPUT_ROW * row), 8)
            for i, each in enumerate(largest):
                store(builder, each, offset(builder, seen, 8 * LANES * i), 32)
        return context.get_dummy_value()

    return types.void(*[_INT64] * 9), generate


class Tables(NamedTuple):
    """What the transforms multiply with."""

    columns: Float64
    rows: Float64
    turns: Float64


@lru_cache(maxsize=1)
def tables() -> Tables:
    """Return the roots of unity in the order of their use."""

    def roots(angles: Any, n: int) -> Float64:
        turn = np.asarray(angles) % n / n
        return np.ascontiguousarray(np.stack([np.cos(2 * np.pi * turn), -np.sin(2 * np.pi * turn)], axis=-1))

    eight = np.arange(8)
    return Tables(
        roots(np.outer(eight, eight), ROWS),
        roots(np.outer(np.arange(16), eight), COLUMNS),
        roots(np.outer(np.arange(COLUMNS), row_frequencies()), SIZE),
    )


def row_frequencies() -> Any:
    """Return the frequency of each row after the transform of columns."""
    return (np.arange(8)[:, None] + 8 * np.arange(8)).reshape(-1)


def ordered(response: Float64) -> Float64:
    """Return a response (SIZE,) as (ROWS, COLUMNS) in the order of the grid, divided by SIZE."""
    across = (np.arange(8)[:, None] + 8 * np.arange(16)).reshape(-1)
    return np.ascontiguousarray(response[row_frequencies()[:, None] + ROWS * across] / SIZE)
