"""An EDF as a recipe describes it while it is still coming: each sample as soon as nothing later can change it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from brainbrr.core.arrays import Int16
from brainbrr.eeg.edf.reader import EdfStream
from brainbrr.eeg.signal.channels import Window, groups_of, records_of, select
from brainbrr.eeg.signal.filters import Exact
from brainbrr.eeg.signal.preprocess import ABSENT, prove
from brainbrr.eeg.signal.quantise import Lattice
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import EdfError, UsageError


class Live:
    """The samples of a stream, in steps of quantum_uv: those of `preprocess`, where that needs no larger step.

    A larger one follows from the whole recording. Here what is beyond ±32767 steps is cut to that.
    Raises UsageError for a recipe that is not exact, EdfError and MontageError as `preprocess` does.
    """

    def __init__(self, file: BinaryIO, recipe: Recipe) -> None:
        if not recipe.exact:
            raise UsageError(f"recipe {recipe.name} filters whole recordings: it cannot follow one that is coming")
        prove(compiled=False)  # blocks are too short for compiled filters
        self._edf = EdfStream(file)
        channels, _ = select(self._edf.header, recipe)
        self._groups = groups_of(self._edf.header, channels)
        self._filters = [Exact(group, recipe) for group in self._groups]
        self._n_channels = len(recipe.channels)
        self.present = tuple(channel.row for channel in channels)
        self.absent = tuple(name for row, name in enumerate(recipe.channels) if row not in self.present)
        self._lattices = {}
        for group, filters in zip(self._groups, self._filters, strict=True):
            for channel in group.channels:
                gain, offset = (number / Fraction(recipe.quantum_uv) for number in filters.scale(channel))
                self._lattices[channel.name] = Lattice(gain, offset)

    @property
    def delay_s(self) -> Fraction:
        """Seconds from a sample to when it is given out, at most: what the filters look ahead, and one record."""
        return max(filters.look_ahead_s for filters in self._filters) + self._edf.header.record_duration_s

    def blocks(self, n: int, *, first: int | None = None) -> Iterator[tuple[Int16, Fraction]]:
        """Yield n samples after n samples, int16 (channels, n), and how many seconds had to be heard for them.

        The first block has `first` samples where that is given. Ends where the stream does: what the filters would
        have needed more signal for is not given out. Raises EdfError for a stream that is cut off, MontageError for
        signals that turn out to be no copies.
        """
        window = Window(self._edf, self._groups, watch=lambda *_: None)
        start, stop = 0, n if first is None else first
        while True:
            spans = [filters.inputs(start, stop) for filters in self._filters]
            held_from, held_to = records_of(self._groups, spans)
            if not self._edf.wait(held_to):
                return
            window.move(held_from, held_to)
            yield self._block(start, stop), held_to * self._edf.header.record_duration_s
            start, stop = stop, stop + n

    def _block(self, start: int, stop: int) -> Int16:
        block = np.full((self._n_channels, stop - start), ABSENT, dtype=np.int16)
        for group, filters in zip(self._groups, self._filters, strict=True):
            try:
                found = filters.apply(range(len(group.channels)), start, stop)
            except ArithmeticError as error:
                raise EdfError(f"its numbers cannot be proven to be exact: {error}") from None
            for channel, y in zip(group.channels, found, strict=True):
                lattice = self._lattices[channel.name]
                lattice.round(lattice.saturated(y), out=block[channel.row])
        return block
