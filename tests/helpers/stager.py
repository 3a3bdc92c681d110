"""A process that stages, for tests that kill it or let several of them meet: STORE INTO then how.

`hold`: stage, print what was done, wait for a line, clean up when it says so. `die`: die at the n-th call to the file
system while staging, for every n, and stage again after each death.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brainbrr
from brainbrr import WindowSpec
from brainbrr.core.progress import Silent
from brainbrr.store.integrity import verify_object, verify_record
from brainbrr.store.store import Store
from brainbrr.views.stage import stage
from brainbrr.views.view import View

STAGER = Path(__file__)
CALLS = ("open", "write", "mkdir", "rename", "replace", "unlink", "fchmod", "link")


def view_of(store: Path, *, patients: tuple[str, ...] = ()) -> View:
    window = WindowSpec.model_validate({"length_s": "4", "stride_s": "2"})
    return brainbrr.view(store, split="train", window=window, patients=patients)


def windows(view: View) -> list[bytes]:
    return [view[i].signal.tobytes() + view[i].label.tobytes() for i in range(len(view))]


def stager(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(STAGER), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def hold(view: View, into: Path) -> None:
    staged = stage(view, into)
    print(json.dumps(staged.to_json()), flush=True)  # noqa: T201
    if sys.stdin.readline().strip() == "clean":
        staged.remove()


class KillAfter(Silent):
    """Progress that kills its process, by the signal that nobody can catch, after so many objects."""

    def __init__(self, n: int) -> None:
        self.left = n

    def advance(self, n: int = 1, *, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def die_at(n: int) -> None:
    """Make the n-th call to the file system the last one."""
    seen = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == n:
                os._exit(9)
            return real(*args, **kwargs)

        return call

    os.fsync = lambda _: None  # a death loses no written page
    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))


def die(view: View, into: Path) -> None:
    n = 0
    while True:
        n += 1
        child = os.fork()
        if child == 0:
            die_at(n)
            stage(view, into / str(n), n_threads=1)
            os._exit(0)  # without letting go of the lease
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 9), status
        for made in (into / str(n)).glob("*/store/format.json"):
            for content in (found := Store.open(made.parent)).contents():
                verify_object(found, content)
            for key in found.keys():  # noqa: SIM118
                verify_record(found, key)
        staged = stage(view, into / str(n), n_threads=1)
        assert windows(staged.view) == windows(view)
        assert staged.n_reused == len(view.recordings) or status == 9
        assert not list((staged.location / "tmp").iterdir()), n
        staged.remove()
        assert not list((into / str(n)).iterdir()), n
        if status == 0:
            print(n - 1)  # noqa: T201
            return


if __name__ == "__main__":
    store, into, how, *rest = sys.argv[1:]
    if how == "hold":
        hold(view_of(Path(store), patients=tuple(rest)), Path(into))
    elif how == "kill":
        stage(view_of(Path(store)), Path(into), progress=KillAfter(int(rest[0])))
    else:
        die(view_of(Path(store), patients=tuple(rest)), Path(into))
