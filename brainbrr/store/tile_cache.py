"""Tiles of stores at URLs, kept on this host within a bound: sparse copies of shards, mapped and verified as they are.

A copy has its shard's layout and size, and a tile is there when its checksum is; whatever is in a copy is verified on
every read, and fetched again where it is damaged. The copies that were used longest ago are deleted first.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from brainbrr.core.arrays import Bool, Int16, Int64, UInt8
from brainbrr.errors import IntegrityError
from brainbrr.store.formats import CRC_BYTES, ArrayMeta, Codec
from brainbrr.store.reader import BytesFile, Scratch, ShardReader

CACHE_BYTES = 20_000_000_000
IN_FLIGHT = 16
"""The most requests for tiles at a time, of one store."""

_MEMORY_BYTES = 1 << 28  # where nothing can be kept on disk
_SPARE = 0.9  # what is left of the bound when something had to go
_TRIES = 3

Fetch = Callable[[int, int], bytes]
"""Returns bytes [start, stop) of a shard."""


class Copy:
    """A sparse copy of a shard: a file, or memory without one. It exists for as long as it is referenced."""

    def __init__(self, path: Path | None, n_bytes: int) -> None:
        self._descriptor = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._descriptor is None:
            self._map = mmap.mmap(-1, n_bytes)
        else:
            if os.fstat(self._descriptor).st_size != n_bytes:
                os.ftruncate(self._descriptor, 0)  # new, or of another shard
                os.ftruncate(self._descriptor, n_bytes)
            self._map = mmap.mmap(self._descriptor, n_bytes, access=mmap.ACCESS_READ)
        self.bytes = np.frombuffer(self._map, dtype=np.uint8)
        self.address = self.bytes.ctypes.data

    def write(self, start: int, data: bytes) -> None:
        """Write bytes from `start` on. Raises OSError where the disk is full."""
        if self._descriptor is None:
            self._map[start : start + len(data)] = data
            return
        rest = memoryview(data)
        while rest:
            rest = rest[os.pwrite(self._descriptor, rest, start + len(data) - len(rest)) :]

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]


class TileCache:
    """The copies of one user on this host: `n_bytes` of disk, and not many more, in one folder."""

    def __init__(self, folder: Path, n_bytes: int = CACHE_BYTES) -> None:
        self.folder, self.n_bytes = folder, n_bytes
        self._open: weakref.WeakValueDictionary[str, FarShard] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()
        self._used = -1

    def shard(self, name: str, make: Callable[[], FarShard]) -> FarShard:
        """Return the open shard of a name; where there is none, a new one."""
        found = self._open.get(name) or make()  # outside of the lock: it may ask the place
        with self._lock:
            return self._open.setdefault(name, found)

    def copy(self, name: str, n_bytes: int) -> Copy:
        """Open the copy of a name; in memory where nothing may or can be kept on disk."""
        if self.n_bytes > 0:
            with contextlib.suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                return Copy(self.folder / name, n_bytes)
        return Copy(None, n_bytes)

    def wrote(self, name: str, n_bytes: int) -> None:
        """Count bytes that were written; delete the copies that were used longest ago where they are too many."""
        with self._lock:
            limit = self.n_bytes or _MEMORY_BYTES
            self._used = self._used + n_bytes if self._used >= 0 else sum(each[1] for each in self._copies())
            if self._used <= limit:
                return
            copies = sorted(self._copies())  # what other processes wrote or deleted counts too
            self._used = sum(n for _, n, _ in copies)
            if self._used <= limit:
                return
            for _, n, other in copies:
                if other == name:
                    continue
                with contextlib.suppress(OSError):
                    (self.folder / other).unlink(missing_ok=True)
                if (shard := self._open.get(other)) is not None:
                    shard.forget()
                self._used -= n
                if self._used <= _SPARE * limit:
                    return

    def _copies(self) -> Iterable[tuple[float, int, str]]:
        """Return when each copy was last used, what it takes, and its name."""
        found = {name: (shard.used_at, shard.n_written, name) for name, shard in self._open.items()}
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    last = max(status.st_mtime, found.get(entry.name, (0.0,))[0])
                    found[entry.name] = (last, status.st_blocks * 512, entry.name)
        return found.values()


class FarShard:
    """The tiles of one shard at a place: fetched when they are missing, a stretch of them in one request."""

    n_written = 0

    def __init__(self, cache: TileCache, name: str, fetch: Fetch, edges: Int64, checks: bytes, pool: Pool) -> None:
        self._cache, self._name, self._fetch, self._pool = cache, name, fetch, pool
        self.edges, self.n_bytes = edges, int(edges[-1])
        self._checks = np.frombuffer(checks, dtype=np.uint8).reshape(-1, CRC_BYTES)
        self._lock = threading.Lock()
        self._coming: dict[int, Future[None]] = {}
        self.used_at = time.time()
        self._copy = cache.copy(name, self.n_bytes)
        self._present = self._found(self._copy)

    def _found(self, copy: Copy) -> Bool:
        """Return which tiles are in a copy: those whose checksum is behind them. What they are is verified later."""
        behind = copy.bytes[self.edges[1:, None] - CRC_BYTES + np.arange(CRC_BYTES)]
        found: Bool = (behind == self._checks).all(axis=1) if len(self._checks) else behind.any(axis=1)
        return found

    def hold(self, first: int, last: int) -> Copy:
        """Return a copy in which tiles [first, last) are, after fetching those that are missing.

        Raises what fetching raises: RemoteError, or IntegrityError for a shard that is gone or shorter.
        """
        self.used_at = time.time()
        for _ in range(_TRIES):
            copy = self._copy
            if self._present[first:last].all() and copy is self._copy:
                return copy
            for each in self.bring(first, last):
                each.result()
        copy = Copy(None, self.n_bytes)  # the cache is too small for all that read now
        start, stop = int(self.edges[first]), int(self.edges[last])
        copy.write(start, self._fetch(start, stop))
        return copy

    def bring(self, first: int, last: int) -> set[Future[None]]:
        """Have missing tiles fetched, and return what is under way."""
        if self._present[first:last].all():
            return set()
        with self._lock:
            missing = [n for n in range(first, last) if not self._present[n] and n not in self._coming]
            if missing:
                begin, end = missing[0], missing[-1] + 1
                future = self._pool.submit(self._bring, begin, end)
                self._coming.update(dict.fromkeys(range(begin, end), future))
            return {self._coming[n] for n in range(first, last) if n in self._coming}

    def _bring(self, first: int, last: int) -> None:
        start, stop = int(self.edges[first]), int(self.edges[last])
        try:
            data = self._fetch(start, stop)
            with self._lock:
                try:
                    self._copy.write(start, data)
                except OSError:  # the disk is full
                    self._present = np.zeros_like(self._present)
                    self._copy = Copy(None, self.n_bytes)
                    self._copy.write(start, data)
                self._present[first:last] = True
                self.n_written += stop - start
        finally:
            with self._lock:
                for n in range(first, last):
                    self._coming.pop(n, None)
        self._cache.wrote(self._name, stop - start)

    def drop(self, first: int, last: int) -> None:
        """Take some tiles for missing: they are damaged."""
        with self._lock:
            self._present[first:last] = False

    def forget(self) -> None:
        """Begin with an empty copy; who reads in the old one holds it."""
        with self._lock:
            self._present = np.zeros_like(self._present)  # before the copy: else its tiles would count as there
            self._copy, self.n_written = self._cache.copy(self._name, self.n_bytes), 0


class Pool:
    """The threads that fetch, started when the first tile is missing."""

    def __init__(self) -> None:
        self._process = 0
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def submit(self, call: Callable[[int, int], None], first: int, last: int) -> Future[None]:
        """Run a call in one of the threads."""
        with self._lock:
            if self._pool is None or self._process != os.getpid():  # the threads of a parent are not here
                self._process = os.getpid()
                self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="brainbrr-fetch")
        return self._pool.submit(call, first, last)


class FarReader(ShardReader):
    """A reader of an object at a place. Raises IntegrityError for a tile that is damaged there, as any reader does."""

    def __init__(self, where: str, meta: ArrayMeta, codec: Codec, checks: bytes, shard: FarShard) -> None:
        self.shard, self._where = shard, where
        super().__init__(Path(where), meta, codec=codec, checks=checks, opened=(BytesFile(b""), shard.edges))

    def hold(self, start: int, stop: int) -> Copy:
        """Return a copy of the shard in which the tiles of samples [start, stop) are."""
        self._check_span(start, stop)
        return self.shard.hold(*self._tiles(start, stop))

    def advise(self, start: int, stop: int) -> None:
        """Have the tiles of samples [start, stop) fetched; returns at once."""
        self._check_span(start, stop)
        self.shard.bring(*self._tiles(start, stop))

    def _tiles(self, start: int, stop: int) -> tuple[int, int]:
        first = start // self._tile
        return first, -(-stop // self._tile) if stop > start else first

    def _rows(self, first: int, last: int, scratch: Scratch | None) -> Int16:
        for again in (True, False):
            try:
                return super()._rows(first, last, scratch)
            except IntegrityError as error:
                if not again:
                    fix = "push it there again from a store in which it is not damaged"
                    raise IntegrityError(error.what, where=self._where, fix=fix) from None
                self.shard.drop(first, last)  # damaged in the cache, or on the way
        raise AssertionError("unreachable")

    def _stored(self, first: int, last: int, scratch: Scratch | None) -> UInt8:
        copy = self.shard.hold(first, last)
        return copy.bytes[int(self._edges[first]) : int(self._edges[last])]
