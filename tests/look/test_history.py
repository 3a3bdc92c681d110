"""`log` says what each ingest changed and why; `diff` what two views, recipes or runs do not share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.support import Cli

import brainbrr
from brainbrr.eeg.signal.recipe import PRESETS, Recipe, load_recipe
from brainbrr.store.store import Store
from brainbrr.views.recipes import find_recipe, gain_db, to_toml


def edfs(corpus: Path) -> list[Path]:
    return sorted(corpus.glob("edf/*/*/*/*/*.edf"))


@pytest.mark.slow
def test_the_log_tells_each_change_with_its_reason(cli: Cli, corpus: Path) -> None:
    assert cli("ingest", corpus, "--workers", 1).code == 0
    replaced, moved, removed, relabelled, *_ = edfs(corpus)
    data = bytearray(replaced.read_bytes())
    data[-2000:-1990] = bytes(10)
    replaced.write_bytes(data)
    labels = relabelled.with_suffix(".csv_bi")
    labels.write_text(labels.read_text() + "\n")
    new = moved.with_name(moved.name.replace("_t00", "_t90"))
    for file in moved.parent.glob(f"{moved.stem}*"):
        os.rename(file, file.with_name(file.name.replace("_t00", "_t90")))
    for file in removed.parent.glob(f"{removed.stem}*"):
        file.unlink()
    told = cli("ingest", corpus, "--workers", 1, "--accept", "removed")
    assert told.code == 0, told.err
    latest, first = cli("log", "demo", "--json").json["log"]
    kinds = {(each["change"], each["recording"].rsplit("/", 1)[-1]) for each in latest["changes"]}
    assert {("replaced", replaced.name), ("moved", new.name), ("removed", removed.name)} <= kinds
    assert ("relabelled", relabelled.name) in kinds and latest["generation"] > first["generation"] == 1
    assert {each["change"] for each in first["changes"]} == {"added"} and len(first["changes"]) == 18
    assert first["by"] == Path(corpus).owner()
    history = cli("log", new.name, "--json").json["log"]
    assert [each["changes"][0]["change"] for each in history] == ["moved", "added"]
    assert "renamed" in cli("log").out


def test_another_recipe_is_the_reason_of_a_build(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "europe.toml"
    file.write_text('notch_hz = "50"\n')
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--recipe", file).code == 0
    latest = cli("log", "demo", "--last", 1, "--json").json["log"][0]
    assert {(each["change"], each["why"]) for each in latest["changes"]} == {("stored", "recipe notch_hz 60 → 50")}
    store = Store.open(tmp_path / "store")
    europe = load_recipe(str(file))
    assert find_recipe(store, "europe") == europe and find_recipe(store, europe.digest[:8]) == europe
    shares = {(each["kind"], each["name"]): each for each in cli("status", "--usage", "--json").json["shares"]}
    assert shares["corpus", "demo"]["objects"] == 12 and shares["profile", "demo smoke"]["objects"] == 12
    for recipe in ("default", "europe"):
        [share] = [each for (kind, name), each in shares.items() if kind == "recipe" and name.startswith(recipe)]
        assert share["recordings"] == 6 and share["shared_bytes"] == 0
    shown = tmp_path / "shown.toml"
    shown.write_text(cli("recipe", "show", europe.digest[:8]).out)
    assert load_recipe(str(shown)) == europe == find_recipe(store, "europe")
    for words in (["view", "--profile", "smoke"], ["check", "--profile", "smoke"], ["ls"], ["why", "0" * 32]):
        assert cli(*words, "--recipe", "europe").code == 0
    assert cli("ingest", corpus, "--profile", "smoke", "--recipe", europe.digest[:10], "--json").json["new"] == 0
    assert brainbrr.view(store, profile="smoke", recipe="europe").state == "ready"
    told = cli("diff", "default", "europe", "--json").json
    assert told["fields"] == {"notch_hz": ["60", "50"]} and told["stored_bytes"][0] == told["stored_bytes"][1] > 0
    assert told["gain_db"]["50"][0] > -0.1 > -80 > told["gain_db"]["50"][1]
    assert cli("log", "nothing").code == 2


def test_a_recipe_that_is_written_out_has_the_same_digest(tmp_path: Path) -> None:
    for recipe in (
        *PRESETS.values(),
        Recipe(bandpass_hz=None, notch_hz=None, rate_hz=200, unit="mV", aliases={"EEG 001": "Fp1"}),
    ):
        file = tmp_path / "own.toml"
        file.write_text(to_toml(recipe.model_copy(update={"name": "own"})))
        assert load_recipe(str(file)).digest == recipe.digest


def test_gain_is_what_the_filters_promise() -> None:
    gain = gain_db(Recipe(), (0.25, 1.0, 30.0, 60.0, 125.0, 200.0))
    assert gain[0.25] == pytest.approx(-6, abs=0.1) and gain[1.0] == pytest.approx(0, abs=0.02)
    assert gain[30.0] == pytest.approx(0, abs=0.02) and gain[200.0] is None
    assert all((gain[hz] or 0) <= -80 for hz in (60.0, 125.0))


def test_views_differ_in_recordings_labels_and_windows(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    assert cli("ingest", corpus, "--workers", 1).code == 0
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    assert cli("view", "--profile", "smoke", "--out", a).code == 0
    edf = corpus / next(each["path"] for each in cli("ls", "--profile", "smoke", "--json").json["recordings"])
    labels = edf.with_suffix(".csv_bi")
    lines = labels.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("TERM")]
    labels.write_text("\n".join([*kept, "TERM,0.0000,5.0000,seiz,1.0000", "TERM,5.0000,20.0000,bckg,1.0000"]) + "\n")
    for detail in edf.parent.glob(f"{edf.stem}.csv"):
        detail.unlink()
    assert cli("ingest", corpus, "--workers", 1).code == 0
    assert cli("view", "--profile", "dev", "--tail", "pad", "--out", b).code == 0
    told = cli("diff", a, b, "--json").json
    assert told["kind"] == "view" and told["fields"]["profile"] == ["smoke", "dev"]
    assert told["fields"]["window.tail"] == ["drop", "pad"] and not told["only_a"] and len(told["only_b"]) == 6
    assert told["changed"] == {edf.relative_to(corpus).as_posix(): ["other labels"]}
    assert cli("diff", a, a, "--json").json["same"] is True
    assert "other labels" in cli("diff", a, b).out
    told = cli("diff", a, "default")
    assert told.code == 2 and "compare two of one kind" in told.err
    assert "is no run, no recipe and no frozen view" in cli("diff", "nothing", "default").err
