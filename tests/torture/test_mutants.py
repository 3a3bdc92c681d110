"""A handful of the mutants of mutants.py; all of them take most of an hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mutants
import pytest
from excused import EXCUSED

MUTANTS = mutants.found(mutants.ROOT)


def test_each_fsync_link_and_proof_is_found_by_itself() -> None:
    assert len(MUTANTS) > 150
    for piece in (
        "os.fsync(descriptor) -> pass",
        "os.link(temporary, path) -> (",
        "O_NOFOLLOW -> 0",
        "_SETTLED_NS -> True",
    ):
        assert any(piece in name for name in MUTANTS), piece
    assert all(ast_is_valid(mutant) for mutant in MUTANTS.values())


def ast_is_valid(mutant: mutants.Mutant) -> bool:
    text = (mutants.ROOT / mutant.path).read_bytes()
    compile(text[: mutant.start] + mutant.new.encode() + text[mutant.stop :], mutant.path, "exec")
    return text[mutant.start : mutant.stop].decode() == mutant.old


def test_only_mutants_that_exist_are_excused_and_each_with_a_reason() -> None:
    assert EXCUSED.keys() <= MUTANTS.keys()
    assert all(len(reason) > 20 for reason in EXCUSED.values())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it forks a process that has imported everything")
def test_a_handful_of_mutants_is_caught() -> None:
    names = "writer.py Draft.sync: files.finish(self._shard)|store.py Store.keeping: files.sync_folder"
    command = [sys.executable, str(Path(mutants.__file__)), "--only", names]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("mutants: 2 of ") and "2 caught, 0 excused, 0 survived" in told.stdout
