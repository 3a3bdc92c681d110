"""Receipts: what was deleted from a store on purpose, when, by whom and by which verb. Never deleted by brainbrr.

They tell a deletion from damage. Knows nothing of why something may be deleted.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

from brainbrr.digest import json_digest
from brainbrr.errors import IntegrityError
from brainbrr.store import files, sealed
from brainbrr.store.catalog import MAX_CATALOG_BYTES
from brainbrr.store.layout import Layout

RECEIPT_FORMAT = 1
KINDS = ("generations", "views", "pins", "records", "objects", "findings", "quarantine")
_ALL = (*KINDS, "retired")

OUT_OF_REACH = (
    "folders of runs: their view.json, models and reports",
    "view and index files that `brainbrr view` wrote",
    "copies that `brainbrr train --stage` left on nodes",
    "other stores, also those that `brainbrr recompress` made",
    "backups and snapshots of this store, and the free blocks of its disk",
    "records and objects that no catalog named any more, or not yet: `brainbrr gc --yes` deletes them",
    "what hosts remember in their users' cache folders: names and digests of files",
    "results of builds that were not reproducible, in quarantine: nothing says what they were made from",
    "the corpus itself",
)
"""Where what was forgotten may lie as well: no store knows of these."""

_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "verb": (str,),
    "created": (str,),
    "by": (str,),
    "corpus": (str, NoneType),
    **dict.fromkeys(_ALL, (list,)),
}
_OUT_OF_REACH = "out_of_reach"  # left out where it is empty
_GENERATION: dict[str, tuple[type, ...]] = {"corpus": (str,), "seq": (int,), "sha256_of": (str,)}


@dataclass(frozen=True)
class Receipt:
    """What one deletion removed: digests and names, and each catalog generation as {corpus, seq, sha256_of}.

    `out_of_reach`: where else the same may lie, in words.
    """

    verb: str
    created: str
    by: str
    corpus: str | None = None
    generations: tuple[Mapping[str, Any], ...] = ()
    views: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    out_of_reach: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON without floats."""
        said = {"format": RECEIPT_FORMAT, **vars(self)}
        said |= {name: list(said[name]) for name in (*_ALL, _OUT_OF_REACH)}
        return said if self.out_of_reach else {name: each for name, each in said.items() if name != _OUT_OF_REACH}

    @classmethod
    def from_json(cls, value: object, *, where: object) -> Receipt:
        """Return what to_json gave. Raises IntegrityError naming the field that differs."""
        more = {_OUT_OF_REACH: (list,)} if isinstance(value, Mapping) and _OUT_OF_REACH in value else {}
        found = {_OUT_OF_REACH: [], **files.fields(value, {**_FIELDS, **more}, where=where)}
        if found.pop("format") != RECEIPT_FORMAT:
            raise IntegrityError(f"not a receipt of format {RECEIPT_FORMAT}", where=where)
        if not _is_time(found["created"]):
            raise IntegrityError(f"created = {found['created'][:40]!r} is no time as receipts say it", where=where)
        for name in (*_ALL, _OUT_OF_REACH):
            if name == "generations":
                found[name] = tuple(files.fields(each, _GENERATION, where=where) for each in found[name])
            elif not all(isinstance(each, str) for each in found[name]):
                raise IntegrityError(f"{name} are not names", where=where)
            found[name] = tuple(found[name])
        return cls(**found)


def now() -> str:
    """Return the time as receipts say it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_time(text: str) -> bool:
    """Say whether a text is a time as now() says it: such texts are compared, not read."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="seconds") == text
    except (ValueError, OverflowError):
        return False


def whoever() -> str:
    """Return who runs this, and where: user@host."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user without a name
        name = str(os.geteuid())
    return f"{name}@{os.uname().nodename}"


def stamp() -> str:
    """Return the time as names of files say it, which sort by it."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def write(layout: Layout, receipt: Receipt) -> Path:
    """Keep a receipt, durable, and return its file. Raises SpaceError when the disk is full."""
    said = receipt.to_json()
    path = layout.receipt(f"{stamp()}-{_of(said)}")
    sealed.publish(layout, path, said, lambda: None)
    return path


def _of(said: Mapping[str, Any]) -> str:
    """Return the part of a receipt's name that follows from what it says."""
    return json_digest(said)[:12]


def read(layout: Layout, name: str) -> Receipt:
    """Return the receipt of a name that Layout.receipts gave. Raises IntegrityError when it is damaged or gone."""
    path = layout.receipt(name)
    found = sealed.read(path, limit=MAX_CATALOG_BYTES)
    if found is None:
        raise IntegrityError("the receipt is not there", where=path)
    if not name.endswith(_of(found)):
        raise IntegrityError("this is another receipt than its name says", where=path)
    return Receipt.from_json(found, where=path)


def read_all(layout: Layout) -> tuple[Receipt, ...]:
    """Return every receipt that is whole, oldest first; `verify` names the others."""
    found = []
    for name in layout.receipts():
        with contextlib.suppress(IntegrityError):
            found.append(read(layout, name))
    return tuple(found)


def deleted(layout: Layout) -> Mapping[str, Mapping[str, str]]:
    """Return what was deleted, and when it last was: by kind and name; a generation's name is CORPUS/SEQ.

    Some of it may have been stored again since.
    """
    when: dict[str, dict[str, str]] = {kind: {} for kind in _ALL}
    for receipt in read_all(layout):
        for kind in _ALL:
            for each in getattr(receipt, kind):
                name = each if isinstance(each, str) else f"{each['corpus']}/{each['seq']}"
                when[kind][name] = max(receipt.created, when[kind].get(name, ""))
    return when
