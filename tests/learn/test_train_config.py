"""Training configs: closed, one recipe for all of them, and the same after a round trip."""

from __future__ import annotations

import tomllib

import pytest
from pydantic import ValidationError

from brainbrr.eeg.signal.recipe import load_recipe
from brainbrr.learn.config import OptimiserConfig, TrainConfig, load_train_config, setting_names, train_config_names
from brainbrr.loading.order import BALANCED, UPSTREAM, Sampling

SMALLEST = {"name": "x", "profile": "smoke", "train": {"steps": 1, "batch": 1, "lr": 0.1}}


def test_there_are_seven_configs_and_they_share_one_recipe() -> None:
    assert set(train_config_names()) == {"smoke", "local", "base", "a100", "large", "production", "upstream"}
    configs = [load_train_config(name) for name in train_config_names()]
    assert [config.name for config in configs] == list(train_config_names())
    assert len({load_recipe(config.recipe).digest for config in configs}) == 1
    assert len({str(config.window_spec()) for config in configs}) > 1  # or this would prove nothing


@pytest.mark.parametrize("name", train_config_names())
def test_a_config_written_as_toml_is_the_same_config(name: str) -> None:
    config = load_train_config(name)
    assert TrainConfig.model_validate(tomllib.loads(config.to_toml())) == config


@pytest.mark.parametrize("name", train_config_names())
def test_heads_and_tokens_of_every_config_are_whole(name: str) -> None:
    config = load_train_config(name)
    assert config.window_spec().samples("length_s", 256) % config.model.samples_per_token == 0
    assert config.model.expand * config.model.d_model // config.model.headdim % 8 == 0  # for CUDA's fused convolution


def test_production_is_the_large_model() -> None:
    assert load_train_config("production").model == load_train_config("large").model


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cache_dir": "x"}, "cache_dir"),
        ({"data": {"cache_dir": "x"}}, "data"),
        ({"train": {**SMALLEST["train"], "cache_dir": "x"}}, "cache_dir"),  # type: ignore[dict-item]
        ({"window": {"length": "10"}}, "length"),
        ({"window": {"missing": "nan"}}, "cannot learn from NaN"),
        ({"model": {"d_model": 50, "headdim": 16}}, "no multiple of headdim"),
        ({"model": {"unet": True}}, "the last must be d_model"),
        ({"model": {"unet": True, "stem": [2], "stem_width": 12, "d_model": 12, "headdim": 12}}, "multiple of 8"),
        ({"model": {"residual_convs": 1}}, "set unet = true"),
        ({"model": {"scan": "cuda"}}, "scan"),
        ({"profile": "huge"}, "smoke"),
        ({"train": {**SMALLEST["train"], "clip_norm": float("inf")}}, "finite"),  # type: ignore[dict-item]
        ({"name": "../up"}, "pattern"),
    ],
)
def test_what_a_config_does_not_know_is_refused(changes: dict[str, object], told: str) -> None:
    TrainConfig.model_validate(SMALLEST)
    with pytest.raises(ValidationError, match=told):
        TrainConfig.model_validate({**SMALLEST, **changes})


@pytest.mark.parametrize(
    "train",
    [
        {"loss": "focal"},
        {"pos_weight": 3.0},
        {"loss": "focal", "pos_weight": 3.0, "balance": "none"},
        {"balance": {"background": 1, "full": 1}, "pos_weight": 0.5},
    ],
)
def test_two_mechanisms_against_imbalance_are_refused(train: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="each answers the same imbalance"):
        OptimiserConfig.model_validate({**SMALLEST["train"], **train})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "train", [{"balance": "none", "loss": "focal"}, {"balance": "none", "pos_weight": 3.0}, {"balance": {"full": 2}}]
)
def test_one_mechanism_is_taken_and_written_as_toml(train: dict[str, object]) -> None:
    config = TrainConfig.model_validate({**SMALLEST, "train": {**SMALLEST["train"], **train}})  # type: ignore[dict-item]
    assert TrainConfig.model_validate(tomllib.loads(config.to_toml())) == config


def test_balance_is_the_loaders() -> None:
    def ratios(balance: object) -> object:
        train = OptimiserConfig.model_validate({**SMALLEST["train"], "balance": balance})  # type: ignore[dict-item]
        return train.sampling(3).ratios()

    assert ratios("balanced") == BALANCED and ratios("upstream") == UPSTREAM
    assert ratios({"full": 2, "partial": 0}) == {"full": 2, "partial": 0}
    every = OptimiserConfig.model_validate({**SMALLEST["train"], "balance": "none"})  # type: ignore[dict-item]
    assert every.sampling(3) == Sampling(3, balance=None)


def test_every_setting_has_a_name_and_a_value() -> None:
    config = load_train_config("smoke")
    assert set(config.settings()) <= set(setting_names())
    unset = {"name", "window.scale_uv", "window.channels"}
    assert set(setting_names()) - set(config.settings()) <= unset


def test_the_cap_of_windows_of_a_patient_is_the_loaders() -> None:
    told = {"steps": 1, "batch": 1, "lr": 1.0}
    assert OptimiserConfig.model_validate(told).sampling(0).patient_cap is None
    assert OptimiserConfig.model_validate({**told, "patient_cap": 20}).sampling(3).patient_cap == 20
