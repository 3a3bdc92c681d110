"""The seed report's scenarios, end to end through the command line: one store, three profiles, no second copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.support import Cli

from brainbrr.eeg.signal.recipe import load_recipe
from brainbrr.learn.config import load_train_config, train_config_names

pytestmark = pytest.mark.slow


def shards(store: Path) -> dict[str, int]:
    """Return every object's shard: its path and when it was written."""
    return {str(p.relative_to(store)): p.stat().st_mtime_ns for p in store.glob("objects.zarr/*/*/c.0.0")}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_smoke_runs_objects_serve_dev_and_full(cli: Cli, corpus: Path, store: Path) -> None:
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    smoke = shards(store)
    assert len(smoke) == 6
    for profile, ready, state in (("smoke", 6, "ready"), ("dev", 6, "incomplete"), ("full", 6, "incomplete")):
        told = cli("view", "--profile", profile, "--json").json
        assert (told["ready"], told["state"]) == (ready, state)
    assert cli("ingest", corpus, "--profile", "dev", "--workers", 1).code == 0
    assert cli("ingest", corpus, "--workers", 1).code == 0
    assert shards(store).items() >= smoke.items()  # not one of them was written again
    assert len(shards(store)) == 18


@pytest.mark.usefixtures("at_rest")
def test_switching_from_smoke_to_full_builds_only_the_difference_and_says_so(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    told = cli("ingest", corpus, "--profile", "full", "--workers", 1, "--json")
    assert "Building 12 missing, reusing 6\n" in told.err
    assert (told.json["new"], told.json["reused"]) == (12, 6)


def test_seven_configs_one_copy_of_the_bytes(cli: Cli, corpus: Path, store: Path) -> None:
    assert len(train_config_names()) == 7
    configs = [load_train_config(name) for name in train_config_names()]
    assert {load_recipe(config.recipe).digest for config in configs} == {load_recipe("default").digest}
    cli("ingest", corpus, "--workers", 1)
    before = shards(store)
    contents = set()
    for name in train_config_names():
        told = cli("view", "--config", name, "--profile", "full", "--json").json
        assert told["state"] == "ready" and told["extra_bytes"] == 0
        out = store.parent / f"{name}.json"
        assert cli("view", "--config", name, "--profile", "full", "--out", out).code == 0
        import json

        contents.add(frozenset(r["content"] for r in json.loads(out.read_bytes())["recordings"]))
    assert len(contents) == 1
    assert shards(store) == before


def test_no_silent_build_during_training(cli: Cli, corpus: Path, store: Path) -> None:
    told = cli("train", "--profile", "smoke")
    assert told.code == 3 and "brainbrr ingest" in told.err
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    before = shards(store)
    told = cli("train", "--profile", "full")
    assert told.code == 3
    assert f"brainbrr ingest {corpus} --profile full" in told.err
    assert shards(store) == before
    assert not (store.parent / "runs").exists()


def test_a_changed_recipe_is_another_recipes_view_never_mixed_in(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    file = tmp_path / "wide.toml"
    file.write_text('name = "wide"\nnotch_hz = false\n')
    told = cli("view", "--profile", "smoke", "--recipe", file, "--json")
    assert told.code == 3
    assert (told.json["state"], told.json["ready"]) == ("empty", 0)
    assert sum(told.json["elsewhere"].values()) == 6
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--recipe", file)
    views = [cli("view", "--profile", "smoke", "--recipe", r, "--json").json for r in ("default", file)]
    assert [view["state"] for view in views] == ["ready", "ready"]
    assert views[0]["digest"] != views[1]["digest"]
    recipes = {recipe["name"] for recipe in cli("status", "--json").json["recipes"]}
    assert recipes == {"default", "wide"}


def test_the_same_edf_under_two_names_is_stored_once(cli: Cli, corpus: Path, store: Path) -> None:
    edf = next((corpus / "edf" / "train").rglob("*.edf"))
    for suffix in (".edf", ".csv", ".csv_bi"):
        shutil.copy(edf.with_suffix(suffix), edf.with_name(f"{edf.stem[:-1]}9{suffix}"))
    told = cli("ingest", corpus, "--workers", 1, "--json").json
    assert (told["recordings"], told["new"], told["reused"], told["failed"]) == (19, 18, 1, [])
    assert len(shards(store)) == 18


def test_the_same_edf_in_two_corpora_is_stored_once(cli: Cli, corpus: Path, store: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    told = cli("ingest", corpus, "--corpus", "again", "--workers", 1, "--json").json
    assert (told["new"], told["reused"], told["bytes_written"]) == (0, 18, 0)
    assert len(shards(store)) == 18


def test_a_renamed_or_moved_corpus_rebuilds_nothing(cli: Cli, corpus: Path, store: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    before = shards(store)
    moved = corpus.rename(corpus.parent / "elsewhere")
    told = cli("ingest", moved, "--corpus", "demo", "--workers", 1, "--json").json
    assert (told["new"], told["reused"], told["removed"]) == (0, 18, 0)
    renamed = moved.rename(corpus.parent / "other")
    told = cli("ingest", renamed, "--workers", 1, "--json").json
    assert (told["corpus"], told["new"], told["reused"]) == ("other", 0, 18)
    assert shards(store) == before


def test_several_corpora_and_no_name_ends_with_the_names(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1, "--profile", "smoke")
    cli("ingest", corpus, "--corpus", "again", "--workers", 1, "--profile", "smoke")
    told = cli("view", "--profile", "smoke")
    assert told.code == 2 and "again, demo" in told.err
    assert cli("view", "--profile", "smoke", "--corpus", "demo").code == 0


def digest_of(cli: Cli, **_: Any) -> str:
    return str(cli("view", "--profile", "full", "--json").json["digest"])


def test_editing_a_label_file_rewrites_no_signal_and_changes_the_views_digest(
    cli: Cli, corpus: Path, store: Path
) -> None:
    cli("ingest", corpus, "--workers", 1)
    before, digest = shards(store), digest_of(cli)
    labels = next(p for p in sorted(corpus.rglob("*.csv_bi")) if "seiz" in p.read_text())
    lines = labels.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.endswith("seiz,1.0000"))
    channel, start, _, label, confidence = lines[first].split(",")
    lines[first] = ",".join([channel, start, f"{float(start) + 1:.4f}", label, confidence])
    labels.write_text("\n".join(lines) + "\n")
    stale = cli("view", "--profile", "full", "--json")
    assert (stale.code, stale.json["state"]) == (3, "stale")
    told = cli("ingest", corpus, "--workers", 1, "--json").json
    assert (told["relabelled"], told["reused"], told["new"]) == (1, 17, 0)
    assert shards(store) == before
    assert digest_of(cli) != digest


def test_a_changed_edf_makes_the_view_stale_and_ingest_mends_it(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    edf = next(corpus.rglob("*.edf"))
    changed = bytearray(edf.read_bytes())
    changed[-2] ^= 1
    edf.write_bytes(changed)
    told = cli("view", "--profile", "full", "--json")
    assert (told.code, told.json["state"]) == (3, "stale")
    assert [entry["reason"] for entry in told.json["stale"]] == ["the EDF changed"]
    again = cli("ingest", corpus, "--workers", 1, "--json").json
    assert (again["new"], again["reused"]) == (1, 17)
    assert cli("view", "--profile", "full").code == 0


def test_a_view_needs_no_edf_tree(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    digest = digest_of(cli)
    shutil.rmtree(corpus)
    told = cli("view", "--profile", "full", "--json")
    assert (told.code, told.json["digest"], told.json["root"]) == (0, digest, None)


def test_a_refused_recording_is_named_and_the_rest_goes_on(cli: Cli, corpus: Path) -> None:
    edf = sorted((corpus / "edf" / "train").rglob("*.edf"))[0]
    edf.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    told = cli("ingest", corpus, "--workers", 1, "--json")
    assert told.code == 1
    assert told.json["new"] == 17
    [failed] = told.json["failed"]
    assert "LFS" in failed["reason"] and failed["accepted"] is False
    view = cli("view", "--profile", "full", "--json")
    assert (view.code, view.json["state"], len(view.json["missing"])) == (3, "incomplete", 1)
    assert "--accept" not in view.json["mend"] and view.json["leave_out"].endswith(" --accept refused")
    accepted = cli("ingest", corpus, "--workers", 1, "--accept", "refused", "--json")
    assert (accepted.code, accepted.json["failed"][0]["accepted"]) == (0, True)
    view = cli("view", "--profile", "full", "--json")
    assert (view.code, view.json["state"], len(view.json["omitted"])) == (0, "ready", 1)
    assert cli("ingest", corpus, "--workers", 1).code == 0  # the acceptance is remembered


def test_removed_recordings_leave_the_catalog_but_a_vanished_corpus_does_not(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    victim = next(corpus.rglob("*.edf"))
    victim.unlink()
    told = cli("ingest", corpus, "--workers", 1, "--json").json
    assert (told["removed"], told["recordings"]) == (1, 17)
    for edf in list(corpus.rglob("*.edf"))[:-2]:
        edf.unlink()
    told = cli("ingest", corpus, "--workers", 1)
    assert told.code == 2 and "mounted" in told.err
    assert cli("view", "--profile", "full", "--json").json["recordings"] == 17


def test_dry_run_leaves_nothing_behind(cli: Cli, corpus: Path, store: Path) -> None:
    told = cli("ingest", corpus, "--dry-run", "--json").json
    assert (told["new"], told["bytes_written"]) == (18, 0)
    assert not store.exists()


def test_unlabelled_is_never_background(cli: Cli, corpus: Path) -> None:
    for labels in (*corpus.rglob("*.csv"), *corpus.rglob("*.csv_bi")):
        labels.unlink()
    told = cli("ingest", corpus, "--workers", 1, "--json")
    assert told.code == 1 and len(told.json["failed"]) == 18
    assert "--labels none" in cli("ingest", corpus, "--workers", 1).err
    assert cli("ingest", corpus, "--workers", 1, "--labels", "none").code == 0
    classes = cli("view", "--profile", "full", "--json").json["window_classes"]
    assert classes["background"] == 0 and classes["unlabelled"] > 0
