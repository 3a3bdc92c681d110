"""What a window's rows are made of, and where its samples are in memory: the values that kernels take. Arrays only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from brainbrr.core.arrays import Float32, Float64, Int16, Int32, Int64

MIXED = -1
"""The source of a row that is no single recorded channel."""

UNKNOWN, PROVEN = 0, -1

NO_WEIGHTS: Float64 = np.zeros((0, 0))
NO_OFFSETS: Float64 = np.zeros(0)


class Rows(NamedTuple):
    """What each row of a window is made of.

    Row r is float32(x - centre[r]) * gain[r] of recorded channel source[r]; where source is MIXED it is
    float32(sum of weights[r, c] * x[c] - offset[r]), summed in float64 over channels of non-zero weight.
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
    """Where many windows are in memory, int64 (windows,) each.

    The tile that holds a window's first sample begins at `address`, the next one `step` bytes after it; each holds
    `tile` samples of every channel, channel after channel. The window is n samples from `first` of that tile on.
    Address 0: this window cannot be read from memory. The maker of places keeps the memory until they are read.

    `checks`: where the checksum is that the first tile must have, the next one four bytes after it; UNKNOWN where only
    those are known that follow each tile, PROVEN where there is nothing to verify.
    """

    address: Int64
    step: Int64
    tile: Int64
    first: Int64
    n: Int64
    checks: Int64


def check_tiles(tiles: Int16, tile: int, first: int, n: int, n_channels: int, length: int) -> None:
    """Raise IndexError for a stretch that reaches outside of `tiles`: compiled code does not check."""
    if not (first >= 0 and 0 <= n <= length and first + n <= tiles.shape[0] * tile):
        raise IndexError(f"samples {first} to {first + n} of {tiles.shape[0]} tiles of {tile}, into {length}")
    if n_channels * tile > tiles.shape[1]:
        raise IndexError(f"{n_channels} channels of {tile} samples, in tiles of {tiles.shape[1]}")
