"""What a first use finds, and what can follow: data on the disk, the remotes of a store, and commands for each way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from brainbrr.errors import Fix
from brainbrr.store.remotes import Remote, remotes_of
from brainbrr.store.store import Store

_FOLDERS = ("data_ext4", "data", "corpora", ".")
_MOST_FILES = 20_000
"""A search that sees more files ends: it is for a first screen."""


@dataclass(frozen=True)
class FirstUse:
    """The place of the store and how many objects are in it, corpora that were found below `cwd`, and remotes."""

    store: Path
    objects: int | None
    data: tuple[Path, ...]
    remotes: tuple[Remote, ...]

    @property
    def steps(self) -> tuple[tuple[str, Fix], ...]:
        """What can follow, each with its command."""
        data = os.fspath(self.data[0]) if self.data else "ROOT"
        remote = self.remotes[0].name if self.remotes else "URL"
        return (
            ("pull a pre-built store", Fix(("pull", remote, "--profile", "smoke"))),
            ("see what a build takes", Fix(("ingest", data, "--profile", "smoke", "--dry-run"))),
            ("build it", Fix(("ingest", data, "--profile", "smoke"))),
            ("see everything on generated data", Fix(("demo",))),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            "objects": self.objects,
            "data": [str(path) for path in self.data],
            "remotes": [each.model_dump() for each in self.remotes],
            "next": [list(each.commands[0]) for _, each in self.steps],
        }


def first_use(location: Path, cwd: Path) -> FirstUse:
    """Look for the store, for folders with EDF files in and beside the working directory, and for remotes."""
    store = Store.open_if_there(location)
    objects = None if store is None else sum(1 for _ in store.contents())
    return FirstUse(location, objects, _corpora(cwd), remotes_of(store) if store else ())


def _corpora(cwd: Path) -> tuple[Path, ...]:
    """Return folders one level below the usual ones that hold an EDF somewhere."""
    found: dict[Path, None] = {}
    for name in _FOLDERS:
        try:
            folders = sorted(each for each in (cwd / name).iterdir() if each.is_dir() and each.name[0] not in "._")
        except OSError:
            continue
        for folder in folders:
            if folder.name not in _FOLDERS and _holds_edf(folder):
                found[folder] = None
    return tuple(found)


def _holds_edf(folder: Path) -> bool:
    return any(name.lower().endswith(".edf") for name in islice(_names(folder), _MOST_FILES))


def _names(folder: Path) -> Iterator[str]:
    for _, below, names in os.walk(folder):
        below[:] = _visible(below)
        yield from names


def _visible(names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))
