"""How many cores this process may use, and one BLAS thread where work is split by recordings."""

from __future__ import annotations

import math
import os
import sys
from contextlib import AbstractContextManager, suppress
from functools import cache
from pathlib import Path

from threadpoolctl import ThreadpoolController


def cores() -> int:
    """Return the cores that this process may use, by affinity and cgroup: in a container or a job not all."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), cgroup_quota())))


def cgroup_quota(proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> float:
    """Return how many CPUs' time this process's control group and those around it may use, of both versions."""
    found = [math.inf]
    with suppress(OSError, ValueError):
        for line in proc.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            top = mounted / controllers if controllers else mounted
            # in a container the path is often that of the host, and the mount is the group itself
            for folder in (top, *((top / path.lstrip("/")), *(top / path.lstrip("/")).parents)):
                if folder.is_relative_to(mounted):
                    found.append(_quota_of(folder))
    return min(found)


def _quota_of(folder: Path) -> float:
    with suppress(OSError, ValueError, ZeroDivisionError):
        if (new := folder / "cpu.max").exists():
            quota, period = new.read_text().split()
            return math.inf if quota == "max" else int(quota) / int(period)
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        return quota_us / int((folder / "cpu.cfs_period_us").read_text()) if quota_us > 0 else math.inf
    return math.inf


def one_blas_thread() -> AbstractContextManager[object]:
    """Compute on one thread meanwhile: recordings are the unit of parallel work, threads inside only collide."""
    limiter: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limiter


@cache
def _blas() -> ThreadpoolController:
    """Find the BLAS libraries of this process, once: looking for them takes a millisecond."""
    return ThreadpoolController()
