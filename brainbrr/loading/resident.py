"""A whole view in this host's memory as int16, recording after recording: nothing is opened or proven again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from brainbrr.eeg.dequantise import Places, Tiles
from brainbrr.errors import SpaceError
from brainbrr.loading.memory import free_bytes, resident_bytes
from brainbrr.loading.reader import WindowReader
from brainbrr.windows import IntArray

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
        self.bases: IntArray = (np.cumsum(index.n_samples) - index.n_samples) * self._n_channels
        self.flat: Tiles = np.empty(n_bytes // 2, dtype=np.int16)
        with ThreadPoolExecutor(threads, thread_name_prefix="brainbrr-resident") as pool:
            for _ in pool.map(lambda i: reader.raw(i, 0, self._recording(i)), range(len(index.n_samples))):
                pass

    def _recording(self, recording: int) -> Tiles:
        n, base = int(self._n_samples[recording]), int(self.bases[recording])
        return self.flat[base : base + n * self._n_channels].reshape(self._n_channels, n)

    def span(self, recording: int, start: int, stop: int) -> tuple[Tiles, int, int]:
        """Return one recording as the one tile that it is here."""
        n = int(self._n_samples[recording])
        return self._recording(recording).reshape(1, -1), n, start

    def at(self, recordings: IntArray, starts: IntArray, n: IntArray) -> tuple[Places, object]:
        """Return where windows lie."""
        address = self.flat.ctypes.data + 2 * self.bases[recordings]
        return Places(address, np.zeros_like(address), self._n_samples[recordings], starts, n), self.flat

    def advise(self, recordings: IntArray, starts: IntArray, n: IntArray) -> None:
        """Nothing is fetched: all of it is here."""
