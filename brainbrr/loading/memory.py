"""What a view takes in memory, and what is free. Knows no store."""

from __future__ import annotations

import os

from brainbrr.loading.index import Index


def resident_bytes(index: Index) -> int:
    """Return the bytes that the recordings of an index take as int16."""
    return int(index.n_samples.sum()) * len(index.frame.channels) * 2


def free_bytes() -> int:
    """Return the memory that can be had without swapping, file cache included."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
