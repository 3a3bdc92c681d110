"""Which kernels fill windows here: compiled ones where numba is installed, numpy's anywhere else."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from brainbrr.eeg.dequantise import Kernels, Numpy


@cache
def kernels(*, compiled: bool | None = None) -> Kernels:
    """Return the compiled kernels, or numpy's where numba is not installed; `compiled` asks for one of them.

    Raises ModuleNotFoundError when compiled ones are asked for without numba.
    """
    if compiled or (compiled is None and find_spec("numba") is not None):
        from brainbrr.eeg.compiled import Compiled

        return Compiled()
    return Numpy()
