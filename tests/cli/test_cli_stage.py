"""`train --stage`: the same weights from copies on this node, and a report that says where they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.computing import computed_once
from helpers.support import TINY, Cli

from brainbrr.cli.train import bytes_of
from brainbrr.errors import UsageError

pytestmark = pytest.mark.slow


@pytest.fixture
def tiny(cli: Cli, generated: Path, tmp_path: Path) -> Path:
    with computed_once():
        assert cli("ingest", generated, "--workers", 1).code == 0
    file = tmp_path / "tiny.toml"
    file.write_text(TINY.replace("steps = 4", "steps = 2"))
    return file


def weights(run: str) -> bytes:
    return (Path(run) / "model.safetensors").read_bytes()


def test_a_staged_training_ends_with_the_same_weights(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    plain = cli("train", "--config", tiny, "--json").json
    assert "stage" not in plain["metrics"]
    scratch = tmp_path / "scratch"
    staged = cli("train", "--config", tiny, "--stage", scratch, "--json").json
    assert weights(staged["run"]) == weights(plain["run"])
    assert (staged["view_digest"], staged["loss"]) == (plain["view_digest"], plain["loss"])
    assert Path(staged["run"]).parent == tmp_path / "runs"  # beside the store, not beside the copies
    told = staged["metrics"]["stage"]
    view = cli("view", "--config", tiny, "--split", "train", "--json").json
    assert told["bytes_copied"] == view["bytes"] and told["bytes_reused"] == 0 and told["n_removed"] is None
    assert Path(told["location"]).is_relative_to(scratch) and Path(told["source"]) == tmp_path / "store"
    assert cli("verify", "--store", told["location"]).code == 0

    again = cli("train", "--resume", staged["run"], "--stage", scratch, "--stage-clean")
    assert again.code == 0 and "0 B copied" in again.out and "removed" in again.out
    assert not list(scratch.iterdir())


def test_copies_are_cleaned_up_also_after_an_error(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    run = cli("train", "--config", tiny, "--json").json["run"]
    tiny.write_text(TINY.replace("lr = 0.003", "lr = 0.004"))  # another run: the training refuses it
    told = cli("train", "--config", tiny, "--resume", run, "--stage", scratch, "--stage-clean")
    assert told.code == 2 and "the config is not the run's" in told.err
    assert scratch.is_dir() and not list(scratch.iterdir())


def test_too_small_a_limit_ends_with_exit_code_7(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    told = cli("train", "--config", tiny, "--stage", tmp_path / "scratch", "--stage-bytes", "100k", "--json")
    assert (told.code, told.json["error"]) == (7, "SpaceError")
    assert "100,000 may" in told.json["what"] and not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("option", [["--stage-clean"], ["--stage-bytes", "1G"]])
def test_options_of_staging_need_a_stage(cli: Cli, tiny: Path, option: list[str]) -> None:
    told = cli("train", "--config", tiny, *option)
    assert told.code == 2 and "goes with --stage DIR" in told.err


def test_sizes_are_read_in_the_units_that_disks_are_sold_in() -> None:
    assert [bytes_of(text) for text in ("7", "10k", "1.5T", "500G", "2.25MB")] == [
        7,
        10_000,
        1_500_000_000_000,
        500_000_000_000,
        2_250_000,
    ]
    for text in ("", "G", "-1G", "1.5.5G", "1 G", "1e9", "1.2345T", "5P"):
        with pytest.raises(UsageError, match="is no size"):
            bytes_of(text)
