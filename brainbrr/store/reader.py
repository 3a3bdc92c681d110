"""Read an object: tiles straight from its shard, mapped or read, every byte verified before it is returned.

numpy and crc32c only: no zarr and no event loop, so it survives fork and threads. Knows no store, only a folder.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from brainbrr.core import files
from brainbrr.core.arrays import Int16, Int64, UInt8
from brainbrr.core.digest import RowHasher, RowSums, content_digest
from brainbrr.errors import BrainbrrError, Fix, IntegrityError, UsageError
from brainbrr.store import filesystem
from brainbrr.store.formats import (
    ARRAY_FILE,
    CRC_BYTES,
    FILL,
    SHARD_FILE,
    TILE_S,
    ArrayMeta,
    Codec,
    check_fill,
    crc32c,
    read_array,
)

RESTORE = Fix(("repair",), " restores it, and keeps the damaged one in quarantine")


_SMALL_INDEX = 1 << 20
"""UInt8 of an index that are read at once: those of a recording of a week. A hole takes memory, and none of a disk."""


def _hole(descriptor: int, start: int) -> int:
    """Return where the first hole at or after a byte of a file begins; its end if it has none, or none is known."""
    return os.lseek(descriptor, start, os.SEEK_HOLE)


class Scratch:
    """Buffers that reads of one thread share, one after the other: they grow to the largest and stay."""

    def __init__(self) -> None:
        self._buffers: dict[str, UInt8] = {}

    def take(self, name: str, n_bytes: int) -> UInt8:
        """Return n_bytes of the buffer of this name; what was taken of it before is overwritten."""
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < n_bytes:
            buffer = self._buffers[name] = np.empty(n_bytes, dtype=np.uint8)
        return buffer[:n_bytes]


class ShardFile(Protocol):
    """An open shard: it stays open for as long as anybody holds it, so that closing breaks no running read."""

    n_bytes: int

    def read(self, start: int, stop: int, scratch: Scratch | None) -> UInt8:
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

    def read(self, start: int, stop: int, scratch: Scratch | None) -> UInt8:
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

    def read(self, start: int, stop: int, scratch: Scratch | None) -> UInt8:
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
                    fix=RESTORE,
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


class BytesFile:
    """A shard whose bytes are in memory."""

    def __init__(self, data: bytes) -> None:
        self.bytes = np.frombuffer(data, dtype=np.uint8)
        self.n_bytes = len(data)

    def read(self, start: int, stop: int, scratch: Scratch | None) -> UInt8:
        """Return bytes [start, stop)."""
        return self.bytes[start:stop]

    def advise(self, start: int, stop: int) -> None:
        """Do nothing: they are there."""


def over_bytes(data: bytes, meta: ArrayMeta, codec: Codec, *, folder: Path) -> ShardReader:
    """Return a reader of a shard in memory, verified when it is read. Raises IntegrityError, naming `folder`."""
    tiling = meta.tiling(codec)
    if len(data) not in tiling.shard_sizes:
        raise IntegrityError(f"a shard of {len(data):,} bytes, which no array of its shape has", where=folder)
    end = len(data) - tiling.index_length
    opened = BytesFile(data), tiling.edges(data[end:], end=end, where=folder)
    return ShardReader(folder, meta, codec=codec, opened=opened)


def _unreadable(error: OSError, folder: Path) -> BrainbrrError:
    """Return what a read that failed says: damage where the bytes are gone, else nothing about the object."""
    what = f"the shard cannot be read: {error.strerror}"
    if error.errno in (errno.EIO, errno.ENOENT):
        return IntegrityError(what, where=folder, fix=RESTORE)
    return BrainbrrError(what, where=folder, fix="run the same again when its file system answers")


def open_shard(folder: Path, sizes: range, *, n_last: int, mapped: bool | None = None) -> tuple[ShardFile, bytes]:
    """Open an object's shard, and return it with its last bytes, so that no map is touched for its index.

    Raises IntegrityError when it is gone, or its size is not one of `sizes`. `mapped` None: mapped on local file
    systems, read on network ones.
    """
    path = folder / SHARD_FILE
    try:
        return _opened(path, folder, sizes, n_last, mapped)
    except FileNotFoundError:
        raise IntegrityError("the object has no shard file", where=folder, fix=RESTORE) from None
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
            raise IntegrityError(f"the shard has {state.st_size:,} bytes instead of {wanted}", where=path, fix=RESTORE)
        if n_last > _SMALL_INDEX and _hole(descriptor, state.st_size - n_last) < state.st_size:
            raise IntegrityError("the shard's index has a hole", where=path, fix=RESTORE)
        last = os.pread(descriptor, n_last, state.st_size - n_last)
        if filesystem.is_local(state.st_dev, folder) if mapped is None else mapped:
            return MappedFile(descriptor, state.st_size), last
        keep = True
        return ReadFile(descriptor, state.st_size, folder), last
    finally:
        if not keep:
            os.close(descriptor)


Observer = Callable[[ArrayMeta], Callable[[Int16], None]]
"""Called once with an array's metadata; the result is called with its verified samples, tile after tile."""


