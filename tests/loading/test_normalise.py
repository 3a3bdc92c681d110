"""From stored integers to float32: exact where one channel is one row, right where rows mix."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.loading.kernels import kernels
from brainbrr.loading.normalise import IQR_OF_SIGMA, scaling, sources, weights_of
from brainbrr.loading.rows import Rows


def statistics(stored: np.ndarray) -> dict[str, Any]:
    """Return a record's statistics by the plain definition, in Python integers."""
    rows = [[int(x) for x in row] for row in stored]
    n = len(rows[0])
    ranks = [max(0, -(-n * q // 4) - 1) for q in (1, 2, 3)]
    return {
        "n": n,
        "sums": [sum(row) for row in rows],
        "products": [
            sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
            for i in range(len(rows))
            for j in range(i, len(rows))
        ],
        "quartiles": [[sorted(row)[rank] for rank in ranks] for row in rows],
    }


def apply(
    stored: np.ndarray,
    matrix: np.ndarray,
    k: list[int],
    clip: float = np.inf,
    table: dict[str, Any] | None = None,
    **options: Any,
) -> np.ndarray:
    step_uv, source = 0.125 * 2.0 ** np.array(k), sources(matrix)
    numbers = scaling(matrix, step_uv=step_uv, statistics=table or statistics(stored), **options)
    weights = weights_of(matrix, source, step_uv, numbers.scale)
    rows = Rows(source, numbers.centre, numbers.gain, weights, numbers.offset, np.float32(clip), len(stored))
    out = np.empty((len(matrix), stored.shape[1]), dtype=np.float32)
    kernels().rows(stored.reshape(1, -1), stored.shape[1], 0, stored.shape[1], rows, out)
    return out


stored_arrays = st.integers(0, 2**32).map(
    lambda seed: np.random.default_rng(seed).integers(-32767, 32768, (4, 50)).astype(np.int16)
)


@given(stored_arrays)
@settings(max_examples=30, deadline=None)
def test_microvolts_are_exactly_step_times_sample(stored: np.ndarray) -> None:
    out = apply(stored, np.eye(4), [0, 1, 2, 3], normalise="none")
    assert np.array_equal(out, stored * np.array([[0.125], [0.25], [0.5], [1.0]], dtype=np.float32))


@given(stored_arrays)
@settings(max_examples=30, deadline=None)
def test_zscore_of_a_recorded_channel_is_float32_x_minus_m_times_s(stored: np.ndarray) -> None:
    out = apply(stored, np.eye(4), [0] * 4, normalise="zscore")
    for row, found in zip(stored.astype(np.int64), out, strict=True):
        m = round(Fraction(int(row.sum()), len(row)))
        s = np.float32(1 / row.std())
        expected = (row - m).astype(np.float32) * s
        np.testing.assert_allclose(found, expected, rtol=3e-7)
    assert out.dtype == np.float32


def test_zscore_of_a_mixing_row_has_mean_zero_and_unit_deviation() -> None:
    stored = np.random.default_rng(1).normal(100, 900, (3, 5000)).astype(np.int16)
    matrix = np.array([[0.5, 0.5, 0], [1, -1, 0], [0, 0, 1.0]])
    out = apply(stored, matrix, [0, 2, 1], normalise="zscore").astype(np.float64)
    np.testing.assert_allclose(out.mean(axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(out.std(axis=1), 1, atol=1e-5)


def test_robust_takes_median_and_quartiles() -> None:
    stored = np.array([[0, 0, 0, 10, 20, 30, 30, 30, 3000]], dtype=np.int16)
    out = apply(stored, np.eye(1), [0], normalise="robust")
    assert out[0, 4] == 0  # the median
    np.testing.assert_allclose(out[0, 5], 10 * IQR_OF_SIGMA / 30, rtol=1e-6)


def test_robust_mixing_row_reduces_to_the_channel_when_it_is_one() -> None:
    stored = np.random.default_rng(2).normal(0, 500, (2, 4000)).astype(np.int16)
    single = apply(stored, np.array([[1.0, 0]]), [0, 0], normalise="robust")
    mixed = apply(stored, np.array([[2.0, 0]]), [0, 0], normalise="robust")  # scaled: takes the mixing path
    np.testing.assert_allclose(mixed, single, atol=1e-3)


def test_robust_scales_a_channel_that_is_flat_most_of_the_time_by_its_deviation() -> None:
    rest = np.zeros(6000)
    seizure = np.random.default_rng(5).normal(0, 800, 1900)
    stored = np.stack([np.concatenate([rest + 7, seizure]), np.random.default_rng(6).normal(0, 90, 7900)])
    stored = stored.astype(np.int16)
    low, median, high = statistics(stored)["quartiles"][0]
    assert low == median == high == 7
    single = apply(stored, np.array([[1.0, 0]]), [0, 0], normalise="robust")
    expected = (stored[0] - 7.0) / stored[0].std()
    np.testing.assert_allclose(single[0], expected, rtol=1e-6)
    mixed = apply(stored, np.array([[2.0, 0]]), [0, 0], normalise="robust")  # scaled: takes the mixing path
    np.testing.assert_allclose(mixed[0], expected, atol=1e-5)


def test_robust_mixing_weighs_a_mostly_flat_channel_by_its_deviation() -> None:
    rng = np.random.default_rng(7)
    burst = np.where(np.arange(8000) < 6500, 0, rng.normal(0, 900, 8000))
    stored = np.stack([burst, rng.normal(0, 300, 8000)]).astype(np.int16)
    out = apply(stored, np.array([[1.0, -1.0]]), [0, 0], normalise="robust").astype(np.float64)
    low, median, high = statistics(stored)["quartiles"][1]
    a, b = stored.astype(np.float64)
    spread_b = (high - low) / IQR_OF_SIGMA
    variance = a.var() + spread_b**2 - 2 * np.corrcoef(a, b)[0, 1] * a.std() * spread_b
    np.testing.assert_allclose(out[0], (a - b + median) / np.sqrt(variance), atol=1e-5)


@pytest.mark.parametrize("normalise", ["zscore", "robust"])
def test_flat_channel_becomes_zeros_not_noise(normalise: str) -> None:
    stored = np.full((2, 100), 7, dtype=np.int16)
    out = apply(stored, np.array([[1.0, 0], [0.5, 0.5]]), [0, 0], normalise=normalise)
    assert not out.any()


def test_fixed_scale_and_clip() -> None:
    stored = np.array([[8, 80, -8000]], dtype=np.int16)
    out = apply(stored, np.eye(1), [0], normalise="fixed", scale_uv="10", clip=5.0)
    assert out.tolist() == [[np.float32(0.1), 1.0, -5.0]]


def test_rows_without_an_answer_stay_nan() -> None:
    stored = np.random.default_rng(3).integers(-99, 99, (2, 10)).astype(np.int16)
    out = apply(stored, np.array([[np.nan, 0.0], [0.0, 1.0]]), [0, 0], normalise="zscore")
    assert np.isnan(out[0]).all() and np.isfinite(out[1]).all()


def test_absent_rows_do_not_leak_into_interpolated_ones() -> None:
    stored = np.random.default_rng(4).integers(-99, 99, (3, 200)).astype(np.int16)
    table = statistics(stored)
    stored[1] = -32768
    table["sums"][1] = 0
    table["products"] = [0 if pair in (1, 3, 4) else p for pair, p in enumerate(table["products"])]
    table["quartiles"][1] = None
    out = apply(stored, np.array([[0.5, 0.0, 0.5]]), [3, 3, 3], table=table, normalise="none")
    np.testing.assert_allclose(out[0], (stored[0] + stored[2].astype(np.float32)) / 2)
