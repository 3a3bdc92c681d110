"""A store, and what is written beside it, is no more readable than the corpus, unless somebody chose that."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.support import Cli

from brainbrr.store.store import Store


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def public(commons: Path, generated: Path) -> Path:
    """A corpus that everybody may read, in folders that everybody may enter."""
    subprocess.run(["cp", "-r", generated, commons / "demo"], check=True)
    subprocess.run(["chmod", "-R", "a+rX", commons / "demo"], check=True)
    return commons / "demo"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def folders(store: Path) -> set[int]:
    return {mode(path) for path in (store, *store.rglob("*")) if path.is_dir()}


def test_a_new_store_is_as_readable_as_the_corpus(cli: Cli, public: Path, tmp_path: Path) -> None:
    assert cli("ingest", public, "--profile", "smoke", "--workers", 1).code == 0
    assert folders(tmp_path / "store") == {0o755}


@pytest.mark.parametrize("closed", ["root", "parent"])
def test_a_new_store_is_closed_where_the_root_or_a_parent_is(
    cli: Cli, public: Path, tmp_path: Path, closed: str
) -> None:
    (public if closed == "root" else public.parent).chmod(0o700)
    (tmp_path / "store").mkdir(mode=0o755)  # empty, and more open
    assert cli("ingest", public, "--profile", "smoke", "--workers", 1).code == 0
    assert folders(tmp_path / "store") == {0o700}


def test_a_group_that_may_read_the_corpus_may_read_the_store(cli: Cli, public: Path, tmp_path: Path) -> None:
    public.chmod(0o750)  # root's group, which the store gets too
    assert cli("ingest", public, "--profile", "smoke", "--workers", 1).code == 0
    assert folders(tmp_path / "store") == {0o750}


def test_a_store_that_is_more_readable_is_refused_until_it_is_closed(cli: Cli, public: Path, tmp_path: Path) -> None:
    assert cli("ingest", public, "--profile", "smoke", "--workers", 1).code == 0
    public.chmod(0o700)
    for dry in ((), ("--dry-run",)):
        told = cli("ingest", public, "--workers", 1, "--json", *dry)
        assert told.code == 6 and told.json["code"] == "store-too-open"
    command = told.json["fix"].partition(";")[0]
    assert command == f"chmod 0700 {tmp_path / 'store'}"
    assert os.system(command) == 0
    assert cli("ingest", public, "--workers", 1).code == 0
    assert mode(tmp_path / "store") == 0o700


def test_the_other_line_opens_it_on_purpose_and_every_ingest_says_so(cli: Cli, public: Path, tmp_path: Path) -> None:
    assert cli("ingest", public, "--profile", "smoke", "--workers", 1).code == 0
    public.chmod(0o700)
    assert "`brainbrr init --public`" in cli("ingest", public, "--workers", 1).err
    assert cli("init", "--public").code == 0
    told = cli("ingest", public, "--workers", 1)
    assert told.code == 0 and "everybody may read this store" in told.err
    (tmp_path / "store").chmod(0o757)  # more than was chosen
    assert cli("ingest", public, "--workers", 1).code == 6


def test_runs_and_files_of_views_follow_the_store(cli: Cli, public: Path, tmp_path: Path) -> None:
    public.chmod(0o700)
    assert cli("ingest", public, "--workers", 1).code == 0
    files = {"--out": tmp_path / "view.json", "--index": tmp_path / "view.npz"}
    files["--out"].write_text("there before, and open")
    told = cli("view", "--profile", "smoke", *(word for pair in files.items() for word in pair))
    assert told.code == 0
    assert {mode(path) for path in files.values()} == {0o600}
    assert json.loads(files["--out"].read_text())["profile"] == "smoke"
    (tmp_path / "store").chmod(0o755)
    assert cli("view", "--profile", "smoke", "--index", files["--index"]).code == 0
    assert mode(files["--index"]) == 0o644


def test_a_run_follows_the_store(tmp_path: Path) -> None:
    from brainbrr.learn import runs
    from brainbrr.learn.config import load_train_config

    store = Store.create(tmp_path / "store")
    (tmp_path / "runs").mkdir(mode=0o755)
    for store_mode in (0o700, 0o755):
        store.location.chmod(store_mode)
        run = runs.create(
            tmp_path / "runs", load_train_config("smoke"), {}, name=f"of-{store_mode:o}", like=store.location
        )
        assert mode(run.folder) == store_mode
    runs.create(tmp_path / "new", load_train_config("smoke"), {}, name="alone")
    assert mode(tmp_path / "new") == 0o700
