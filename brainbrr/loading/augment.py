"""Augmentation: other gains, another polarity, swapped sides. Keeps labels true.

Each variation is another start, or other numbers for the pass that reads the window: it costs nothing, and is the same
on every device. A pure function of seed and place in the order, so that a training resumes exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainbrr.core.arrays import Float32, Float64, IntP
from brainbrr.errors import UsageError
from brainbrr.loading.index import RowTable
from brainbrr.loading.rows import Rows

_STREAM = 1 << 63  # the order of windows draws from the lower half


@dataclass(frozen=True)
class Augment:
    """How windows are varied; everything is off by default.

    Variations are a pure function of the seed and of the place in the order, and keep labels true.

    Parameters
    ----------
    gain, channel_gain : float
        Standard deviations of the logarithm of a factor of each window, and of each row.
    drop_channel : float
        Probability that a row is zero.
    shuffle_channels : float
        Probability that rows are permuted.
    polarity : bool
        Change the sign of half of the windows.
    mirror : float
        Probability that left and right are swapped.
    shift_s : float
        Move a window and its labels by up to this many seconds either way, inside its recording.

    Examples
    --------
    >>> bool(brainbrr.Augment()), bool(brainbrr.Augment(gain=0.2, polarity=True))
    (False, True)
    """

    gain: float = 0.0
    channel_gain: float = 0.0
    drop_channel: float = 0.0
    shuffle_channels: float = 0.0
    polarity: bool = False
    mirror: float = 0.0
    shift_s: float = 0.0

    def __bool__(self) -> bool:
        return self != Augment()


@dataclass(frozen=True)
class Variation:
    """What happens to one window: row r becomes factor[r] times row order[r], `shift` of -1 to 1 times shift_s."""

    order: IntP
    factor: Float32
    shift: float

    def rows(self, rows: Rows) -> Rows:
        """Return what the rows of the window are made of instead."""
        order, factor = self.order, self.factor
        varied = rows._replace(source=rows.source[order], centre=rows.centre[order], gain=rows.gain[order] * factor)
        if not rows.weights.size:
            return varied
        weights, offset = rows.weights[order] * factor[:, None], rows.offset[order] * factor
        return varied._replace(weights=weights, offset=offset)


def varied(table: RowTable, variations: Sequence[Variation]) -> RowTable:
    """Return what the rows of many windows are made of instead."""
    order = np.stack([each.order for each in variations])
    gain = np.take_along_axis(table.gain, order, axis=1) * np.stack([each.factor for each in variations])
    return RowTable(
        np.take_along_axis(table.source, order, axis=1), np.take_along_axis(table.centre, order, axis=1), gain
    )


class Augmenter:
    """Draws the variation of a place. Raises UsageError where a row has no counterpart on the other side."""

    def __init__(self, config: Augment, rows: tuple[str, ...], *, seed: int) -> None:
        self.config, self._seed, self._n_rows = config, seed, len(rows)
        self._sides = mirror(rows) if config.mirror else None

    def draw(self, place: int) -> Variation:
        """Return the variation of one place in the order of windows."""
        config, n = self.config, self._n_rows
        # a counter-based generator of its own: another world size must not change the numbers of another rank
        random = np.random.Generator(np.random.Philox(key=np.array([self._seed, _STREAM | place], dtype=np.uint64)))
        factor = np.exp(random.standard_normal() * config.gain + random.standard_normal(n) * config.channel_gain)
        factor *= random.random(n) >= config.drop_channel
        polarity, mirrored, shuffled, shift = random.random(4)
        if config.polarity and polarity < 0.5:
            factor = -factor
        order = np.arange(n)
        if self._sides is not None and mirrored < config.mirror:
            order, factor = self._sides[0], factor * self._sides[1]
        if shuffled < config.shuffle_channels:
            order = order[random.permutation(n)]
        return Variation(order, factor.astype(np.float32), 2 * shift - 1)


def mirror(rows: tuple[str, ...]) -> tuple[IntP, Float64]:
    """Return for each row the row on the other side of the head, and -1 where that is the pair the other way round.

    In the 10-20 system odd numbers are left, even ones right, and z is the middle. Raises UsageError.
    """
    order, signs = np.empty(len(rows), dtype=np.intp), np.ones(len(rows))
    for i, row in enumerate(rows):
        names = [_other_side(name) for name in row.split("-")]
        if "-".join(names) in rows:
            order[i] = rows.index("-".join(names))
        elif "-".join(reversed(names)) in rows:
            order[i], signs[i] = rows.index("-".join(reversed(names))), -1.0
        else:
            raise UsageError(f"{row} has no row on the other side of the head", fix="set mirror = 0, or add that row")
    return order, signs


def _other_side(name: str) -> str:
    number = name[-1]
    return name[:-1] + str(int(number) + (1 if int(number) % 2 else -1)) if number.isdigit() else name
