"""Small checksummed files: findings, receipts, pins and retired recipes. Each is read complete or refused, written
once and never replaced.

What findings contain, and why something may be deleted, is not known here.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import field_validator

from brainbrr.core import files, models
from brainbrr.core.digest import is_digest, json_digest
from brainbrr.core.models import Many, Stored
from brainbrr.errors import BrainbrrError, Fix, IntegrityError, UsageError
from brainbrr.store.layout import Layout

MAX_CATALOG_BYTES = 1 << 30


class SmallFile(Stored):
    """The fields of a small file, inside its checksum: its kind, and what its own name follows from.

    So an intact file of another kind, or of another name, is never taken for this one.
    """

    format: Literal[1] = 1
    kind: str


F = TypeVar("F", bound=SmallFile)


def read_view(layout: Layout, digest: str) -> dict[str, Any] | None:
    """Return a frozen view's fields, None where there is none. Raises IntegrityError for what is not that view."""
    path = layout.view(digest)
    try:
        return view_fields(files.read(path, limit=MAX_CATALOG_BYTES), digest, where=path)
    except FileNotFoundError:
        return None


def view_fields(data: bytes, digest: str, *, where: Path) -> dict[str, Any]:
    """Return the fields of a frozen view's file. Raises IntegrityError for another kind of file, or another view's."""
    fields = models.from_checksummed(data, where=where)
    models.check_format(fields, 1, kind="a frozen view", where=where)
    kind, name = fields.pop("kind", None), fields.pop("name", None)
    if kind != "view":
        raise IntegrityError(f"this is a file of kind {kind!r:.40}, not a frozen view", where=where)
    if name != digest:
        raise IntegrityError(f"this is the frozen view {str(name)[:12]}", where=where)
    return fields


def publish_view(layout: Layout, digest: str, view: Mapping[str, Any]) -> None:
    """Write a frozen view under its digest, unless an intact one exists. Raises SpaceError."""
    publish_checksummed(layout, layout.view(digest), named_view(digest, view), lambda: read_view(layout, digest))


def named_view(digest: str, view: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a frozen view's file."""
    return {**view, "kind": "view", "name": digest}


def read_checksummed(path: Path, model: type[F], *, limit: int = files.MAX_JSON_BYTES) -> F | None:
    """Return a small file of a model's kind, None where there is none.

    Raises FormatError for a newer format, IntegrityError when the file is damaged or of another kind.
    """
    try:
        fields = models.from_checksummed(files.read(path, limit=limit), where=path)
    except FileNotFoundError:
        return None
    models.check_format(fields, 1, kind="a file", where=path)
    return models.parse(model, fields, where=path)


def publish_checksummed(
    layout: Layout,
    path: Path,
    content: SmallFile | Mapping[str, Any],
    standing: Callable[[], object],
    *,
    durable: bool = True,
) -> int:
    """Write a small file unless an intact one exists, and return the bytes written: 0 where one does.

    `standing` reads the existing file: None when there is none, IntegrityError when it is damaged, which moves it to
    quarantine. Raises UsageError for what is not JSON without floats, SpaceError.
    """
    data = models.to_checksummed(content.to_json() if isinstance(content, SmallFile) else content)
    with files.writing(layout.root, n_bytes=len(data)):
        try:
            if standing() is not None:
                return 0
        except IntegrityError:
            layout.quarantine(path)
        layout.ensure_fan_out(path.parent, durable=durable)
        with layout.scratch() as temporary:
            return len(data) if files.publish(temporary, path, data, durable=durable) else 0


MAX_FINDINGS_BYTES = 1 << 20


class Findings(SmallFile):
    """What a detector of some version noticed about a key's source; no part of any identity."""

    kind: Literal["findings"] = "findings"
    key: str
    version: int
    findings: dict[str, Any]


def read_findings(layout: Layout, key: str, version: int) -> dict[str, Any] | None:
    """Return a key's findings, None when there are none. Raises IntegrityError for damaged or another key's."""
    path = layout.findings_of(key, version)
    found = read_checksummed(path, Findings, limit=MAX_FINDINGS_BYTES)
    if found is None:
        return None
    if (found.key, found.version) != (key, version):
        raise IntegrityError(f"these are findings {found.version} of key {found.key[:12]}", where=path)
    return found.findings


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
    content = Findings(key=key, version=version, findings=dict(findings))
    if (n_bytes := len(models.to_checksummed(content.to_json()))) > MAX_FINDINGS_BYTES:
        raise UsageError(f"findings of {n_bytes:,} bytes; at most {MAX_FINDINGS_BYTES:,} are kept", where=path)
    return publish_checksummed(layout, path, content, lambda: read_findings(layout, key, version), durable=False)


KINDS = ("generations", "views", "pins", "records", "objects", "findings", "quarantine")
_ALL = (*KINDS, "retired")

OUT_OF_REACH = (
    "folders of runs: their view.json, models and reports",
    "view and index files that `brainbrr view` wrote",
    "copies that `brainbrr train --stage` left on nodes: there, `brainbrr gc --yes --staged DIR` deletes them",
    "job folders of SLURM that `--jobs DIR` does not name: they name recordings, and hold no samples",
    "other stores, also those that `brainbrr recompress` made",
    "backups and snapshots of this store, and the free blocks of its disk",
    "what an ingest that runs meanwhile publishes later",
    "what hosts remember in their users' cache folders: names and digests of files",
    "results of builds that were not reproducible, in quarantine: nothing says what they were made from",
    "the corpus itself",
)
"""Where what was forgotten may lie as well: no store knows of these."""


class Generation(Stored):
    """A catalog's generation that was deleted, and the SHA-256 of its file."""

    corpus: str
    seq: int
    sha256_of: str


class Receipt(SmallFile):
    """What one deletion removed: digests and names. `out_of_reach`: where else the same may be, in words."""

    kind: Literal["receipt"] = "receipt"
    omitted_when_empty = ("out_of_reach",)

    verb: str
    created: str
    by: str
    corpus: str | None = None
    generations: Many[Generation] = ()
    views: Many[str] = ()
    pins: Many[str] = ()
    records: Many[str] = ()
    objects: Many[str] = ()
    findings: Many[str] = ()
    quarantine: Many[str] = ()
    retired: Many[str] = ()
    out_of_reach: Many[str] = ()

    @field_validator("created")
    @classmethod
    def _is_time(cls, text: str) -> str:
        """Refuse a text that now() does not write: such texts are compared, not read."""
        try:
            if datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="seconds") == text:
                return text
        except OverflowError:
            pass
        raise ValueError(f"{text[:40]!r} is no time as receipts write it")


