"""Every command that a message proposes exists, with its options, and goes to the store that was asked."""

from __future__ import annotations

import ast
import pickle
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from helpers.support import ROOT, Cli, leaves

from brainbrr.cli.app import cli as group
from brainbrr.errors import Fix, UsageError

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


def modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted((ROOT / "brainbrr").rglob("*.py")):
        yield str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8"))


def fixes(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """Yield the commands that are written down in a Fix, with what is filled in as X."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Fix":
            for part in node.args:
                if isinstance(part, ast.Tuple | ast.List) and not any(isinstance(e, ast.Starred) for e in part.elts):
                    yield node.lineno, [str(e.value) if isinstance(e, ast.Constant) else "X" for e in part.elts]


def proposals() -> Iterator[tuple[str, list[str]]]:
    for name, tree in modules():
        for line, words in fixes(tree):
            yield f"{name}:{line}", words
        for line, text in texts(tree):
            for found in re.findall(r"(?:^|[`(] ?|: |; |&& |, |or )brainbrr ((?:(?!, )[^`;&])+)", text):
                yield f"{name}:{line}", _words(found)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # prose with an apostrophe
        return text.split()


@pytest.mark.parametrize(("where", "words"), [*proposals()])
def test_a_proposed_command_can_be_pasted(where: str, words: list[str]) -> None:
    name, given = words[0], words[1:]
    if name not in COMMANDS:  # prose, as "brainbrr cannot reach"
        assert not any(word.startswith("--") for word in words), words
        return
    try:
        COMMANDS[name].make_context(name, list(given))
    except click.NoSuchOption as error:
        pytest.fail(f"{where}: brainbrr {name}: {error.format_message()}")
    except click.MissingParameter as error:
        assert not given, f"{where}: brainbrr {name}: {error.format_message()}"  # a verb alone is a name, no command
    except click.UsageError:
        pass  # what comes after the command is prose, and X is no value


@pytest.mark.slow
def test_a_fix_has_its_commands_as_words_and_not_in_its_text() -> None:
    n = 0
    for name, tree in modules():
        n += sum(1 for _ in fixes(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "fix" and not isinstance(node.value, ast.Call):
                for line, text in texts(node.value):
                    assert not re.search(rf"brainbrr ({'|'.join(COMMANDS)})\b", text), f"{name}:{line}: {text}"
    assert n > 40


@pytest.mark.slow
def test_a_proposed_command_goes_to_the_store_that_was_asked(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "our store"
    option = f"--store '{elsewhere}'"
    told = cli("verify", "--store", elsewhere, "--json")
    assert told.json["fix"] == f"`brainbrr ingest {option} ROOT` creates one"
    cli("ingest", corpus, "--workers", 1, "--store", elsewhere)
    next(elsewhere.glob("records/*/*.json")).unlink()
    view = cli("view", "--store", elsewhere, "--json").json
    assert view["mend"] == f"brainbrr ingest {option} {corpus} --profile full"
    (elsewhere / "stranger").touch()
    assert f"fix\tbrainbrr repair {option}" in cli("verify", "--store", elsewhere).out
    assert cli("verify", "--store", elsewhere, "--json").json["corrupt"][0]["fix"] == f"brainbrr repair {option}"


def test_a_fix_names_the_store_in_each_of_its_commands() -> None:
    fix = Fix("look with ", ("gc",), ", then ", ("gc", "--yes", Path("a b")))
    assert fix == "look with `brainbrr gc`, then `brainbrr gc --yes 'a b'`" and str(fix.at(None)) == fix
    assert fix.at("our store") == (
        "look with `brainbrr gc --store 'our store'`, then `brainbrr gc --store 'our store' --yes 'a b'`"
    )
    assert (
        Fix(("gc",)) == "brainbrr gc"
        and Fix(("gc", "--store", "elsewhere")).at("here") == "brainbrr gc --store elsewhere"
    )
    assert Fix("first ", fix).commands == fix.commands == [("gc",), ("gc", "--yes", "a b")]


def test_a_fix_is_whole_in_another_process() -> None:
    fix = Fix(("gc",), " shows them")
    error = pickle.loads(pickle.dumps(UsageError("x", fix=fix, code="odd")))
    assert (error.fix, error.fix.at("s"), error.code) == (fix, "`brainbrr gc --store s` shows them", "odd")
