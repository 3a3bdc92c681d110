"""Read windows of an index into buffers, from a store's objects or from a copy of them in memory. No zarr, no torch.

Safe under threads, under fork, and when pickled for spawned workers: what a process has opened stays its own.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import numpy as np

from brainbrr.core.arrays import Bool, Float32, Int16, Int64
from brainbrr.errors import BrainbrrError, IntegrityError, SpaceError
from brainbrr.loading.augment import Variation, varied
from brainbrr.loading.index import Index
from brainbrr.loading.kernels import kernels
from brainbrr.loading.recordings import name_of
from brainbrr.loading.rows import PROVEN, UNKNOWN, Places, Rows
from brainbrr.store.formats import CRC_BYTES, FILL, TILE_S, ArrayMeta
from brainbrr.store.reader import Scratch, ShardReader
from brainbrr.store.remote import RemoteStore
from brainbrr.store.store import Store
from brainbrr.store.tile_cache import Copy, FarReader


def resident_bytes(index: Index) -> int:
    """Return the bytes that the recordings of an index take as int16."""
    return int(index.n_samples.sum()) * len(index.frame.channels) * 2


def free_bytes() -> int:
    """Return the memory that is available without swapping, file cache included."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Source(Protocol):
    """Where the stored integers of recordings come from. Windows are n samples from `starts` on, inside them."""

    def span(self, recording: int, start: int, stop: int) -> tuple[Int16, int, int]:
        """Return tiles that hold samples [start, stop), the samples of a tile, and where `start` is in the first."""

    def at(self, recordings: Int64, starts: Int64, n: Int64, *, verify: bool) -> tuple[Places, object]:
        """Return where windows are in memory, address 0 where only span() gives them, and the owner of that memory.

        `verify`: their tiles are verified before; else by who reads them, as `Places.checks` says.
        """

    def advise(self, recordings: Int64, starts: Int64, n: Int64) -> None:
        """Announce that these windows will be read soon."""


_POOLS: weakref.WeakSet[Shards] = weakref.WeakSet()
"""All that read shards in this process: descriptors are the process's, not a loader's."""

_KEPT = 4
"""Each of n pools keeps 1/n of this part of the process's descriptors: ten together have three quarters of them."""


def _most() -> int:
    """Return how many shards one pool may keep open. From Python 3.13 on a mapped one holds no descriptor."""
    if sys.version_info >= (3, 13):
        return 1 << 15  # a process may have 65,530 maps
    return max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _KEPT // max(len(_POOLS), 1), 8)


def _opened(opening: Callable[[], ShardReader]) -> ShardReader:
    """Return an opened shard; where the process has no descriptor left, after all pools have given some back.

    Raises BrainbrrError where that is not enough: something else has too many files open.
    """
    try:
        return opening()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
    for each in list(_POOLS):
        each.close_half()
    try:
        return opening()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise BrainbrrError(
            "this process has too many files open to read another recording",
            fix="`ulimit -n 4096`, or close what else has files open here",
        ) from error


