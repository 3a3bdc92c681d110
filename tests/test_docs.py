"""The documentation: every command and code block runs, or names what it needs; every page is in the site."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from helpers.support import ROOT, Cli, leaves

import brainbrr
from brainbrr.cli.app import cli as group

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
PAGES = sorted(
    page.relative_to(ROOT).as_posix() for page in DOCS.rglob("*.md") if "decisions" not in page.relative_to(DOCS).parts
)
COMMANDED = [*PAGES, "README.md"]
NEEDS = re.compile(r"<!-- needs: .+ -->\n$")
FOR_OTHERS = ("RUN=", "docker ", "export ", "git ", "make ", "mamba ", "pip ", "rsync ", "torchrun ")
"""Lines of a shell that are no commands of ours."""


def blocks(page: str, language: str) -> Iterator[tuple[str, bool]]:
    """Yield each block of a language, and whether it names what it needs."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in re.finditer(rf"```{language}\n(.*?)```", text, flags=re.DOTALL):
        yield found[1], bool(NEEDS.search(text[: found.start()]))


@pytest.fixture(scope="module")
def beside_demo(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the generated corpus where `make demo` leaves it, and a store that holds it."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(generated, folder / ".demo" / "demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "host"))
        brainbrr.ingest(folder / ".demo" / "demo", store=folder / "store", workers=1)
    return folder


@pytest.mark.parametrize("page", COMMANDED)
def test_every_command_is_one_that_the_parser_takes(page: str) -> None:
    lines = [line for block, _ in blocks(page, "sh") for line in block.replace("\\\n", "").splitlines()]
    for line in filter(None, (line.partition("  #")[0].strip() for line in lines)):
        if line.startswith(FOR_OTHERS):
            continue
        words = shlex.split(line)
        assert words[0] == "brainbrr", f"{page}: {line}"
        command: click.Command | None = group
        context = click.Context(group)
        while isinstance(command, click.Group):
            words = words[1:]
            command = command.get_command(context, words[0])
        assert command is not None, f"{page}: {line}"
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
        named = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        assert named <= known, f"{page}: {line}: {sorted(named - known)}"


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "console"))])
def test_every_session_runs(page: str, beside_demo: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(beside_demo)
    for block, _ in blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                told = cli(*shlex.split(line[2:])[1:])
                assert told.code == 0, f"{page}: {line}\n{told.err}"


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))])
def test_every_python_block_runs_or_names_what_it_needs(
    page: str, beside_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(beside_demo)
    monkeypatch.setenv("XDG_CACHE_HOME", str(beside_demo / "host"))
    monkeypatch.setenv("BRAINBRR_STORE", str(beside_demo / "store"))
    for block, needs in blocks(page, "python"):
        if not needs:
            exec(compile(block, page, "exec"), {})


def test_every_page_is_in_the_site() -> None:
    told = (DOCS / "zensical.toml").read_text()
    assert tomllib.loads(told)
    for page in PAGES:
        assert f'"{page.removeprefix("docs/")}"' in told, page


def test_the_site_is_built_without_a_dead_link(tmp_path: Path) -> None:
    pytest.importorskip("zensical")
    done = subprocess.run(
        [sys.executable, DOCS / "build.py", tmp_path / "site"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("index", "howto/corpus", "reference/commands", "reference/python", "decisions/index"):
        assert (tmp_path / "site" / "site" / f"{page}.html").is_file(), page
    commands = (tmp_path / "site" / "pages" / "reference" / "commands.md").read_text()
    assert [name for name, _ in leaves(group) if f"Usage: brainbrr {name} " not in commands] == []
    reference = (tmp_path / "site" / "pages" / "reference" / "python.md").read_text()
    assert set(re.findall(r"^## brainbrr\.(\w+)", reference, flags=re.MULTILINE)) >= set(brainbrr.__all__) - {
        "__version__"
    }
