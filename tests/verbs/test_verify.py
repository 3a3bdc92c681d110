"""What `verify` finds, what `--quick` finds of it, and the command that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Cli

from brainbrr.store.store import Store
from brainbrr.verbs.verify import damage, verify


@pytest.fixture
def store(cli: Cli, corpus: Path, tmp_path: Path) -> Store:
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    return Store.open(tmp_path / "store")


def shards(store: Store) -> list[Path]:
    return sorted(store.location.glob("objects.zarr/*/*/c.0.0"))


def flip(file: Path, at: int) -> None:
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("at", [0, 12_345, -1, -30])
def test_quick_finds_a_flipped_bit_anywhere_in_a_shard(cli: Cli, store: Store, at: int) -> None:
    assert cli("verify", "--quick").code == 0
    flip(shards(store)[2], at)
    told = cli("verify", "--quick", "--json")
    assert (told.code, told.json["verified"], told.json["objects"]) == (4, 5, 6)
    [found] = told.json["corrupt"]
    assert found["object"] == shards(store)[2].parent.name


def test_only_full_finds_an_array_under_anothers_name(cli: Cli, store: Store) -> None:
    one, other = (store.layout.object(content) for content in sorted(store.contents())[:2])
    one.rename(one.with_name("aside"))
    other.rename(one)
    (one.with_name("aside")).rename(other)
    found = [each["reason"] for each in verify(store).corrupt]
    assert sum("decoded array has content" in reason for reason in found) == 2
    report = verify(store, quick=True)
    assert not any("object" in each for each in report.corrupt) and report.verified == 6


def test_every_damage_names_what_mends_it(cli: Cli, store: Store) -> None:
    first, second, third = shards(store)[:3]
    flip(first, 0)
    flip(second.parent / "zarr.json", 3)
    third.unlink()
    store.freeze("c" * 64, {"format": 1}).unlink()
    report = verify(store)
    assert {each["object"] for each in report.corrupt if "object" in each} == {
        shard.parent.name for shard in (first, second, third)
    }
    assert all("brainbrr ingest ROOT --rehash" in each["fix"] for each in report.corrupt)
    assert "brainbrr ingest ROOT --rehash" in cli("verify").out
    assert "brainbrr ingest ROOT --rehash" in cli("check", "--require", "verified").out


def test_ingest_rehash_mends_what_verify_found(cli: Cli, store: Store, corpus: Path) -> None:
    flip(shards(store)[0], 100)
    (shards(store)[1].parent / "notes.txt").touch()
    (shards(store)[2].parent.parent / "zarr.json").unlink()
    (store.layout.objects / "zarr.json").unlink()
    assert cli("verify").code == 4
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--rehash").code == 0
    assert cli("verify").code == 0
    assert len(list((store.location / "quarantine").iterdir())) >= 2


def test_a_damaged_group_is_told_once_however_many_objects_it_holds(cli: Cli, store: Store) -> None:
    (store.layout.objects / "zarr.json").unlink()
    [found] = verify(store).corrupt
    assert found["group"] == "zarr.json"


def test_a_misplaced_copy_is_damage_to_verify_and_known_to_be_whole(store: Store) -> None:
    folder = shards(store)[0].parent
    folder.rename(folder.with_name("elsewhere"))
    found = damage(store)
    assert [each["object"] for each in found.misplaced] == [f"{folder.name[:2]}/elsewhere"]
    assert found.decoded[f"{folder.name[:2]}/elsewhere"] == folder.name
    assert verify(store).exit_code == 4
