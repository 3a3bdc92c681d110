"""The bytes of a shard file, mapped or read: two ways to the same array. Knows nothing of tiles and codecs."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
from pathlib import Path
from typing import Protocol

import numpy as np

from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.store import files, mounts
from brainbrr.store.layout import SHARD_FILE
from brainbrr.store.tiles import Bytes

MEND = "brainbrr repair restores it, and keeps the damaged one in quarantine"


_SMALL_INDEX = 1 << 20
"""Bytes of an index that are read at once: those of a recording of a week. A hole takes memory, and none of a disk."""


def _hole(descriptor: int, start: int) -> int:
    """Return where the first hole at or after a byte of a file begins; its end where it has none, or nobody knows."""
    return os.lseek(descriptor, start, os.SEEK_HOLE)


class Scratch:
    """Buffers that reads of one thread share, one after the other: they grow to the largest and stay."""

    def __init__(self) -> None:
        self._buffers: dict[str, Bytes] = {}

    def take(self, name: str, n_bytes: int) -> Bytes:
        """Return n_bytes of the buffer of this name; what was taken of it before is overwritten."""
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < n_bytes:
            buffer = self._buffers[name] = np.empty(n_bytes, dtype=np.uint8)
        return buffer[:n_bytes]


class ShardFile(Protocol):
    """An open shard: it stays open for as long as anybody holds it, so that closing breaks no running read."""

    n_bytes: int

    def read(self, start: int, stop: int, scratch: Scratch | None) -> Bytes:
        """Return bytes [start, stop). Raises IntegrityError when the file has gone or shrunk."""

    def advise(self, start: int, stop: int) -> None:
        """Ask the system to fetch bytes [start, stop) before they are read; returns at once."""


class MappedFile:
    """A file of a local disk in memory: reading it costs no call and no copy.

    Before Python 3.13 a map keeps a descriptor open.
    """

    def __init__(self, descriptor: int, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        if sys.version_info >= (3, 13):
            self._map = mmap.mmap(descriptor, n_bytes, access=mmap.ACCESS_READ, trackfd=False)
        else:
            self._map = mmap.mmap(descriptor, n_bytes, access=mmap.ACCESS_READ)
        self.bytes = np.frombuffer(self._map, dtype=np.uint8)  # keeps the map open for as long as it is looked at

    def read(self, start: int, stop: int, scratch: Scratch | None) -> Bytes:
        """Return bytes [start, stop) where they lie."""
        return self.bytes[start:stop]

    def advise(self, start: int, stop: int) -> None:
        """Fetch the pages of [start, stop)."""
        start -= start % mmap.PAGESIZE
        if stop > start:
            self._map.madvise(mmap.MADV_WILLNEED, start, stop - start)


class ReadFile:
    """A file that is read into a buffer: one call, one copy, and an error where a map would kill the process."""

    def __init__(self, descriptor: int, n_bytes: int, folder: Path) -> None:
        self.n_bytes = n_bytes
        self._descriptor, self._folder = descriptor, folder

    def read(self, start: int, stop: int, scratch: Scratch | None) -> Bytes:
        """Return bytes [start, stop) in the scratch's `file` buffer, in a new one without a scratch."""
        buffer = np.empty(stop - start, dtype=np.uint8) if scratch is None else scratch.take("file", stop - start)
        rest = memoryview(buffer.data)
        while rest:
            try:
                n_read = os.preadv(self._descriptor, [rest], stop - len(rest))
            except OSError as error:
                raise _unreadable(error, self._folder) from error
            if n_read == 0:
                raise IntegrityError(
                    f"the shard ends before byte {stop:,}; it had {self.n_bytes:,} bytes when it was opened",
                    where=self._folder,
                    fix=MEND,
                )
            rest = rest[n_read:]
        return buffer

    def advise(self, start: int, stop: int) -> None:
        """Fetch [start, stop) into the system's page cache."""
        if hasattr(os, "posix_fadvise") and stop > start:
            os.posix_fadvise(self._descriptor, start, stop - start, os.POSIX_FADV_WILLNEED)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # a server that is gone refuses even this
            os.close(self._descriptor)  # only here: a number that is closed too early may be another file's already


def _unreadable(error: OSError, folder: Path) -> BrainbrrError:
    """Return what a read that failed says: damage where the bytes are gone, else nothing about the object."""
    what = f"the shard cannot be read: {error.strerror}"
    if error.errno in (errno.EIO, errno.ENOENT):
        return IntegrityError(what, where=folder, fix=MEND)
    return BrainbrrError(what, where=folder, fix="run the same again when its file system answers")


def open_shard(folder: Path, sizes: range, *, n_last: int, mapped: bool | None = None) -> tuple[ShardFile, bytes]:
    """Open an object's shard, and return it with its last bytes, so that nobody touches a map for its index.

    Raises IntegrityError when it is gone, or its size is not one of `sizes`. `mapped` None: mapped on local file
    systems, read on network ones.
    """
    path = folder / SHARD_FILE
    try:
        return _opened(path, folder, sizes, n_last, mapped)
    except FileNotFoundError:
        raise IntegrityError("the object has no shard file", where=folder, fix=MEND) from None
    except OSError as error:
        if error.errno in (errno.ESTALE, errno.EIO):
            raise _unreadable(error, folder) from error
        raise


def _opened(path: Path, folder: Path, sizes: range, n_last: int, mapped: bool | None) -> tuple[ShardFile, bytes]:
    descriptor = files.open_plain(path, folders=2)
    keep = False
    try:
        state = os.fstat(descriptor)
        # before mapping: reading past the end of a mapped file kills the process
        if state.st_size not in sizes:
            wanted = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
            raise IntegrityError(f"the shard has {state.st_size:,} bytes instead of {wanted}", where=path, fix=MEND)
        if n_last > _SMALL_INDEX and _hole(descriptor, state.st_size - n_last) < state.st_size:
            raise IntegrityError("the shard's index has a hole", where=path, fix=MEND)
        last = os.pread(descriptor, n_last, state.st_size - n_last)
        if mounts.is_local(state.st_dev, folder) if mapped is None else mapped:
            return MappedFile(descriptor, state.st_size), last
        keep = True
        return ReadFile(descriptor, state.st_size, folder), last
    finally:
        if not keep:
            os.close(descriptor)
