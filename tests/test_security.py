"""SECURITY.md: each guarantee names tests, and they exist."""

from __future__ import annotations

import ast
import re

import pytest
from helpers.support import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
GUARANTEES = [line for line in TEXT.splitlines() if line.startswith("| ") and line != "| guarantee | shown by |"]


def test_there_are_guarantees_and_the_same_test_is_not_named_for_two() -> None:
    assert len(GUARANTEES) > 20
    named = TEST.findall(TEXT)
    assert len(named) == len(set(named))


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_each_guarantee_names_tests_that_exist(guarantee: str) -> None:
    _, _, shown_by, _ = guarantee.split("|")
    assert re.fullmatch(rf" {TEST.pattern}(, {TEST.pattern})* ", shown_by)
    for file, name in TEST.findall(shown_by):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)], (file, name)


def test_each_decision_named_exists() -> None:
    [numbers] = re.findall(r"docs/decisions/README\.md\): ([^.]+)\.", TEXT)
    for number in re.findall(r"\d+", numbers):
        assert list((ROOT / "docs" / "decisions").glob(f"{int(number):04d}-*.md")), number
