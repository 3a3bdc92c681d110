"""What a host remembers: never trusted further than the file's stat allows."""

from __future__ import annotations

import os
import time
from pathlib import Path

from brainbrr.digest import source_digest
from brainbrr.host import Host


def settle(path: Path) -> None:
    """Make a file look as if nobody touched it for a while; its ctime needs the real wait."""
    while time.time_ns() - path.stat().st_ctime_ns <= 2_100_000_000:
        time.sleep(0.1)


def test_a_settled_file_is_remembered_across_processes(tmp_path: Path) -> None:
    file = tmp_path / "a.edf"
    file.write_bytes(b"signal")
    settle(file)
    sources = Host(tmp_path / "host").sources(tmp_path)
    assert sources.known(file) is None
    source = sources.hash(file)
    sources.save()
    assert Host(tmp_path / "host").sources(tmp_path).known(file) == source == source_digest(file)


def test_an_edit_of_the_same_size_and_mtime_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.edf"
    file.write_bytes(b"signal")
    settle(file)
    sources = Host(tmp_path / "host").sources(tmp_path)
    sources.hash(file)
    times = file.stat()
    file.write_bytes(b"SIGNAL")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sources.known(file) is None


def test_a_file_hashed_just_after_it_was_written_is_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "a.edf"
    file.write_bytes(b"signal")
    sources = Host(tmp_path / "host").sources(tmp_path)
    sources.hash(file)
    assert sources.known(file) is None


def test_torn_memory_is_forgotten_not_believed(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.remember_root(tmp_path / "store", "tusz", tmp_path / "tusz")
    (tmp_path / "roots.json").write_text('{"torn')
    assert host.root(tmp_path / "store", "tusz") is None
    host.remember_root(tmp_path / "store", "tusz", tmp_path / "tusz")
    assert host.root(tmp_path / "store", "tusz") == tmp_path / "tusz"


def test_roots_are_per_store(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.remember_root(tmp_path / "a", "tusz", tmp_path / "x")
    assert host.root(tmp_path / "b", "tusz") is None
