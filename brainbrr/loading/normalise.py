"""From stored int16 to float32: space and normalisation in one pass, from exact statistics.

A row that is one recorded channel is float32(x - m) * s with an integer m: the same bits everywhere.
Rows that mix channels are summed in float64, in the order of channels, and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from brainbrr.core.arrays import Float32, Float64, Int32
from brainbrr.loading.rows import MIXED

IQR_OF_SIGMA = 1.349
"""Interquartile range of a Gaussian of unit standard deviation."""


@dataclass(frozen=True)
class Scaling:
    """The numbers that normalise one recording, a place for each row of the view.

    Rows that are one recorded channel: centre int32, gain float32. Rows that mix: offset and scale float64, so that
    the row is scale * (weights @ x) - offset in microvolts. Each has 0 where a row is of the other kind.
    """

    centre: Int32
    gain: Float32
    offset: Float64
    scale: Float64


def sources(matrix: Float64) -> Int32:
    """Return for each row of a matrix (view rows, recorded rows) the recorded row that it is, or MIXED: int32."""
    is_single = np.isfinite(matrix).all(axis=1) & ((matrix != 0).sum(axis=1) == 1) & (matrix.max(axis=1) == 1)
    return np.where(is_single, matrix.argmax(axis=1), MIXED).astype(np.int32)


def scaling(
    matrix: Float64,
    *,
    step_uv: Float64,
    statistics: Mapping[str, Any],
    normalise: str,
    scale_uv: str | None = None,
) -> Scaling:
    """Return what normalises one recording.

    `matrix` (view rows, recorded rows) acts on microvolts; `step_uv` float64 is each recorded row's lattice step;
    `statistics` is the record's. A channel without any variation becomes zeros: there is nothing to scale. The
    robust scale of one that varies though its interquartile range is 0 is its standard deviation.
    """
    source = sources(matrix)
    centre, gain = np.zeros(len(source), dtype=np.int32), np.zeros(len(source), dtype=np.float32)
    squares = _squares(statistics) if normalise in ("zscore", "robust") else []
    for row in np.flatnonzero(source != MIXED):
        centre[row], gain[row] = _single(int(source[row]), step_uv, statistics, squares, normalise, scale_uv)
    mixed = source == MIXED
    offset, scale = np.zeros(len(source)), np.zeros(len(source))
    offsets, scales = _mixed(matrix[mixed] * step_uv, statistics, normalise, scale_uv)
    offset[mixed], scale[mixed] = offsets * scales, scales
    return Scaling(centre, gain, offset, scale)


def weights_of(matrix: Float64, source: Int32, step_uv: Float64, scale: Float64) -> Float64:
    """Return what the recorded rows weigh in each row that mixes, (view rows, recorded rows); 0 in the others."""
    return np.where((source == MIXED)[:, None], matrix * step_uv * scale[:, None], 0.0)


def _single(
    row: int,
    steps: Float64,
    statistics: Mapping[str, Any],
    squares: Sequence[int],
    normalise: str,
    scale_uv: str | None,
) -> tuple[int, float]:
    """Return the integer centre and the gain of one recorded channel."""
    if normalise == "none":
        return 0, float(steps[row])
    if normalise == "fixed":
        return 0, float(Fraction(steps[row]) / Fraction(str(scale_uv)))
    n, total = statistics["n"], statistics["sums"][row]
    centre, rest = divmod(total, n)
    centre += 2 * rest > n or (2 * rest == n and centre % 2)  # the nearest integer, ties to even
    if normalise == "robust":
        low, centre, high = statistics["quartiles"][row]
        if high > low:
            return centre, IQR_OF_SIGMA / (high - low)
    spread = n * squares[row] - total * total
    return centre, n / math.sqrt(spread) if spread else 0.0


def _squares(statistics: Mapping[str, Any]) -> list[int]:
    """Return each recorded row's sum of squares: the diagonal of the stored upper triangle."""
    n_rows, products = len(statistics["sums"]), statistics["products"]
    return [products[i * n_rows - i * (i - 1) // 2] for i in range(n_rows)]


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
    weights: Float64, statistics: Mapping[str, Any], normalise: str, scale_uv: str | None
) -> tuple[Float64, Float64]:
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
