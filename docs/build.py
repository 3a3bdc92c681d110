"""Build the documentation: the pages of this folder, and a reference made from the help texts and docstrings.

`make docs` calls it: `python docs/build.py INTO`. Needs the extra `docs`, and no network.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

import brainbrr
from brainbrr.cli.app import EXIT_CODES, GROUPS, cli

ROOT = Path(__file__).parent.parent
HERE = ROOT / "docs"
COPIED = {"store/README.md": "reference/format.md", "SECURITY.md": "SECURITY.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}


def commands() -> str:
    """Return the page of commands: each one's help, as `brainbrr NAME --help` prints it at 80 columns."""
    page = ["# Commands\n"]
    for group, names in GROUPS.items():
        page.append(f"## {group}\n")
        for name in names:
            page += [f"### brainbrr {name}\n", f"```text\n{_help(name)}\n```\n"]
    return "\n".join(page)


def _help(name: str) -> str:
    whole = click.Context(cli, info_name="brainbrr")
    found = [_of(cli, name, whole)]
    command = cli.get_command(whole, name)
    if isinstance(command, click.Group):  # its own commands below
        inner = click.Context(command, whole, info_name=name)
        found += [_of(command, each, inner) for each in command.list_commands(inner)]
    return "\n\n".join(found)


def _of(group: click.Group, name: str, context: click.Context) -> str:
    command = group.get_command(context, name)
    assert command is not None
    return command.get_help(click.Context(command, context, info_name=name, terminal_width=80, max_content_width=80))


def exit_codes() -> str:
    """Return the page of exit codes."""
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["# Exit codes\n", "| exit code | meaning |", "|---|---|", *rows, ""])


def python() -> str:
    """Return the page of the Python API: every public name, and the public methods of the classes."""
    from griffe import Docstring, Parser

    page = ["# Python\n", "```python\nimport brainbrr\n```\n"]
    for name in sorted(brainbrr.__all__, key=str.lower):
        member = getattr(brainbrr, name)
        if not callable(member):
            continue
        page += _entry(f"brainbrr.{name}", member, "##", Docstring, Parser.numpy)
        if inspect.isclass(member):
            for method, found in inspect.getmembers(member):
                if not method.startswith("_") and callable(found) and found.__doc__ and method in vars(member):
                    page += _entry(f"{name}.{method}", found, "###", Docstring, Parser.numpy)
    return "\n".join(page)


def _entry(name: str, member: object, level: str, docstring: type, numpy: object) -> list[str]:
    try:
        parameters = [str(each).replace("'", "") for each in inspect.signature(member).parameters.values()]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        parameters = []
    one_line = f"{name}({', '.join(parameters)})"
    signature = (
        one_line if len(one_line) < 80 else "\n    ".join([f"{name}(", *(f"{each}," for each in parameters)]) + "\n)"
    )
    parsed = docstring(inspect.getdoc(member) or "").parse(numpy, warnings=False)
    return [f"{level} {name}\n", f"```python\n{signature}\n```\n", *map(_section, parsed)]


def _section(section: object) -> str:
    """Return one section of a numpydoc docstring as Markdown."""
    kind, value = section.kind.value, section.value  # type: ignore[attr-defined]
    if kind == "text":
        return f"{value}\n"
    if kind == "examples":
        return "".join(f"```python\n{text}\n```\n" if "example" in what.value else f"{text}\n" for what, text in value)
    if isinstance(value, list):
        rows = []
        for each in value:
            kind_of = f" *{each.annotation}*" if getattr(each, "annotation", None) else ""
            name = f"**{each.name}**" if getattr(each, "name", "") else ""
            rows.append(f"- {name}{kind_of}: {' '.join(each.description.split())}")
        return f"**{(section.title or kind).capitalize()}**\n\n" + "\n".join(rows) + "\n"  # type: ignore[attr-defined]
    return f"**{(section.title or kind).capitalize()}**\n\n{getattr(value, 'description', value)}\n"  # type: ignore[attr-defined]


def write_pages(into: Path) -> None:
    """Write all pages: those of this folder, those at the root that they link to, and the reference."""
    sources = {page: page.relative_to(HERE) for page in HERE.rglob("*.md")}
    sources |= {ROOT / source: Path(page) for source, page in COPIED.items()}
    shutil.copytree(HERE / "images", into / "images")
    for source, page in sources.items():
        _write(into / page, _linked(source, page, sources))
    for name, page_of in (("commands", commands), ("exit-codes", exit_codes), ("python", python)):
        _write(into / "reference" / f"{name}.md", page_of())


def _linked(source: Path, page: Path, sources: dict[Path, Path]) -> str:
    """Return a page with its links as they are in the site; those to other files of the checkout become text."""

    def link(found: re.Match[str]) -> str:
        text, target, anchor = (each or "" for each in found.groups())
        at = (source.parent / target).resolve()
        if at in sources:
            return f"[{text}]({os.path.relpath(sources[at], page.parent)}{anchor})"
        return found[0] if "://" in target or not at.exists() else text

    return re.sub(r"\[([^]]*)\]\(([^)#\s]+)(#[^)]*)?\)", link, source.read_text(encoding="utf-8"))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def main(into: Path) -> int:
    """Write the pages and build the site under `into`; return zensical's exit code."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    write_pages(into / "pages")
    shutil.copy(HERE / "zensical.toml", into / "zensical.toml")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=into, check=False, env={**os.environ, "NO_COLOR": "1"})
    print(f"open {into / 'site' / 'index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