class ShardReader:
    """Read any span of one object's samples.

    Opening checks the shard's size and index; every read checks the crc32c of the tiles that it touches. With `meta`
    None it comes from zarr.json, which must be a template's bytes; with `meta` none is read, and `codec` is the store's
    (`Store.reader` gives it). `mapped` None: memory maps on local file systems, reads on network ones. Either holds a
    descriptor, so open thousands with a limit. `checks`: the crc32c that each tile must have, as the record has them;
    without them, tiles that change places within the shard, checksum and all, pass. `opened`:
    the shard and where its tiles begin, where they are not in the folder; the reader is then not picklable.
    Safe under threads, fork and pickle. Raises IntegrityError naming the folder, and the time of a bad tile.
    """

    def __init__(
        self,
        folder: Path,
        meta: ArrayMeta | None = None,
        *,
        codec: Codec | None = None,
        mapped: bool | None = None,
        checks: bytes = b"",
        opened: tuple[ShardFile, Int64] | None = None,
    ) -> None:
        self.folder, self.mapped, self._checks = folder, mapped, checks
        if meta is None:
            meta, codec = _array_of(folder, codec)
        self.meta, self.codec = meta, codec or "none"
        self._tiling = tiling = meta.tiling(self.codec)
        if opened is None:
            file, index = open_shard(folder, tiling.shard_sizes, n_last=tiling.index_length, mapped=mapped)
            opened = file, tiling.edges(index, end=file.n_bytes - tiling.index_length, where=folder / SHARD_FILE)
        file, self._edges = opened
        self._file: ShardFile | None = file
        self._tile, self._n_tiles = meta.tile, meta.n_tiles
        if checks and len(checks) != CRC_BYTES * self._n_tiles:
            raise IntegrityError(f"its record checks {len(checks) // CRC_BYTES} tiles of {self._n_tiles}", where=folder)
        # where the checksums of `checks` are; 0 without them
        self.checks_address = np.frombuffer(checks, dtype=np.uint8).ctypes.data if checks else 0
        # for code that verifies what it reads there; valid while this reader is referenced
        self.address = file.bytes.ctypes.data if self.codec == "none" and isinstance(file, MappedFile) else 0

    def read(self, start: int, stop: int, out: Int16 | None = None) -> Int16:
        """Return samples [start, stop) as int16 (channels, stop - start), in `out` when it is given.

        Raises UsageError outside 0 ≤ start ≤ stop ≤ n_samples, or for an `out` of another shape or dtype.
        """
        meta = self.meta
        self._check_span(start, stop)
        shape = (meta.n_channels, stop - start)
        if out is None:
            out = np.empty(shape, dtype=np.int16)
        elif out.shape != shape or out.dtype != np.int16:
            raise UsageError(f"out is {out.dtype} {out.shape}, where int16 {shape} belongs", where=self.folder)
        at, scratch = start, Scratch()
        while at < stop:
            n, first = divmod(at, meta.tile)
            last = min(meta.tile, first + stop - at)
            out[:, at - start : at - start + last - first] = self.tile(n, scratch)[:, first:last]
            at += last - first
        return out

    def span(self, start: int, stop: int, scratch: Scratch | None = None) -> tuple[Int16, int]:
        """Return the verified tiles that cover samples [start, stop), and the offset of `start` within the first one.

        int16 (n_tiles, tile), read-only in meaning: each row is a tile, channel after channel in its first
        n_channels * meta.tile elements; what may follow there is no sample. Rows are contiguous, but need not follow
        each other. Of a map they lie where the file does; of a file that is read or decoded they lie in `scratch`
        until it is used again (a thread needs one for all its readers), in a new array without one.
        Raises UsageError outside 0 ≤ start ≤ stop ≤ n_samples.
        """
        self._check_span(start, stop)
        first = start // self._tile
        last = -(-stop // self._tile) if stop > start else first
        return self._rows(first, last, scratch), start - first * self._tile

    def advise(self, start: int, stop: int) -> None:
        """Have the system fetch the tiles of samples [start, stop) from the disk; returns at once.

        Raises UsageError outside 0 ≤ start ≤ stop ≤ n_samples.
        """
        self._check_span(start, stop)
        if stop > start:
            first, last = start // self._tile, -(-stop // self._tile)
            self._open.advise(int(self._edges[first]), int(self._edges[last]))

    def tile(self, n: int, scratch: Scratch | None = None) -> Int16:
        """Return the samples of tile n: int16 (channels, up to ten seconds), not to be written to; see span()."""
        samples = self._rows(n, n + 1, scratch)[0, : self.meta.n_channels * self._tile]
        return samples.reshape(self.meta.n_channels, self._tile)[:, : self.meta.n_samples - n * self._tile]

    def verify(self) -> None:
        """Check the crc32c of every tile. Raises IntegrityError naming the time of the first bad one."""
        scratch = Scratch()
        for n in range(self._n_tiles):
            self._rows(n, n + 1, scratch)

    def padding(self) -> Int16:
        """Return the padding behind the last sample: fill value, or the object is not ours."""
        last = self._n_tiles - 1
        samples = self._rows(last, last + 1, None)[0, : self.meta.n_channels * self._tile]
        return samples.reshape(self.meta.n_channels, self._tile)[:, self.meta.n_samples - last * self._tile :]

    @property
    def _open(self) -> ShardFile:
        file = self._file
        if file is None:
            raise UsageError("the reader is closed", where=self.folder)
        return file

    def _check_span(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.meta.n_samples:
            raise UsageError(f"samples {start} to {stop} of {self.meta.n_samples}", where=self.folder)

    def _rows(self, first: int, last: int, scratch: Scratch | None) -> Int16:
        """Return tiles [first, last), verified: int16 (tiles, elements), checksums at the end where they lie there."""
        stored = self._stored(first, last, scratch)
        if self.codec != "none":
            return self._decoded(stored, first, last, scratch)
        tiles = stored.reshape(last - first, self._tiling.lengths[0])
        for n in range(first, last):
            self._verify(tiles[n - first], n)
            self._place(tiles[n - first, -CRC_BYTES:].tobytes(), n)
        return tiles.view("<i2")

    def _stored(self, first: int, last: int, scratch: Scratch | None) -> UInt8:
        return self._open.read(int(self._edges[first]), int(self._edges[last]), scratch)

    def _decoded(self, stored: UInt8, first: int, last: int, scratch: Scratch | None) -> Int16:
        n_bytes = (last - first) * self._tiling.n_bytes
        tiles = np.empty(n_bytes, dtype=np.uint8) if scratch is None else scratch.take("tiles", n_bytes)
        tiles = tiles.reshape(last - first, self._tiling.n_bytes)
        edges: list[int] = (self._edges[first : last + 1] - self._edges[first]).tolist()
        for n, tile in enumerate(tiles):
            frame = stored[edges[n] : edges[n + 1]]
            self._verify(frame, first + n)
            try:
                self._tiling.decode(frame, tile)
            except IntegrityError as error:
                raise self._damage(first + n, error.what) from None
            if self._checks:
                self._place(crc32c(tile), first + n)
        return tiles.view("<i2")

    def _verify(self, tile: UInt8, n: int) -> None:
        if crc32c(tile[:-CRC_BYTES]) != tile[-CRC_BYTES:].tobytes():
            raise self._damage(n, "crc32c")

    def _place(self, check: bytes, n: int) -> None:
        """Raise IntegrityError when a whole tile is not the one that belongs here."""
        if self._checks and self._checks[CRC_BYTES * n : CRC_BYTES * (n + 1)] != check:
            raise self._damage(n, "another tile in the place")

    def _damage(self, n: int, what: str) -> IntegrityError:
        time = f"from {n * TILE_S} s to {(n + 1) * TILE_S} s"
        return IntegrityError(f"stored samples are damaged {time} ({what} of tile {n})", where=self.folder, fix=RESTORE)

    def close(self) -> None:
        """Let go of the shard; it stays open until the last read in another thread has ended."""
        self._file = None

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self.folder, self.meta, self.codec, self.mapped, self._checks))


