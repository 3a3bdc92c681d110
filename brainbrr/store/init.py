"""`init`: create an empty store with a codec and an access of choice. `ingest` creates one with the defaults."""

from __future__ import annotations

import grp
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.errors import UsageError
from brainbrr.store.access import GROUP_MODE, GROUP_PUBLIC_MODE, PUBLIC_MODE, Access, access_of, group_name
from brainbrr.store.create import FORMAT
from brainbrr.store.formats import Codec
from brainbrr.store.store import Store


@dataclass(frozen=True)
class InitReport:
    """The store that is now there, and who may do what in it."""

    store: Path
    codec: Codec
    mode: int
    group: str

    @property
    def readers(self) -> str:
        """Who may read it, in words."""
        if self.mode & 0o007:
            return "everybody"
        return f"you and group {self.group}" if self.mode & 0o070 else "you only"

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "store": str(self.store), "mode": f"{self.mode:04o}", "format": FORMAT}


def init(location: Path, *, codec: Codec | None = None, group: str | None = None, public: bool = False) -> InitReport:
    """Make an empty store, or say that the one that is there is as asked for.

    Only its owner may read it, unless asked for more. With `group`, a name or a number, its members write it, whatever
    their umask; with `public` everybody may read it. What is asked for holds for every corpus that is stored in it
    later. Raises UsageError where that is not possible, or another store is there.
    """
    access = None
    if group is not None:
        access = Access(GROUP_PUBLIC_MODE if public else GROUP_MODE, _group_number(group))
    elif public:
        access = Access(PUBLIC_MODE, None)
    store = Store.create(location, codec=codec, access=access)
    there = access_of(store.layout)
    return InitReport(store.location, store.codec, there.mode, group_name(store.location.stat().st_gid))


def _group_number(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if group.isdecimal() and int(group) < 1 << 32:
            return int(group)
        raise UsageError(f"there is no group {group!r}", fix="`getent group` lists them; a number will do") from None
