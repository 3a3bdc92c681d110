"""`verify`: every object against its content, every record against its object, every other file against its seal.

The only place that says what damage is: `check --require verified` asks here too.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from brainbrr.errors import IntegrityError
from brainbrr.progress import Progress, Silent
from brainbrr.store import proof
from brainbrr.store.records import Record
from brainbrr.store.shard_files import MEND
from brainbrr.store.store import Store

_FIX = {
    "object": MEND,
    "group": MEND,
    "record": MEND,
    "findings": MEND,
    "catalog": "move that generation and the later ones out of the catalog, then ingest the corpus again",
    "view": "move the file out of the store, and freeze the view again",
}

Found = dict[str, str]
"""One damage: {kind: name, "reason": why, "fix": what mends it}.

Kinds: object, group, record, findings, catalog, view.
"""


@dataclass(frozen=True)
class Damage:
    """What is damaged, and what was read on the way.

    What is `misplaced` is whole, but lies under another's name; `broken` is everything else.
    """

    contents: tuple[str, ...]
    n_records: int
    broken: tuple[Found, ...]
    misplaced: tuple[Found, ...]
    decoded: dict[str, str]
    """By folder: the content of the array that it holds."""
    records: tuple[Record, ...]
    foreign_records: dict[str, Record]
    """By file: the misplaced records."""

    @property
    def all(self) -> tuple[Found, ...]:
        """Whatever its kind, by kind and name."""
        return tuple(sorted((*self.broken, *self.misplaced), key=lambda found: list(found.items())))


@contextmanager
def _noting(into: list[Found], kind: str, name: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        into.append({kind: name, "reason": error.what, "fix": error.fix or _FIX[kind]})


def damage(store: Store, *, quick: bool = False, progress: Progress = Silent()) -> Damage:  # noqa: B008
    """Prove everything in a store, each object decoded once. `quick`: structure and checksums, nothing decoded."""
    broken: list[Found] = []
    misplaced: list[Found] = []
    decoded: dict[str, str] = {}
    contents = sorted(store.contents())
    progress.start("verifying", len(contents), "objects")
    for name in contents:
        with _noting(broken, "object", name):
            if not quick:
                decoded[name] = proof.decode(store, name)
            proof.verify_folder(store, name, checksums=quick)
        with _noting(misplaced, "object", name):
            proof.verify_place(store, name, decoded=decoded.get(name))
        progress.advance()
    progress.stop()
    lost = {found["object"] for found in misplaced}  # nobody owes a group to a folder that zarr should not list
    for fan_out in sorted({"", *(name[:2] for name in contents if name not in lost)}):
        with _noting(broken, "group", f"{fan_out}/zarr.json".lstrip("/")):
            proof.verify_group(store, fan_out)
    keys = sorted(store.keys())
    records: list[Record] = []
    foreign: dict[str, Record] = {}
    for key in keys:
        found: list[Found] = []
        with _noting(found, "record", key):
            records.append(proof.verify_record(store, key))
        if found and (record := _whole(store, key)) is not None:
            foreign[key] = record
        (misplaced if key in foreign else broken).extend(found)
    for name in store.found_findings():
        with _noting(broken, "findings", name):
            proof.verify_findings(store, name)
    for corpus in store.corpora():
        with _noting(broken, "catalog", corpus):
            proof.verify_catalog(store, corpus)
    for digest in store.frozen_views():
        with _noting(broken, "view", digest):
            store.frozen(digest)
    return Damage(tuple(contents), len(keys), tuple(broken), tuple(misplaced), decoded, tuple(records), foreign)


def _whole(store: Store, name: str) -> Record | None:
    """Return what a record file says when nothing but its name is wrong."""
    record = proof.unproven_record(store, name)
    try:
        if record is not None:
            proof.verify_binding(store, record)
    except IntegrityError:
        return None
    return record


def copies(decoded: dict[str, str]) -> tuple[tuple[str, ...], ...]:
    """Return the folders that hold one array more than once, each group with the one in its place first."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in sorted(decoded, key=lambda name: (decoded[name] != name, name)):
        folders[decoded[name]].append(name)
    return tuple(tuple(names) for names in folders.values() if len(names) > 1)


@dataclass(frozen=True)
class VerifyReport:
    """How many objects were proven, and what was found damaged."""

    objects: int
    records: int
    verified: int
    corrupt: tuple[Found, ...]
    seconds: float
    quick: bool

    @property
    def exit_code(self) -> int:
        """4 when anything is damaged."""
        return IntegrityError.exit_code if self.corrupt else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "corrupt": list(self.corrupt), "seconds": round(self.seconds, 3)}


def verify(store: Store, *, quick: bool = False, progress: Progress = Silent()) -> VerifyReport:  # noqa: B008
    """Prove a store. Full: every object is decoded against its content digest. Quick: structure and every checksum."""
    began = time.monotonic()
    found = damage(store, quick=quick, progress=progress)
    bad = {each["object"] for each in found.all if "object" in each}
    return VerifyReport(
        objects=len(found.contents),
        records=found.n_records,
        verified=len(found.contents) - len(bad),
        corrupt=found.all,
        seconds=time.monotonic() - began,
        quick=quick,
    )
