"""`status` shows the rest of a damaged store, and never disagrees with `view`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.computing import computed_once
from helpers.support import Cli

from brainbrr.store.catalog import Catalog
from brainbrr.store.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def store(cli: Cli, corpus: Path, tmp_path: Path) -> Path:
    with computed_once():
        assert cli("ingest", corpus, "--workers", 1).code == 0
    return tmp_path / "store"


def spoil(file: Path) -> None:
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-5])


def agree(cli: Cli) -> dict[str, int]:
    """Hold the readiness that status shows against every view; return it by profile."""
    profiles = cli("status", "--json").json["profiles"]
    assert {entry["profile"] for entry in profiles} == {"smoke", "dev", "full"}
    for entry in profiles:
        view = cli("view", "--profile", entry["profile"], "--recipe", entry["recipe"], "--json").json
        told = (view["recordings"], view["ready"], len(view["omitted"]))
        assert (entry["recordings"], entry["ready"], entry["omitted"]) == told
    return {entry["profile"]: entry["ready"] for entry in profiles}


def test_damaged_records_are_counted_and_the_rest_is_shown(cli: Cli, store: Path) -> None:
    files = sorted(store.glob("records/*/*.json"))
    for file in files[:2]:
        spoil(file)
    told = cli("status", "--json")
    assert (told.code, told.json["records"], told.json["damaged_records"]) == (0, len(files) - 2, 2)
    assert told.json["objects"] == 18
    assert "damaged\t2 records" in cli("status").out
    assert agree(cli)["full"] == 16


def test_lost_objects_and_lost_labels_are_not_ready(cli: Cli, store: Path, corpus: Path) -> None:
    assert agree(cli)["full"] == 18
    shutil.rmtree(next(iter(store.glob("objects.zarr/*/*/c.0.0"))).parent)
    assert agree(cli)["full"] == 17
    for labels in corpus.rglob("*.csv_bi"):
        labels.write_text("nonsense\n")
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    assert agree(cli)["full"] == 0


def test_a_recording_without_labels_is_not_ready_in_a_labelled_corpus(cli: Cli, store: Path) -> None:
    def unlabel(latest: Catalog | None) -> Catalog:
        assert latest is not None
        path = min(latest.rows)
        return replace(latest, rows={**latest.rows, path: latest.rows[path].model_copy(update={"annotations": None})})

    Store.open(store).publish("demo", unlabel)
    assert agree(cli)["full"] == 17


def test_a_damaged_catalog_is_named_and_hides_nothing_else(cli: Cli, store: Path) -> None:
    spoil(max((store / "catalog" / "demo").iterdir()))
    told = cli("status", "--json")
    assert (told.code, told.json["damaged_catalogs"], told.json["objects"]) == (0, ["demo"], 18)
    assert "catalogs of demo" in cli("status").out


def test_leftovers_of_killed_writers_are_counted(cli: Cli, store: Path) -> None:
    assert cli("status", "--json").json["leftovers"] == 0
    with Store.open(store).layout.scratch() as mine:
        where, _, began, rest = mine.name.split("-")
        (mine.with_name(f"{where}-{2**22 + 1}-{began}-{rest}")).mkdir()
    assert cli("status", "--json").json["leftovers"] == 1
    assert "leftovers\t1 " in cli("status").out


def test_what_is_no_place_for_a_store_is_not_an_empty_one(cli: Cli, store: Path, corpus: Path) -> None:
    for place, said in ((corpus, "not a store"), (corpus / "SYNTHETIC.json", "a file is where the store should be")):
        for command in ("status", "view"):
            told = cli(command, "--store", place)
            assert told.code == 2 and said in told.err
    (store / "format.json").unlink()
    told = cli("status")
    assert told.code == 2 and "lost its format.json" in told.err