def now() -> str:
    """Return the time as receipts say it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def user_and_host() -> str:
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
    path = layout.receipt(_receipt_name(receipt))
    publish_checksummed(layout, path, receipt, lambda: None)
    return path


def _receipt_name(receipt: Receipt) -> str:
    stamped = datetime.fromisoformat(receipt.created).astimezone(UTC)
    return f"{stamped.strftime('%Y%m%dT%H%M%SZ')}-{_digest_of(receipt)}"


def _digest_of(receipt: Receipt) -> str:
    """Return the part of a receipt's name that follows from its content."""
    return json_digest(receipt.to_json())[:12]


def read_receipt(layout: Layout, name: str) -> Receipt:
    """Return the receipt of a name that Layout.receipts gave. Raises IntegrityError when it is damaged or gone."""
    path = layout.receipt(name)
    found = read_checksummed(path, Receipt, limit=MAX_CATALOG_BYTES)
    if found is None:
        raise IntegrityError("the receipt is not there", where=path)
    if not name.endswith(_digest_of(found)):
        raise IntegrityError("this is another receipt than its name says", where=path)
    return found


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
                name = each if isinstance(each, str) else f"{each.corpus}/{each.seq}"
                when[kind][name] = max(receipt.created, when[kind].get(name, ""))
    return when


_NAME_INSIDE: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "findings": ("findings", lambda fields: f"{fields['key']}-{fields['version']}"),
    "view": ("view", lambda fields: str(fields["name"])),
    "pin": ("pin", lambda fields: str(fields["view"])),
    "retired": ("retired recipe", lambda fields: str(fields["recipe"])),
    "receipt": ("receipt", lambda fields: _receipt_name(models.parse(Receipt, fields, where=None))),
}
"""By kind, as `damage.Kind` has it: the kind in the file, and the name that follows from its fields."""


def name_inside(kind: str, path: Path) -> str | None:
    """Return the name that an intact small file of a kind says it has; None for any other file."""
    kind_inside, name_of = _NAME_INSIDE[kind]
    try:
        fields = models.from_checksummed(files.read(path, limit=MAX_CATALOG_BYTES), where=path)
        return name_of(fields) if fields.get("kind") == kind_inside else None
    except (BrainbrrError, OSError, KeyError):
        return None


class Pin(SmallFile):
    """That a frozen view is kept until it is unpinned, since when and by whom."""

    kind: Literal["pin"] = "pin"
    view: str
    created: str
    by: str


class RetiredRecipe(SmallFile):
    """That objects of a recipe are kept only by frozen views, since when and by whom."""

    kind: Literal["retired recipe"] = "retired recipe"
    recipe: str
    name: str
    created: str
    by: str


def read_pin(layout: Layout, digest: str) -> Pin | None:
    """Return a view's pin, None where it has none. Raises IntegrityError for a damaged or another view's."""
    found = read_checksummed(layout.pin(digest), Pin)
    if found is not None and found.view != digest:
        raise IntegrityError("this is the pin of another view", where=layout.pin(digest))
    return found


def read_retired(layout: Layout, recipe: str) -> RetiredRecipe | None:
    """Return since when a recipe is retired, None where it is in use. Raises IntegrityError for a damaged file."""
    found = read_checksummed(layout.retirement(recipe), RetiredRecipe)
    if found is not None and found.recipe != recipe:
        raise IntegrityError("this is the retirement of another recipe", where=layout.retirement(recipe))
    return found
