from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.crash import ACTIONS, Breaking, check

from brainbrr.errors import SpaceError
from brainbrr.store.store import Store

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_death_at_any_point_leaves_a_store_that_opens_verifies_and_finishes(tmp_path: Path) -> None:
    done = subprocess.run(  # its own process: forking is safe only without threads, and zarr starts some
        [sys.executable, str(TESTS / "helpers" / "crash.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    points = {name: int(n) for name, n in map(str.split, done.stdout.splitlines())}
    assert points["put"] >= 20
    assert points["publish"] >= 6
    assert points["freeze"] >= 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIONS)
def test_a_full_disk_at_any_point_says_how_much_was_needed_and_leaves_nothing_half(tmp_path: Path, name: str) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    n_refused = 0
    for n in range(1, 100):
        store = Store.create(tmp_path / str(n))
        refused = False
        with Breaking(n, full, calls=("write", "fsync", "link", "mkdir", "rename")) as breaking:
            try:
                ACTIONS[name](store)
            except SpaceError as error:
                assert "bytes were needed" in error.what
                assert error.exit_code == 7
                refused = True
        n_refused += refused
        assert not list((store.location / "tmp").iterdir())
        check(store, done=not refused, name=name)
        if breaking.count < n:
            break
        ACTIONS[name](store)
        check(store, done=True, name=name)
    assert n_refused >= (3 if name == "examine" else 4)  # findings are written without fsync
    assert not refused


def test_other_failures_of_the_disk_are_not_called_a_lack_of_space(tmp_path: Path) -> None:
    def broken() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = Store.create(tmp_path / "store")
    with Breaking(5, broken), pytest.raises(OSError, match="Input/output") as caught:
        ACTIONS["put"](store)
    assert caught.value.errno == errno.EIO
    check(store, done=False, name="put")
