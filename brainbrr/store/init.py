"""`init`: create an empty store with a codec and an access of choice. `ingest` creates one with the defaults."""

from __future__ import annotations

import grp
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.errors import UsageError
from brainbrr.store.create import FORMAT, Access, access_of
from brainbrr.store.formats import Codec
from brainbrr.store.store import Store

GROUP_MODE, PRIVATE_MODE = 0o2775, 0o2770
"""Folders that the group writes, and others read or do not even see. 2: what is made in them has their group."""


@dataclass(frozen=True)
class InitReport:
    """The store that is now there, and who may do what in it."""

    store: Path
    codec: Codec
    mode: int
    group: str

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "store": str(self.store), "mode": f"{self.mode:04o}", "format": FORMAT}


def init(location: Path, *, codec: Codec | None = None, group: str | None = None, private: bool = False) -> InitReport:
    """Make an empty store, or say that the one that is there is as asked for.

    With `group`, a name or a number, its members write it, whatever their umask; others may read it, or with `private`
    not even that. Raises UsageError where that is not possible, or another store is there.
    """
    access = None if group is None else Access(PRIVATE_MODE if private else GROUP_MODE, _group_number(group))
    store = Store.create(location, codec=codec, access=access)
    there = access_of(store.layout)
    return InitReport(store.location, store.codec, there.mode, _group_name(there.group))


def _group_number(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if group.isdecimal() and int(group) < 1 << 32:
            return int(group)
        raise UsageError(f"there is no group {group!r}", fix="`getent group` lists them; a number will do") from None


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
