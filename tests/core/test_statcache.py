"""What a host remembers: never trusted further than the file's stat allows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from brainbrr.core.digest import source_digest
from brainbrr.core.statcache import FileFacts, Host, keep
from brainbrr.eeg.corpus.annotations import label_digest
from brainbrr.errors import AnnotationError


@pytest.fixture(scope="module")
def settled_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders whose files nobody has touched for a while: a ctime needs the real wait, so all wait together."""
    folders = [tmp_path_factory.mktemp("settled") for _ in range(10)]
    for folder in folders:
        for name in ("a.edf", "b.edf", "a.csv", "a.csv_bi"):
            (folder / name).write_bytes(b"signal" if name == "a.edf" else name.encode() + b"?")
            os.utime(folder / name, ns=(1, 1))
    time.sleep(2.1)
    return iter(folders)


@pytest.fixture
def settled(settled_folders: Iterator[Path]) -> Path:
    return next(settled_folders)


def put_mtime_back(file: Path) -> None:
    os.utime(file, ns=(1, 1))


def test_a_settled_file_is_remembered_across_processes(settled: Path, tmp_path: Path) -> None:
    file = settled / "a.edf"
    sources = Host(tmp_path / "host").sources(settled)
    assert sources.known(file) is None
    source = sources.hash(file)
    sources.save()
    assert Host(tmp_path / "host").sources(settled).known(file) == source == source_digest(file)


def test_an_edit_of_the_same_size_and_mtime_is_noticed(settled: Path, tmp_path: Path) -> None:
    file = settled / "a.edf"
    sources = Host(tmp_path).sources(settled)
    sources.hash(file)
    assert sources.known(file)
    file.write_bytes(b"SIGNAL")
    put_mtime_back(file)
    assert sources.known(file) is None


def test_another_file_of_the_same_size_and_mtime_is_not_the_one_remembered(settled: Path, tmp_path: Path) -> None:
    file, other = settled / "a.csv", settled / "b.edf"
    sources = Host(tmp_path).sources(settled)
    sources.hash(file)
    assert sources.known(file) and file.stat().st_size == other.stat().st_size
    other.replace(file)
    assert sources.known(file) is None


def test_a_file_hashed_just_after_it_was_written_is_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "a.edf"
    file.write_bytes(b"signal")
    sources = Host(tmp_path / "host").sources(tmp_path)
    for mtime_s in (None, 1e9, 4e9):  # whatever a copy says of when: its ctime is now
        os.utime(file, mtime_s and (mtime_s, mtime_s))
        sources.hash(file)
        assert sources.known(file) is None, mtime_s


def of_a_coarse_clock(path: Path) -> Any:
    """The stat of a file system that counts time in steps of half a second; some count in two seconds."""
    status, step = path.stat(), 500_000_000
    mtime, ctime = (t // step * step for t in (status.st_mtime_ns, status.st_ctime_ns))
    return SimpleNamespace(st_size=status.st_size, st_mtime_ns=mtime, st_ctime_ns=ctime, st_ino=status.st_ino)


def of_one_without_ctime(path: Path) -> Any:
    """The same, where st_ctime is when a file was made, as FAT had it."""
    return SimpleNamespace(**{**vars(of_a_coarse_clock(path)), "st_ctime_ns": 0})


@pytest.mark.parametrize("stat", [os.stat, of_a_coarse_clock, of_one_without_ctime])
def test_edits_of_one_size_within_a_clock_tick_give_no_stale_hit(tmp_path: Path, stat: Any) -> None:
    file, facts = tmp_path / "a.edf", FileFacts(tmp_path / "facts.json", stat=stat)
    hidden = stale = 0
    for n in range(100):
        file.write_bytes(b"%08d" % n)
        facts.learn("a", file, lambda: source_digest(file))
        before = stat(file)
        with file.open("r+b") as edited:
            edited.write(b"%08d" % -n)
        hidden += stat(file) == before
        stale += facts.known("a", file) not in (None, source_digest(file))
    assert stale == 0
    assert hidden or stat is os.stat  # whether one hides from the real clock is up to the kernel


def test_an_edit_hidden_in_the_tick_before_a_slow_read_is_not_trusted(tmp_path: Path) -> None:
    file, facts = tmp_path / "a.edf", FileFacts(tmp_path / "facts.json")
    file.write_bytes(b"old")

    def slowly() -> str:
        time.sleep(2.1)  # by now the file's times are old enough; when the read began they were not
        return "old"

    assert facts.learn("a", file, slowly) == "old"
    assert facts.known("a", file) is None


def test_a_file_that_moves_while_it_is_read_is_not_remembered(settled: Path, tmp_path: Path) -> None:
    file, facts = settled / "a.edf", FileFacts(tmp_path / "facts.json")

    def meanwhile() -> str:
        file.write_bytes(b"SIGNAL")
        put_mtime_back(file)
        return "old"

    facts.learn("a", file, meanwhile)
    assert facts.known("a", file) is None
    facts.save()
    assert not (tmp_path / "facts.json").exists()


def test_the_digest_of_label_files_is_the_same_remembered_or_read(settled: Path, tmp_path: Path) -> None:
    files = {".csv_bi": settled / "a.csv_bi", ".csv": settled / "a.csv"}
    sources = Host(tmp_path).sources(settled)
    digest = label_digest(files, digest_of=sources.digest)
    sources.save()
    again = Host(tmp_path).sources(settled)
    assert all(again.known(path) for path in files.values())
    assert label_digest(files, digest_of=again.digest) == digest == label_digest(files)
    files[".csv"].unlink()
    with pytest.raises(AnnotationError, match="cannot be read"):
        label_digest(files, digest_of=again.digest)


def test_a_root_reached_through_a_link_has_the_same_memory(settled: Path, tmp_path: Path) -> None:
    link = tmp_path / "tusz"
    link.symlink_to(settled)
    sources = Host(tmp_path / "host").sources(settled)
    source = sources.hash(settled / "a.edf")
    sources.save()
    assert Host(tmp_path / "host").sources(link).known(link / "a.edf") == source


@pytest.mark.parametrize("torn", ['{"torn', "[]", '{"a.edf": 3}', '{"a.edf": []}', '{"a.edf": null}', "\ufffd"])
def test_torn_tables_are_forgotten_not_believed(tmp_path: Path, torn: str) -> None:
    (tmp_path / "roots.json").write_text(torn)
    host = Host(tmp_path)
    assert host.root(tmp_path / "store", "tusz") is None
    host.remember_root(tmp_path / "store", "tusz", tmp_path / "tusz")
    assert host.root(tmp_path / "store", "tusz") == tmp_path / "tusz"
    (tmp_path / "facts.json").write_text(torn)
    assert FileFacts(tmp_path / "facts.json").known("a.edf", tmp_path / "roots.json") is None


def test_roots_are_per_store(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.remember_root(tmp_path / "a", "tusz", tmp_path / "x")
    assert host.root(tmp_path / "b", "tusz") is None


def test_a_table_that_cannot_be_read_counts_as_lost(settled: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    host._table("sources", settled).mkdir(parents=True)  # reading a folder is an error of the system
    sources = host.sources(settled)
    assert sources.known(settled / "a.edf") is None
    assert sources.hash(settled / "a.edf") == source_digest(settled / "a.edf")
    assert (trouble := keep(sources.save)) and "remembers nothing" in trouble
