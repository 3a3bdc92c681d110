"""A corpus that cannot be reached is never taken for one whose recordings were deleted."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.computing import computed_once
from helpers.support import Cli

from brainbrr.store.catalog import Catalog
from brainbrr.store.store import Store

ROOT = Path(__file__).resolve().parent.parent.parent


def catalog(tmp_path: Path) -> Catalog:
    found = Store.open(tmp_path / "store").catalog("demo")
    assert found is not None
    return found


def rows(tmp_path: Path) -> set[str]:
    return set(catalog(tmp_path).rows)


@pytest.fixture
def ingested(cli: Cli, corpus: Path, tmp_path: Path) -> set[str]:
    with computed_once():
        assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    return rows(tmp_path)


def a_patient(corpus: Path) -> Path:
    """A folder of the training split that holds less than half of the corpus."""
    return sorted((corpus / "edf" / "train").iterdir())[0]


def test_a_recording_that_was_deleted_leaves_the_catalog(
    cli: Cli, corpus: Path, tmp_path: Path, ingested: set[str]
) -> None:
    shutil.rmtree(a_patient(corpus))
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json")
    assert told.code == 0 and told.json["removed"] > 0
    assert rows(tmp_path) < ingested


def test_a_link_to_a_disk_that_is_not_there_is_no_deletion(
    cli: Cli, corpus: Path, tmp_path: Path, ingested: set[str]
) -> None:
    patient, elsewhere = a_patient(corpus), tmp_path / "disk"
    patient.rename(elsewhere)
    patient.symlink_to(elsewhere)
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    assert rows(tmp_path) == ingested
    elsewhere.rename(tmp_path / "unmounted")
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    assert told.code == 2 and "out of reach: a link leads nowhere" in told.err and "mounted" in told.err
    assert rows(tmp_path) == ingested
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--accept", "removed").code == 0
    assert rows(tmp_path) < ingested


@pytest.mark.slow
def test_recordings_that_are_links_to_a_disk_that_is_not_there_keep_what_they_became(
    cli: Cli, corpus: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"  # as git-annex and datalad lay a corpus out
    disk.mkdir()
    for edf in corpus.rglob("*.edf"):
        edf.rename(disk / edf.name)
        edf.symlink_to(disk / edf.name)
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    before = catalog(tmp_path)
    disk.rename(tmp_path / "unmounted")
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 1
    after = catalog(tmp_path)
    assert after.seq > before.seq
    for path, row in before.rows.items():
        kept = after.rows[path]
        assert (kept.source, kept.n_bytes, kept.contents) == (row.source, row.n_bytes, row.contents)
    assert cli("gc", "--json").json["unneeded"] == []
    (tmp_path / "unmounted").rename(disk)
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json")
    assert (told.code, told.json["new"], told.json["bytes_written"]) == (0, 0, 0)


def test_an_empty_folder_where_recordings_were_is_no_deletion(
    cli: Cli, corpus: Path, tmp_path: Path, ingested: set[str]
) -> None:
    patient = a_patient(corpus)
    shutil.rmtree(patient)
    patient.mkdir()  # as a mount point looks when its disk is not there
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    assert told.code == 2 and "is empty, as a mount point without its disk" in told.err
    assert rows(tmp_path) == ingested


SCANNING = """
import os, sys
from pathlib import Path
from brainbrr.errors import UsageError
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
root, store, shut = map(Path, sys.argv[1:])
ingest(IngestOptions(root=root, store=store, workers=1))
shut.chmod(0)
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)  # from here on, nothing may be imported
for accept in ((), ("removed",)):
    try:
        ingest(IngestOptions(root=root, store=store, dry_run=True, workers=1, accept=frozenset(accept)))
    except UsageError as error:
        print(error.what)
    else:
        raise SystemExit("it was taken for a deletion")
"""


@pytest.fixture
def open_to_all(generated: Path) -> Iterator[Path]:
    """A folder with the corpus that nobody in particular may read: not tmp_path, which is its user's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    shutil.copytree(generated, folder / "demo")
    for path in (folder / "demo", *(folder / "demo").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def scanned(folder: Path, shut: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCANNING, str(folder / "demo"), str(folder / "store"), str(shut)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_folder_that_may_not_be_read_is_an_error_and_no_deletion(open_to_all: Path) -> None:
    patient = a_patient(open_to_all / "demo")
    assert scanned(open_to_all, patient) == ["the folder cannot be read: Permission denied"] * 2


@pytest.mark.slow
def test_a_link_through_a_folder_that_may_not_be_entered_is_an_error_and_no_deletion(open_to_all: Path) -> None:
    patient, disk = a_patient(open_to_all / "demo"), open_to_all / "disk"
    disk.mkdir()
    patient.rename(disk / patient.name)
    patient.symlink_to(disk / patient.name)
    told = scanned(open_to_all, disk)
    assert len(told) == 2
    assert all("Permission denied" in line for line in told)


def test_a_store_whose_disk_is_not_mounted_is_reported_as_such_by_what_reads(
    cli: Cli, tmp_path: Path, ingested: set[str]
) -> None:
    (tmp_path / "store").rename(tmp_path / "unmounted")
    (tmp_path / "store").mkdir()
    for command in ("status", "view", "check", "train", "ls", "verify"):
        told = cli(command)
        assert told.code == 2 and "as a mount point without its disk" in told.err, command
    assert cli("status", "--store", tmp_path / "another").code == 0


def test_a_renamed_root_is_offered_as_the_corpus_that_it_was(
    cli: Cli, corpus: Path, tmp_path: Path, ingested: set[str]
) -> None:
    renamed = corpus.rename(tmp_path / "moved")
    ingest = ("ingest", renamed, "--profile", "smoke", "--workers", 1, "--dry-run")
    assert "in corpus 'demo'" in (told := cli(*ingest)).err and "`--corpus demo`" in told.err
    assert "corpus 'demo'" not in cli(*ingest, "--corpus", "demo").err
    for path in sorted(ingested)[: len(ingested) // 2]:
        (renamed / path).write_bytes(b"another")
    assert "in corpus 'demo'" not in cli(*ingest).err


@pytest.mark.slow
def test_a_store_whose_disk_is_not_mounted_is_not_founded_anew(
    cli: Cli, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "disk" / "eeg" / "store"
    monkeypatch.setenv("BRAINBRR_STORE", str(store))
    ingest = ("ingest", corpus, "--profile", "smoke", "--workers", 1)
    (tmp_path / "disk").mkdir()
    assert cli(*ingest).code == 0  # the first one
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    (tmp_path / "disk").mkdir()
    for more in ((), ("--dry-run",)):
        told = cli(*ingest, *more)
        assert told.code == 2 and "as a mount point without its disk" in told.err and "`brainbrr init`" in told.err
    assert list((tmp_path / "disk").iterdir()) == []
    (tmp_path / "disk").rmdir()
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    assert cli(*ingest, "--json").json["reused"] > 0
    shutil.rmtree(store)
    assert cli(*ingest).code == 2
    (store.parent / "notes.txt").touch()  # no mount point: whoever deletes a store may have it made again
    assert cli(*ingest, "--json").json["new"] > 0
    shutil.rmtree(tmp_path / "disk" / "eeg")
    assert cli("init").code == 0
    assert cli(*ingest, "--json").json["new"] > 0
