"""Deletion candidates: lists of what a gc found unreachable; those older than the grace period may be deleted.

Ages are by the clock of the store's file system: hosts need not agree about the time.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from brainbrr.core import files
from brainbrr.core.failpoints import reach
from brainbrr.core.models import Many
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import sidecars
from brainbrr.store.deletion import place
from brainbrr.store.layout import Layout
from brainbrr.store.sidecars import MAX_CATALOG_BYTES

KINDS = ("records", "objects", "findings")

_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{32}\.json\Z")


class _List(sidecars.SmallFile):
    """The fields of a list of deletion candidates."""

    kind: Literal["deletion candidates"] = "deletion candidates"
    created: str
    records: Many[str]
    objects: Many[str]
    findings: Many[str]


@dataclass(frozen=True)
class Candidates:
    """One list, and when it was written by the clock of its file system."""

    path: Path
    written_ns: int
    names: Mapping[str, frozenset[str]]


def clock_ns(layout: Layout) -> int:
    """Return the time by the clock of the store's file system. Raises UsageError where it cannot be written."""
    with files.writing(layout.root, n_bytes=1):
        return layout.clock_ns()


def since_ns(layout: Layout, kind: str, name: str, now_ns: int) -> int | None:
    """Return since when something has existed, by the clock of its file system; None where it is gone.

    An mtime in the future, which copying can preserve, is ignored: it would keep garbage for ever.
    """
    try:
        found = os.lstat(place(layout, kind, name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return max(found.st_ctime_ns, found.st_mtime_ns if found.st_mtime_ns <= now_ns else 0)


def write(layout: Layout, names: Mapping[str, list[str]]) -> Candidates:
    """Write a list, durable, and return it. Raises SpaceError when the disk is full."""
    path = layout.trash / f"{sidecars.stamp()}-{uuid.uuid4().hex}.json"
    lists: dict[str, Any] = {kind: tuple(sorted(names[kind])) for kind in KINDS}
    fields = _List(created=sidecars.now(), **lists)
    sidecars.publish_checksummed(layout, path, fields, lambda: None)
    reach("list written")
    return _read(layout, path)


def read_all(layout: Layout) -> tuple[list[Candidates], list[Path]]:
    """Return every list that can be read, oldest first, and the files of the damaged ones."""
    found, damaged = [], []
    for path in sorted(path for path in layout.trash.glob("*.json") if _NAME.match(path.name)):
        try:
            found.append(_read(layout, path))
        except IntegrityError:
            damaged.append(path)
        except FileNotFoundError:  # another gc has finished it
            continue
    return found, damaged


def _read(layout: Layout, path: Path) -> Candidates:
    written_ns = path.stat().st_mtime_ns
    found = sidecars.read_checksummed(path, _List, limit=MAX_CATALOG_BYTES)
    if found is None:
        raise FileNotFoundError(path)
    names: dict[str, frozenset[str]] = {kind: frozenset(getattr(found, kind)) for kind in KINDS}
    try:
        for kind, those in names.items():
            for name in those:
                place(layout, kind, name)
    except UsageError as error:
        raise IntegrityError(f"this is no list of deletion candidates: {error.what}", where=path) from None
    return Candidates(path, written_ns, names)
