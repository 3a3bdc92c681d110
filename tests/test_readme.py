"""What the README says is what happens: its session, its code, its links."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from helpers.support import ROOT, Cli

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


def test_it_is_short_and_its_links_exist() -> None:
    assert len(README.splitlines()) <= 120
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)[` ]", README)) <= targets
