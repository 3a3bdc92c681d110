"""From the integers of a shard's tiles to rows of a float32 window, in one pass over memory. Knows arrays only.

Here in numpy, and compiled where numba is installed (`kernels`): the same bits, several times faster. No fused
multiply-add and no reordered sum anywhere, so a row's bits depend on its integers and its numbers alone.

Which kernels fill windows here: compiled ones where numba is installed, numpy's anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np

from brainbrr.core.arrays import Float32, Float64, Int16, Int32, Int64

MIXED = -1
"""The source of a row that is no single recorded channel."""


NO_WEIGHTS: Float64 = np.zeros((0, 0))
NO_OFFSETS: Float64 = np.zeros(0)


class Rows(NamedTuple):
    """What each row of a window is made of.

    Row r is float32(x - centre[r]) * gain[r] of recorded channel source[r]; where source is MIXED it is
    float32(sum of weights[r, c] * x[c] - offset[r]), summed in float64 in the order of channels that weigh anything.
    Then it is cut to ±clip. source, centre int32 (rows,); gain float32 (rows,); offset float64 (rows,);
    weights float64 (rows, channels); NO_OFFSETS and NO_WEIGHTS where no row is mixed. `n_channels` are recorded.
    """

    source: Int32
    centre: Int32
    gain: Float32
    weights: Float64
    offset: Float64
    clip: np.float32
    n_channels: int


class Places(NamedTuple):
    """Where many windows lie in memory, int64 (windows,) each.

    The tile that holds a window's first sample begins at `address`, the next one `step` bytes after it; each holds
    `tile` samples of every channel, channel after channel. The window is n samples from `first` of that tile on.
    Address 0: this window is not here to be read. Whoever makes places keeps the memory until they are read.
    """

    address: Int64
    step: Int64
    tile: Int64
    first: Int64
    n: Int64


class ManyKernels(Protocol):
    """What fills many windows that lie in memory."""

    def rows(self, places: Places, source: Int32, centre: Int32, gain: Float32, clip: Any, out: Any) -> None:
        """Fill those windows of `out` float32 (windows, rows, length) whose places have an address; padding is 0.

        source, centre int32 and gain float32 (windows, rows): no row is mixed.
        """

    def raw(self, places: Places, source: Int32, fill: int, out: Any) -> None:
        """Fill those windows of `out` int16 (windows, rows, length) whose places have an address."""


class Kernels(Protocol):
    """What fills a window from `tiles`: int16 (n_tiles, any), of `tile` samples each, channel after channel.

    Sample i of the window is sample `first` + i of the tiles, for i < n; the rest of `out` is padding.
    `many`: those that fill many windows in one call, None where there are none.
    """

    many: ManyKernels | None

    def rows(self, tiles: Int16, tile: int, first: int, n: int, rows: Rows, out: Float32) -> None:
        """Fill `out` float32 (rows, length); padding is 0."""

    def raw(self, tiles: Int16, tile: int, first: int, n: int, source: Int32, fill: int, out: Int16) -> None:
        """Fill `out` int16 (rows, length) with recorded channels as they are stored; padding is `fill`."""


def check(tiles: Int16, tile: int, first: int, n: int, n_channels: int, length: int) -> None:
    """Raise IndexError for what would read outside of `tiles`: compiled code does not look."""
    if not (first >= 0 and 0 <= n <= length and first + n <= tiles.shape[0] * tile):
        raise IndexError(f"samples {first} to {first + n} of {tiles.shape[0]} tiles of {tile}, into {length}")
    if n_channels * tile > tiles.shape[1]:
        raise IndexError(f"{n_channels} channels of {tile} samples, in tiles of {tiles.shape[1]}")


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
    """Return the compiled kernels, or numpy's where numba is not installed; `compiled` asks for one of them.

    Raises ModuleNotFoundError when compiled ones are asked for without numba.
    """
    if compiled or (compiled is None and find_spec("numba") is not None):
        from brainbrr.loading.kernels_numba import Compiled

        return Compiled()
    return Numpy()
