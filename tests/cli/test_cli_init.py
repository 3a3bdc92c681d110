"""`brainbrr init`: an empty store as asked for, said in words and as JSON."""

from __future__ import annotations

import grp
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import Cli

from brainbrr.store.remotes import remotes_of
from brainbrr.store.store import Store

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


def at_a_terminal(folder: Path, typed: str, *words: str) -> tuple[int, str]:
    """Run `brainbrr` on a terminal in a folder, with everything typed at once; return its exit code and the screen."""
    ours, theirs = pty.openpty()
    places = {"XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config", "BRAINBRR_STORE": "own/store"}
    environ = {**os.environ, **{name: str(folder / path) for name, path in places.items()}, "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-m", "brainbrr", *words], cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    screen = b""
    while True:
        try:
            block = os.read(ours, 1 << 16)
        except OSError:  # Linux says so when the other side has closed
            break
        if not block:
            break
        screen += block
    os.close(ours)
    return process.wait(60), screen.decode(errors="replace").replace("\r\n", "\n")


def test_on_a_terminal_it_offers_what_it_finds_and_builds_after_it_has_shown_what_that_takes(
    corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    corpus.rename(tmp_path / "data" / "demo")
    code, screen = at_a_terminal(tmp_path, "build\nsmoke\n\ny\n", "init")
    assert code == 0, screen
    assert "not there yet" in screen and str(tmp_path / "data" / "demo") in screen
    assert 0 < screen.index("would ingest demo") < screen.index("Build smoke now") < screen.index("ingested demo")
    assert "space" in screen and "needed" in screen
    assert len(list(Store.open(tmp_path / "own" / "store").records())) == 6


def test_on_a_terminal_it_pulls_from_a_store_that_is_named_and_remembers_it(stored: Store, tmp_path: Path) -> None:
    code, screen = at_a_terminal(tmp_path, f"pull\n{stored.location}\nsmoke\n", "init")
    assert code == 0, screen
    own = Store.open(tmp_path / "own" / "store")
    assert len(list(own.records())) == 6
    assert [(each.name, each.url) for each in remotes_of(own)] == [("origin", str(stored.location.resolve()))]


def test_piped_it_creates_an_empty_store_and_prints_the_commands(cli: Cli, tmp_path: Path) -> None:
    told = cli("init")
    assert told.code == 0 and (tmp_path / "store" / "format.json").is_file()
    for words in ("brainbrr pull", "--dry-run", "brainbrr demo"):
        assert words in told.err + told.out