def _reopen(folder: Path, meta: ArrayMeta, codec: Codec, mapped: bool | None, checks: bytes) -> ShardReader:
    return ShardReader(folder, meta, codec=codec, mapped=mapped, checks=checks)


def _array_of(folder: Path, codec: Codec | None) -> tuple[ArrayMeta, Codec]:
    try:
        mode = os.lstat(folder).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise IntegrityError("the object is not there", where=folder, fix=RESTORE) from None
    if not stat.S_ISDIR(mode):
        raise IntegrityError("a link or a file is where an object's folder belongs", where=folder)
    meta, found = read_array(folder)
    if codec is not None and found != codec:
        raise IntegrityError(f"an object of codec {found} is in a store of codec {codec}", where=folder, fix=RESTORE)
    return meta, found


def inspect(folder: Path, *, codec: Codec | None = None, checksums: bool = False, checks: bytes = b"") -> ArrayMeta:
    """Verify an object's structure: its files, zarr.json, the shard's size and index. Raises IntegrityError.

    `codec`: the one that it must have. `checksums`: also the crc32c of every tile, against `checks` where a record has
    them; without, a tile that was swapped for another one passes.
    """
    # read and not mapped: what a disk cannot give is an error here, where a map would kill the process
    with ShardReader(folder, codec=codec, mapped=False, checks=checks) as reader:
        if checksums:
            reader.verify()
        extra = sorted({path.name for path in folder.iterdir()} - {ARRAY_FILE, SHARD_FILE})
    if extra:
        raise IntegrityError(f"the object's folder holds {extra[0]!r}, which no object has", where=folder, fix=RESTORE)
    return reader.meta


