"""The lists of what a gc found unneeded: one that is older than the grace may be worked off.

Ages are by the clock of the store's own file system: hosts need not agree about the time.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.digest import is_digest
from brainbrr.errors import IntegrityError
from brainbrr.store import files, receipts, sealed
from brainbrr.store.catalog import MAX_CATALOG_BYTES
from brainbrr.store.failpoints import reach
from brainbrr.store.layout import Layout
from brainbrr.store.trash import place

CONDEMNED_FORMAT = 1
CONDEMNED = ("records", "objects", "findings")

_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{32}\.json\Z")
_FINDINGS = re.compile(r"([0-9a-f]{32})-[1-9][0-9]{0,5}\Z")
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "created": (str,),
    **dict.fromkeys(CONDEMNED, (list,)),
}


@dataclass(frozen=True)
class Condemned:
    """One list, and when it was written by its file system's clock."""

    path: Path
    written_ns: int
    names: Mapping[str, frozenset[str]]


def clock_ns(layout: Layout) -> int:
    """Return the time by the clock of the store's file system."""
    with files.writing(layout.root, n_bytes=1), layout.scratch() as path:
        files.write(path, b"", durable=False)
        return path.stat().st_mtime_ns


def since_ns(layout: Layout, kind: str, name: str, now_ns: int) -> int | None:
    """Return since when something lies in its place, by its file system's clock; None where it is gone.

    An mtime in the future, as copies bring it along, says nothing: it would keep garbage for ever.
    """
    try:
        found = os.lstat(place(layout, kind, name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return max(found.st_ctime_ns, found.st_mtime_ns if found.st_mtime_ns <= now_ns else 0)


def condemn(layout: Layout, names: Mapping[str, list[str]]) -> Condemned:
    """Write a list, durable, and return it. Raises SpaceError when the disk is full."""
    path = layout.trash / f"{receipts.stamp()}-{uuid.uuid4().hex}.json"
    said = {"format": CONDEMNED_FORMAT, "created": receipts.now(), **{kind: sorted(names[kind]) for kind in CONDEMNED}}
    sealed.publish(layout, path, said, lambda: None)
    reach("list written")
    return _read(path)


def lists(layout: Layout) -> tuple[list[Condemned], list[Path]]:
    """Return every list that can be read, oldest first, and the files of those that cannot."""
    found, damaged = [], []
    names = sorted(path.name for path in layout.trash.glob("*.json"))
    for path in (layout.trash / name for name in names if _NAME.match(name)):
        try:
            found.append(_read(path))
        except IntegrityError:
            damaged.append(path)
        except FileNotFoundError:  # another gc has worked it off
            continue
    return found, damaged


def _read(path: Path) -> Condemned:
    written_ns = path.stat().st_mtime_ns
    found: dict[str, Any] | None = sealed.read(path, _FIELDS, limit=MAX_CATALOG_BYTES)
    if found is None:
        raise FileNotFoundError(path)
    names = {kind: frozenset(map(str, found[kind])) for kind in CONDEMNED}
    whole = (
        all(is_digest(name, 32) for name in names["records"])
        and all(is_digest(name, 64) for name in names["objects"])
        and all(_FINDINGS.match(name) for name in names["findings"])
    )
    if not whole:
        raise IntegrityError("this is no list of what is condemned", where=path)
    return Condemned(path, written_ns, names)
