"""One piece of a file, filtered as if nothing came before it or after it, block by block in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import pairwise

import numpy as np

from brainbrr.core.arrays import Int16
from brainbrr.eeg.edf.reader import EdfFile
from brainbrr.eeg.signal.channels import Channel, Group, Seen, Watch, Window, groups_of, records_of
from brainbrr.eeg.signal.filters import TOGETHER, Filtered, Filtering, filtering_of
from brainbrr.eeg.signal.pieces import Piece
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import EdfError

_WHOLE_BYTES = 1 << 27  # what a piece may take to be computed in one block; a longer one is computed in several
_BLOCK_BYTES = 1 << 25

FilteredChannels = Iterator[tuple[Channel, Filtering, Filtered]]
"""Channels, what filtered each, and their filtered samples."""


class FilteredPiece:
    """The channels of a piece, filtered; `n_samples` come out. `seen`: what their digital samples were, once read."""

    def __init__(self, piece: Piece, recipe: Recipe) -> None:
        self._piece, self._n_rows = piece, len(recipe.channels)
        self.groups = groups_of(piece.header, piece.channels)
        self._filters = [filtering_of(group, recipe) for group in self.groups]
        self.n_samples = self._filters[0].n_samples
        self.seen = {channel.name: Seen() for channel in piece.channels}

    @property
    def varying(self) -> list[str]:
        """The channels whose samples are not all equal, once all were read."""
        return [name for name, seen in self.seen.items() if seen.lowest < seen.highest]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The output samples of each block; one block where everything fits into the memory allowed."""
        n_inputs = sum(len(group.channels) * group.n for group in self.groups)
        n_bytes = 2 * n_inputs + self.n_samples * (2 * self._n_rows + 8 * TOGETHER)
        in_one = n_bytes <= _WHOLE_BYTES or not all(filters.in_blocks for filters in self._filters)
        n_blocks = 1 if in_one else -(-n_bytes // _BLOCK_BYTES)
        return list(pairwise(i * self.n_samples // n_blocks for i in range(n_blocks + 1)))

    def survey(self, edf: EdfFile, watch: Watch, *, into: Int16 | None = None) -> Iterator[FilteredChannels]:
        """Read the piece for the first time; yield the filtered channels of each block.

        Of a piece in one block those that vary; of the blocks of a longer one all, since that is known only at the end.
        `into`: see `Filtering.filtered`; only where there is one block.
        """

        def see(group: Group, samples: Int16) -> None:
            for channel, row in zip(group.channels, samples, strict=True):
                self.seen[channel.name].update(row, channel.signal)
            watch(group, samples)

        window, spans = Window(self._piece.of(edf), self.groups, watch=see), self.spans
        for start, stop in spans:
            self._move(window, start, stop)
            yield self._filtered(start, stop, only=self.varying if len(spans) == 1 else self.seen, into=into)
        self._release()

    def again(self, edf: EdfFile, empty: Callable[[int], Int16]) -> Iterator[tuple[Int16, FilteredChannels]]:
        """Read the piece again; yield an empty block after the other, and the filtered channels of it that vary."""
        window = Window(self._piece.of(edf), self.groups, watch=lambda *_: None)
        for start, stop in self.spans:
            self._move(window, start, stop)
            block = empty(stop - start)
            yield block, self._filtered(start, stop, only=self.varying, into=block)
        self._release()

    def _release(self) -> None:
        for group in self.groups:
            group.samples = np.empty((len(group.channels), 0), dtype=np.int16)

    def _move(self, window: Window, start: int, stop: int) -> None:
        """Hold the records that output samples start to stop depend on."""
        spans = [filters.inputs(start, stop) for filters in self._filters]
        window.move(*records_of(self.groups, spans))

    def _filtered(self, start: int, stop: int, *, only: Collection[str], into: Int16 | None) -> FilteredChannels:
        """Yield each of some channels and its filtered samples, from the records that are in memory."""
        for group, filters in zip(self.groups, self._filters, strict=True):
            rows = [row for row, channel in enumerate(group.channels) if channel.name in only]
            try:
                for row, y in zip(rows, filters.filtered(rows, start, stop, into), strict=True):
                    yield group.channels[row], filters, y
            except ArithmeticError as error:
                raise EdfError(f"its numbers cannot be proven to be exact: {error}") from None
