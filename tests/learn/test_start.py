"""What surrounds a training: which config, view and run it takes, from Python as from the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.trainings import StopAfter, same_bits

import brainbrr
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import ConfigError, UsageError
from brainbrr.learn import runs as r
from brainbrr.learn.config import TrainConfig, load_train_config
from brainbrr.learn.start import TrainOptions
from brainbrr.loading.windows import WindowSpec
from brainbrr.store.store import Store
from brainbrr.views.stage import StageOptions
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]

ONE_STEP = ["train.steps=1"]


def test_without_a_view_the_configs_own_is_opened(
    stored: Store, view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    report = brainbrr.train(config=config, changes=ONE_STEP, store=stored, runs=tmp_path, name="first")
    assert report.run == tmp_path / "first"
    assert report.view_digest == view_of("train").digest
    assert report.steps == 1
    assert report.metrics["frozen"]
    assert report.to_json().keys() == {"run", "view_digest", "steps", "loss", "metrics"}


def test_a_run_is_continued_by_its_name_alone(stored: Store, config: TrainConfig, tmp_path: Path) -> None:
    first = brainbrr.train(config=config, changes=ONE_STEP, store=stored, runs=tmp_path, name="first")
    weights = (first.run / "model.safetensors").read_bytes()
    for again in ({"resume": "first"}, {"resume": first.run}, {"name": "first"}):
        assert brainbrr.train(store=stored, runs=tmp_path, **again).run == first.run
    assert (first.run / "model.safetensors").read_bytes() == weights


class Said(StopAfter):
    """Stops after some steps, and keeps what is said."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.said: list[str] = []

    def say(self, text: object) -> None:
        self.said.append(str(text))


def test_a_run_continues_on_its_own_recordings_although_the_corpus_has_grown(
    stored: Store, config: TrainConfig, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(stored.location, tmp_path / "store"))
    options: dict[str, Any] = {
        "config": config,
        "changes": ["train.steps=2"],
        "store": store,
        "runs": tmp_path / "runs",
    }
    whole = brainbrr.train(**options, name="whole")
    with pytest.raises(KeyboardInterrupt):
        brainbrr.train(**options, name="first", progress=Said(1))
    write_corpus(tmp_path / "demo", n_recordings=24, seed=0, seconds=(20, 24))
    brainbrr.ingest(tmp_path / "demo", store=store, workers=1)
    assert len(brainbrr.view(store, split="train").recordings) > len(r.open_run(whole.run).view["recordings"])
    progress = Said(-1)
    again = brainbrr.train(**options, name="first", progress=progress)
    assert any("the corpus has changed since the run began" in said for said in progress.said)
    assert again.view_digest == whole.view_digest
    assert same_bits(again.run / "model.safetensors", whole.run / "model.safetensors")
    with pytest.raises(UsageError, match="the run is on profile full, not dev"):
        brainbrr.train(**options, profile="dev", name="first")
    with pytest.raises(UsageError, match=r"window\.length_s"):
        brainbrr.train(**{**options, "changes": ["window.length_s=5"]}, name="first")


def test_more_steps_are_a_new_run_from_the_weights_of_the_old(
    stored: Store, config: TrainConfig, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"config": config, "store": stored, "runs": tmp_path, "name": "first"}
    brainbrr.train(**options, changes=ONE_STEP)
    with pytest.raises(UsageError, match=r"the config is not the run's: train\.steps") as refused:
        brainbrr.train(**options, changes=["train.steps=3"])
    assert "--init" in str(refused.value.fix) and "train.steps=3" in str(refused.value.fix)


def test_first_weights_come_from_a_run_by_name(stored: Store, config: TrainConfig, tmp_path: Path) -> None:
    for name, init in (("first", None), ("second", "first")):
        brainbrr.train(config=config, changes=ONE_STEP, store=stored, runs=tmp_path, name=name, init=init)
    assert r.open_run(tmp_path / "second").before[0]["run"] == "first"


def test_a_view_can_be_read_from_staged_copies(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    stage = StageOptions(tmp_path / "disk", clean=True)
    report = brainbrr.train(view_of("train"), config=config, changes=ONE_STEP, runs=tmp_path / "runs", stage=stage)
    assert report.metrics["stage"]["bytes_copied"] > 0
    assert report.metrics["stage"]["n_removed"] == report.metrics["stage"]["n_copied"] > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"window": WindowSpec(length_s="5", stride_s="2", normalise="robust")},
            "window.length_s is 5, not 4; window.tail",
        ),
        ({"split": "dev"}, "split is dev, not train"),
        ({"split": None}, "split is None, not train"),
    ],
)
def test_a_view_that_is_not_the_configs_is_refused(
    change: dict[str, Any], said: str, view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    view = view_of(**{"split": "train", **change})
    with pytest.raises(UsageError, match=said) as refused:
        brainbrr.train(view, config=config, runs=tmp_path)
    assert "adopt_view=True" in str(refused.value.fix)
    assert not any(tmp_path.iterdir())


def test_another_recipe_than_the_configs_is_refused(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    upstream = config.model_copy(update={"recipe": "upstream"})
    with pytest.raises(UsageError, match=f"recipe is default {Recipe().digest[:8]}, not upstream"):
        brainbrr.train(view_of("train"), config=upstream, runs=tmp_path)


def test_a_view_that_is_adopted_is_what_the_run_records(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    view = view_of("dev", window=WindowSpec(length_s="8", stride_s="4", normalise="zscore"))
    report = brainbrr.train(view, config=config, changes=ONE_STEP, adopt_view=True, runs=tmp_path, name="adopted")
    run = r.open_run(report.run)
    assert run.view["digest"] == view.digest
    assert run.config.window_spec() == view.window
    assert brainbrr.train(view, runs=tmp_path, resume="adopted").run == report.run, "its own config is the view's"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resume": "a", "name": "b"}, "neither init nor name"),
        ({"resume": "a", "init": "b"}, "neither init nor name"),
        ({"adopt_view": True}, "needs a view"),
    ],
)
def test_options_that_disagree_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TrainOptions(**options)


def test_a_view_has_its_own_profile(view_of: ViewOf) -> None:
    with pytest.raises(UsageError, match="its own profile, corpus, splits and recordings"):
        TrainOptions(view=view_of("train"), profile="dev")


def test_changes_apply_to_a_config_that_is_given(config: TrainConfig) -> None:
    assert load_train_config(config) == config
    changed = load_train_config(config, ["train.lr=0.5", 'window.clip="20"'])
    assert changed.train == config.train.model_copy(update={"lr": 0.5})
    assert changed.window_spec().clip == "20"
    with pytest.raises(ConfigError, match="config tiny, changed by --set"):
        load_train_config(config, ["train.lr=-1"])


def test_evaluate_opens_splits_of_the_runs_corpus(run: Path, stored: Store, view_of: ViewOf) -> None:
    report = brainbrr.evaluate(run.name, store=stored, runs=run.parent, tune="dev")
    assert report.view_digest == view_of("eval").digest
    assert report.metrics["threshold_from"].startswith("split dev")
    again = brainbrr.evaluate(run, view_of("eval"), tune=view_of("dev"))
    assert again.metrics == report.metrics
    with pytest.raises(UsageError, match="would be scored on it"):
        brainbrr.evaluate(run, "dev", tune="dev", store=stored)
