"""The order of windows: a pure function of seed, step, rank and world; balanced, complete, and shared without loss."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from helpers.indexes import small_index
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.errors import UsageError
from brainbrr.loading.index import Index
from brainbrr.loading.order import Order, Sampling

CLASSES = [0] * 40 + [1] * 6 + [2] * 3 + [3] * 10


def index_with(classes: list[int]) -> Index:
    """Return an index of one window a recording, of the class wanted."""
    seizures = {i: [(0, 2)] if kind == 1 else [(0, 4)] for i, kind in enumerate(classes) if kind in (1, 2)}
    untils = [0 if kind == 3 else 4 for kind in classes]
    patients = [i % 7 for i in range(len(classes))]
    index = small_index([4] * len(classes), seizures=seizures, labelled_until=untils, patients=patients)
    assert index.classes().tolist() == classes
    return index


INDEX = index_with(CLASSES)
BALANCED = Sampling(balance="balanced")
samplings = st.builds(
    Sampling,
    seed=st.integers(0, 2**63 - 1),
    balance=st.sampled_from([None, "balanced", "upstream", {"background": 3, "full": 1}]),
    shuffle=st.sampled_from(["global", "block", "none"]),
    run=st.integers(1, 9),
    pool=st.integers(1, 30),
    patient_cap=st.none() | st.integers(1, 4),
)


def drawn(sampling: Sampling, n: int, *, index: Index = INDEX, **world: Any) -> np.ndarray:
    return Order(index, sampling, batch=1, **world).take(0, n)


@pytest.mark.slow
@given(sampling=samplings, start=st.integers(0, 200), batch=st.integers(1, 9))
@settings(deadline=None)
def test_a_step_does_not_depend_on_the_steps_before_it(sampling: Sampling, start: int, batch: int) -> None:
    whole, later = (Order(INDEX, sampling, batch=batch) for _ in range(2))
    steps = [whole.step(step) for step in range(start + 3)]
    assert np.array_equal(np.stack(steps[start:]), np.stack([later.step(step) for step in range(start, start + 3)]))


@pytest.mark.slow
@given(sampling=samplings, batch=st.integers(1, 5), world=st.integers(1, 4), steps=st.integers(1, 30))
@settings(deadline=None)
def test_ranks_share_the_stream_without_overlap_or_loss(sampling: Sampling, batch: int, world: int, steps: int) -> None:
    ranks = [Order(INDEX, sampling, batch=batch, rank=rank, world=world) for rank in range(world)]
    together = np.concatenate([order.step(step) for step in range(steps) for order in ranks])
    assert np.array_equal(together, drawn(sampling, batch * world * steps))
    alone = Order(INDEX, sampling, batch=batch * world)
    assert np.array_equal(together, np.concatenate([alone.step(step) for step in range(steps)]))


def test_seeds_differ() -> None:
    assert not np.array_equal(drawn(Sampling(seed=1), 49), drawn(Sampling(seed=2), 49))


@pytest.mark.parametrize("shuffle", ["global", "block"])
def test_epochs_differ(shuffle: Any) -> None:
    twice = drawn(Sampling(shuffle=shuffle, run=3, pool=8), 98)
    assert sorted(twice[:49]) == sorted(twice[49:]) and twice[:49].tolist() != twice[49:].tolist()


def test_half_is_background_and_a_quarter_each_kind_of_seizure() -> None:
    order = Order(INDEX, BALANCED, batch=8)
    for step in range(20):
        assert Counter(np.array(CLASSES)[order.step(step)].tolist()) == {0: 4, 1: 2, 2: 2}


def test_upstreams_set_takes_every_partial_window_once_an_epoch() -> None:
    index = index_with([0] * 60 + [1] * 20 + [2] * 8)
    order = Order(index, Sampling(balance="upstream"), batch=1)
    found = Counter(index.classes()[order.take(0, order.epoch)].tolist())
    assert found == {0: 50, 1: 20, 2: 6} and order.epoch == 76
    partial = [w for w in order.take(0, order.epoch) if index.classes()[w] == 1]
    assert sorted(partial) == list(range(60, 80))


def test_each_class_is_gone_through_before_any_of_it_comes_again() -> None:
    windows = drawn(BALANCED, 80)
    kinds = np.array(CLASSES)[windows]
    assert sorted(windows[kinds == 0].tolist()) == list(range(40))
    partial = windows[kinds == 1]
    assert sorted(partial[:6].tolist()) == sorted(partial[6:12].tolist()) == list(range(40, 46))
    assert partial[:6].tolist() != partial[6:12].tolist()


@pytest.mark.parametrize("shuffle", ["global", "block", "none"])
def test_unbalanced_takes_every_labelled_window_once_an_epoch(shuffle: Any) -> None:
    order = Order(INDEX, Sampling(shuffle=shuffle, run=4, pool=10), batch=7)
    assert order.epoch == 49 and order.steps(1) == 7 and order.steps(2) == 14
    windows = order.take(0, 49).tolist()
    assert sorted(windows) == list(range(49)) and (windows == list(range(49))) == (shuffle == "none")


@pytest.mark.parametrize("balance", [None, "balanced"])
def test_windows_without_labels_are_never_taken(balance: str | None) -> None:
    assert 3 not in np.array(CLASSES)[drawn(Sampling(balance=balance), 400)]


def test_without_labels_all_windows_are_taken_where_that_is_said() -> None:
    assert sorted(drawn(Sampling(), 59, unlabelled=True)) == list(range(59))


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_class_that_is_not_there_leaves_its_place_to_the_others(missing: int) -> None:
    classes = [kind for kind in CLASSES if kind != missing]
    found = np.array(classes)[drawn(BALANCED, 60, index=index_with(classes))]
    assert set(found.tolist()) == {0, 1, 2} - {missing}


@pytest.mark.slow
@given(cap=st.integers(1, 8), shuffle=st.sampled_from(["global", "block"]), seed=st.integers(0, 99))
@settings(deadline=None)
def test_no_patient_gives_more_than_the_cap_and_each_round_chooses_anew(cap: int, shuffle: Any, seed: int) -> None:
    order = Order(INDEX, Sampling(seed=seed, shuffle=shuffle, patient_cap=cap), batch=1)
    rounds = [order.take(lap * order.epoch, order.epoch) for lap in range(12)]
    for windows in rounds:
        counts = Counter(INDEX.patient[INDEX.locate(windows)[0]].tolist())
        assert len(set(windows.tolist())) == len(windows)
        assert counts == {patient: min(cap, 7) for patient in range(7)}
    if cap < 7:
        assert len(set(np.concatenate(rounds).tolist())) > order.epoch


def test_hard_negatives_take_every_second_place_of_background() -> None:
    windows = drawn(Sampling(balance="balanced", hard_negatives=(3, 5)), 160)
    background = windows[np.array(CLASSES)[windows] == 0].reshape(-1, 2)
    assert np.isin(background[:, 1], (3, 5)).all() and len(set(background[:, 0].tolist())) == 40
    for wrong in ((40,), (-1,), (59,)):
        with pytest.raises(UsageError, match="hard_negatives"):
            drawn(Sampling(balance="balanced", hard_negatives=wrong), 1)


def test_a_block_shuffle_keeps_neighbours_within_the_stated_distance_and_no_nearer() -> None:
    index = small_index([2002] * 20)  # 1,000 windows each: 16 runs, of which the last is shorter
    sampling = Sampling(seed=3, shuffle="block", run=64, pool=512)
    windows = drawn(sampling, len(index), index=index)
    assert sorted(windows) == list(range(len(index)))
    run = windows // 1000 * 16 + windows % 1000 // 64
    for each in np.unique(run):
        assert np.ptp(np.flatnonzero(run == each)) < 2 * sampling.pool
    batches = run[: len(run) // 64 * 64].reshape(-1, 64)
    pairs = np.mean([(batch[:, None] == batch).sum() - 64 for batch in batches]) / (64 * 63)
    assert pairs < 1.2 * 64 / sampling.pool


def test_a_block_shuffle_puts_any_window_anywhere() -> None:
    index = small_index([202] * 20)
    places = []
    for seed in range(60):
        windows = drawn(Sampling(seed=seed, shuffle="block", run=16, pool=64), len(index), index=index)
        places.append(np.flatnonzero(windows == 7)[0] / len(index))
    assert 0.3 < np.mean(places) < 0.7 and min(places) < 0.2 and max(places) > 0.8


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"seed": -1}, "seed"),
        ({"run": 0}, "run"),
        ({"patient_cap": 0}, "patient_cap"),
        ({"shuffle": "some"}, "shuffle"),
        ({"hard_negatives": (1,)}, "balance"),
        ({"balance": "most"}, "balance"),
        ({"balance": {"seizure": 1}}, "balance"),
        ({"balance": {"full": -1}}, "balance"),
    ],
)
def test_nonsense_is_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Order(INDEX, Sampling(**fields), batch=2)


@pytest.mark.parametrize("world", [{"rank": 1}, {"rank": -1, "world": 2}, {"batch": 0}])
def test_a_rank_outside_of_its_world_is_refused(world: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Order(INDEX, Sampling(), **{"batch": 1, **world})


def test_a_view_without_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="no window of the view is labelled") as caught:
        Order(index_with([3] * 4), BALANCED, batch=2)
    assert 'labels = "none"' in str(caught.value.fix)
