"""Proving what lies in a store: objects against their names, records against their objects, the rest against seals.

Reads, and changes nothing. Every proof raises IntegrityError.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from brainbrr.digest import is_digest
from brainbrr.errors import IntegrityError
from brainbrr.store import catalog as catalogs
from brainbrr.store import chunks, files, objects, records
from brainbrr.store import findings as findings_files
from brainbrr.store.layout import ARRAY_FILE, GROUP
from brainbrr.store.records import Record
from brainbrr.store.shard_files import MEND
from brainbrr.store.tiles import Codec

if TYPE_CHECKING:
    from brainbrr.store.store import Store


Depth = Literal["quick", "checksums", "full"]
"""How much of an object is read: no tile; every tile against its crc32c; every sample against the content."""
DEPTHS: tuple[Depth, ...] = get_args(Depth)


def decode(store: Store, name: str, *, look: chunks.Look | None = None) -> str:
    """Return the content of what a folder that contents() named really holds, whatever its name."""
    return chunks.decode(_folder(store, name), look=look)


def verify_object(store: Store, name: str, *, depth: Depth = "full") -> None:
    """Prove a folder that contents() named, its place and its groups."""
    verify_place(store, name)
    for fan_out in ("", name[:2]):
        verify_group(store, fan_out)
    verify_folder(store, name, checksums=depth == "checksums")
    if depth == "full":
        verify_place(store, name, decoded=decode(store, name))


def verify_folder(store: Store, name: str, *, checksums: bool = False) -> None:
    """Prove the structure of a folder, whatever its name; also the crc32c of every tile."""
    chunks.inspect(_folder(store, name), codec=store.codec, checksums=checksums)


def verify_place(store: Store, name: str, *, decoded: str | None = None) -> None:
    """Prove that a folder lies where its content belongs; `decoded`: what decode() gave."""
    if not is_digest(name, 64):
        fix = "no reader ever looks there: brainbrr repair puts it in its place, or into quarantine"
        raise IntegrityError("an object does not lie in its place", where=_folder(store, name), fix=fix)
    if decoded is not None:
        _match(_folder(store, name), name, decoded)


def prove(folder: Path, content: str, *, codec: Codec) -> None:
    """Prove that a folder is the object of a content, as a store of this codec keeps it."""
    chunks.inspect(folder, codec=codec)
    _match(folder, content, chunks.decode(folder))


def _match(folder: Path, content: str, found: str) -> None:
    if found != content:
        raise IntegrityError(f"its decoded array has content {found[:12]}", where=folder, fix=MEND)


def _folder(store: Store, name: str) -> Path:
    return store.layout.found(store.layout.objects, name)


def verify_group(store: Store, fan_out: str) -> None:
    """Prove the zarr group of a fan-out, or of the whole hierarchy ("")."""
    path = store.layout.objects / fan_out / ARRAY_FILE
    try:
        damaged = files.read(path) != GROUP
    except FileNotFoundError:
        damaged = True
    if damaged:
        raise IntegrityError("the zarr group file is damaged or missing", where=path, fix=MEND)


def unproven_record(store: Store, name: str) -> Record | None:
    """Return what a record file says, whether or not it belongs under its name; None when it is damaged or gone."""
    try:
        return records.read(store.layout.found(store.layout.records, name))
    except IntegrityError:
        return None


def proven_record(store: Store, name: str) -> Record:
    """Return a record proven against its name; what lies there has to be one."""
    path = store.layout.found(store.layout.records, name)
    if not is_digest(name, 32):
        fix = "no reader ever looks there: brainbrr repair puts it in its place, or into quarantine"
        raise IntegrityError("a file that is not in a record's place", where=path, fix=fix)
    record = store.record(name)
    if record is None:
        raise IntegrityError("there is no record of this key", where=path, fix=MEND)
    return record


def verify_record(store: Store, name: str) -> Record:
    """Return a record proven against its name, its recipe and its object's metadata."""
    record = proven_record(store, name)
    verify_binding(store, record)
    return record


def verify_binding(store: Store, record: Record) -> None:
    """Prove that a record's object is there and is the array that it describes."""
    where = store.layout.record(record.key)
    if not store.has_object(record):
        what = f"its object {record.content[:12]} is not there, or has the wrong size"
        raise IntegrityError(what, where=where, fix=MEND)
    if objects.read_array(store.layout.object(record.content)) != (record.array, store.codec):
        raise IntegrityError("record and object disagree about the array", where=where, fix=MEND)


def verify_catalog(store: Store, corpus: str) -> None:
    """Prove every generation of a corpus's catalog."""
    catalogs.verify(store.layout, corpus)


def verify_findings(store: Store, name: str) -> None:
    """Prove what found_findings() named against its seal and its place."""
    findings_files.verify(store.layout, name)
