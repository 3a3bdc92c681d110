"""Reading objects: memory-mapped shards, every byte proven before it is given out.

numpy and crc32c only: no zarr and no event loop, so it survives fork and threads. Knows no store, only a folder.
"""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.digest import RowHasher, RowSums, content_digest
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import files
from brainbrr.store.layout import ARRAY_FILE, SHARD_FILE
from brainbrr.store.objects import (
    FILL,
    TILE_S,
    ArrayMeta,
    Samples,
    check_fill,
    crc32c,
    index_bytes,
    read_meta,
)

MEND = "brainbrr ingest ROOT --rehash rebuilds it, and keeps the damaged one in quarantine"

_TILES_HELD = 64  # of a shard that is read once: what was read need not stay in this process's memory


class ShardReader:
    """Read any span of one object's samples.

    Opening checks the shard's size and index; a tile's crc32c is checked when it is first touched (`every`:
    on each read). With `meta` None it comes from zarr.json, which must be the template's bytes.
    Safe under threads, fork and pickle. Raises IntegrityError naming the folder, and the time of a bad tile.
    """

    def __init__(self, folder: Path, meta: ArrayMeta | None = None, *, every: bool = False) -> None:
        self.folder, self.every = folder, every
        self.meta = _meta_of(folder) if meta is None else meta
        self._map = _map(folder, self.meta)
        bytes_ = np.frombuffer(self._map, dtype=np.uint8)
        n_tiles, tile_bytes = self.meta.n_tiles, self.meta.tile_bytes
        if bytes_[n_tiles * tile_bytes :].tobytes() != index_bytes(self.meta):
            raise IntegrityError("the shard's index is damaged", where=folder / SHARD_FILE, fix=MEND)
        # an array keeps the map open for as long as anybody reads from it
        self._bytes: np.ndarray[Any, np.dtype[np.uint8]] | None = bytes_[: n_tiles * tile_bytes].reshape(n_tiles, -1)
        self._proven = np.zeros(n_tiles, dtype=np.bool_)

    def read(self, start: int, stop: int, out: Samples | None = None) -> Samples:
        """Return samples [start, stop) as int16 (channels, stop - start), in `out` when it is given.

        Raises UsageError outside 0 ≤ start ≤ stop ≤ n_samples, or for an `out` of another shape or dtype.
        """
        meta = self.meta
        if self._bytes is None:
            raise UsageError("the reader is closed", where=self.folder)
        if not 0 <= start <= stop <= meta.n_samples:
            raise UsageError(f"samples {start} to {stop} of {meta.n_samples}", where=self.folder)
        shape = (meta.n_channels, stop - start)
        if out is None:
            out = np.empty(shape, dtype=np.int16)
        elif out.shape != shape or out.dtype != np.int16:
            raise UsageError(f"out is {out.dtype} {out.shape}, where int16 {shape} belongs", where=self.folder)
        at = start
        while at < stop:
            n, first = divmod(at, meta.tile)
            last = min(meta.tile, first + stop - at)
            out[:, at - start : at - start + last - first] = self.tile(n)[:, first:last]
            at += last - first
        return out

    def tile(self, n: int) -> Samples:
        """Return the samples of tile n as they lie in the file: int16 (channels, up to ten seconds), read-only."""
        if self._bytes is None:
            raise UsageError("the reader is closed", where=self.folder)
        if self.every or not self._proven[n]:
            self._prove(self._bytes[n], n)
        tile = self._bytes[n, :-4].view("<i2").reshape(self.meta.n_channels, self.meta.tile)
        return tile[:, : self.meta.n_samples - n * self.meta.tile]

    def release(self) -> None:
        """Let the system take back the memory of what was read; it is read again when it is needed."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def _prove(self, tile: np.ndarray[Any, np.dtype[np.uint8]], n: int) -> None:
        if crc32c(tile[:-4]) != tile[-4:].tobytes():
            raise IntegrityError(
                f"stored samples are damaged from {n * TILE_S} s to {(n + 1) * TILE_S} s (crc32c of tile {n})",
                where=self.folder,
                fix=MEND,
            )
        self._proven[n] = True  # two threads may both get here: they write the same

    def prove(self) -> None:
        """Check the crc32c of every tile. Raises IntegrityError naming the time of the first bad one."""
        if self._bytes is None:
            raise UsageError("the reader is closed", where=self.folder)
        for n, tile in enumerate(self._bytes):
            self._prove(tile, n)

    def padding(self) -> Samples:
        """Return the padding behind the last sample: fill value, or the object is not ours."""
        if self._bytes is None:
            raise UsageError("the reader is closed", where=self.folder)
        tile = self._bytes[-1, :-4].view("<i2").reshape(self.meta.n_channels, self.meta.tile)
        return tile[:, self.meta.n_samples - (self.meta.n_tiles - 1) * self.meta.tile :]

    def close(self) -> None:
        """Let go of the shard; it stays mapped until the last read in another thread has ended."""
        self._bytes = None

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self.folder, self.meta, self.every))


def _reopen(folder: Path, meta: ArrayMeta, every: bool) -> ShardReader:
    return ShardReader(folder, meta, every=every)


def _meta_of(folder: Path) -> ArrayMeta:
    try:
        mode = os.lstat(folder).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise IntegrityError("the object is not there", where=folder, fix=MEND) from None
    if not stat.S_ISDIR(mode):
        raise IntegrityError("a link or a file lies where an object's folder belongs", where=folder)
    return read_meta(folder)


def _map(folder: Path, meta: ArrayMeta) -> mmap.mmap:
    path = folder / SHARD_FILE
    try:
        descriptor = files.open_plain(path)
    except FileNotFoundError:
        raise IntegrityError("the object has no shard file", where=folder, fix=MEND) from None
    try:
        n_bytes = os.fstat(descriptor).st_size
        # before mapping: reading past the end of a mapped file kills the process
        if n_bytes != meta.shard_bytes:
            raise IntegrityError(
                f"the shard has {n_bytes:,} bytes instead of {meta.shard_bytes:,}", where=path, fix=MEND
            )
        return mmap.mmap(descriptor, n_bytes, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)


def inspect(folder: Path, *, checksums: bool = False) -> ArrayMeta:
    """Prove an object's structure: its files, zarr.json, the shard's size and index. Raises IntegrityError.

    `checksums`: also the crc32c of every tile, which a tile that was swapped for another one passes.
    """
    with ShardReader(folder) as reader:
        if checksums:
            reader.prove()
        strangers = sorted({path.name for path in folder.iterdir()} - {ARRAY_FILE, SHARD_FILE})
    if strangers:
        raise IntegrityError(f"the object's folder holds {strangers[0]!r}, which no object has", where=folder, fix=MEND)
    return reader.meta


def decode(folder: Path, *, sums: RowSums | None = None) -> str:
    """Return the content of what a folder holds, every byte of it proven. Raises IntegrityError.

    `sums`: what its samples must add up to.
    """
    with ShardReader(folder, every=True) as reader:
        meta = reader.meta
        rows, found = RowHasher(meta.n_channels), RowSums(meta.n_channels)
        for n in range(meta.n_tiles):
            tile = reader.tile(n)
            check_fill(tile, meta, where=folder)
            rows.update(tile)
            if sums is not None:
                found.update(tile)
            if n % _TILES_HELD == 0:
                reader.release()
        if (reader.padding() != FILL).any():
            raise IntegrityError("the padding of the last tile is not the fill value", where=folder)
    if sums is not None and found.digests() != sums.digests():
        raise IntegrityError("what was written reads back as something else", where=folder)
    return content_digest(meta.attributes(), rows.digests())
