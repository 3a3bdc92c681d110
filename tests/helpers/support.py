"""What tests share beside fixtures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from brainbrr.cli.app import Command
from brainbrr.profiles import SPLITS, Profile

ROOT = Path(__file__).resolve().parents[2]

EVERYTHING = Profile(name="full", quota=dict.fromkeys(SPLITS))
"""The profile of all recordings."""

TINY = """
name = "tiny"
profile = "full"
[window]
length_s = "4"
stride_s = "2"
[model]
d_model = 16
n_blocks = 1
d_state = 4
headdim = 8
stem = [8, 8]
stem_width = 4
[train]
steps = 4
batch = 4
lr = 0.003
checkpoint_every = 2
device = "cpu"
"""
"""A training config that is quick: four steps of the smallest detector."""


@dataclass(frozen=True)
class Told:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        fields = json.loads(self.out)
        assert fields["schema"] == 1
        return dict(fields)


Cli = Callable[..., Told]


def leaves(group: click.Group) -> Iterator[tuple[str, Command]]:
    """Yield every command with its name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert isinstance(found, Command)
        yield name, found


@dataclass(frozen=True)
class Person:
    """A user of this machine other than the one who runs the tests, with an empty home of its own in `home`."""

    uid: int
    groups: tuple[int, ...]
    home: Path
    umask: int = 0o077

    def run(self, *arguments: object, before: tuple[str, ...] = ()) -> Told:
        """Run `brainbrr` as this person; `before`: the words of another command that runs it."""
        home = self.home / str(self.uid)
        home.mkdir(exist_ok=True)
        os.chown(home, self.uid, self.uid)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "NUMBA_CACHE_DIR": str(home / "numba"),
            "XDG_CACHE_HOME": str(home / "cache"),
        }
        words = [*before, *_shown(home), sys.executable, "-c", _BECOME, str(self.uid), oct(self.umask)]
        words += [",".join(map(str, self.groups)), *([] if arguments[0] == "-c" else ["-m", "brainbrr"])]
        told = subprocess.run(
            [*words, *map(str, arguments)], env=environment, cwd=home, capture_output=True, text=True, check=False
        )
        return Told(told.returncode, told.stdout, told.stderr)


_BECOME = """
import os, sys
uid, umask, groups = int(sys.argv[1]), int(sys.argv[2], 8), [int(n) for n in sys.argv[3].split(",") if n]
os.setgroups(groups), os.setgid(uid), os.setuid(uid), os.umask(umask)
os.execv(sys.executable, [sys.executable, *sys.argv[4:]])
"""


def _shown(folder: Path) -> list[str]:
    """Return the words before a command by which other users reach this Python, though it lies in root's own home."""
    needed = {Path(path).resolve() for path in (sys.base_prefix, sys.prefix, ROOT)}
    closed = {each for path in needed for each in path.parents if not each.stat().st_mode & 0o001}
    if not closed:
        return []
    steps = []
    for path in needed:
        steps.append(f"mkdir -p {folder}/shown/{path.name} && mount --bind {path} {folder}/shown/{path.name}")
    steps += [f"mount -t tmpfs -o mode=755 none {each}" for each in closed if not closed.intersection(each.parents)]
    for path in needed:
        steps.append(f"mkdir -p {path} && mount --bind {folder}/shown/{path.name} {path}")
    return ["unshare", "-m", "sh", "-c", " && ".join([*steps, 'exec "$@"']), "sh"]
