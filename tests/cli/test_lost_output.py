"""Output that goes nowhere: a full disk, a pipe whose reader left, a descriptor that was closed from the start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.support import ROOT, Told, leaves

from brainbrr.cli.app import cli as group
from brainbrr.store.store import Store

pytestmark = pytest.mark.slow

HELPS = [[*name.split(), "--help"] for name, _ in leaves(group)]
GROUPS = [[], ["--help"], ["--version"], ["help", "view"]]
REPORTS = ["status", "verify", "view --profile smoke", "recipe list"]
FULL = "error: No space left on device\n"
CLOSED = 128 + signal.SIGPIPE

Run = Callable[..., Told]


@contextmanager
def full() -> Iterator[int]:
    """Open a device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def unread() -> Iterator[int]:
    """Open a pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def run(stored: Store, tmp_path: Path) -> Run:
    """Run `brainbrr` in an environment of nothing but its own folders, as Python buffers it there."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "BRAINBRR_STORE": str(stored.location),
    }

    def run(words: list[str], *, stdout: int, stderr: int = subprocess.PIPE) -> Told:
        command = [sys.executable, "-m", "brainbrr", *words]
        told = subprocess.run(
            command, env=environment, cwd=tmp_path, stdout=stdout, stderr=stderr, text=True, check=False
        )
        return Told(told.returncode, "", told.stderr or "")

    return run


@pytest.mark.parametrize("words", [*GROUPS, *HELPS], ids=" ".join)
def test_help_that_nobody_gets_ends_with_one_line_or_quietly(run: Run, words: list[str]) -> None:
    with full() as disk:
        assert run(words, stdout=disk) == Told(7, "", FULL)
    with unread() as pipe:
        assert run(words, stdout=pipe) == Told(CLOSED, "", "")


@pytest.mark.parametrize("words", REPORTS)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_report_that_nobody_gets_ends_with_one_line_or_quietly(run: Run, words: str, form: list[str]) -> None:
    with full() as disk:
        assert run([*words.split(), *form], stdout=disk) == Told(7, "", FULL)
    with unread() as pipe:
        assert run([*words.split(), *form], stdout=pipe) == Told(CLOSED, "", "")


@pytest.mark.parametrize("words", [["status", "--no-such-option"], ["view", "--where", "colour=red"]], ids=" ".join)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_an_error_that_nobody_gets_keeps_its_exit_code(run: Run, words: list[str], form: list[str]) -> None:
    for opened in (full, unread):
        with opened() as lost:
            assert run([*words, *form], stdout=lost, stderr=lost).code == 2
            told = run([*words, *form], stdout=lost)
            assert told.code == 2 and told.err.startswith("error: ") and "OSError" not in told.err


def test_a_command_without_stdout_or_stderr_runs(run: Run, corpus: Path, tmp_path: Path) -> None:
    """Started without them, it must not write what it prints into a file of the store that got their descriptor."""
    for closing in (">&-", "2>&-", ">&- 2>&-"):
        store = tmp_path / closing
        command = f'"$0" -m brainbrr "$@" {closing}'
        words = ["ingest", str(corpus), "--profile", "smoke", "--workers", "1", "--store", str(store)]
        told = subprocess.run(["sh", "-c", command, sys.executable, *words], cwd=ROOT, capture_output=True, check=False)
        assert (told.returncode, told.stdout if closing[:3] == ">&-" else b"") == (0, b"")
        assert b"Traceback" not in told.stderr
        assert run(["verify", "--store", str(store)], stdout=subprocess.DEVNULL).code == 0


def test_an_ingest_whose_output_is_lost_is_whole_after_the_next(run: Run, corpus: Path, tmp_path: Path) -> None:
    words = ["ingest", str(corpus), "--profile", "smoke", "--workers", "1", "--store", str(tmp_path / "own")]
    with unread() as pipe:
        assert run(words, stdout=pipe, stderr=pipe).code == CLOSED
    with full() as disk:
        assert run(words, stdout=disk, stderr=disk).code == 7
        assert run(words, stdout=disk).code == 7
    assert run(words, stdout=subprocess.DEVNULL).code == 0
    assert run(["verify", "--store", str(tmp_path / "own")], stdout=subprocess.DEVNULL).code == 0
