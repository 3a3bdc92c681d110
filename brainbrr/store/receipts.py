"""Receipts: what was deleted from a store on purpose, when, by whom and by which verb. Never deleted by brainbrr.

They tell a deletion from damage. Knows nothing of why something may be deleted.
"""

from __future__ import annotations

import os
import pwd
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

from brainbrr.errors import IntegrityError
from brainbrr.store import files, sealed
from brainbrr.store.catalog import MAX_CATALOG_BYTES
from brainbrr.store.layout import Layout

RECEIPT_FORMAT = 1
LISTS = ("generations", "views", "pins", "records", "objects", "findings", "quarantine")

OUT_OF_REACH = (
    "folders of runs: their view.json, models and reports",
    "view and index files that `brainbrr view` wrote",
    "copies that `brainbrr train --stage` left on nodes",
    "other stores, also those that `brainbrr recompress` made",
    "backups and snapshots of this store, and the free blocks of its disk",
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
    **dict.fromkeys(LISTS, (list,)),
    "out_of_reach": (list,),
}
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
    out_of_reach: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON without floats."""
        lists = {name: list(getattr(self, name)) for name in (*LISTS, "out_of_reach")}
        return {"format": RECEIPT_FORMAT, **vars(self), **lists}

    @classmethod
    def from_json(cls, value: object, *, where: object) -> Receipt:
        """Return what to_json gave. Raises IntegrityError naming the field that differs."""
        found = dict(files.fields(value, _FIELDS, where=where))
        if found.pop("format") != RECEIPT_FORMAT:
            raise IntegrityError(f"not a receipt of format {RECEIPT_FORMAT}", where=where)
        for name in (*LISTS, "out_of_reach"):
            if name == "generations":
                found[name] = tuple(files.fields(each, _GENERATION, where=where) for each in found[name])
            elif not all(isinstance(each, str) for each in found[name]):
                raise IntegrityError(f"{name} are not names", where=where)
            found[name] = tuple(found[name])
        return cls(**found)


@dataclass(frozen=True)
class Deleted:
    """All that receipts say was deleted. Some of it may have been stored again since."""

    generations: frozenset[tuple[str, int, str]]
    """Corpus, number, and the SHA-256 of the file."""
    views: frozenset[str]
    pins: frozenset[str]
    records: frozenset[str]
    objects: frozenset[str]
    findings: frozenset[str]
    """As KEY-VERSION."""
    quarantine: frozenset[str]


def now() -> str:
    """Return the time as receipts say it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


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
    path = layout.receipt(f"{stamp()}-{uuid.uuid4().hex[:12]}")
    sealed.publish(layout, path, receipt.to_json(), lambda: None)
    return path


def read(layout: Layout, name: str) -> Receipt:
    """Return the receipt of a name that Layout.receipts gave. Raises IntegrityError when it is damaged or gone."""
    path = layout.receipt(name)
    found = sealed.read(path, limit=MAX_CATALOG_BYTES)
    if found is None:
        raise IntegrityError("the receipt is not there", where=path)
    return Receipt.from_json(found, where=path)


def read_all(layout: Layout) -> list[Receipt]:
    """Return every receipt, oldest first. Raises IntegrityError for a damaged one."""
    return [read(layout, name) for name in layout.receipts()]


def deleted(layout: Layout) -> Deleted:
    """Return all that receipts name. Raises IntegrityError for a damaged one."""
    every = read_all(layout)
    names = {kind: frozenset(name for each in every for name in getattr(each, kind)) for kind in LISTS[1:]}
    generations = (each for receipt in every for each in receipt.generations)
    return Deleted(frozenset((g["corpus"], g["seq"], g["sha256_of"]) for g in generations), **names)


def last_deletions(layout: Layout) -> dict[str, dict[str, str]]:
    """Return when (ISO 8601) things were last deleted, by kind (one of LISTS) and name; generations as CORPUS/SEQ.

    Damaged receipts say nothing here.
    """
    when: dict[str, dict[str, str]] = {kind: {} for kind in LISTS}
    for name in layout.receipts():
        try:
            receipt = read(layout, name)
        except (IntegrityError, OSError):
            continue
        when["generations"] |= {f"{each['corpus']}/{each['seq']}": receipt.created for each in receipt.generations}
        for kind in LISTS[1:]:
            when[kind] |= dict.fromkeys(getattr(receipt, kind), receipt.created)
    return when
