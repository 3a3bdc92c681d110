"""What the README says is what happens: its session, its code, its tables."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from helpers.support import ROOT, Cli, leaves

from brainbrr.cli.app import EXIT_CODES
from brainbrr.cli.app import cli as group

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def beside_demo(generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that holds the generated corpus where `make demo` leaves it."""
    shutil.copytree(generated, tmp_path / ".demo" / "demo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_session_runs(cli: Cli, beside_demo: Path) -> None:
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) >= 5
    expected = {"brainbrr view --profile full": 3}
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "brainbrr"
        told = cli(*words[1:])
        assert told.code == expected.pop(line, 0), f"{line}\n{told.out}\n{told.err}"


def test_the_python_block_runs(beside_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(beside_demo / "host"))
    [code] = blocks("python")
    exec(compile(code, "README.md", "exec"), {})


def test_every_command_has_a_line() -> None:
    for name, _ in leaves(group):
        assert f"| `brainbrr {name}" in README, name


def test_exit_codes_are_the_table() -> None:
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in README


def test_every_option_named_exists() -> None:
    known = {option for _, command in leaves(group) for p in command.params for option in p.opts}
    for line in README.splitlines():
        if line.startswith("| `brainbrr "):
            assert set(re.findall(r"`(--[a-z-]+)", line)) <= known, line


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_the_file_tree_names_what_is_there() -> None:
    [tree] = re.findall(r"^```\n(brainbrr/\n.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    for name in re.findall(r"^  ([\w./]+?)(?:,| )", tree, flags=re.MULTILINE):
        assert (ROOT / "brainbrr" / name).exists(), name
    for name in re.findall(r"^([\w/]+/) ", tree, flags=re.MULTILINE):
        assert (ROOT / name).is_dir(), name
