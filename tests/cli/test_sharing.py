"""One store, several people: a group that writes it with any umask, and others who read it or do not even see it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from helpers.support import Person

from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

pytestmark = pytest.mark.slow

GROUP = 60_100


@dataclasses.dataclass(frozen=True)
class Lab:
    """Two members of a group and somebody else, a corpus, and the place of a store."""

    anna: Person
    ben: Person
    other: Person
    corpus: Path
    store: Path

    def everything(self) -> list[Path]:
        return [self.store, *self.store.rglob("*")]


@pytest.fixture
def lab(commons: Path) -> Lab:
    write_corpus(commons / "demo", n_recordings=8, seed=0, seconds=(20, 24))
    return Lab(
        Person(60_001, (GROUP,), commons),
        Person(60_002, (GROUP,), commons),
        Person(60_003, (), commons),
        commons / "demo",
        commons / "store",
    )


def overwrite_a_shard(store: Path) -> Path:
    shard = sorted(store.glob("objects.zarr/*/*/c.0.0"))[0]
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)  # root may: as a disk would
    return shard


@pytest.mark.parametrize(("options", "mode"), [(("--public",), 0o2775), ((), 0o2770)])
def test_a_group_writes_one_store_with_any_umask(lab: Lab, options: tuple[str, ...], mode: int) -> None:
    told = lab.anna.run("init", "--store", lab.store, "--group", GROUP, *options)
    assert told.code == 0, told.err
    ingest = ("ingest", lab.corpus, "--store", lab.store, "--workers", 1, "--json")
    first = lab.anna.run(*ingest, "--profile", "smoke")
    assert first.code == 0 and first.json["new"] == 6, first.err
    second = lab.ben.run(*ingest)
    assert second.code == 0 and (second.json["new"], second.json["reused"]) == (2, 6), second.err

    damaged = overwrite_a_shard(lab.store)
    owner = damaged.stat().st_uid
    mender = lab.ben if owner == lab.anna.uid else lab.anna
    mended = mender.run(*ingest, "--rehash")
    assert mended.code == 0, mended.err
    assert damaged.stat().st_uid == mender.uid
    assert [path.name[:64] for path in (lab.store / "quarantine").iterdir()] == [damaged.parent.name]
    assert verify(Store.open(lab.store)).verified == 8

    folders, files = ([p for p in lab.everything() if p.is_dir() is is_dir] for is_dir in (True, False))
    assert {path.stat().st_mode & 0o7777 for path in folders} == {mode}
    assert {path.stat().st_mode & 0o7777 for path in files} == {0o444}
    assert {path.stat().st_gid for path in lab.everything()} == {GROUP}
    assert {path.stat().st_uid for path in files} == {lab.anna.uid, lab.ben.uid}


def test_who_is_not_in_the_group_reads_and_does_not_write(lab: Lab) -> None:
    lab.anna.run("init", "--store", lab.store, "--group", GROUP, "--public")
    assert lab.anna.run("ingest", lab.corpus, "--store", lab.store, "--profile", "smoke", "--workers", 1).code == 0
    before = {path: path.lstat().st_mtime_ns for path in lab.everything()}
    assert lab.other.run("view", "--store", lab.store, "--profile", "smoke").code == 0
    assert lab.other.run("verify", "--store", lab.store, "--json").json["verified"] == 6
    told = lab.other.run("ingest", lab.corpus, "--store", lab.store, "--workers", 1)
    assert told.code == 2 and "cannot be written: Permission denied" in told.err
    assert {path: path.lstat().st_mtime_ns for path in lab.everything()} == before


def test_who_is_not_in_the_group_of_a_private_store_sees_nothing(lab: Lab) -> None:
    lab.anna.run("init", "--store", lab.store, "--group", GROUP)
    for command in (("verify",), ("view",), ("status",), ("ingest", lab.corpus), ("init",)):
        told = lab.other.run(*command, "--store", lab.store)
        assert told.code == 2 and "may not be read: Permission denied" in told.err, (command, told.err)


def test_only_members_share(lab: Lab) -> None:
    told = lab.other.run("init", "--store", lab.store, "--group", GROUP)
    assert told.code == 2 and "you must be in the group" in told.err
    assert not lab.store.exists()


def test_a_folder_whose_maker_died_before_it_had_its_mode_gets_it(lab: Lab) -> None:
    lab.anna.run("init", "--store", lab.store, "--group", GROUP)
    script = (
        "import os, pathlib; from brainbrr.store import create\n"
        "pathlib.Path.chmod = lambda *_: os._exit(9)  # killed there\n"
        f"create.open_existing(pathlib.Path({str(lab.store)!r})).ensure_fan_out("
        f"pathlib.Path({str(lab.store / 'records' / 'ab')!r}))"
    )
    assert lab.anna.run("-c", script).code == 9
    assert (lab.store / "records" / "ab").stat().st_mode & 0o777 == 0o700
    script = script.replace("lambda *_: os._exit(9)", "pathlib.Path.chmod")
    assert lab.anna.run("-c", script).code == 0
    assert (lab.store / "records" / "ab").stat().st_mode & 0o7777 == 0o2770
