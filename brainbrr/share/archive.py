"""An archive: a store in one uncompressed ZIP file, always the same bytes for the same parts, and read as a place.

Only what `write_archive` writes is read: each local header is compared with what the list at the end says, entries
follow each other without a gap, sorted, each once, and have names of a store. Nothing is extracted to its own name.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from brainbrr.core import files
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store.places import Place

MOST_LIST_BYTES = 1 << 26
"""Of the list at the end, which is read into memory: about 600,000 entries."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100444 << 16
_UNIX = 3
_END, _LOCATOR, _END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
_NAME = re.compile(
    r"format\.json|index\.json|zarr\.json"
    r"|objects\.zarr/(?:[0-9a-f]{2}/(?:[0-9a-f]{64}/)?)?zarr\.json|objects\.zarr/[0-9a-f]{2}/[0-9a-f]{64}/c\.0\.0"
    r"|records/[0-9a-f]{2}/[0-9a-f]{32}\.json|findings/[0-9a-f]{2}/[0-9a-f]{32}-[1-9][0-9]{0,5}\.json"
    r"|catalog/[A-Za-z0-9][A-Za-z0-9_.-]{0,63}/[0-9]{8}\.(?:jsonl|ack\.json)|views/[0-9a-f]{64}\.json"
)


def _entry(name: str, *, n_bytes: int = 0, crc: int = 0) -> ZipInfo:
    """Return an entry as every archive has it: nothing in it depends on who writes it, or when."""
    entry = ZipInfo(name, date_time=_EPOCH)
    entry.create_system, entry.external_attr = _UNIX, _MODE
    entry.file_size = entry.compress_size = n_bytes
    entry.CRC = crc
    return entry


def write_archive(file: BinaryIO, parts: Mapping[str, Callable[[], bytes]]) -> None:
    """Write an archive; each part is made when its turn comes."""
    with ZipFile(file, "w", ZIP_STORED, allowZip64=True) as archive:
        for name in sorted(parts):
            with archive.open(_entry(name), "w", force_zip64=True) as part:
                part.write(parts[name]())


@dataclass(frozen=True)
class _Part:
    start: int
    n_bytes: int
    crc: int


class Archive(Place):
    """The store in an archive's file, read-only. Raises IntegrityError for a file that is no such archive."""

    def __init__(self, path: Path) -> None:
        self.url, self.lists = str(path), True
        try:
            descriptor = files.open_plain(path, follow=True)
        except FileNotFoundError:
            raise UsageError("there is no such file", where=path) from None
        self._file = os.fdopen(descriptor, "rb")
        try:
            self._parts = _parts_of(self._file, path)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (Path(self.url),)

    def read(self, name: str, *, limit: int) -> bytes | None:
        """Return a part's bytes, None where there is none. Raises IntegrityError above `limit`, and for damage."""
        part = self._parts.get(name)
        if part is None:
            return None
        if part.n_bytes > limit:
            raise IntegrityError(f"more than {limit:,} bytes, which is the most expected", where=self.at(name))
        data = self._bytes(name, part.start, part.n_bytes)
        if zlib.crc32(data) != part.crc:
            raise IntegrityError("the archive is damaged here", where=self.at(name), fix="fetch it again")
        return data

    def _block(self, name: str, start: int, stop: int) -> bytes:
        part = self._parts.get(name)
        if part is None or stop > part.n_bytes:
            what = "it is not there" if part is None else f"it ends before byte {stop:,}"
            raise IntegrityError(what, where=self.at(name))
        return self._bytes(name, part.start + start, stop - start)

    def _bytes(self, name: str, start: int, n_bytes: int) -> bytes:
        data = os.pread(self._file.fileno(), n_bytes, start)
        if len(data) != n_bytes:
            raise IntegrityError("the archive ends here", where=self.at(name), fix="fetch it again")
        return data

    def size(self, name: str) -> int | None:
        """Return a part's size, None where there is none."""
        part = self._parts.get(name)
        return part.n_bytes if part else None

    def names(self, prefix: str) -> dict[str, int]:
        """Return the sizes of the parts below a folder, by name."""
        below = f"{prefix}/" if prefix else ""
        return {name: part.n_bytes for name, part in self._parts.items() if name.startswith(below)}

    def require_writable(self) -> None:
        """Raise UsageError: an archive is never changed."""
        raise UsageError("an archive is read-only", where=self.url)


