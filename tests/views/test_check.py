"""The gate must be able to fail, each way with its own exit code."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.computing import computed_once
from helpers.support import Cli

from brainbrr.core import models
from brainbrr.store import checks, sidecars
from brainbrr.store.sidecars import Receipt
from brainbrr.store.store import Store

pytestmark = pytest.mark.slow

GATE = ("check", "--require", "no-duplicates,complete,verified,no-leaks", "--profile", "smoke")


@pytest.fixture
def store(cli: Cli, corpus: Path, tmp_path: Path) -> Path:
    with computed_once():
        assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    assert cli(*GATE).code == 0
    return tmp_path / "store"


def first_shard(store: Path) -> Path:
    return sorted(store.glob("objects.zarr/*/*/c.0.0"))[0]


def plant(store: Path, name: str) -> Path:
    """Copy an object under another name, as `cp -r` would."""
    original = first_shard(store).parent
    copy = original.parent / name
    shutil.copytree(original, copy)
    return copy


def flip(file: Path, at: float = 0.5) -> None:
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[int(len(data) * at)] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["copy", "0" * 64, "zz"])
def test_a_second_copy_under_another_name_is_a_duplicate(cli: Cli, store: Path, name: str) -> None:
    plant(store, name)
    told = cli(*GATE, "--json")
    assert told.code == 5
    [duplicate] = told.json["duplicate_objects"]
    assert duplicate["content"] == first_shard(store).parent.name or name in str(duplicate["copies"])
    assert told.json["duplicate_bytes"] > 0 and told.json["corrupt"] == [] and told.json["ok"] is False


def test_one_flipped_bit_is_corrupt(cli: Cli, store: Path) -> None:
    flip(first_shard(store))
    told = cli(*GATE, "--json")
    assert told.code == 4
    assert told.json["corrupt"][0]["object"] == first_shard(store).parent.name
    assert cli("verify").code == 4


def test_corrupt_wins_over_duplicate(cli: Cli, store: Path) -> None:
    plant(store, "copy")
    flip(sorted(store.glob("objects.zarr/*/*/c.0.0"))[-1])
    assert cli(*GATE).code == 4


def test_a_folder_that_decodes_to_another_content_is_corrupt(cli: Cli, store: Path) -> None:
    folder = first_shard(store).parent
    folder.rename(folder.with_name(folder.name[:2] + "f" * 62))
    told = cli(*GATE, "--json")
    assert told.code == 4


def test_a_damaged_record_is_corrupt(cli: Cli, store: Path) -> None:
    flip(sorted(store.glob("records/*/*.json"))[0], at=0.3)
    assert cli(*GATE).code == 4
    assert cli("verify", "--quick").code == 4


def test_a_patient_in_two_splits_is_a_leak(cli: Cli, store: Path, corpus: Path) -> None:
    edf = sorted((corpus / "edf" / "train").rglob("*.edf"))[0]
    folder = corpus / "edf" / "eval" / edf.relative_to(corpus / "edf" / "train").parent
    folder.mkdir(parents=True)
    for file in edf.parent.glob(f"{edf.stem}.*"):
        shutil.copy(file, folder)
    assert cli("ingest", corpus, "--workers", 1).code == 0
    told = cli("check", "--json")
    assert told.code == 5
    assert {leak["kind"] for leak in told.json["leaks"]} == {"patient", "source", "content"}
    assert cli("check", "--require", "no-duplicates,verified,complete").code == 0  # only what is required fails


def test_a_missing_object_is_incomplete_or_corrupt_as_required(cli: Cli, store: Path) -> None:
    shutil.rmtree(first_shard(store).parent)
    assert cli("check", "--require", "complete", "--profile", "smoke").code == 3
    assert cli(*GATE).code == 4  # its record names an object that is gone


def test_ingest_mends_a_missing_object(cli: Cli, store: Path, corpus: Path) -> None:
    shutil.rmtree(first_shard(store).parent)
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json")
    assert (told.code, told.json["new"], told.json["reused"]) == (0, 1, 5)
    assert cli(*GATE).code == 0


def test_an_object_without_a_record_is_an_orphan_and_never_fails(cli: Cli, store: Path) -> None:
    opened = Store.open(store)
    record = next(opened.records())
    receipt = Receipt(verb="gc", created="2999-01-01T00:00:00+00:00", by="us", records=(record.key,))
    sidecars.write_receipt(opened.layout, receipt)
    content = record.content
    opened.layout.record(record.key).unlink()
    told = cli("check", "--require", "no-duplicates,verified,no-leaks", "--profile", "smoke", "--json")
    assert told.code == 0 and told.json["orphans"] == [content]


def test_unknown_requirement_lists_the_known_ones(cli: Cli, store: Path) -> None:
    told = cli("check", "--require", "no-dups")
    assert told.code == 2 and "no-duplicates" in told.err


def test_ingest_mends_a_damaged_record_and_keeps_it_in_quarantine(cli: Cli, store: Path, corpus: Path) -> None:
    flip(sorted(store.glob("records/*/*.json"))[0], at=0.3)
    view = cli("view", "--profile", "smoke", "--json")
    assert view.code == 3 and "damaged" in view.json["missing"][0]["reason"]
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json").json["new"] == 1
    assert len(list((store / "quarantine").iterdir())) == 1
    assert cli(*GATE).code == 0


def test_broken_labels_outside_the_profile_are_missing_never_background(cli: Cli, store: Path, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    victims = list(corpus.rglob("*.csv_bi"))
    for labels in victims:
        labels.write_text("nonsense\n")
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json")
    assert told.code == 1 and len(told.json["failed"]) == 6
    view = cli("view", "--profile", "full", "--json").json
    assert (view["ready"], len(view["missing"])) == (0, 18)


def publish_again(store: Path) -> None:
    opened = Store.open(store)
    opened.publish("demo", lambda latest: dataclasses.replace(latest, labelled=False) if latest else None)  # type: ignore[arg-type,return-value]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a group of the hierarchy": lambda store: flip(store / "objects.zarr" / "zarr.json"),
    "a group of a fan-out": lambda store: flip(first_shard(store).parent.parent / "zarr.json"),
    "a group that is gone": lambda store: (first_shard(store).parent.parent / "zarr.json").unlink(),
    "a stray file": lambda store: (first_shard(store).parent / "notes.txt").touch(),
    "a stray file in a copy": lambda store: (plant(store, "copy") / "notes.txt").touch(),
    "an older generation": lambda store: (publish_again(store), flip(store / "catalog" / "demo" / "00000001.jsonl")),
    "the latest generation": lambda store: (publish_again(store), flip(store / "catalog" / "demo" / "00000002.jsonl")),
    "a frozen view": lambda store: flip(Store.open(store).freeze("c" * 64, {"format": 1})),
    "a sample": lambda store: flip(first_shard(store)),
    "a record": lambda store: flip(sorted(store.glob("records/*/*.json"))[0]),
    "a stray record": lambda store: (store / "records" / "aa").mkdir() or (store / "records" / "aa" / "x").touch(),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_check_proves_what_verify_proves(cli: Cli, store: Path, what: str) -> None:
    DAMAGES[what](store)
    proven = cli("verify", "--json")
    told = cli(*GATE, "--json")
    assert (proven.code, told.code) == (4, 4)
    excused = {name for found in told.json["duplicate_objects"] for name in (found["content"], *found["copies"])}
    assert told.json["corrupt"] == [
        found for found in proven.json["corrupt"] if "not lie in its place" not in found["reason"] or not excused
    ]
    assert cli("check", "--require", "verified", "--profile", "smoke").code == 4
    assert "\nfix\t" in cli("verify").out and "\nfix\t" in cli(*GATE).out


def test_each_object_is_decoded_once(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(store, "copy")
    decoded: list[str] = []
    real = checks.decode_object
    monkeypatch.setattr(
        checks, "decode_object", lambda of, name, **seen: (decoded.append(name), real(of, name, **seen))[1]
    )
    cli(*GATE)
    assert sorted(decoded) == sorted(Store.open(store).contents())


def test_a_record_that_binds_a_source_to_a_second_object_is_a_duplicate(cli: Cli, store: Path) -> None:
    opened = Store.open(store)
    first, second = list(opened.records())[:2]
    forged = first.model_copy(update={"content": second.content, "array": second.array})
    path = store / "records" / "aa" / f"{'a' * 32}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(models.to_checksummed(forged.to_json()))
    told = cli(*GATE, "--json")
    assert told.code == 5 and told.json["corrupt"] == []
    assert told.json["duplicate_objects"][0]["objects"] == sorted((first.content, second.content))
    assert cli("verify").code == 4


def test_a_second_object_excuses_no_other_damage(cli: Cli, store: Path) -> None:
    opened = Store.open(store)
    first, second = list(opened.records())[:2]
    forged = first.model_copy(update={"content": second.content, "array": second.array})
    (store / "records" / "aa").mkdir(exist_ok=True)
    (store / "records" / "aa" / f"{'a' * 32}.json").write_bytes(models.to_checksummed(forged.to_json()))
    shutil.rmtree(opened.layout.object(first.content))
    assert cli(*GATE).code == 4


@pytest.mark.parametrize("nothing", ["", ",", " "])
def test_a_gate_that_requires_nothing_is_refused(cli: Cli, store: Path, nothing: str) -> None:
    told = cli("check", "--require", nothing)
    assert told.code == 2 and "nothing is required" in told.err


def test_a_store_without_a_corpus_is_never_complete(cli: Cli, tmp_path: Path) -> None:
    Store.create(tmp_path / "store")
    told = cli("check", "--json")
    assert (told.code, told.json["ok"]) == (3, False)
    assert "no corpus" in told.json["missing"][0]["reason"]
    assert "no corpus" in cli("check").out
    assert cli("check", "--require", "no-duplicates,verified,no-leaks").code == 0


def test_a_profile_whose_view_is_empty_is_never_complete(cli: Cli, store: Path) -> None:
    Store.open(store).publish(
        "demo",
        lambda latest: dataclasses.replace(latest, rows={}) if latest else None,  # type: ignore[arg-type,return-value]
    )
    assert cli("view", "--profile", "smoke").code == 3
    told = cli(*GATE, "--json")
    assert told.code == 3 and "view is empty" in told.json["missing"][0]["reason"]


def test_check_never_passes_when_a_catalog_cannot_be_read(cli: Cli, store: Path) -> None:
    flip(store / "catalog" / "demo" / "00000001.jsonl")
    for required in ("complete", "no-leaks", "verified"):
        assert cli("check", "--require", required, "--profile", "smoke").code == 4
    assert cli("check", "--require", "no-duplicates", "--profile", "smoke").code == 0


def test_what_is_missing_is_said_to_be_shown_by_view(cli: Cli, store: Path) -> None:
    told = cli("check", "--profile", "full")
    assert told.code == 3 and "fix\t`brainbrr view --corpus demo` shows what is missing" in told.out
