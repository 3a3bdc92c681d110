"""The stored lattice: rounding half to even, ties decided rationally, the smallest step that holds a channel."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from brainbrr.eeg.signal.quantise import LARGEST, Lattice

fractions = st.fractions(min_value=Fraction(1, 10**9), max_value=10**4, max_denominator=10**9)


def rounded(lattice: Lattice, numbers: Any) -> list[int]:
    out = np.zeros(len(numbers), dtype=np.int16)
    lattice.round(np.array(numbers, dtype=np.float64), out)
    return [int(value) for value in out]


@pytest.mark.slow
@given(
    st.lists(st.integers(-(1 << 50), 1 << 50), min_size=1, max_size=50),
    fractions,
    st.one_of(st.just(Fraction(0)), st.fractions(-(10**6), 10**6, max_denominator=10**6)),
)
@example([1, 3, 5, -1, -3], Fraction(1, 2), Fraction(0))
@example([1 << 50, (1 << 50) + 1], Fraction(32_767, 1 << 50), Fraction(1, 3))
def test_every_number_becomes_what_fractions_say(numbers: list[int], gain: Fraction, offset: Fraction) -> None:
    lattice = Lattice.fitting(gain=gain, offset=offset, lowest=float(min(numbers)), highest=float(max(numbers)))
    exact = [round((Fraction(number) * gain + offset) / 2**lattice.k) for number in numbers]
    assert rounded(lattice, numbers) == exact
    assert max(map(abs, exact)) <= LARGEST
    if lattice.k:
        finer = [round((Fraction(number) * gain + offset) / 2 ** (lattice.k - 1)) for number in numbers]
        assert max(map(abs, finer)) > LARGEST


def test_ties_go_to_the_even_number_where_a_float_product_would_miss_them() -> None:
    # 3 · 2^45 + 1/2 · denominators that no float holds: y · gain is exactly halfway between two values
    gain = Fraction(1, 6)
    numbers = [3 * odd for odd in range(-9001, 9002, 2)]
    assert rounded(Lattice(gain, Fraction(0)), numbers) == [round(Fraction(number, 6)) for number in numbers]


def test_numbers_within_a_hair_of_the_middle_fall_on_their_own_side() -> None:
    gain = Fraction(1, 1 << 40)
    middles = [(2 * n + 1) << 39 for n in range(-100, 100)]
    for shift in (-1, 0, 1):
        numbers = [middle + shift for middle in middles]
        assert rounded(Lattice(gain, Fraction(0)), numbers) == [round(Fraction(n) * gain) for n in numbers]
