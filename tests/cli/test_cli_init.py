"""`brainbrr init`: an empty store as asked for, said in words and as JSON."""

from __future__ import annotations

import grp
import json
import os
from pathlib import Path

import pytest
from helpers.support import Cli

GROUP = os.getgid()


@pytest.fixture(autouse=True)
def narrow() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(store: Path) -> set[int]:
    return {folder.stat().st_mode & 0o7777 for folder in (store, *(p for p in store.rglob("*") if p.is_dir()))}


def test_a_store_of_ones_own_is_for_its_owner_only(cli: Cli, tmp_path: Path) -> None:
    told = cli("init", "--codec", "zstd", "--json")
    assert told.code == 0
    fields = {name: told.json[name] for name in ("store", "codec", "format", "mode")}
    assert fields == {"store": str(tmp_path / "store"), "codec": "zstd", "format": 2, "mode": "0700"}
    assert modes(tmp_path / "store") == {0o700}
    assert cli("init", "--json").json == told.json  # again: it is there, and as asked for
    assert cli("init", "--codec", "none").code == 2


@pytest.mark.slow
@pytest.mark.parametrize(("options", "mode"), [(("--public",), 0o2775), ((), 0o2770)])
def test_a_shared_store_has_its_rights_whatever_the_umask(
    cli: Cli, corpus: Path, tmp_path: Path, options: tuple[str, ...], mode: int
) -> None:
    told = cli("init", "--group", GROUP, *options)
    assert told.code == 0 and f"mode {mode:04o}, group {grp.getgrgid(GROUP).gr_name}" in told.out
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    assert modes(tmp_path / "store") == {mode}
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o7777 for path in files} == {0o444} and len(files) > 20
    assert cli("init", "--group", GROUP, *options).code == 0


def test_a_store_that_is_there_is_not_shared_behind_its_owners_back(cli: Cli, tmp_path: Path) -> None:
    cli("init")
    told = cli("init", "--group", GROUP, "--json")
    assert told.code == 2 and "0700" in told.json["what"]
    commands = told.json["fix"].partition(": ")[2]
    assert os.system(commands) == 0  # what it says to do
    assert cli("init", "--group", GROUP).code == 0
    assert modes(tmp_path / "store") == {0o2770}


@pytest.mark.parametrize("options", [["--group", "no such group"], ["--group", "no such group", "--public"]])
def test_an_unknown_group_makes_nothing(cli: Cli, tmp_path: Path, options: list[str]) -> None:
    told = cli("init", *options, "--json")
    assert told.code == 2 and told.json["fix"]
    assert not (tmp_path / "store").exists()


def test_what_init_chose_is_kept_and_checked(cli: Cli, tmp_path: Path) -> None:
    assert cli("init", "--public").code == 0
    kept = json.loads((tmp_path / "store" / "access.json").read_text())
    assert (kept["mode"], kept["group"]) == (0o755, GROUP)
    assert cli("verify", "--json").code == 0
    (tmp_path / "store" / "access.json").chmod(0o644)
    (tmp_path / "store" / "access.json").write_text("{}")
    told = cli("verify", "--json")
    assert told.code == 4 and told.json["corrupt"][0]["stranger"] == "access.json"
    assert cli("repair").code == 0 and not (tmp_path / "store" / "access.json").exists()
    assert cli("init", "--public").code == 0 and cli("verify").code == 0
