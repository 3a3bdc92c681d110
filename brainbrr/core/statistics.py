"""Exact integer statistics of stored samples, gathered block by block. Views normalise from them (decision 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainbrr.core.arrays import Int16, Int64
from brainbrr.core.compiled import has_numba

MOST = 32767
"""What no stored sample exceeds, either way."""


_WORTH = 1 << 15  # samples
_BLOCK = 1 << 14  # samples per product: 2^14 · 2^30 is far below 2^53, so float64 sums are exact


class Statistics:
    """Sums, sums of products and quartiles of the rows that are present, whatever the blocks."""

    def __init__(self, n_rows: int, present: Sequence[int]) -> None:
        self._rows = np.asarray(present, dtype=np.intp)
        self._n = 0
        self._sums = np.zeros(n_rows, dtype=np.int64)
        self._products = np.zeros((n_rows, n_rows), dtype=np.int64)
        self._counts: dict[int, tuple[int, Int64]] = {}

    def update(self, block: Int16) -> None:
        """Take the next samples: int16 (rows, any)."""
        largest = 1
        for i in self._rows.tolist() if block.shape[1] else ():
            lowest, counts = counts_of(block[i])
            values = np.arange(lowest, lowest + len(counts))
            largest = max(largest, -lowest, lowest + len(counts) - 1)
            self._sums[i] += values @ counts
            self._count(i, lowest, counts)
        if _is_worth(block):
            from brainbrr.core.statistics_compiled import products

            self._products[np.ix_(self._rows, self._rows)] += products(block, self._rows, largest)
        else:
            self._multiply(block)
        self._n += block.shape[1]

    def _multiply(self, block: Int16) -> None:
        rows = self._rows
        present = block if len(rows) == len(block) else block[rows]
        for start in range(0, block.shape[1], _BLOCK):
            part = present[:, start : start + _BLOCK].astype(np.float64)
            self._products[np.ix_(rows, rows)] += (part @ part.T).astype(np.int64)

    def _count(self, i: int, lowest: int, counts: Int64) -> None:
        if i in self._counts:
            low, before = self._counts[i]
            first = min(low, lowest)
            both = np.zeros(max(low + len(before), lowest + len(counts)) - first, dtype=np.int64)
            both[low - first : low - first + len(before)] += before
            both[lowest - first : lowest - first + len(counts)] += counts
            lowest, counts = first, both
        self._counts[i] = lowest, counts

    def rms(self, row: int) -> float:
        """Return the standard deviation of a row, in its own steps."""
        n, total = self._n, int(self._sums[row])
        return math.sqrt(max(0, n * int(self._products[row, row]) - total * total)) / n if n else 0.0

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

    def _quartiles(self, lowest: int, counts: Int64) -> list[int]:
        at_most = np.cumsum(counts)
        return [int(np.searchsorted(at_most, -(-quarter * self._n // 4))) + lowest for quarter in (1, 2, 3)]


def _is_worth(samples: Int16) -> bool:
    """Say whether compiled code is to be used: loading it takes as long as many small stores."""
    return samples.size >= _WORTH and has_numba()


def counts_of(row: Int16) -> tuple[int, Int64]:
    """Return the lowest value of a row, and how often it, and each value up to the highest, occurs: of int16 (any,)."""
    if _is_worth(row):
        from brainbrr.core.statistics_compiled import counts

        return counts(row)
    lowest = int(row.min())
    # the difference to the lowest, as unsigned: it fits in 16 bits
    return lowest, np.bincount(row.view(np.uint16) - np.uint16(lowest & 0xFFFF))


def check(statistics: Mapping[str, Any], *, present: Sequence[bool], n: int) -> None:
    """Raise ValueError for what cannot be the statistics of n samples of these rows: views divide by them."""
    if statistics.keys() != {"n", "sums", "products", "quartiles"} or statistics["n"] != n:
        raise ValueError(f"they are not n = {n}, sums, products and quartiles")
    sums, products = (_integers(statistics[name], name) for name in ("sums", "products"))
    quartiles, n_rows = statistics["quartiles"], len(present)
    if (len(sums), len(products)) != (n_rows, n_rows * (n_rows + 1) // 2):
        raise ValueError(f"sums or products are not of {n_rows} rows")
    if max(map(abs, sums)) > n * MOST or max(map(abs, products)) > n * MOST**2:
        raise ValueError("a sum is larger than that of the largest samples")
    if not isinstance(quartiles, list) or [each is not None for each in quartiles] != list(present):
        raise ValueError("quartiles are not of the rows that are there")
    for i, each in enumerate(quartiles):
        spread = n * products[i * n_rows - i * (i - 1) // 2] - sums[i] * sums[i]
        if spread < 0:
            raise ValueError("a variance is negative")
        if each is None:
            continue
        if len(_integers(each, "quartiles")) != 3 or each != sorted(each) or max(map(abs, each)) > MOST:
            raise ValueError("quartiles do not rise, or are no samples")
        if not spread and each[0] != each[2]:
            raise ValueError("quartiles differ where nothing varies")


def means_and_gains(statistics: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """Return each row's mean as the nearest integer, ties to even, and one over its standard deviation, 0 for none."""
    n, sums, means, gains = statistics["n"], statistics["sums"], [], []
    for total, square in zip(sums, squares(statistics), strict=True):
        mean, rest = divmod(total, n)
        means.append(mean + (2 * rest > n or (2 * rest == n and mean % 2)))
        spread = n * square - total * total
        gains.append(n / math.sqrt(spread) if spread else 0.0)
    return means, gains


def squares(statistics: Mapping[str, Any]) -> list[int]:
    """Return each row's sum of squares: the diagonal of the stored upper triangle."""
    n_rows, products = len(statistics["sums"]), statistics["products"]
    return [products[i * n_rows - i * (i - 1) // 2] for i in range(n_rows)]


def _integers(values: object, name: str) -> list[int]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ValueError(f"{name} are no integers")
    return values
