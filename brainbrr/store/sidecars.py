"""Small sealed files, each by its own name: read whole or refused, written once, never replaced.

Knows nothing of what they say.

Findings: what a detector of some version noticed about a key's source. Small sealed files beside the records.

What the findings say is opaque here. They are no part of any identity: another version is another file.

Receipts: what was deleted from a store on purpose, when, by whom and by which verb. Never deleted by brainbrr.

They tell a deletion from damage. Knows nothing of why something may be deleted.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

from brainbrr.core import files
from brainbrr.core.digest import is_digest, json_digest
from brainbrr.errors import Fix, IntegrityError, UsageError
from brainbrr.store.layout import Layout

MAX_CATALOG_BYTES = 1 << 30

Kinds = Mapping[str, tuple[type, ...]]


def read_checksummed(
    path: Path, kinds: Kinds | None = None, *, limit: int = files.MAX_JSON_BYTES, number: int = 1
) -> dict[str, Any] | None:
    """Return what a file says, None where there is none.

    Raises FormatError for another format than `number`, IntegrityError when it is damaged or has other fields than
    `kinds`.
    """
    try:
        found = files.unseal(files.read(path, limit=limit), where=path)
    except FileNotFoundError:
        return None
    files.check_format(found, number, kind="a file", where=path)
    return found if kinds is None else dict(files.fields(found, kinds, where=path))


def publish_checksummed(
    layout: Layout,
    path: Path,
    fields: Mapping[str, Any],
    standing: Callable[[], object],
    *,
    durable: bool = True,
) -> int:
    """Make a file be there, and return the bytes written: 0 where a whole one stands, which stays.

    `standing` reads what is there: None when nothing is, IntegrityError when it is damaged, which moves it to
    quarantine. Raises UsageError for what is not JSON without floats, SpaceError.
    """
    data = files.seal(fields)
    with files.writing(layout.root, n_bytes=len(data)):
        try:
            if standing() is not None:
                return 0
        except IntegrityError:
            layout.quarantine(path)
        layout.ensure_fan_out(path.parent, durable=durable)
        with layout.scratch() as temporary:
            return len(data) if files.publish(temporary, path, data, durable=durable) else 0


FINDINGS_FORMAT = 1
MAX_FINDINGS_BYTES = 1 << 20

_FINDINGS_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "key": (str,),
    "version": (int,),
    "findings": (Mapping,),
}


def read_findings(layout: Layout, key: str, version: int) -> dict[str, Any] | None:
    """Return a key's findings, None when there are none. Raises IntegrityError for damaged or another key's."""
    path = layout.findings_of(key, version)
    found = read_checksummed(path, _FINDINGS_FIELDS, limit=MAX_FINDINGS_BYTES, number=FINDINGS_FORMAT)
    if found is None:
        return None
    if (found["key"], found["version"]) != (key, version):
        raise IntegrityError(f"these are findings {found['version']} of key {found['key'][:12]}", where=path)
    return dict(found["findings"])


def findings_exist(layout: Layout, key: str, version: int, *, prove: bool) -> bool:
    """Say whether findings are there; with `prove`, whether whole ones are."""
    if not prove:
        try:
            return layout.findings_of(key, version).stat().st_size > 0  # empty: written just before a power cut
        except (FileNotFoundError, NotADirectoryError):
            return False
    try:
        return read_findings(layout, key, version) is not None
    except IntegrityError:
        return False


def verify_findings(layout: Layout, name: str) -> bool:
    """Verify findings by the name that `Layout.found_findings` gave; say whether they exist. Raises IntegrityError."""
    key, _, version = name.partition("-")
    if not is_digest(key, 32):
        where = layout.findings / name
        fix = Fix("no reader ever opens it: ", ("repair",), " moves it to quarantine")
        raise IntegrityError("a file that is not in the place of findings", where=where, fix=fix)
    return read_findings(layout, key, int(version)) is not None


def publish_findings(layout: Layout, key: str, version: int, findings: Mapping[str, Any]) -> int:
    """Make a key's findings be there, whole, and return the bytes written: 0 where whole ones stand, which stay.

    Not flushed to the disk: they follow from the EDF, and one by one that would take as long as a tenth of a build.
    Damaged ones move to quarantine. Raises UsageError for what is not JSON without floats, SpaceError.
    """
    path = layout.findings_of(key, version)
    said = {"format": FINDINGS_FORMAT, "key": key, "version": version, "findings": findings}
    if (n_bytes := len(files.seal(said))) > MAX_FINDINGS_BYTES:
        raise UsageError(f"findings of {n_bytes:,} bytes; at most {MAX_FINDINGS_BYTES:,} are kept", where=path)
    return publish_checksummed(layout, path, said, lambda: read_findings(layout, key, version), durable=False)


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

_RECEIPT_FIELDS: dict[str, tuple[type, ...]] = {
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
        found = {_OUT_OF_REACH: [], **files.fields(value, {**_RECEIPT_FIELDS, **more}, where=where)}
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


def write_receipt(layout: Layout, receipt: Receipt) -> Path:
    """Keep a receipt, durable, and return its file. Raises SpaceError when the disk is full."""
    said = receipt.to_json()
    path = layout.receipt(f"{stamp()}-{_of(said)}")
    publish_checksummed(layout, path, said, lambda: None)
    return path


def _of(said: Mapping[str, Any]) -> str:
    """Return the part of a receipt's name that follows from what it says."""
    return json_digest(said)[:12]


def read_receipt(layout: Layout, name: str) -> Receipt:
    """Return the receipt of a name that Layout.receipts gave. Raises IntegrityError when it is damaged or gone."""
    path = layout.receipt(name)
    found = read_checksummed(path, limit=MAX_CATALOG_BYTES)
    if found is None:
        raise IntegrityError("the receipt is not there", where=path)
    if not name.endswith(_of(found)):
        raise IntegrityError("this is another receipt than its name says", where=path)
    return Receipt.from_json(found, where=path)


def read_receipts(layout: Layout) -> tuple[Receipt, ...]:
    """Return every receipt that is whole, oldest first; `verify` names the others."""
    found = []
    for name in layout.receipts():
        with contextlib.suppress(IntegrityError):
            found.append(read_receipt(layout, name))
    return tuple(found)


def deleted(layout: Layout) -> Mapping[str, Mapping[str, str]]:
    """Return what was deleted, and when it last was: by kind and name; a generation's name is CORPUS/SEQ.

    Some of it may have been stored again since.
    """
    when: dict[str, dict[str, str]] = {kind: {} for kind in _ALL}
    for receipt in read_receipts(layout):
        for kind in _ALL:
            for each in getattr(receipt, kind):
                name = each if isinstance(each, str) else f"{each['corpus']}/{each['seq']}"
                when[kind][name] = max(receipt.created, when[kind].get(name, ""))
    return when
