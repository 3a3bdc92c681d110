"""Vectors of a width of our own in LLVM's language, for functions that numba compiles.

Imported only where numba is. Knows no EEG and no store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from brainbrr.core.compiled import has_feature

LINE = 64
"""Bytes of a cache line."""

SHORTS = 16
"""int16 of one product instruction."""

_ROUND = 1.5 * 2.0**52

I16, I32, I64, F64 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.DoubleType()


def splat(builder: Any, value: Any, kind: Any) -> Any:
    """Return a vector of `kind` with one value in each place."""
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, kind.count), None))


def pointer(builder: Any, address: Any, kind: Any) -> Any:
    """Return an address (int64) as a pointer to `kind`."""
    return builder.inttoptr(address, kind.as_pointer())


def load(builder: Any, address: Any, kind: Any, align: int) -> Any:
    """Load a value of `kind` from an address."""
    return builder.load(pointer(builder, address, kind), align=align)


def store(builder: Any, value: Any, address: Any, align: int) -> None:
    """Store a value at an address."""
    builder.store(value, pointer(builder, address, value.type), align=align)


def offset(builder: Any, address: Any, *terms: tuple[Any, int] | int) -> Any:
    """Return an address plus bytes: numbers, and (index, bytes each)."""
    for term in terms:
        if isinstance(term, int):
            address = builder.add(address, ir.Constant(I64, term)) if term else address
        else:
            index, each = term
            address = builder.add(address, builder.mul(index, ir.Constant(I64, each)))
    return address


def call(builder: Any, name: str, kind: Any, arguments: Sequence[Any]) -> Any:
    """Call an intrinsic of LLVM or of the processor."""
    function_type = ir.FunctionType(kind, [argument.type for argument in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
    return builder.call(function, arguments)


def rounded(builder: Any, value: Any, kind: Any) -> Any:
    """Return whole numbers, a half to even, of float64 below 2^51: a large number leaves no place for the rest."""
    large = ir.Constant(kind, [_ROUND] * kind.count)
    return builder.fsub(builder.fadd(value, large), large)


def products_of_neighbours(builder: Any, a: Any, b: Any) -> Any:
    """Return the sums of products of neighbours: int32 (8,) of two int16 (16,)."""
    ints = ir.VectorType(I32, SHORTS // 2)
    if has_feature("avx2"):
        return call(builder, "llvm.x86.avx2.pmadd.wd", ints, [a, b])
    wide = ir.VectorType(I32, SHORTS)
    product = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    undefined = ir.Constant(wide, ir.Undefined)
    halves = [builder.shuffle_vector(product, undefined, ir.Constant(ints, list(range(i, SHORTS, 2)))) for i in (0, 1)]
    return builder.add(*halves)
