"""Windows of a recording that arrives in blocks: nothing is stored, a few blocks are in memory. No store, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from brainbrr.core.arrays import Float32, Int16
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.loading.build_index import rows_of
from brainbrr.loading.kernels import kernels
from brainbrr.loading.normalise import scaling, sources, weights_of
from brainbrr.loading.rows import MIXED, NO_OFFSETS, NO_WEIGHTS, Rows
from brainbrr.loading.windows import WindowSpec


def numbers_of(
    recipe: Recipe, window: WindowSpec, *, absent: tuple[str, ...], k: tuple[int, ...], statistics: Mapping[str, Any]
) -> Rows:
    """Return what the rows of a recording's windows are made of, as `Index.rows` does for a stored recording.

    `k` and `statistics` are of the recipe's channels. Raises ConfigError, MontageError as `spatial.operator`.
    """
    matrix = rows_of(recipe.channels, absent, window)[1]
    source = sources(matrix)
    step_uv = float(Fraction(recipe.quantum_uv)) * 2.0 ** np.array(k)
    numbers = scaling(
        matrix, step_uv=step_uv, statistics=statistics, normalise=window.normalise, scale_uv=window.scale_uv
    )
    mixes = bool((source == MIXED).any())
    return Rows(
        source,
        numbers.centre,
        numbers.gain,
        weights_of(matrix, source, step_uv, numbers.scale) if mixes else NO_WEIGHTS,
        numbers.offset if mixes else NO_OFFSETS,
        np.float32(np.inf if window.clip is None else window.clip),
        len(recipe.channels),
    )


def fill(buffer: Int16, first: int, rows: Rows, out: Float32) -> None:
    """Fill `out` float32 (rows, n) from int16 (channels, any), from its sample `first` on; zeros past its end."""
    buffer = np.ascontiguousarray(buffer)
    n = min(out.shape[1], buffer.shape[1] - first)
    kernels().rows(buffer.reshape(1, -1), buffer.shape[1], first, n, rows, out)


class StreamedWindows:
    """Windows of a recording that arrives in blocks, int16 (channels, any). Read them in the order of their starts.

    `gaps`, [start, stop) in samples, are zeros.
    """

    def __init__(self, blocks: Iterable[Int16], rows: Rows, gaps: Sequence[tuple[int, int]] = ()) -> None:
        self._blocks, self._rows, self._gaps = iter(blocks), rows, gaps
        self._buffer, self._first = np.empty((rows.n_channels, 0), dtype=np.int16), 0

    def read(self, start: int, out: Float32) -> None:
        """Fill `out` float32 (rows, n) from sample `start` on; zeros past the recording's end and in gaps."""
        while self._first + self._buffer.shape[1] < start + out.shape[1]:
            if (block := next(self._blocks, None)) is None:
                break
            kept = self._buffer[:, start - self._first :]
            self._first += self._buffer.shape[1] - kept.shape[1]
            self._buffer = np.concatenate([kept, block], axis=1) if kept.shape[1] else block
        fill(self._buffer, start - self._first, self._rows, out)
        for first, last in self._gaps:
            out[:, max(first - start, 0) : max(last - start, 0)] = 0
