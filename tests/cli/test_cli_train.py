"""`train` and `evaluate` through the command line: the contract's fields, exact resume without flags, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.support import TINY, Cli

from brainbrr.store.store import Store

pytestmark = pytest.mark.slow


def test_train_and_evaluate_tell_the_contracts_fields(cli: Cli, tiny: Path) -> None:
    trained = cli("train", "--config", tiny, "--json")
    assert trained.code == 0
    assert set(trained.json) >= {"run", "view_digest", "steps", "loss", "metrics"}
    run = Path(trained.json["run"])
    assert run.parent == tiny.parent / "runs"  # beside the store
    view = cli("view", "--config", tiny, "--split", "train", "--json").json
    assert trained.json["view_digest"] == view["digest"]
    scored = cli("evaluate", run, "--split", "eval", "--json")
    assert scored.code == 0
    assert set(scored.json) >= {"run", "view_digest", "metrics", "scorer"}
    assert set(scored.json["metrics"]) >= {"auroc", "event_f1", "sensitivity", "false_alarms_per_day"}
    assert scored.json["metrics"]["synthetic"] is True and "timescoring" in scored.json["scorer"]
    assert (run / "report.html").is_file()


def test_train_says_by_which_scan_and_refuses_one_that_cannot_run(cli: Cli, tiny: Path) -> None:
    told = cli("train", "--config", tiny)
    assert "scan\ttorch" in told.out
    tiny.write_text(TINY.replace("[model]\n", '[model]\nscan = "triton"\n'))
    told = cli("train", "--config", tiny)
    assert told.code == 8 and 'model.scan = "triton"' in told.err
    assert len(list((tiny.parent / "runs").iterdir())) == 1


def test_resume_needs_no_flag_but_the_run(cli: Cli, corpus: Path, tiny: Path) -> None:
    run = cli("train", "--config", tiny, "--json").json["run"]
    assert cli("ingest", corpus, "--corpus", "another", "--workers", 1).code == 0
    again = cli("train", "--resume", run, "--json")
    assert again.code == 0
    assert (again.json["run"], again.json["steps"]) == (run, 4)


def test_a_run_goes_by_the_name_that_runs_lists(cli: Cli, corpus: Path, tiny: Path) -> None:
    cli("train", "--config", tiny, "--json")
    [name] = [Path(run["run"]).name for run in cli("runs", "--json").json["runs"]]
    assert cli("train", "--resume", name).code == 0
    assert cli("train", "--config", tiny, "--init", name).code == 0
    assert cli("evaluate", name).code == 0
    assert cli("predict", name, next(corpus.rglob("*.edf"))).code == 0
    told = cli("evaluate", "nobody", "--json")
    assert told.code == 2 and told.json["fix"] == "`brainbrr runs` lists them"


def test_a_split_that_the_run_was_trained_on_is_a_leak(cli: Cli, tiny: Path) -> None:
    run = cli("train", "--config", tiny, "--json").json["run"]
    assert cli("evaluate", run, "--split", "train").code == 5


def test_a_run_of_a_recipe_file_can_be_evaluated(cli: Cli, corpus: Path, tiny: Path) -> None:
    recipe = tiny.parent / "wide.toml"
    recipe.write_text("notch_hz = false\n")
    assert cli("ingest", corpus, "--recipe", recipe, "--workers", 1).code == 0
    tiny.write_text(TINY.replace('profile = "full"', f'profile = "full"\nrecipe = "{recipe}"'))
    run = cli("train", "--config", tiny, "--json").json["run"]
    told = cli("evaluate", run)
    assert (
        told.code == 0 and told.err.count("line-length baseline in ") + told.out.count("line-length baseline in ") == 3
    )


def test_the_demo_trains_and_scores_what_its_first_part_stored(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BRAINBRR_STORE")
    monkeypatch.chdir(tmp_path)
    told = cli("demo", "--json")
    assert told.code == 0, told.err
    steps = told.json["steps"]
    metrics = steps["evaluate"]["metrics"]
    assert metrics["auroc"] > 0.9 and metrics["synthetic"] is True
    assert metrics["baseline"]["auroc"] == steps["baseline"]["metrics"]["auroc"]
    assert Path(told.json["report"]).is_file() and "brainbrr ingest" in told.json["next"]


def test_the_demo_puts_nothing_into_a_store(cli: Cli, stored: Store) -> None:
    before = sorted(stored.location.iterdir())
    told = cli("demo", "--into", stored.location)
    assert told.code == 2 and "this folder is a store" in told.err
    assert sorted(stored.location.iterdir()) == before


def test_thresholds_are_never_tuned_on_the_split_that_is_scored(cli: Cli, tiny: Path) -> None:
    run = cli("train", "--config", tiny, "--json").json["run"]
    assert cli("evaluate", run, "--split", "dev").code == 2
    tuned = cli("evaluate", run, "--json").json["metrics"]
    assert tuned["threshold_from"].startswith("split dev")
    scored = cli("evaluate", run, "--split", "dev", "--tune", "none", "--json").json["metrics"]
    assert scored["threshold_from"].startswith("config.toml")  # not what was chosen on these very recordings
    kept = cli("evaluate", run, "--tune", "none", "--json").json["metrics"]
    assert kept["threshold_from"].startswith("split dev")


def test_a_folder_that_is_no_run_is_said_to_be_none(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    run = Path(cli("train", "--config", tiny, "--json").json["run"])
    assert cli("evaluate", tmp_path / "store").code == 2
    told = cli("train", "--resume", tmp_path / "store")
    assert told.code == 2 and "this is no run" in told.err
    (run / "view.json").write_text("[]")
    assert cli("evaluate", run).code == 4  # a run, and damaged


def test_a_view_that_cannot_be_read_is_an_error_at_once(cli: Cli, tiny: Path) -> None:
    tiny.write_text(TINY.replace("[window]", '[window]\nchannels = ["Xx"]'))
    told = cli("view", "--config", tiny, "--profile", "full")
    assert told.code == 2 and "Xx" in told.err


def test_a_view_that_teaches_nothing_is_not_frozen(cli: Cli, corpus: Path, tiny: Path) -> None:
    cli("ingest", corpus, "--corpus", "silent", "--labels", "none", "--workers", 1)
    told = cli("train", "--config", tiny, "--corpus", "silent")
    assert told.code == 2 and "nothing to learn" in told.err
    assert list((tiny.parent / "store" / "views").iterdir()) == []
