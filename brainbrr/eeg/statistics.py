"""Exact integer statistics of stored samples, gathered block by block. Views normalise from them (decision 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Int16 = np.ndarray[Any, np.dtype[np.int16]]

_BLOCK = 1 << 14  # samples per product: 2^14 · 2^30 is far below 2^53, so float64 sums are exact


class Statistics:
    """Sums, sums of products and quartiles of the rows that are present, whatever the blocks."""

    def __init__(self, n_rows: int, present: Sequence[int]) -> None:
        self._rows = np.asarray(present, dtype=np.intp)
        self._n = 0
        self._sums = np.zeros(n_rows, dtype=np.int64)
        self._products = np.zeros((n_rows, n_rows), dtype=np.int64)
        self._counts: dict[int, tuple[int, np.ndarray[Any, np.dtype[np.int64]]]] = {}

    def update(self, block: Int16) -> None:
        """Take the next samples: int16 (rows, any)."""
        rows = self._rows
        present = block if len(rows) == len(block) else block[rows]
        for start in range(0, block.shape[1], _BLOCK):
            part = present[:, start : start + _BLOCK].astype(np.float64)
            self._sums[rows] += part.sum(axis=1).astype(np.int64)
            self._products[np.ix_(rows, rows)] += (part @ part.T).astype(np.int64)
        for i in rows.tolist():
            self._count(i, block[i])
        self._n += block.shape[1]

    def _count(self, i: int, row: Int16) -> None:
        if not len(row):
            return
        lowest = int(row.min())
        # the difference to the lowest, as unsigned: it fits in 16 bits
        counts = np.bincount(row.view(np.uint16) - np.uint16(lowest & 0xFFFF))
        if i in self._counts:
            low, before = self._counts[i]
            first = min(low, lowest)
            both = np.zeros(max(low + len(before), lowest + len(counts)) - first, dtype=np.int64)
            both[low - first : low - first + len(before)] += before
            both[lowest - first : lowest - first + len(counts)] += counts
            lowest, counts = first, both
        self._counts[i] = lowest, counts

    def result(self) -> dict[str, Any]:
        """Return {"n", "sums" [C], "products" [C(C+1)/2: Σ x_i·x_j for i ≤ j, row by row], "quartiles" [C]}.

        Each in the channel's own lattice steps; quartiles are the values at the nearest ranks of 25, 50 and 75 %.
        Other rows have sums and products of 0 and None for quartiles.
        """
        return {
            "n": self._n,
            "sums": self._sums.tolist(),
            "products": self._products[np.triu_indices(len(self._sums))].tolist(),
            "quartiles": [
                self._quartiles(*self._counts[i]) if i in self._counts else None for i in range(len(self._sums))
            ],
        }

    def _quartiles(self, lowest: int, counts: np.ndarray[Any, np.dtype[np.int64]]) -> list[int]:
        at_most = np.cumsum(counts)
        return [int(np.searchsorted(at_most, -(-quarter * self._n // 4))) + lowest for quarter in (1, 2, 3)]
