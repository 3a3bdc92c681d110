"""Augmentation: other numbers for the same pass, by seed and place alone."""

from __future__ import annotations

import numpy as np
import pytest

from brainbrr.eeg.signal.montage import DOUBLE_BANANA, TEN_TWENTY
from brainbrr.errors import UsageError
from brainbrr.loading.augment import Augment, Augmenter, mirror
from brainbrr.loading.rows import MIXED, Rows

ROWS = ("C3", "Cz", "C4", "O1", "O2")


def made_of() -> Rows:
    source = np.array([0, 1, 2, MIXED, 4], dtype=np.int32)
    weights = np.zeros((5, 5))
    weights[3, :2] = 2.0, 3.0
    return Rows(
        source,
        np.arange(5, dtype=np.int32),
        np.arange(1, 6, dtype=np.float32),
        weights,
        np.arange(5.0),
        np.float32(np.inf),
        5,
    )


def drawn(config: Augment, place: int = 3, seed: int = 1) -> Rows:
    return Augmenter(config, ROWS, seed=seed).draw(place).rows(made_of())


def same(a: Rows, b: Rows) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("source", "centre", "gain", "weights", "offset")
    )


def test_augmentation_depends_on_seed_and_place_only() -> None:
    config = Augment(gain=0.3, channel_gain=0.1, drop_channel=0.3, polarity=True, shuffle_channels=0.5, mirror=0.5)
    assert same(drawn(config), drawn(config))
    assert not same(drawn(config), drawn(config, place=4))
    assert not same(drawn(config), drawn(config, seed=2))
    assert same(drawn(Augment()), made_of()) and not Augment()


def test_gains_scale_recorded_and_mixed_rows_alike() -> None:
    found, plain = drawn(Augment(channel_gain=0.5)), made_of()
    factor = found.gain / plain.gain
    assert len(set(factor.tolist())) == 5
    np.testing.assert_allclose(found.weights[3], plain.weights[3] * factor[3], rtol=1e-6)
    np.testing.assert_allclose(found.offset, plain.offset * factor, rtol=1e-6)
    assert np.array_equal(found.source, plain.source) and np.array_equal(found.centre, plain.centre)


def test_dropped_rows_are_zero_and_about_as_many_as_asked_for() -> None:
    dropped = [(drawn(Augment(drop_channel=0.25), place=place).gain == 0).mean() for place in range(400)]
    assert 0.2 < np.mean(dropped) < 0.3


def test_polarity_turns_whole_windows() -> None:
    signs = {tuple(np.sign(drawn(Augment(polarity=True), place=place).gain).tolist()) for place in range(30)}
    assert signs == {(1.0,) * 5, (-1.0,) * 5}


def test_mirrored_windows_have_left_and_right_swapped() -> None:
    assert drawn(Augment(mirror=1.0)).source.tolist() == [2, 1, 0, 4, MIXED]
    order, signs = mirror(TEN_TWENTY)
    assert TEN_TWENTY[order[TEN_TWENTY.index("F7")]] == "F8" and (signs == 1).all()
    assert np.array_equal(order[order], np.arange(19))
    order, signs = mirror(DOUBLE_BANANA)
    assert DOUBLE_BANANA[order[DOUBLE_BANANA.index("Fp1-F7")]] == "Fp2-F8"
    assert DOUBLE_BANANA[order[DOUBLE_BANANA.index("C3-Cz")]] == "Cz-C4"
    assert signs[DOUBLE_BANANA.index("C3-Cz")] == -1 and np.array_equal(order[order], np.arange(20))
    with pytest.raises(UsageError, match="C3 has no row on the other side"):
        Augmenter(Augment(mirror=0.1), ("C3", "Cz"), seed=0)


def test_shuffled_channels_are_all_there() -> None:
    orders = [drawn(Augment(shuffle_channels=0.5), place=place).centre.tolist() for place in range(40)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert 5 < sum(order == [0, 1, 2, 3, 4] for order in orders) < 35


def test_shifts_lie_between_minus_one_and_one() -> None:
    augmenter = Augmenter(Augment(shift_s=2.0), ROWS, seed=0)
    shifts = [augmenter.draw(place).shift for place in range(200)]
    assert -1 <= min(shifts) < -0.8 and 0.8 < max(shifts) <= 1
