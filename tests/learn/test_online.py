"""Online: what is said of a time depends on nothing after it was said, comes when it was promised, and is right."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.edf_bytes import File, noise

from brainbrr.eeg.edf.reader import read_header
from brainbrr.eeg.signal.montage import TEN_TWENTY
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.signal.streaming import Live
from brainbrr.errors import EdfError, UsageError
from brainbrr.learn import runs as r
from brainbrr.learn.online import Online, Step
from brainbrr.learn.predict import Predictor, judge
from brainbrr.loading.windows import WindowSpec
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]
CUT = 14


@pytest.fixture(scope="module")
def predictor(trained: Path) -> Predictor:
    return Predictor.of(r.open_run(trained), Recipe())


@pytest.fixture(scope="module")
def edf(view_of: ViewOf, generated: Path) -> Path:
    return generated / view_of("eval").recordings[0].path


def online(predictor: Predictor, data: bytes, every: str = "1", wait: str = "0") -> Online:
    live = Live(io.BytesIO(data), predictor.recipe)
    return Online(predictor, live, every_s=Fraction(every), wait_s=Fraction(wait))


def until_cut_off(listening: Online) -> list[Step]:
    found = []
    with pytest.raises(EdfError, match="the stream ended after"):
        for step in listening:
            found.append(step)
    return found


@pytest.mark.parametrize(("every", "wait"), [("1", "0"), ("0.5", "1.5"), ("3", "0.25")])
def test_every_step_is_said_once_in_order_and_in_time(predictor: Predictor, edf: Path, every: str, wait: str) -> None:
    listening = online(predictor, edf.read_bytes(), every, wait)
    steps = list(listening)
    assert [step.time_s for step in steps] == [i / 4 for i in range(len(steps))]
    assert steps[0].available_at_s <= listening.warm_up_s
    warm = [step for step in steps if step.available_at_s > steps[0].available_at_s]
    late = [step.available_at_s - step.time_s for step in warm]
    assert max(late) <= listening.latency_s <= max(late) + 2
    assert min(late) > 3.5 + float(wait)
    end_s = float(read_header(edf).duration_s)
    assert end_s - listening.latency_s - 1 < steps[-1].time_s < end_s - 3.5
    assert all(0 <= step.probability <= 1 for step in steps) and len({step.probability for step in steps}) > 20


def test_what_comes_later_changes_nothing_that_was_said(predictor: Predictor, edf: Path) -> None:
    data, header = edf.read_bytes(), read_header(edf)
    cut = header.n_bytes + 2 * header.record_samples * int(CUT / header.record_duration_s)
    steps = list(online(predictor, data))
    early = [step for step in steps if step.available_at_s <= CUT]
    assert len(early) > 20 and len(early) < len(steps)
    assert until_cut_off(online(predictor, data[:cut])) == early
    other = np.random.default_rng(0).integers(-3000, 3000, (len(data) - cut) // 2, dtype=np.int16)
    changed = list(online(predictor, data[:cut] + other.tobytes()))
    assert changed[: len(early)] == early
    assert [step.time_s for step in changed] == [step.time_s for step in steps] and changed != steps


def test_each_step_scores_the_latest_window_normalised_by_all_samples_so_far(
    predictor: Predictor, view_of: ViewOf, generated: Path
) -> None:
    view = view_of("eval", window=WindowSpec(length_s="4", stride_s="2", normalise="none"))
    recording = view.recordings[1]
    assert not recording.record.array.absent and not any(recording.record.array.k)
    microvolts = np.empty((19, recording.n_samples), dtype=np.float32)
    view.read(1, 0, microvolts)
    stored = microvolts / 0.125
    scaled = replace(predictor, window=predictor.window.model_copy(update={"normalise": "zscore"}))
    said = np.array([step.probability for step in online(scaled, (generated / recording.path).read_bytes())])
    for end in (4, 5, 12):
        heard = stored[:, : end * 256].astype(np.float64)
        centre, spread = np.rint(heard.mean(1, keepdims=True)), heard.std(1, keepdims=True)
        window = ((heard - centre) / spread)[:, -4 * 256 :].astype(np.float32)
        found = judge(predictor.model, window[None])[0].reshape(16, 64).mean(1)
        new = slice(0, 16) if end == 4 else slice((end - 1) * 4, end * 4)
        assert said[new] == pytest.approx(found[new.start - 4 * (end - 4) :], abs=1e-5), end


def test_a_long_stream_takes_no_more_memory_than_a_short_one(predictor: Predictor) -> None:
    def peak(seconds: int) -> int:
        data = File([noise(name, seconds=seconds) for name in TEN_TWENTY]).bytes()
        listening = online(predictor, data, "4")
        tracemalloc.start()
        n = sum(1 for _ in listening)
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert n > 4 * (seconds - 10)
        return reached

    peak(20)  # what is made once
    assert peak(800) < peak(40) + (1 << 20) < 19 * 2 * 256 * 800


def test_a_window_that_is_no_whole_number_of_steps_loses_none(predictor: Predictor, edf: Path) -> None:
    uneven = replace(predictor, window=predictor.window.model_copy(update={"length_s": "3.875"}))
    listening = online(uneven, edf.read_bytes())
    steps = list(listening)
    assert [step.time_s for step in steps] == [i / 4 for i in range(len(steps))] and len(steps) > 40
    warm = [step for step in steps if step.available_at_s > steps[0].available_at_s]
    assert max(step.available_at_s - step.time_s for step in warm) <= listening.latency_s


@pytest.mark.parametrize(
    ("every", "wait", "said"),
    [
        ("0", "0", "does not fit"),
        ("4.25", "0", "does not fit"),
        ("2", "2.25", "does not fit"),
        ("0.3", "0", "multiple"),
    ],
)
def test_looks_that_do_not_fit_are_refused(predictor: Predictor, edf: Path, every: str, wait: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        online(predictor, edf.read_bytes(), every, wait)


def test_a_stream_shorter_than_the_warm_up_says_nothing(predictor: Predictor) -> None:
    data = File([noise(name, seconds=6) for name in TEN_TWENTY]).bytes()
    assert list(online(predictor, data)) == []
