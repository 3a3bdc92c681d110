"""From stored int16 to float32: space and normalisation in one pass, from exact statistics.

A row that is one recorded channel is float32(x - m) * s with an integer m: the same bits everywhere.
Rows that mix channels are computed in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from brainbrr.eeg.spatial import Matrix

IQR_OF_SIGMA = 1.349
"""Interquartile range of a Gaussian of unit standard deviation."""


@dataclass(frozen=True)
class Transform:
    """How the stored rows of one recording become the rows of a view."""

    n_rows: int
    single_rows: np.ndarray[Any, np.dtype[np.intp]]
    single_sources: np.ndarray[Any, np.dtype[np.intp]]
    centres: np.ndarray[Any, np.dtype[np.int32]]
    gains: np.ndarray[Any, np.dtype[np.float32]]
    mixed_rows: np.ndarray[Any, np.dtype[np.intp]]
    weights: Matrix
    offsets: Matrix
    clip: float | None

    def apply(self, stored: np.ndarray[Any, np.dtype[np.int16]], out: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        """Fill `out` (view rows, n) float32 from `stored` (recorded rows, n) int16."""
        if len(self.single_rows):
            centred = stored[self.single_sources].astype(np.int32)
            centred -= self.centres[:, None]
            out[self.single_rows] = centred.astype(np.float32) * self.gains[:, None]
        if len(self.mixed_rows):
            out[self.mixed_rows] = self.weights @ stored.astype(np.float64) - self.offsets[:, None]
        if self.clip is not None:
            np.clip(out, -self.clip, self.clip, out=out)


def transform(
    matrix: Matrix,
    *,
    step_uv: Sequence[Fraction],
    statistics: Mapping[str, Any],
    normalise: str,
    scale_uv: str | None = None,
    clip: str | None = None,
) -> Transform:
    """Return the transform of one recording.

    `matrix` (view rows, recorded rows) acts on microvolts; `step_uv` is each recorded row's lattice step;
    `statistics` is the record's. A channel without any variation becomes zeros: there is nothing to scale. The
    robust scale of one that varies though its interquartile range is 0 is its standard deviation.
    """
    steps = np.array([float(step) for step in step_uv])
    is_single = (np.isfinite(matrix).all(axis=1)) & ((matrix != 0).sum(axis=1) == 1) & (matrix.max(axis=1) == 1)
    single = np.flatnonzero(is_single)
    sources = matrix[single].argmax(axis=1)
    centres, gains = [], []
    for source in sources:
        centre, gain = _single(int(source), steps, statistics, normalise, scale_uv)
        centres.append(centre)
        gains.append(gain)
    mixed = np.flatnonzero(~is_single)
    weights = matrix[mixed] * steps
    offsets, scales = _mixed(weights, statistics, normalise, scale_uv)
    return Transform(
        n_rows=len(matrix),
        single_rows=single,
        single_sources=sources,
        centres=np.array(centres, dtype=np.int32),
        gains=np.array(gains, dtype=np.float32),
        mixed_rows=mixed,
        weights=weights * scales[:, None],
        offsets=offsets * scales,
        clip=None if clip is None else float(clip),
    )


def _single(
    row: int, steps: Matrix, statistics: Mapping[str, Any], normalise: str, scale_uv: str | None
) -> tuple[int, float]:
    """Return the integer centre and the gain of one recorded channel."""
    if normalise == "none":
        return 0, float(steps[row])
    if normalise == "fixed":
        return 0, float(Fraction(steps[row]) / Fraction(str(scale_uv)))
    n, total = statistics["n"], statistics["sums"][row]
    centre = round(Fraction(total, n))
    if normalise == "robust":
        low, centre, high = statistics["quartiles"][row]
        if high > low:
            return centre, IQR_OF_SIGMA / (high - low)
    spread = n * covariances(statistics)[row][row] - total * total
    return centre, n / math.sqrt(spread) if spread else 0.0


def covariances(statistics: Mapping[str, Any]) -> list[list[int]]:
    """Return the full table of sums of products, as exact integers, from its stored upper triangle."""
    n_rows = len(statistics["sums"])
    table = [[0] * n_rows for _ in range(n_rows)]
    triangle = iter(statistics["products"])
    for i in range(n_rows):
        for j in range(i, n_rows):
            table[i][j] = table[j][i] = next(triangle)
    return table


def _mixed(
    weights: Matrix, statistics: Mapping[str, Any], normalise: str, scale_uv: str | None
) -> tuple[Matrix, Matrix]:
    """Return the offset (microvolts) and the scale of rows that mix channels.

    The z-score is exact: mean and variance of a linear combination follow from sums and products.
    The robust scale takes each channel's interquartile range (where it is 0, the standard deviation) and the
    recorded correlations.
    """
    if not len(weights) or normalise == "none":
        return np.zeros(len(weights)), np.ones(len(weights))
    if normalise == "fixed":
        return np.zeros(len(weights)), np.full(len(weights), 1 / float(str(scale_uv)))
    n = statistics["n"]
    sums = statistics["sums"]
    products = covariances(statistics)
    rows = range(len(sums))
    covariance = np.array(
        [[float(Fraction(n * products[i][j] - sums[i] * sums[j], n * n)) for j in rows] for i in rows]
    )
    centre = np.array([float(Fraction(total, n)) for total in sums])
    if normalise == "robust":
        deviations = np.sqrt(np.diag(covariance))
        quartiles = [q or (0, 0, 0) for q in statistics["quartiles"]]
        ranges = np.array([(high - low) / IQR_OF_SIGMA for low, _, high in quartiles])
        ratio = np.divide(ranges, deviations, out=np.ones_like(ranges), where=ranges > 0)
        covariance = covariance * np.outer(ratio, ratio)
        centre = np.array([float(median) for _, median, _ in quartiles])
    variance = np.einsum("ri,ij,rj->r", weights, covariance, weights)
    scale = np.divide(1.0, np.sqrt(np.maximum(variance, 0.0)), out=np.zeros_like(variance), where=variance > 0)
    return weights @ centre, np.where(np.isnan(variance), np.nan, scale)