class Shards:
    """The objects of a store, opened when first read. Raises IntegrityError for a missing or damaged one."""

    def __init__(self, index: Index, store: Store) -> None:
        self._index, self._store = index, store
        self._far = isinstance(store, RemoteStore)
        self._tile = TILE_S * index.frame.rate_hz
        self._tile_bytes = meta_of(index, 0).tile_bytes if len(index.n_samples) else 0
        self._tiles = np.concatenate([[0], np.cumsum(-(-index.n_samples // self._tile))])
        # then a tile that was read once is in the system's cache, and need not be announced
        self._fits = not self._far and 2 * resident_bytes(index) < free_bytes()
        self._open: OrderedDict[int, ShardReader] = OrderedDict()
        self._lock, self._threads = threading.Lock(), threading.local()
        self._announced = np.zeros(self._tiles[-1], dtype=np.bool_)

    def span(self, recording: int, start: int, stop: int) -> tuple[Int16, int, int]:
        """Return verified tiles of one recording; a stretch of the file itself where it is mapped."""
        with self._naming(recording):
            tiles, first = self._shard(recording).span(start, stop, self._scratch())
        return tiles, self._tile, first

    def at(self, recordings: Int64, starts: Int64, n: Int64, *, verify: bool) -> tuple[Places, object]:
        """Return where windows are in mapped files; 0 for those that are read or decoded."""
        shards = [self._shard(recording) for recording in recordings.tolist()]
        first = starts // self._tile
        memory: Sequence[ShardReader | Copy] = self._held(shards, recordings, starts, n) if self._far else shards
        address = np.array([each.address for each in memory], dtype=np.int64)
        self._announce(recordings, starts, n, (address != 0) & self._unannounced(recordings, starts, n))
        if verify:
            for i in np.flatnonzero(address).tolist():
                with self._naming(int(recordings[i])):
                    shards[i].span(int(starts[i]), int(starts[i] + n[i]))
        checks = np.array([shard.checks_address for shard in shards], dtype=np.int64)
        checks = np.where(verify, PROVEN, np.where(checks, checks + first * CRC_BYTES, UNKNOWN))
        address = np.where(address, address + first * self._tile_bytes, 0)
        same = np.ones_like(address)
        places = Places(address, self._tile_bytes * same, self._tile * same, starts - first * self._tile, n, checks)
        return places, (shards, memory)

    def _held(
        self, shards: Sequence[ShardReader], recordings: Int64, starts: Int64, n: Int64
    ) -> Sequence[ShardReader | Copy]:
        """Return where the tiles of windows of a store at a URL are in memory, after fetching them many at once."""
        spans = list(zip(shards, starts.tolist(), (starts + n).tolist(), strict=True))
        for shard, start, stop in spans:
            shard.advise(start, stop)
        held: list[ShardReader | Copy] = []
        for (shard, start, stop), recording in zip(spans, recordings.tolist(), strict=True):
            with self._naming(recording):
                held.append(
                    shard.hold(start, stop) if isinstance(shard, FarReader) and shard.codec == "none" else shard
                )
        return held

    def advise(self, recordings: Int64, starts: Int64, n: Int64) -> None:
        """Let the system fetch these windows meanwhile."""
        self._announce(recordings, starts, n, self._unannounced(recordings, starts, n) if self._fits else n > 0)

    def _announce(self, recordings: Int64, starts: Int64, n: Int64, wanted: Bool) -> None:
        for i in np.flatnonzero(wanted).tolist():
            start, stop = int(starts[i]), int(starts[i] + n[i])
            self._shard(int(recordings[i])).advise(start, stop)
            base = self._tiles[recordings[i]]
            self._announced[base + start // self._tile : base - (-stop // self._tile)] = True

    def _unannounced(self, recordings: Int64, starts: Int64, n: Int64) -> Bool:
        """Return which windows have a tile that this process never asked the system for."""
        low = self._tiles[recordings] + starts // self._tile
        last = np.maximum(self._tiles[recordings] - (-(starts + n) // self._tile) - 1, low)
        width = np.arange(int((last - low).max(initial=0)) + 1)
        announced = self._announced[np.minimum(low[:, None] + width, last[:, None])]
        unannounced: Bool = ~announced.all(axis=1)
        return unannounced

    def _shard(self, recording: int) -> ShardReader:
        return self._open.get(recording) or self._opened(recording)

    def _opened(self, recording: int) -> ShardReader:
        with self._lock:
            shard = self._open.get(recording)
            if shard is None:
                content = self._index.content[recording].tobytes().hex()
                meta = meta_of(self._index, recording)
                # not in the index: they would take as much of it as all the rest
                record = self._store.record(self._index.key[recording].tobytes().hex())
                checks = bytes.fromhex(record.checks) if record and record.content == content else b""
                reader = partial(self._store.reader, content, meta, checks=checks)
                with self._naming(recording):
                    shard = _opened(reader)
                self._open[recording] = shard
                _POOLS.add(self)
                while len(self._open) > _most():
                    self._open.popitem(last=False)  # another thread may still read it: it closes with its last user
            return shard

    def close_half(self) -> None:
        """Close the half of the shards that were opened first; what is being read stays open until it is read."""
        for _ in range(-(-len(self._open) // 2)):
            with suppress(KeyError):  # another thread was faster
                self._open.popitem(last=False)

    @contextmanager
    def _naming(self, recording: int) -> Iterator[None]:
        """Add the recording's name to an error about damage; catalogs are read only then."""
        try:
            yield
        except IntegrityError as error:
            key = self._index.key[recording].tobytes().hex()
            raise IntegrityError(
                f"{error.what}, in {name_of(self._store, key)}", where=error.where, fix=error.fix
            ) from error

    def _scratch(self) -> Scratch:
        """Return this thread's own buffer, for tiles that must be read or decoded."""
        scratch = getattr(self._threads, "scratch", None)
        if scratch is None:
            scratch = self._threads.scratch = Scratch()
        return scratch

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards, (self._index, self._store)  # what this process has opened stays its own


def meta_of(index: Index, recording: int) -> ArrayMeta:
    """Return what the object of a recording is, without opening it."""
    return ArrayMeta(
        channels=index.frame.channels,
        absent=index.frame.absent[index.layout[recording]],
        n_samples=int(index.n_samples[recording]),
        rate_hz=index.frame.rate_hz,
        quantum_uv=index.frame.quantum_uv,
        k=tuple(index.k[recording].tolist()),
        gaps=index.gaps_of(recording),
    )


class WindowReader:
    """Any stretch of any recording of an index, as a view's rows or as it is stored.

    Raises IntegrityError naming recording and time where stored bytes are damaged.
    """

    def __init__(self, index: Index, source: Source, *, compiled: bool | None = None) -> None:
        self.index, self._source, self._compiled = index, source, compiled
        self._kernels = kernels(compiled=compiled)
        self._many = self._kernels.many
        self._every_channel = np.arange(len(index.frame.channels), dtype=np.int32)

    def fill(self, recording: int, start: int, out: Float32, rows: Rows | None = None) -> None:
        """Fill `out` float32 (rows, n) from sample `start` on; zeros past the end and in gaps.

        `rows`: not the index's own.
        """
        n = min(out.shape[1], int(self.index.n_samples[recording]) - start)
        tiles, tile, first = self._source.span(recording, start, start + n)
        self._kernels.rows(tiles, tile, first, n, rows or self.index.rows(recording), out)
        for gap_start, gap_stop in self.index.gaps_of(recording):
            out[:, max(gap_start - start, 0) : max(gap_stop - start, 0)] = 0

    def raw(self, recording: int, start: int, out: Int16) -> None:
        """Fill `out` int16 (channels, n) with stored integers; -32768 past the end, in gaps and in absent channels."""
        n = min(out.shape[1], int(self.index.n_samples[recording]) - start)
        tiles, tile, first = self._source.span(recording, start, start + n)
        self._kernels.raw(tiles, tile, first, n, self._every_channel, FILL, out)

    def fill_many(
        self, recordings: Int64, starts: Int64, out: Any, variations: Sequence[Variation] | None = None
    ) -> None:
        """Fill `out` float32 (windows, rows, n) with windows, in one call of compiled code where that can be."""
        index, alone = self.index, self.index.mixed[recordings] >= 0
        places, owner = self._places(recordings, starts, out.shape[2], alone)
        if self._many is not None and places.address.any():
            table = index.table(recordings)
            chosen = varied(table, variations) if variations else table
            fill = partial(self._many.rows, places, *chosen, index.clip, out)
            self._verified(fill, recordings, starts, places.n)
        for i in np.flatnonzero(places.address == 0).tolist():
            recording = int(recordings[i])
            rows = variations[i].rows(index.rows(recording)) if variations else None
            self.fill(recording, int(starts[i]), out[i], rows)
        for i, first, last in index.gaps_in(recordings, starts, places.n):
            out[i, :, first:last] = 0
        del owner

    def raw_many(self, recordings: Int64, starts: Int64, out: Any) -> None:
        """Fill `out` int16 (windows, channels, n) with stored integers."""
        places, owner = self._places(recordings, starts, out.shape[2], np.zeros(len(starts), dtype=np.bool_))
        if self._many is not None and places.address.any():
            fill = partial(self._many.raw, places, self._every_channel, FILL, out)
            self._verified(fill, recordings, starts, places.n)
        for i in np.flatnonzero(places.address == 0).tolist():
            self.raw(int(recordings[i]), int(starts[i]), out[i])
        del owner

    def _verified(self, fill: Callable[[], int], recordings: Int64, starts: Int64, n: Int64) -> None:
        """Call a kernel until no window is damaged, and raise IntegrityError where it is not only in a cache."""
        for _ in range(len(starts) + 1):
            damaged = fill()
            if damaged < 0:
                return
            start = int(starts[damaged])
            # it names the tile, or fetches it again
            self._source.span(int(recordings[damaged]), start, start + int(n[damaged]))
        raise IntegrityError("stored samples changed while they were read")

    def _places(self, recordings: Int64, starts: Int64, length: int, alone: Bool) -> tuple[Places, object]:
        """Return where windows are, address 0 for those that are read one by one, and an owner of that memory."""
        n = np.minimum(length, self.index.n_samples[recordings] - starts)
        if (starts < 0).any() or (n < 0).any():
            raise IndexError(f"windows from samples {starts.tolist()} of {self.index.n_samples[recordings].tolist()}")
        if alone.all() or self._many is None:
            return Places(*np.zeros((6, len(n)), dtype=np.int64)), None
        places, owner = self._source.at(recordings, starts, n, verify=not self._many.verifies)
        return places._replace(address=np.where(alone, 0, places.address)), owner

    def advise(self, recordings: Int64, starts: Int64) -> None:
        """Announce that windows will be read soon."""
        n = np.minimum(self.index.frame.length, self.index.n_samples[recordings] - starts)
        self._source.advise(recordings, starts, n)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reader, (self.index, self._source, self._compiled)


def _reader(index: Index, source: Source, compiled: bool | None) -> WindowReader:
    return WindowReader(index, source, compiled=compiled)


_HEADROOM = 1 << 29


class Resident:
    """Stored integers of all recordings of an index, int16 (channels, n_samples) each: a source as shards are one.

    `flat` is int16 of all of them, `bases` int64 the first element of each. Raises SpaceError, before anything is
    read, where the view does not fit into the memory that is free; IntegrityError where stored bytes are damaged.
    """

    def __init__(self, reader: WindowReader, *, threads: int = 1) -> None:
        index = reader.index
        n_bytes, free = resident_bytes(index), free_bytes()
        if n_bytes + _HEADROOM > free:
            raise SpaceError(
                f"the view takes {n_bytes / 1e9:.1f} GB as int16, and {free / 1e9:.1f} GB of memory are free",
                fix='mode = "stream" reads it from the store',
            )
        self._n_samples, self._n_channels = index.n_samples, len(index.frame.channels)
        self.bases: Int64 = (np.cumsum(index.n_samples) - index.n_samples) * self._n_channels
        self.flat: Int16 = np.empty(n_bytes // 2, dtype=np.int16)
        with ThreadPoolExecutor(threads, thread_name_prefix="brainbrr-resident") as pool:
            for _ in pool.map(lambda i: reader.raw(i, 0, self._recording(i)), range(len(index.n_samples))):
                pass

    def _recording(self, recording: int) -> Int16:
        n, base = int(self._n_samples[recording]), int(self.bases[recording])
        return self.flat[base : base + n * self._n_channels].reshape(self._n_channels, n)

    def span(self, recording: int, start: int, stop: int) -> tuple[Int16, int, int]:
        """Return one recording as the one tile that it is here."""
        n = int(self._n_samples[recording])
        return self._recording(recording).reshape(1, -1), n, start

    def at(self, recordings: Int64, starts: Int64, n: Int64, *, verify: bool) -> tuple[Places, object]:
        """Return where windows are. They were verified when they were copied."""
        address = self.flat.ctypes.data + 2 * self.bases[recordings]
        return Places(
            address, np.zeros_like(address), self._n_samples[recordings], starts, n, np.full_like(address, PROVEN)
        ), self.flat

    def advise(self, recordings: Int64, starts: Int64, n: Int64) -> None:
        """Nothing is fetched: all of it is here."""
