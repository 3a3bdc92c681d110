"""CONTRIBUTING.md: the tree it draws is the package, and what it names exists."""

from __future__ import annotations

import re

from helpers.support import ROOT
from test_imports import LAYERS

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "brainbrr"
TREE, RULE = re.findall(r"^```\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
ROWS = [line for line in TEXT.splitlines() if line.startswith("| `") and not line.startswith("| `make ")]


def named(line: str) -> list[str]:
    """Return the paths that a line names."""
    return re.findall(r"`((?:brainbrr|tests|docs|configs|store|benchmarks|\.ci)/[\w./]*)`", line)


def test_the_tree_names_every_room_of_the_package() -> None:
    drawn = re.findall(r"^  ([\w./]+) ", TREE, flags=re.MULTILINE)
    packages = {f"{path.parent.relative_to(PACKAGE)}/" for path in PACKAGE.rglob("__init__.py")} - {"./"}
    assert sorted(drawn) == sorted(packages | {path.name for path in PACKAGE.glob("*.py")})


def test_the_import_rule_is_the_one_that_is_tested() -> None:
    rule = [set(layer.replace("|", " ").split()) for layer in RULE.split("<")]
    assert rule == [rooms for rooms in LAYERS if "__init__" not in rooms]


def test_every_path_named_exists() -> None:
    paths = named(TEXT)
    assert len(paths) > 20
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing


def test_every_name_in_a_row_is_in_a_file_of_that_row() -> None:
    missing = []
    for row in ROWS:
        files = [ROOT / path for path in named(row) if (ROOT / path).is_file()]
        texts = "\n".join(path.read_text(encoding="utf-8") for path in files)
        missing += [name for name in re.findall(r"`(_?[A-Z][A-Za-z_]+)`", row) if name not in texts]
    assert not missing


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", TEXT)) <= targets