def decode(folder: Path, *, sums: RowSums | None = None, observer: Observer | None = None) -> str:
    """Return the content of what a folder holds, every byte of it verified. Raises IntegrityError.

    `sums`: what its samples must add up to. `observer` gets all of them.
    """
    with ShardReader(folder, mapped=False) as reader:
        return content_of(reader, sums=sums, observer=observer)


def content_of(reader: ShardReader, *, sums: RowSums | None = None, observer: Observer | None = None) -> str:
    """Return the content of what a reader reads, as `decode` does of a folder."""
    meta, where = reader.meta, reader.folder
    observe = None if observer is None else observer(meta)
    rows, found = RowHasher(meta.n_channels), RowSums(meta.n_channels)
    scratch = Scratch()
    for n in range(meta.n_tiles):
        tile = reader.tile(n, scratch)
        check_fill(tile, meta, first=n * meta.tile, where=where)
        rows.update(tile)
        if sums is not None:
            found.update(tile)
        if observe is not None:
            observe(tile)
    if (reader.padding() != FILL).any():
        raise IntegrityError("the padding of the last tile is not the fill value", where=where)
    if sums is not None and found.digests() != sums.digests():
        raise IntegrityError("what was written reads back as something else", where=where)
    return content_digest(meta.attributes(), rows.digests())


def verify(folder: Path, content: str, *, codec: Codec) -> None:
    """Verify that a folder is the object of a content in a store of this codec. Raises IntegrityError."""
    inspect(folder, codec=codec)
    if (found := decode(folder)) != content:
        raise wrong_content(folder, found)


def wrong_content(folder: Path, found: str) -> IntegrityError:
    """Return the error for an object whose samples have another content than its name."""
    return IntegrityError(f"its decoded array has content {found[:12]}", where=folder, fix=RESTORE)
