"""Hard negatives: where a detector was wrong on what it learned from, and how a next training sees more of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.trainings import StopAfter, changed, same_bits

from brainbrr.errors import IntegrityError, UsageError
from brainbrr.learn import runs as r
from brainbrr.learn.config import TrainConfig
from brainbrr.learn.evaluate import evaluate
from brainbrr.learn.hard_negatives import HardNegatives, false_alarms
from brainbrr.learn.train import train
from brainbrr.scoring.metrics import Outcome
from brainbrr.views.view import View

ViewOf = Callable[..., View]


def mined(view: View, *events: tuple[float, float]) -> HardNegatives:
    """Return the false alarms among events in the first recording of a view that has a seizure."""
    ill = next(each for each in view.recordings if each.seizures)
    seizures = [(start / 1e6, stop / 1e6) for start, stop in ill.seizures]
    outcome = Outcome(ill.path, ill.patient, ill.duration_s, seizures, sorted([*events, *seizures]))
    return false_alarms([outcome], view, "first")


def test_windows_of_background_that_share_time_with_a_false_alarm_are_hard(view_of: ViewOf) -> None:
    view = view_of("train")
    ill = next(i for i, each in enumerate(view.recordings) if each.seizures)
    first = view.recordings[ill].seizures[0][0] / 1e6
    hard = mined(view, (first - 6.0, first - 4.5))
    assert hard.n_alarms == 1, "the events on the seizures are none"
    recordings, starts = view.index.locate(np.array(hard.windows(view)))
    assert set(recordings.tolist()) == {ill}
    begins = starts / view.rate_hz
    assert ((begins < first - 4.5) & (begins + 4 > first - 6)).all() and len(begins) >= 2
    with pytest.raises(UsageError, match="none of the 0 false alarms"):
        HardNegatives(run="first", view_digest="", recordings=()).windows(view)


@pytest.mark.slow
def test_a_run_keeps_its_hard_negatives_and_resumes_with_them(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    view, file = view_of("train"), tmp_path / "hard.json"
    mined(view, (0.0, 3.0)).write(file)
    asked = changed(config, "train", steps=4, hard_negatives=str(file))
    runs = tmp_path / "runs"
    whole = r.open_run(train(view, asked, runs=runs, name="whole").run)
    plain = r.open_run(train(view, changed(config, "train", steps=4), runs=runs, name="plain").run)
    assert not same_bits(whole.model, plain.model), "they are drawn"
    with pytest.raises(KeyboardInterrupt):
        train(view, asked, runs=runs, name="stopped", progress=StopAfter(2))
    file.unlink()
    resumed = train(view, asked, runs=runs, resume=runs / "stopped")
    assert same_bits(whole.model, r.open_run(resumed.run).model)
    with pytest.raises(UsageError, match="the file of hard negatives is missing"):
        train(view, asked, runs=runs, name="other")


@pytest.mark.slow
def test_evaluate_writes_the_false_alarms_of_the_training_alone(run: Path, view_of: ViewOf, tmp_path: Path) -> None:
    report = evaluate(run, view_of("eval"), hard_negatives=tmp_path / "hard.json")
    hard = HardNegatives.read(tmp_path / "hard.json")
    assert report.metrics["hard_negatives"]["false_alarms"] == hard.n_alarms
    assert {each.content for each in hard.recordings} <= {each.content for each in view_of("train").recordings}
    (tmp_path / "hard.json").chmod(0o644)
    (tmp_path / "hard.json").write_text("[]")
    with pytest.raises(IntegrityError, match="not a JSON object"):
        HardNegatives.read(tmp_path / "hard.json")