def _parts_of(file: BinaryIO, path: Path) -> dict[str, _Part]:
    """Return where each part is. Raises IntegrityError unless the file is exactly what write_archive writes."""
    stop = _list_start(file, path)
    try:
        with ZipFile(file) as archive:
            entries = archive.infolist()
    except (BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as error:
        raise IntegrityError(f"this is no archive: {str(error)[:120]}", where=path) from None
    at, last, parts = 0, "", {}
    for entry in entries:
        if problem := _problem(entry, last):
            raise IntegrityError(f"the archive has an entry {_shown(entry)} {problem}", where=path)
        expected = _entry(entry.filename, n_bytes=entry.file_size, crc=entry.CRC).FileHeader(zip64=True)
        file.seek(at)
        if entry.header_offset != at or file.read(len(expected)) != expected:
            what = f"the archive's list and its entry {_shown(entry)} disagree"
            raise IntegrityError(what, where=path, fix="use the archive as it was bundled")
        at, last = at + len(expected), entry.filename
        parts[last] = _Part(at, entry.file_size, entry.CRC)
        at += entry.file_size
    if at != stop:
        raise IntegrityError("the archive holds bytes that belong to no entry", where=path)
    return parts


def _list_start(file: BinaryIO, path: Path) -> int:
    """Return where the list of entries starts, before any of it is read."""
    n_bytes = file.seek(0, os.SEEK_END)
    tail_bytes = min(n_bytes, _END64.size + _LOCATOR.size + _END.size)
    file.seek(n_bytes - tail_bytes)
    tail = file.read(tail_bytes)
    if len(tail) < _END.size or not tail[-_END.size :].startswith(b"PK\5\6"):
        what = "this is no archive of brainbrr: it is cut short, or has other bytes at its end"
        raise IntegrityError(what, where=path, fix="fetch it again")
    *_, list_bytes, start, _ = _END.unpack(tail[-_END.size :])
    end = _END.size
    if tail[-_END.size - _LOCATOR.size :].startswith(b"PK\6\7"):
        end = _END64.size + _LOCATOR.size + _END.size
        if len(tail) < end or not tail.startswith(b"PK\6\6"):  # zipfile would read what the other end says, unbounded
            raise IntegrityError("the ZIP64 record at the archive's end is missing", where=path, fix="fetch it again")
        *_, list_bytes, start = _END64.unpack(tail[: _END64.size])
    if list_bytes > MOST_LIST_BYTES:
        raise IntegrityError(f"the archive lists more than {MOST_LIST_BYTES:,} bytes of names", where=path)
    if start + list_bytes + end != n_bytes:
        raise IntegrityError("the archive's list is not where its end says", where=path, fix="fetch it again")
    return int(start)


def _problem(entry: ZipInfo, last: str) -> str | None:
    """Return what an entry has that none of ours has, None for one of ours."""
    name = entry.orig_filename
    if not _NAME.fullmatch(name) or name != entry.filename:
        return "that is no name in a store"
    if name <= last:
        return "twice, or not in order"
    if entry.compress_type != ZIP_STORED or entry.compress_size != entry.file_size:
        return "that is compressed"
    if entry.flag_bits:
        return "that is encrypted, or says its size elsewhere"
    if (entry.external_attr, entry.create_system) != (_MODE, _UNIX):
        return "that is a link, a folder or of another mode"
    return None


def _shown(entry: ZipInfo) -> str:
    return repr(entry.orig_filename[:120])
