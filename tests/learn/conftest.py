"""A tiny real corpus in a real store, made once: no test here reads anything else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.support import EVERYTHING

from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.learn.config import TrainConfig
from brainbrr.learn.train import train
from brainbrr.store.store import Store
from brainbrr.views.report import ViewRequest, view
from brainbrr.views.view import View

ViewOf = Callable[..., View]


@pytest.fixture(scope="session")
def view_of(stored: Store, config: TrainConfig) -> ViewOf:
    """Make the view of a split, with the config's windows unless told otherwise."""

    def make(split: str, **changes: Any) -> View:
        chosen = {"profile": EVERYTHING, "recipe": Recipe(), "window": config.window_spec(), "split": split, **changes}
        return view(stored, ViewRequest(**chosen), location=stored.location).view

    return make


@pytest.fixture(scope="session")
def config() -> TrainConfig:
    """The smallest detector that is one: six steps."""
    return TrainConfig.model_validate(
        {
            "name": "tiny",
            "profile": "full",
            "seed": 7,
            "window": {"length_s": "4", "stride_s": "2", "tail": "shift", "normalise": "robust"},
            "model": {"d_model": 16, "n_blocks": 1, "d_state": 4, "headdim": 8, "stem": [8, 8], "stem_width": 4},
            "train": {"steps": 6, "batch": 4, "lr": 0.003, "warmup_steps": 2, "checkpoint_every": 3, "device": "cpu"},
            "augment": {"gain": 0.2, "drop_channel": 0.1, "polarity": True},
        }
    )


@pytest.fixture(scope="session")
def trained(view_of: ViewOf, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the train split. Read only; copy it to change it."""
    return train(view_of("train"), config, runs=tmp_path_factory.mktemp("runs")).run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A test's own copy of a finished run."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
