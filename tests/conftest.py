"""Fixtures that every test folder shares: real recordings, a generated corpus, and the command line."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers.computing import computed_once
from helpers.support import ROOT, Cli, Person, Told, leaves
from hypothesis import settings

import brainbrr
from brainbrr.core import statcache
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import DependencyError
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.settings import let_threads_sleep
from brainbrr.store.store import Store

for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):  # a user has neither, and they hide what he would meet
    os.environ.pop(name, None)
let_threads_sleep()  # before any test imports torch
settings.register_profile("default", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("default")
TORCH = find_spec("torch") is not None
collect_ignore = [] if TORCH else ["learn", "parity"]  # whose conftest.py import it
signal.signal(signal.SIGINT, signal.default_int_handler)  # which `make test &` ignores, and a child would inherit


def pytest_report_header() -> list[str]:
    """Say at the top what is left out."""
    return [] if TORCH else ["without torch: tests/learn and tests/parity are left out, and what else needs it skipped"]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """Skip a module that imports torch where `make setup TORCH=skip` left it out."""
    report = yield
    if not TORCH and report.failed and "No module named 'torch'" in str(report.longrepr):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 1, "Skipped: needs torch, which is not installed")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Skip a test that comes upon torch only as it runs."""
    report = yield
    error = None if call.excinfo is None else call.excinfo.value
    if not TORCH and isinstance(error, ModuleNotFoundError | DependencyError) and "torch" in str(error):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1], "Skipped: needs torch, which is not installed")
    return report


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real recordings and labels, or a skip that says why."""
    folder = Path(os.environ.get("BRAINBRR_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; set BRAINBRR_TEST_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated TUSZ-shaped corpus named `demo`: 18 short recordings. Read only; copy it to change it."""
    root = tmp_path_factory.mktemp("generated") / "demo"
    write_corpus(root, n_recordings=18, seed=0, seconds=(20, 24))
    return root


@pytest.fixture(scope="session")
def stored(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that holds the generated corpus. Read only; copy it to change it."""
    location = tmp_path_factory.mktemp("stored") / "store"
    with computed_once():
        ingest(IngestOptions(root=generated, store=location, workers=1))
    return Store.open(location)


@pytest.fixture(scope="module")
def stored_at(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The place of such a store that the public API made, on a host of the module's own. Read only."""
    folder = tmp_path_factory.mktemp("public")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "host"))
        with computed_once():
            brainbrr.ingest(generated, store=folder / "store", workers=1)
        yield folder / "store"


@pytest.fixture
def corpus(generated: Path, tmp_path: Path) -> Path:
    """The generated corpus as a test's own copy."""
    return Path(shutil.copytree(generated, tmp_path / "demo"))


@pytest.fixture
def at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are as if they had been there for a while, so that what is learned of them is remembered."""
    monkeypatch.setattr(statcache, "_SETTLED_NS", -1)


@pytest.fixture
def commons() -> Iterator[Path]:
    """A folder that all users reach and write; a skip where this process cannot become one of them."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as name:  # not below pytest's, which is for one user
        folder = Path(name)
        folder.chmod(0o777)
        if Person(60_999, (), folder).run("-c", "import brainbrr").code:
            pytest.skip("other users reach neither this checkout nor its Python")
        yield folder


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """Run `brainbrr` in this process on a host and a store of the test's own."""
    from brainbrr.cli.app import EXIT_CODES
    from brainbrr.cli.app import cli as group
    from brainbrr.cli.main import main

    exits = {name: command.exits for name, command in leaves(group)}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "host-cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "host-config"))
    monkeypatch.setenv("BRAINBRR_STORE", str(tmp_path / "store"))

    def run(*arguments: object) -> Told:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["brainbrr", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = int(ended.value.code or 0)
        if not TORCH and code == DependencyError.exit_code and "training needs torch" in captured.err + captured.out:
            pytest.skip("needs torch, which is not installed")
        assert code in exits.get(str(arguments[0]), EXIT_CODES), f"--help does not show that it can end with {code}"
        return Told(code, captured.out, captured.err)

    yield run
