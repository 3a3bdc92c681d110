"""Findings: what a detector of some version noticed about a key's source. Small sealed files beside the records.

What the findings say is opaque here. They are no part of any identity: another version is another file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainbrr.digest import is_digest
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import files, sealed
from brainbrr.store.layout import Layout

FINDINGS_FORMAT = 1
MAX_FINDINGS_BYTES = 1 << 20

_FIELDS: dict[str, tuple[type, ...]] = {"format": (int,), "key": (str,), "version": (int,), "findings": (Mapping,)}


def read(layout: Layout, key: str, version: int) -> dict[str, Any] | None:
    """Return a key's findings, None when there are none. Raises IntegrityError for damaged or another key's."""
    path = layout.findings_of(key, version)
    found = sealed.read(path, _FIELDS, limit=MAX_FINDINGS_BYTES, number=FINDINGS_FORMAT)
    if found is None:
        return None
    if (found["key"], found["version"]) != (key, version):
        raise IntegrityError(f"these are findings {found['version']} of key {found['key'][:12]}", where=path)
    return dict(found["findings"])


def there(layout: Layout, key: str, version: int, *, prove: bool) -> bool:
    """Say whether findings are there; with `prove`, whether whole ones are."""
    if not prove:
        try:
            return layout.findings_of(key, version).stat().st_size > 0  # empty: written just before a power cut
        except (FileNotFoundError, NotADirectoryError):
            return False
    try:
        return read(layout, key, version) is not None
    except IntegrityError:
        return False


def verify(layout: Layout, name: str) -> None:
    """Prove what `Layout.found_findings` named. Raises IntegrityError."""
    key, _, version = name.partition("-")
    if not is_digest(key, 32):
        where = layout.findings / name
        fix = "no reader ever looks there: brainbrr repair moves it to quarantine"
        raise IntegrityError("a file that is not in the place of findings", where=where, fix=fix)
    read(layout, key, int(version))


def publish(layout: Layout, key: str, version: int, findings: Mapping[str, Any]) -> int:
    """Make a key's findings be there, whole, and return the bytes written: 0 where whole ones stand, which stay.

    Not flushed to the disk: they follow from the EDF, and one by one that would take as long as a tenth of a build.
    Damaged ones move to quarantine. Raises UsageError for what is not JSON without floats, SpaceError.
    """
    path = layout.findings_of(key, version)
    said = {"format": FINDINGS_FORMAT, "key": key, "version": version, "findings": findings}
    if (n_bytes := len(files.seal(said))) > MAX_FINDINGS_BYTES:
        raise UsageError(f"findings of {n_bytes:,} bytes; at most {MAX_FINDINGS_BYTES:,} are kept", where=path)
    return sealed.publish(layout, path, said, lambda: read(layout, key, version), durable=False)
