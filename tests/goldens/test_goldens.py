"""Contents, keys, digests, loader bits, scores and every command's --json are what they were when they were frozen.

When a test here fails and the change is meant, `python tests/goldens/freeze.py --write PART` freezes anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from freeze import PARTS, differences


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_nothing_frozen_has_changed(part: str, data: Path) -> None:
    freeze = Path(__file__).with_name("freeze.py")
    environment = {**os.environ, "BRAINBRR_TEST_DATA": str(data)}
    ended = subprocess.run([sys.executable, freeze, part], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_part_is_frozen() -> None:
    assert {file.stem for file in Path(__file__).parent.glob("*.json")} == set(PARTS)


@pytest.mark.parametrize(
    ("golden", "now", "n"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, 0),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, 1),
        ({"a": 1}, {"b": 1}, 1),
        ([1, 2], [1], 1),
        ({"a": True}, {"a": 1}, 1),
        ({"a": None}, {"a": "~text 12"}, 1),
        ({"a": 0.5}, {"a": "~float"}, 1),
        ({"a": "~float 0.5"}, {"a": "~float 0.6"}, 0),
    ],
)
def test_what_counts_as_a_difference(golden: object, now: object, n: int) -> None:
    assert len(differences(golden, now)) == n


def test_strict_compares_what_is_of_this_machine() -> None:
    assert differences({"a": "~float 0.5"}, {"a": "~float 0.6"}, strict=True)
