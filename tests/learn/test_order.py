"""The order of windows: a pure function of seed and step, balanced, and complete."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainbrr.errors import UsageError
from brainbrr.learn.loader import Order

CLASSES = np.array([0] * 40 + [1] * 6 + [2] * 3 + [3] * 10, dtype=np.uint8)


@given(seed=st.integers(0, 2**32 - 1), start=st.integers(0, 200), batch=st.integers(1, 9))
def test_a_step_does_not_depend_on_the_steps_before_it(seed: int, start: int, batch: int) -> None:
    whole, later = (Order(CLASSES, batch=batch, seed=seed) for _ in range(2))
    steps = [whole.step(step) for step in range(start + 3)]
    assert np.array_equal(np.stack(steps[start:]), np.stack([later.step(step) for step in range(start, start + 3)]))


def test_seeds_differ() -> None:
    assert not np.array_equal(Order(CLASSES, batch=16, seed=1).step(0), Order(CLASSES, batch=16, seed=2).step(0))


def test_half_is_background_and_a_quarter_each_kind_of_seizure() -> None:
    order = Order(CLASSES, batch=8, seed=0)
    for step in range(20):
        assert Counter(CLASSES[order.step(step)].tolist()) == {0: 4, 1: 2, 2: 2}


def test_each_class_is_gone_through_before_any_of_it_comes_again() -> None:
    order = Order(CLASSES, batch=4, seed=0)
    drawn = np.concatenate([order.step(step) for step in range(20)])
    background = drawn[CLASSES[drawn] == 0]
    assert sorted(background.tolist()) == list(range(40))
    partial = drawn[CLASSES[drawn] == 1]
    assert sorted(partial[:6].tolist()) == sorted(partial[6:12].tolist()) == list(range(40, 46))
    assert partial[:6].tolist() != partial[6:12].tolist()


def test_unbalanced_takes_every_labelled_window_once_an_epoch() -> None:
    order = Order(CLASSES, batch=7, seed=0, balanced=False)
    assert sorted(np.concatenate([order.step(step) for step in range(7)]).tolist()) == list(range(49))


@pytest.mark.parametrize("balanced", [True, False])
def test_windows_without_labels_are_never_taken(balanced: bool) -> None:
    order = Order(CLASSES, batch=50, seed=0, balanced=balanced)
    assert 3 not in CLASSES[np.concatenate([order.step(step) for step in range(20)])]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_class_that_is_not_there_leaves_its_place_to_the_others(missing: int) -> None:
    classes = CLASSES[~np.isin(CLASSES, missing)]
    drawn = classes[Order(classes, batch=60, seed=0).step(0)]
    assert set(drawn.tolist()) == {0, 1, 2} - {missing}


def test_a_view_without_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="no window of the view is labelled"):
        Order(np.full(4, 3, dtype=np.uint8), batch=2, seed=0)
