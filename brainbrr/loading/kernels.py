"""From the integers of a shard's tiles to rows of a float32 window, in one pass over memory. Knows arrays only.

`kernels` chooses: numpy here is the definition, and numba where installed gives the same bits several times faster. No
fused multiply-add and no reordered sum anywhere, so a row's bits depend on its integers and its numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Protocol

import numpy as np

from brainbrr.core.arrays import Float32, Int16, Int32
from brainbrr.core.compiled import has_numba
from brainbrr.loading.rows import MIXED, Places, Rows


class ManyKernels(Protocol):
    """Fill many windows from memory, in one call."""

    verifies: bool
    """Whether they compare the checksum of each tile that they read; else its reader must have done so."""

    def rows(self, places: Places, source: Int32, centre: Int32, gain: Float32, clip: Any, out: Any) -> int:
        """Fill those windows of `out` float32 (windows, rows, length) whose places have an address; padding is 0.

        source, centre int32 and gain float32 (windows, rows): no row is mixed. Returns the first window with a damaged
        tile, −1 where all are intact.
        """

    def raw(self, places: Places, source: Int32, fill: int, out: Any) -> int:
        """Fill those windows of `out` int16 (windows, rows, length) whose places have an address; returns as rows()."""


class Kernels(Protocol):
    """Fill a window from `tiles`: int16 (n_tiles, any), of `tile` samples each, channel after channel.

    Sample i of the window is sample `first` + i of the tiles, for i < n; the rest of `out` is padding.
    """

    @property
    def many(self) -> ManyKernels | None:
        """The kernels that fill many windows in one call; None in numpy."""

    def rows(self, tiles: Int16, tile: int, first: int, n: int, rows: Rows, out: Float32) -> None:
        """Fill `out` float32 (rows, length); padding is 0."""

    def raw(self, tiles: Int16, tile: int, first: int, n: int, source: Int32, fill: int, out: Int16) -> None:
        """Fill `out` int16 (rows, length) with recorded channels as they are stored; padding is `fill`."""


class Numpy:
    """The kernels in numpy: the definition that compiled ones are held to."""

    many: ManyKernels | None = None

    def rows(self, tiles: Int16, tile: int, first: int, n: int, rows: Rows, out: Float32) -> None:
        """Fill `out` float32 (rows, length); padding is 0."""
        for at, stop, part in _parts(tiles, tile, first, n):
            for row, source in enumerate(rows.source):
                if source == MIXED:
                    total = np.zeros(stop - at)
                    for channel in np.flatnonzero(rows.weights[row]):
                        total += rows.weights[row, channel] * part(channel)
                    out[row, at:stop] = total - rows.offset[row]
                else:
                    centred = part(source).astype(np.int32) - rows.centre[row]
                    np.multiply(centred.astype(np.float32), rows.gain[row], out=out[row, at:stop])
        np.clip(out[:, :n], -rows.clip, rows.clip, out=out[:, :n])
        out[:, n:] = 0.0

    def raw(self, tiles: Int16, tile: int, first: int, n: int, source: Int32, fill: int, out: Int16) -> None:
        """Fill `out` int16 (rows, length) with recorded channels as they are stored; padding is `fill`."""
        for at, stop, part in _parts(tiles, tile, first, n):
            for row, channel in enumerate(source):
                out[row, at:stop] = part(channel)
        out[:, n:] = fill


def _parts(tiles: Int16, tile: int, first: int, n: int) -> Iterator[tuple[int, int, Any]]:
    """Yield (start, stop) in the window and the samples of any channel there, tile by tile."""
    at = 0
    while at < n:
        nth, begin = divmod(first + at, tile)
        stop = at + min(tile - begin, n - at)
        row, size = tiles[nth], stop - at

        def part(channel: int, row: Any = row, begin: int = begin, size: int = size) -> Any:
            return row[channel * tile + begin : channel * tile + begin + size]

        yield at, stop, part
        at = stop


@cache
def kernels(*, compiled: bool | None = None) -> Kernels:
    """Return the compiled kernels, or numpy's where numba is not installed; `compiled` forces one of them.

    Raises ModuleNotFoundError where numba is missing and `compiled` is true.
    """
    if compiled or (compiled is None and has_numba()):
        from brainbrr.loading.kernels_numba import Compiled

        return Compiled()
    return Numpy()
