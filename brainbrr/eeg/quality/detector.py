"""What is wrong with a recording's samples, from the file's own digital steps: findings, and a score from 0 to 100.

No part of any identity: findings lie beside the record under QUALITY_VERSION, so that a better detector changes no key,
no content and no recipe. Knows nothing of stores, filters or labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.core.arrays import Int16, Int64
from brainbrr.eeg.edf.reader import EdfFile, located
from brainbrr.eeg.quality import spectra as segs
from brainbrr.eeg.quality.rules import FLAT, SATURATED, SATURATED_PER_CENT, SILENT, SILENT_UV, Evidence, judge
from brainbrr.eeg.signal.channels import Group, Watch, Window, agreeing, groups_of, select
from brainbrr.eeg.signal.pieces import pieces_of
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import EdfError

Rows = slice | Int64

QUALITY_VERSION = 3
"""Raised whenever the same samples would give other findings or another score."""


_RECORDS = 64  # at a time


@dataclass(frozen=True)
class Channel:
    """A channel to examine, as its header describes it: steps of `gain_uv` microvolts, `n_samples` at `rate`."""

    name: str
    rate: Fraction
    gain_uv: Fraction
    digital_min: int
    digital_max: int
    n_samples: int


def examine(path: Path, recipe: Recipe, *, accept_truncated: bool = False, source: str | None = None) -> dict[str, Any]:
    """Return the findings of the recipe's channels of an EDF file: see `Examiner.findings`.

    With `source`, the bytes that were read must hash to it. Raises EdfError and MontageError as `preprocess` does;
    both name the file.
    """
    with located(path), EdfFile(path, accept_truncated=accept_truncated) as edf:
        # of what is stored: that was accepted
        channels, _ = agreeing(edf, select(edf.header, recipe, accept_contacts=True)[0])
        pieces, _ = pieces_of(edf, channels)
        groups = [groups_of(piece.header, piece.channels) for piece in pieces]
        examiner, watch = watching(groups, recipe.quantum_uv)
        for piece, some in zip(pieces, groups, strict=True):
            window = Window(piece.of(edf), some, watch=watch)
            for first in range(0, piece.header.n_records, _RECORDS):
                window.move(first, min(first + _RECORDS, piece.header.n_records))
        if source is not None and edf.source() != source:
            raise EdfError("the file changed while it was read", fix="ingest again when it is at rest")
        return examiner.findings(notes=edf.header.notes)


def watching(pieces: Sequence[Sequence[Group]], quantum_uv: str) -> tuple[Examiner, Watch]:
    """Return an examiner of all channels of a file, and what gives it their samples while a window moves.

    The groups of each of its pieces, which are examined as if they followed each other. `quantum_uv`: the recipe's.
    """
    rows: dict[Fraction, list[int]] = {}
    channels: list[Channel] = []
    for i, group in enumerate(pieces[0]):
        n = sum(groups[i].n for groups in pieces)
        rows[group.rate] = list(range(len(channels), len(channels) + len(group.channels)))
        for channel in group.channels:
            signal = channel.signal
            limits = signal.digital_min, signal.digital_max
            channels.append(Channel(channel.name, group.rate, signal.gain_uv, *limits, n))
    examiner = Examiner(channels, Fraction(quantum_uv))
    return examiner, lambda group, samples: examiner.update(rows[group.rate], samples)


class Examiner:
    """Looks at a recording once, in blocks of any size, and keeps a byte or three for each second of a channel.

    Every second is searched for its extremes, 2 s in up to 24 places for everything else; places and seconds follow
    from sample positions alone, so blocks of any size give equal findings.
    """

    def __init__(self, channels: Sequence[Channel], quantum_uv: Fraction = Fraction(1, 8)) -> None:
        """Channels without samples are not examined, and may not be given. They are stored in steps of `quantum_uv`."""
        self._channels, self._quantum_uv = tuple(channels), quantum_uv
        self._second = np.array([max(1, round(c.rate)) for c in channels])
        self._position = np.zeros(len(channels), dtype=np.int64)
        n_seconds = max(c.n_samples // int(s) + 1 for c, s in zip(channels, self._second, strict=True))
        self._open = np.zeros((len(channels), int(self._second.max())), dtype=np.int16)
        self._n_seconds = np.zeros(len(channels), dtype=np.int64)
        self._low = np.zeros((len(channels), n_seconds), dtype=np.int16)
        self._flags = np.zeros((len(channels), n_seconds), dtype=np.uint8)
        self._highest = np.full(len(channels), -32768, dtype=np.int16)
        self._n_at_limit = np.zeros(len(channels), dtype=np.int64)
        self._limits = np.array([(c.digital_min, c.digital_max) for c in channels])
        # the widest second that is below SILENT_UV: exact, since the gain is a fraction
        self._silent = np.array([min(-(-SILENT_UV // abs(c.gain_uv)) - 1, 65_536) for c in channels])
        lengths = [segs.segment_length(c.n_samples, c.rate) for c in channels]
        n_segments = min(segs.N_SEGMENTS, *(c.n_samples // n for c, n in zip(channels, lengths, strict=True)))
        self._starts = [segs.segment_starts(c.n_samples, n, n_segments) for c, n in zip(channels, lengths, strict=True)]
        self._lengths = lengths
        self._segments = np.zeros((len(channels), n_segments, max(lengths)), dtype=np.int16)

    def update(self, rows: Sequence[int], block: Int16) -> None:
        """Take the next samples of some channels: int16 (len(rows), any), as they are in the file.

        Raises ValueError when the rows differ in rate, in length or in how far they are, or have no more samples.
        """
        at = _indexer(rows)
        channel, second = self._channels[rows[0]], int(self._second[rows[0]])
        start, n = int(self._position[rows[0]]), block.shape[1]
        same = {(self._channels[row].rate, self._channels[row].n_samples) for row in rows}
        if len(same) > 1 or (self._position[at] != start).any():
            raise ValueError("channels of one block have one rate, one length and one position")
        stop = start + n
        if stop > channel.n_samples:
            raise ValueError(f"samples up to {stop}, where the header says {channel.n_samples}")
        length = self._lengths[rows[0]]
        for k, place in enumerate(self._starts[rows[0]]):
            first, last = max(place, start), min(place + length, stop)
            if first < last:
                self._segments[at, k, first - place : last - place] = block[:, first - start : last - start]
        filled = start % second
        head = min((second - filled) % second, n)
        if head:
            self._open[at, filled : filled + head] = block[:, :head]
            if filled + head == second:
                self._take_seconds(at, self._open[at, :second], second)
        n_whole = (n - head) // second * second
        if n_whole:
            self._take_seconds(at, block[:, head : head + n_whole], second)
        if head + n_whole < n:
            self._open[at, : n - head - n_whole] = block[:, head + n_whole :]
        self._position[at] = stop
        n_left = stop % second
        if stop == channel.n_samples and n_left and (2 * n_left >= second or stop < second):
            self._take_seconds(at, self._open[at, :n_left], n_left)  # a last half second counts as one

    def _take_seconds(self, at: Rows, samples: Int16, second: int) -> None:
        """Take whole seconds of some channels, each of `second` samples."""
        seconds = samples.reshape(len(samples), -1, second)
        low, high = seconds.min(axis=2), seconds.max(axis=2)
        width = high.astype(np.int32) - low
        flags = np.where(width == 0, FLAT, np.where(width <= self._silent[at, np.newaxis], SILENT, 0))
        limits = self._limits[at]
        touching = (low <= limits[:, :1]) | (high >= limits[:, 1:])
        if touching.any():
            where = np.nonzero(touching)
            lowest, highest = limits[where[0]].T[:, :, np.newaxis]
            n_at_limit = np.zeros(low.shape, dtype=np.int64)
            n_at_limit[where] = np.count_nonzero((seconds[where] <= lowest) | (seconds[where] >= highest), axis=1)
            flags[100 * n_at_limit >= SATURATED_PER_CENT * second] |= SATURATED
            self._n_at_limit[at] += n_at_limit.sum(axis=1)
        n_before = int(self._n_seconds[at][0])
        span = slice(n_before, n_before + seconds.shape[1])
        self._low[at, span], self._flags[at, span] = low, flags
        self._highest[at] = np.maximum(self._highest[at], high.max(axis=1))
        self._n_seconds[at] += seconds.shape[1]

    def findings(self, *, notes: Sequence[str] = ()) -> dict[str, Any]:
        """Return what was found: JSON without floats. `notes`: what the header's reader thought odd.

        {"version", "score", "n_channels", "n_seconds", "findings": [{"name", "channel", "per_mille", "measured",
        "threshold"}]}; a finding's channel is None where it is about the whole recording, per_mille is of time, and
        None where it is about no time. What each name means and what the score counts: `quality_findings`.
        Raises ValueError when samples are still to come.
        """
        for channel, position in zip(self._channels, self._position, strict=True):
            if position != channel.n_samples:
                raise ValueError(f"{channel.name}: {position} of {channel.n_samples} samples were given")
        evidence = [
            Evidence(
                name=channel.name,
                rate=channel.rate,
                gain_uv=abs(channel.gain_uv),
                limits=(channel.digital_min, channel.digital_max),
                flags=self._flags[i, : self._n_seconds[i]],
                low=self._low[i, : self._n_seconds[i]],
                highest=int(self._highest[i]),
                n_at_limit=int(self._n_at_limit[i]),
                segments=self._segments[i, :, : self._lengths[i]],
                quantum_uv=self._quantum_uv,
            )
            for i, channel in enumerate(self._channels)
        ]
        return {"version": QUALITY_VERSION, **judge(evidence, notes)}


def _indexer(rows: Sequence[int]) -> Rows:
    """Return rows as a slice where they follow each other: numpy then copies nothing."""
    if all(row == rows[0] + i for i, row in enumerate(rows)):
        return slice(rows[0], rows[0] + len(rows))
    return np.asarray(rows)
