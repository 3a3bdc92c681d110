"""Every command that a message proposes exists, with its options, and goes to the store that was asked."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from helpers.support import ROOT, Cli, leaves

from brainbrr.cli.group import aimed
from brainbrr.cli.app import cli as group

COMMANDS = dict(leaves(group))


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module, with what is filled in as X; no docstrings."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    for child in ast.iter_child_nodes(node):
        yield from texts(child)


def proposals() -> Iterator[tuple[str, str]]:
    for file in sorted((ROOT / "brainbrr").rglob("*.py")):
        for line, text in texts(ast.parse(file.read_text(encoding="utf-8"))):
            for words in re.findall(r"(?:^|[`(] ?|: |; |&& |, |or )brainbrr ((?:(?!, )[^`;&])+)", text):
                yield f"{file.relative_to(ROOT)}:{line}", words


@pytest.mark.parametrize(("where", "words"), [*proposals()])
def test_a_proposed_command_can_be_pasted(where: str, words: str) -> None:
    name = next((name for name in COMMANDS if f"{words} ".startswith(f"{name} ")), None)
    if name is None:  # prose, as "brainbrr cannot reach"
        assert "--" not in words, words
        return
    given = words.removeprefix(name).split()
    try:
        COMMANDS[name].make_context(name, list(given))
    except click.NoSuchOption as error:
        pytest.fail(f"{where}: brainbrr {words}: {error.format_message()}")
    except click.MissingParameter as error:
        assert not given, f"{where}: brainbrr {words}: {error.format_message()}"  # a verb alone is a name, no command
    except click.UsageError:
        pass  # what comes after the command is prose, and X is no value


def test_a_proposed_command_goes_to_the_store_that_was_asked(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "our store"
    option = f"--store '{elsewhere}'"
    told = cli("verify", "--store", elsewhere, "--json")
    assert told.json["fix"] == f"brainbrr ingest {option} ROOT makes one"
    cli("ingest", corpus, "--workers", 1, "--store", elsewhere)
    next(elsewhere.glob("records/*/*.json")).unlink()
    view = cli("view", "--store", elsewhere, "--json").json
    assert view["mend"] == f"brainbrr ingest {option} {corpus} --profile full"
    (elsewhere / "stranger").touch()
    assert f"mend\tbrainbrr repair {option}" in cli("verify", "--store", elsewhere).out
    assert cli("verify", "--store", elsewhere, "--json").json["corrupt"][0]["fix"] == f"brainbrr repair {option}"


def test_prose_and_whole_commands_are_left_alone() -> None:
    for text in ("this brainbrr cannot build it", "brainbrr view --store elsewhere", "choose another --store"):
        assert aimed(text, store="here") == text
    assert aimed("brainbrr gc && brainbrr gc --yes", store=None) == "brainbrr gc && brainbrr gc --yes"
