"""Whether functions can be compiled by numba here, and how. Importing this imports no numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any


@cache
def has_numba() -> bool:
    """Say whether numba is installed and can compile: kernels are compiled then, else numpy computes the same."""
    if find_spec("numba") is None:
        return False
    try:
        from numba import config
    except ImportError:  # it refuses a numpy that it does not know
        return False
    return not config.DISABLE_JIT  # type: ignore[attr-defined]


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call; other processes reuse the result where it can be cached on disk."""
    from numba import njit

    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder can be written to: each process compiles for itself
        return njit(nogil=True)(function)


def has_feature(name: str) -> bool:
    """Say whether code is compiled for processors that have a feature, as LLVM calls it."""
    from numba.core import registry

    return f"+{name}" in registry.cpu_target.target_context.codegen()._tm_features.split(",")


def described() -> str:
    """Return by what kernels are compiled, and for which processor, in words."""
    if not has_numba():
        return "numpy, since numba is not installed: pip install 'brainbrr[fast]' makes ingest and loaders faster"
    import numba
    from llvmlite.binding import get_host_cpu_name

    vectors = "AVX2" if has_feature("avx2") else "no AVX2"
    processor = numba.config.CPU_NAME or get_host_cpu_name()  # type: ignore[attr-defined]
    return f"numba {numba.__version__} for {processor} ({vectors})"
