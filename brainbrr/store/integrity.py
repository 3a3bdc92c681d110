"""Verify one thing of a store: an object against its name, a record against its object. Changes nothing.

Names are those that `Store.contents` and `Store.keys` yield. Every failed verification raises IntegrityError.
"""

from __future__ import annotations

from typing import Literal, get_args

from brainbrr.core import files
from brainbrr.core.digest import is_digest
from brainbrr.errors import Fix, IntegrityError
from brainbrr.store import formats, reader, records
from brainbrr.store.formats import ARRAY_FILE
from brainbrr.store.layout import GROUP
from brainbrr.store.reader import RESTORE
from brainbrr.store.records import Record
from brainbrr.store.store import Store

Depth = Literal["quick", "checksums", "full"]
"""How much of an object is read: no tile; every tile against its crc32c; every sample against the content."""
DEPTHS: tuple[Depth, ...] = get_args(Depth)

_MISPLACED = Fix("no reader ever opens it: ", ("repair",), " moves it to its place, or to quarantine")


def decode_object(store: Store, name: str, *, observer: reader.Observer | None = None) -> str:
    """Return the content of the array that an object's folder holds, whatever the folder's name."""
    return reader.decode(store.path_of("object", name), observer=observer)


def verify_object(store: Store, name: str, *, depth: Depth = "full") -> None:
    """Verify an object's folder, its place and its groups."""
    verify_place(store, name)
    for fan_out in ("", name[:2]):
        verify_group(store, fan_out)
    verify_folder(store, name, checksums=depth == "checksums")
    if depth == "full":
        verify_place(store, name, decoded=decode_object(store, name))


def verify_folder(store: Store, name: str, *, checksums: bool = False) -> None:
    """Verify the structure of a folder, whatever its name; with `checksums` also the crc32c of every tile."""
    reader.inspect(store.path_of("object", name), codec=store.codec, checksums=checksums)


def verify_place(store: Store, name: str, *, decoded: str | None = None) -> None:
    """Verify that a folder is where its content belongs. `decoded`: the result of decode_object()."""
    folder = store.path_of("object", name)
    if not is_digest(name, 64):
        raise IntegrityError("an object does not lie in its place", where=folder, fix=_MISPLACED)
    if decoded not in (None, name):
        raise reader.wrong_content(folder, str(decoded))


def verify_group(store: Store, fan_out: str) -> None:
    """Verify the zarr group of a fan-out folder, or of the whole hierarchy ("")."""
    path = store.path_of("group", fan_out) / ARRAY_FILE
    try:
        damaged = files.read(path) != GROUP
    except FileNotFoundError:
        damaged = True
    if damaged:
        raise IntegrityError("the zarr group file is damaged or missing", where=path, fix=RESTORE)


def read_record(store: Store, name: str) -> Record | None:
    """Return what a record file contains, whether or not it belongs under its name; None if damaged or missing."""
    try:
        return records.read(store.path_of("record", name))
    except IntegrityError:
        return None


def verify_record_file(store: Store, name: str) -> Record:
    """Return a record that must exist, verified against its name alone."""
    path = store.path_of("record", name)
    if not is_digest(name, 32):
        raise IntegrityError("a file that is not in a record's place", where=path, fix=_MISPLACED)
    record = store.record(name)
    if record is None:
        raise IntegrityError("there is no record of this key", where=path, fix=RESTORE)
    return record


def verify_record(store: Store, name: str) -> Record:
    """Return a record, verified against its name, its recipe and its object's metadata."""
    record = verify_record_file(store, name)
    verify_binding(store, record)
    return record


def verify_binding(store: Store, record: Record) -> None:
    """Verify that a record's object exists and is the array that it describes."""
    where = store.path_of("record", record.key)
    if not store.has_object(record):
        what = f"its object {record.content[:12]} is not there, or has the wrong size"
        raise IntegrityError(what, where=where, fix=RESTORE)
    if formats.read_array(store.path_of("object", record.content)) != (record.array, store.codec):
        raise IntegrityError("record and object disagree about the array", where=where, fix=RESTORE)
