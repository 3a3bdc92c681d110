"""Batches reach a device whole, in order and no more ahead than allowed, however its streams run."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from helpers.pretended_queues import Made, PretendedQueues, Source
from hypothesis import given
from hypothesis import strategies as st

from brainbrr.errors import DependencyError, UsageError
from brainbrr.learn.cuda.ring import ring, to_device

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def chooser(seed: int, eager: float):
    draw = random.Random(seed)
    return lambda: draw.random() < eager


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32 - 1),
    eager=st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.95]),
    pinned=st.booleans(),
    depth=st.integers(1, 3),
    n_batches=st.integers(0, 9),
    last=st.integers(1, 4),
)
def test_every_step_sees_its_batch_in_any_order_of_the_streams(
    seed: int, eager: float, pinned: bool, depth: int, n_batches: int, last: int
) -> None:
    queues = PretendedQueues(chooser(seed, eager), pinned=pinned)
    source, seen = Source(n_batches, last=last), []

    def step(batch: Made) -> None:
        """Queue what a training step is: it reads the batch when the device gets there."""
        for _ in range(3):
            queues.used.work.append(lambda: seen.append((batch.step, batch.signal.clone(), batch.label.clone())))
            queues.idle()

    for n, batch in enumerate(ring(source, queues, depth=depth)):
        assert source.taken <= n + 1 + depth, "back-pressure"
        assert batch.step == n
        step(batch)
    queues.finish()
    assert [n for n, _, _ in seen] == [n for n in range(n_batches) for _ in range(3)]
    for n, signal, label in seen:
        size = last if n == n_batches - 1 else 4
        assert torch.equal(signal, torch.full((size, 3), float(n)))
        assert torch.equal(label, torch.full((size,), 100 + n, dtype=torch.int16))


def test_the_next_batch_is_copied_while_a_step_runs() -> None:
    queues = PretendedQueues(chooser(0, 0.5), pinned=False)
    batches = ring(Source(9), queues, depth=2)
    next(batches)
    while queues.used.step():
        pass
    queues.used.held = True  # a step that does not end
    while queues.copies.step():
        pass
    assert queues.n_copied == 3 * 3, "three fields of the batch in use and of two more"
    queues.used.held = False
    batches.close()


@pytest.mark.parametrize("pinned", [False, True])
def test_nothing_is_copied_any_more_when_the_consumer_has_left(pinned: bool) -> None:
    queues = PretendedQueues(lambda: False, pinned=pinned)
    batches = ring(Source(9), queues, depth=3)
    next(batches)
    assert queues.copies.work
    batches.close()
    assert not queues.copies.work


def test_an_error_of_the_source_reaches_the_consumer() -> None:
    def broken():
        yield from Source(2)
        raise OSError("the disk")

    queues = PretendedQueues(chooser(1, 0.5), pinned=False)
    with pytest.raises(OSError, match="the disk"):
        list(ring(broken(), queues, depth=1))


def test_fields_that_are_kept_or_no_arrays_stay() -> None:
    queues = PretendedQueues(chooser(2, 0.5), pinned=False)
    made = Made(torch.zeros(2), torch.zeros(2), np.array([5, 6]), 7)
    (batch,) = ring([made], queues, depth=1, keep=("index",))
    assert batch.index is made.index
    assert batch.step == 7
    assert batch.signal is not made.signal


def test_a_cpu_gets_what_is_there_without_a_copy_and_one_at_a_time() -> None:
    source = Source(3)
    batches = to_device(source, "cpu")
    batch = next(batches)
    assert source.taken == 1
    assert [batch.step, *(each.step for each in batches)] == [0, 1, 2]
    array = np.arange(3, dtype=np.int16)
    (batch,) = to_device([Made(array, torch.zeros(1), array, 0)], torch.device("cpu"), keep=["index"])
    array[0] = 9
    assert batch.signal.tolist() == [9, 1, 2]
    assert batch.index is array


def test_a_wrong_depth_or_a_missing_device_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="depth = 0"):
        to_device([], "cpu", depth=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DependencyError, match="no CUDA device"):
        to_device([], "cuda")


@needs_cuda
@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_cuda_device_sees_every_batch_behind_a_slow_step(pinned: bool, depth: int) -> None:
    def batches():
        made = Made(torch.empty(1 << 22), torch.empty(64, dtype=torch.int16), torch.empty(4), 0)
        if pinned:
            made = Made(made.signal.pin_memory(), made.label.pin_memory(), made.index, 0)
        for step in range(20):
            made.signal.fill_(step)
            made.label.fill_(step)
            yield Made(made.signal, made.label, made.index, step)
            made.signal.fill_(-3)

    sums = torch.zeros(20, 2, device="cuda")
    for batch in to_device(batches(), "cuda", depth=depth, keep=("index",)):
        assert batch.signal.is_cuda
        assert not batch.index.is_cuda
        torch.cuda._sleep(20_000_000)  # the host runs ahead of the device
        sums[batch.step, 0] = batch.signal.max() + batch.signal.min()
        sums[batch.step, 1] = batch.label.sum()
    expected = torch.arange(20.0)
    assert torch.equal(sums.cpu(), torch.stack([2 * expected, 64 * expected], dim=1))


@needs_cuda
def test_a_cuda_host_does_not_wait_for_the_step() -> None:
    batches = to_device(Source(4), "cuda", depth=1)
    next(batches)
    torch.cuda._sleep(200_000_000)
    step = torch.cuda.current_stream().record_event()
    assert next(batches).step == 1
    assert not step.query()
    batches.close()
