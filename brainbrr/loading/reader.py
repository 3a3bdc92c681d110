"""Windows of an index, read from a store's objects into buffers. No zarr, no event loop, no torch.

Safe under threads, under fork, and when pickled for spawned workers: what a process has opened stays its own.
"""

from __future__ import annotations

import resource
import threading
from collections import OrderedDict
from typing import Any, Protocol

import numpy as np

from brainbrr.eeg.dequantise import Floats, Integers, Rows, Tiles, kernels
from brainbrr.loading.index import Index
from brainbrr.store.chunks import ShardReader
from brainbrr.store.objects import FILL, TILE_S, ArrayMeta
from brainbrr.store.shard_files import Scratch
from brainbrr.store.store import Store


class Source(Protocol):
    """Where the stored integers of recordings come from."""

    def span(self, recording: int, start: int, stop: int) -> tuple[Tiles, int, int]:
        """Return tiles that hold samples [start, stop), the samples of a tile, and where `start` lies in the first."""

    def advise(self, recording: int, start: int, stop: int) -> None:
        """Say that these samples will be read soon."""


class Shards:
    """The objects of a store, opened when first read. Raises IntegrityError for one that is gone or damaged."""

    def __init__(self, index: Index, store: Store, *, every: bool = False) -> None:
        self._index, self._store, self._every = index, store, every
        self._open: OrderedDict[int, ShardReader]
        self._ours()

    def _ours(self) -> None:
        """Make what no other process has."""
        self._open = OrderedDict()
        self._lock, self._threads = threading.Lock(), threading.local()
        # a shard that is closed to open others need not be proven again
        tile = TILE_S * self._index.frame.rate_hz
        self._tiles = np.concatenate([[0], np.cumsum(-(-self._index.n_samples // tile))])
        self._proven = np.zeros(self._tiles[-1], dtype=np.bool_)
        self._most = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2, 16)

    def span(self, recording: int, start: int, stop: int) -> tuple[Tiles, int, int]:
        """Return proven tiles of one recording; a stretch of the file itself where it is mapped."""
        shard = self._open.get(recording) or self._opened(recording)
        tiles, first = shard.span(start, stop, self._scratch())
        return tiles, shard.meta.tile, first

    def advise(self, recording: int, start: int, stop: int) -> None:
        """Let the system fetch these samples meanwhile."""
        (self._open.get(recording) or self._opened(recording)).advise(start, stop)

    def _opened(self, recording: int) -> ShardReader:
        with self._lock:
            shard = self._open.get(recording)
            if shard is None:
                content = self._index.content[recording].tobytes().hex()
                proven = self._proven[self._tiles[recording] : self._tiles[recording + 1]]
                meta = meta_of(self._index, recording)
                shard = self._store.reader(content, meta, every=self._every, proven=proven)
                self._open[recording] = shard
                if len(self._open) > self._most:
                    self._open.popitem(last=False)  # another thread may still read it: it closes with its last user
            return shard

    def _scratch(self) -> Scratch:
        """Return this thread's own buffer, for tiles that do not lie in the file as they are."""
        scratch = getattr(self._threads, "scratch", None)
        if scratch is None:
            scratch = self._threads.scratch = Scratch()
        return scratch

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self._index, "store": self._store, "every": self._every}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def meta_of(index: Index, recording: int) -> ArrayMeta:
    """Return what the object of a recording is, without opening it."""
    return ArrayMeta(
        channels=index.frame.channels,
        absent=index.frame.absent[index.layout[recording]],
        n_samples=int(index.n_samples[recording]),
        rate_hz=index.frame.rate_hz,
        quantum_uv=index.frame.quantum_uv,
        k=tuple(index.k[recording].tolist()),
    )


class WindowReader:
    """Any stretch of any recording of an index, as a view's rows or as it is stored."""

    def __init__(self, index: Index, source: Source, *, compiled: bool | None = None) -> None:
        self.index, self._source, self._compiled = index, source, compiled
        self._kernels = kernels(compiled=compiled)
        self._every_channel = np.arange(len(index.frame.channels), dtype=np.int32)

    def fill(self, recording: int, start: int, out: Floats, rows: Rows | None = None) -> None:
        """Fill `out` float32 (rows, n) from sample `start` on; zeros past the recording's end.

        `rows` instead of the index's own. Raises IntegrityError naming recording and time where bytes are damaged.
        """
        n = min(out.shape[1], int(self.index.n_samples[recording]) - start)
        tiles, tile, first = self._source.span(recording, start, start + n)
        self._kernels.rows(tiles, tile, first, n, rows or self.index.rows(recording), out)

    def raw(self, recording: int, start: int, out: Tiles, channels: Integers | None = None) -> None:
        """Fill `out` int16 (channels, n) with stored integers; -32768 past the end and in absent channels."""
        n = min(out.shape[1], int(self.index.n_samples[recording]) - start)
        tiles, tile, first = self._source.span(recording, start, start + n)
        self._kernels.raw(tiles, tile, first, n, self._every_channel if channels is None else channels, FILL, out)

    def advise(self, recording: int, start: int) -> None:
        """Say that a window will be read soon."""
        stop = min(start + self.index.frame.length, int(self.index.n_samples[recording]))
        self._source.advise(recording, start, stop)

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self.index, "source": self._source, "compiled": self._compiled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
