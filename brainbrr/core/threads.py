"""How many cores this process may use, and one BLAS thread where work is split by recordings."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def cores() -> int:
    """Return the cores that this process may use: in a container or a job fewer than the machine has."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[object]:
    """Compute on one thread meanwhile: recordings are the unit of parallel work, threads inside only collide."""
    limiter: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limiter


@cache
def _blas() -> ThreadpoolController:
    """Find the BLAS libraries of this process, once: looking for them takes a millisecond."""
    return ThreadpoolController()
