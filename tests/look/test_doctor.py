"""`doctor` says what is fine and how to fix the rest; `config` and `completion` know what this host has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.support import ROOT, Cli

from brainbrr.core.progress import Silent
from brainbrr.look import doctor, trials
from brainbrr.look.configuration import SCHEMAS, schema
from brainbrr.look.names import names
from brainbrr.store import filesystem


def states(told: object) -> dict[str, str]:
    return {line["about"]: line["state"] for line in told.json["lines"]}  # type: ignore[attr-defined]


def test_a_good_folder_is_fine_and_left_as_it_was(cli: Cli, tmp_path: Path) -> None:
    told = cli("doctor", tmp_path, "--json")
    found = states(told)
    assert told.code == 0 and told.json["folder"] == str(tmp_path)
    for about in ("link, exclusive create, rename, modes", "rename over an open file", "flock", "clock"):
        assert found[about] == "fine"
    assert not list(tmp_path.iterdir())
    assert all(line["fix"] for line in told.json["lines"] if line["state"] == "wrong")


def test_a_folder_without_hard_links_is_wrong(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_links", lambda at: False)
    told = cli("doctor", tmp_path, "--json")
    assert told.code == 1 and states(told)["link, exclusive create, rename, modes"] == "wrong"


@pytest.mark.parametrize(
    ("kind", "state"), [("tmpfs", "note"), ("vfat", "wrong"), ("9p", "note"), ("ext4", "fine"), ("newfs", "fine")]
)
def test_a_file_system_says_what_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, state: str
) -> None:
    monkeypatch.setattr(filesystem, "kind_at", lambda path: kind)
    [line] = trials._file_system(tmp_path)
    assert line.state == state and line.what.startswith(kind) and (line.fix is None) == (state == "fine")


def test_a_peer_that_does_not_answer_or_sees_other_files_is_wrong(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    ssh = tools / "ssh"
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(trials, "_SEEN_WITHIN_S", 0.1)
    for script, state in (
        ('for last; do :; done; exec sh -c "$last"', "fine"),  # the same host
        ("echo strange; date +%s", "wrong"),
        ("echo refused >&2; exit 255", "wrong"),
    ):
        ssh.write_text(f"#!/bin/sh\n{script}\n")
        ssh.chmod(0o755)
        assert states(cli("doctor", tmp_path, "--peer", "node02", "--json"))["peer node02"] == state
    assert cli("doctor", tmp_path, "--peer", "-oProxyCommand=x").code == 2


@pytest.mark.slow
def test_a_killed_ingest_leaves_whole_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_KILLS", 4)
    line = trials._killed(tmp_path, Silent())
    assert (line.state, "4 kills" in line.what) == ("fine", True)


def test_tested_versions_are_those_of_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    assert {name: pinned[name].split("+")[0] for name in doctor.TESTED} == doctor.TESTED


def test_config_names_the_origin_of_each_setting(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINBRR_RUNS", str(tmp_path / "mine"))
    found = cli("config", "--store", tmp_path / "s", "--json").json["settings"]
    assert found["store"] == {"value": str(tmp_path / "s"), "origin": "flag --store"}
    assert found["runs"] == {"value": str(tmp_path / "mine"), "origin": "environment BRAINBRR_RUNS"}
    assert "cache" in found and "config file" in found


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_knows_the_fields_of_its_files(cli: Cli, name: str) -> None:
    found = json.loads(cli("config", "--schema", name).out)
    assert found == json.loads(json.dumps(schema(name)))
    files = {"recipe": ["recipe.toml"], "train": ["train/smoke.toml", "train/a100.toml"], "window": []}[name]
    for file in files:
        fields = tomllib.loads((ROOT / "configs" / file).read_text())
        assert fields.keys() <= found["properties"].keys()
    assert cli("config", "--schema", "nothing").code == 2


def test_a_recipe_schema_takes_what_files_may_say() -> None:
    found = schema("recipe")["properties"]
    assert {"const": False} in found["notch_hz"]["anyOf"][0]["anyOf"]
    assert found["aliases"]["anyOf"][0]["type"] == "object"


def test_shells_complete_corpora_recipes_and_profiles(stored_at: Path) -> None:
    assert names("corpora", store=str(stored_at)) == ["demo"] and "chb-mit" in names("recipes")
    assert "smoke" in names("configs") and names("runs", store=str(stored_at)) == []
    environment = {**os.environ, "_BRAINBRR_COMPLETE": "bash_complete", "BRAINBRR_STORE": str(stored_at)}
    for words, expected in {
        "view --corpus ": "demo",
        "view --profile s": "smoke",
        "view --recipe ch": "chb-mit",
    }.items():
        given = {"COMP_WORDS": f"brainbrr {words}", "COMP_CWORD": "3"}
        told = subprocess.run(
            [sys.executable, "-m", "brainbrr"],
            env={**environment, **given},
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"plain,{expected}" in told.stdout, told.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_one_that_it_can_read(cli: Cli, shell: str) -> None:
    told = cli("completion", shell)
    assert told.code == 0 and "_BRAINBRR_COMPLETE" in told.out
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=told.out, text=True, check=False).returncode == 0
