"""Runs from elsewhere: what is no run, no history and no weights is an error of ours, or the end of the history."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from brainbrr.core import files
from brainbrr.errors import BrainbrrError, IntegrityError, SpaceError, UsageError
from brainbrr.learn import runs as r
from brainbrr.learn import train
from brainbrr.learn.config import ModelConfig, TrainConfig
from brainbrr.learn.model import Detector, n_parameters, require_shapes

CONFIG = TrainConfig.model_validate({"name": "x", "profile": "smoke", "train": {"steps": 1, "batch": 1, "lr": 0.1}})


@pytest.mark.parametrize(
    "line", ["[" * 100_000, "{}", "1", '{"step":"0","loss":1}', '{"step":3,"loss":null}', "\udcff", "nan", '{"step":3']
)
def test_a_history_ends_where_it_is_none(tmp_path: Path, line: str) -> None:
    run = r.Run(tmp_path, CONFIG, {})
    good = [{"step": i, "loss": 0.5} for i in range(3)]
    text = "".join(f"{json.dumps(row)}\n" for row in good) + f"{line}\n" + json.dumps(good[0]) + "\n"
    run.metrics.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert run.history() == good
    run.rewind(2)
    assert run.history() == good[:2]


@pytest.mark.parametrize("view", ["", "[]", "{}", "[" * 100_000, '{"format":1}', '{"format":1.5}', '{"format":2}'])
def test_a_run_whose_view_is_none_is_refused(tmp_path: Path, view: str) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.to_toml())
    (tmp_path / "view.json").write_text(view)
    with pytest.raises(BrainbrrError):
        r.open_run(tmp_path)


@pytest.mark.parametrize("said", ["", "[]", "[" * 100_000, "1", "{"])
def test_weights_that_say_nothing_of_themselves_are_refused(tmp_path: Path, said: str) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "w", {"brainbrr": said})
    with pytest.raises(IntegrityError, match="not a file of brainbrr's weights"):
        r.read_tensors(tmp_path / "w")


@pytest.mark.slow
@pytest.mark.parametrize("weight", [torch.zeros(3, 3), torch.zeros(0)])
def test_weights_of_another_model_are_refused(tmp_path: Path, weight: torch.Tensor) -> None:
    model = torch.nn.Linear(2, 2, bias=False)
    optimiser = torch.optim.AdamW(model.parameters())
    with pytest.raises(IntegrityError, match="another model's"):
        r.load_weights(model, {"weight": weight}, where=tmp_path)
    with pytest.raises(IntegrityError, match="has the shape"):
        r.load_optimiser(model, optimiser, {"optimiser.weight.exp_avg": weight}, where=tmp_path)
    r.load_weights(model, {"weight": torch.ones(2, 2)}, where=tmp_path)
    assert model.weight.sum() == 4


def test_the_commit_of_a_checkout_says_where_its_files_are_others(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        told = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y", *words]
        return subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()

    assert r.commit_of(tmp_path) is None
    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "first")
    git("tag", "-a", "-m", "t", "v1")
    assert r.commit_of(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("2")
    assert r.commit_of(tmp_path) == git("rev-parse", "HEAD") + "-dirty"


def test_a_write_that_is_interrupted_leaves_the_old_file_alone_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.replace(tmp_path / "a", b"old")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.replace(tmp_path / "a", b"new")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old"]


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in Detector(3, config).state_dict().items()}


@pytest.mark.parametrize(
    "change",
    [{"d_model": 65_536}, {"n_blocks": 1024}, {"d_state": 65_536}, {"expand": 256}, {"stem_width": 65_536},
     {"d_conv": 1024}, {"n_blocks": 1}, {"d_conv": 3}, {"stem": (4,) * 16}],
)  # fmt: skip
def test_a_foreign_config_is_bounded_by_the_weights_before_a_model_is_built(
    tmp_path: Path, change: dict[str, object]
) -> None:
    config = ModelConfig(d_model=16, stem_width=8)
    shapes = shapes_of(config)
    require_shapes(3, config, shapes, where=tmp_path)
    other = ModelConfig.model_validate({**config.model_dump(), **change})
    with pytest.raises(IntegrityError, match="another model's weights") as caught:
        require_shapes(3, other, shapes, where=tmp_path)
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("field", ["d_model", "n_blocks", "residual_convs", "stem_width", "d_state", "expand"])
def test_a_config_of_any_size_ends_in_one_line(tmp_path: Path, field: str) -> None:
    text = CONFIG.to_toml()
    lines = [f"{field} = 1000000000" if line.startswith(f"{field} =") else line for line in text.splitlines()]
    (tmp_path / "config.toml").write_text("\n".join(lines))
    (tmp_path / "view.json").write_text("{}")
    with pytest.raises(BrainbrrError, match=field) as caught:
        r.open_run(tmp_path)
    assert "\n" not in caught.value.what


def test_a_training_asks_for_room_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(train, "check_space", lambda _, *, n_bytes, n_inodes: asked.append(n_bytes))
    state = train._initial(3, CONFIG, torch.device("cpu"))
    train._check_room(tmp_path / "not" / "made", state)
    assert asked[0] > 9 * 4 * n_parameters(state.model)
    monkeypatch.undo()
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, *([1] * 8))))
    with pytest.raises(SpaceError):
        train._check_room(tmp_path, state)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="--runs DIR"):
        train._check_room(tmp_path / "not" / "made", state)
