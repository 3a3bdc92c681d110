"""The stretches of a file that hold a signal without a gap: each is read, and filtered, as a file of its own.

A gap is time between records that do not follow each other, and time that the file's annotations mark as no data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from brainbrr.core.arrays import Int16
from brainbrr.core.display import counted
from brainbrr.eeg.corpus.vocabulary import no_data_spans
from brainbrr.eeg.edf.header import EdfHeader, EdfSignal, Run
from brainbrr.eeg.edf.reader import EdfFile
from brainbrr.eeg.signal.channels import Channel, Records
from brainbrr.errors import EdfError

Span = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Piece:
    """A stretch of a file: the header and the channels of a file that holds nothing else, and where it begins.

    Its records are the file's own from `first` on, or `per_record` parts of each, where a gap begins inside of one.
    `is_whole`: it is all of the file, with all of its signals.
    """

    header: EdfHeader
    channels: tuple[Channel, ...]
    first: int
    per_record: int
    onset_s: Fraction
    is_whole: bool = False

    @property
    def end_s(self) -> Fraction:
        """When it ends."""
        return self.onset_s + self.header.duration_s

    def of(self, edf: EdfFile) -> Records:
        """Return the records of the piece, from the open file."""
        return edf if self.is_whole else _Part(self, edf)


def pieces_of(edf: EdfFile, channels: Sequence[Channel]) -> tuple[list[Piece], list[str]]:
    """Return the pieces of a file, in the order of time, and a note for each kind of gap.

    Reads the annotations. Raises EdfError where all of the time is marked as no data.
    """
    header = edf.header
    marked, words = no_data_spans(edf.annotations(), header.duration_s)
    if not header.runs and not marked:
        return [Piece(header, tuple(channels), 0, 1, Fraction(0), is_whole=True)], []
    runs = header.runs or (Run(0, header.n_records, Fraction(0)),)
    pieces, lost_s = _cut(header, channels, runs, marked)
    notes = []
    if gap_s := header.duration_s - header.n_records * header.record_duration_s:
        notes.append(f"invalid time: {float(gap_s):g} s in {counted(len(runs) - 1, 'gap')} between records")
    if lost_s:
        notes.append(f"invalid time: {float(lost_s):g} s that the file marks as no data ({', '.join(words)})")
    if not pieces:
        raise EdfError(f"all of the file's time is marked as no data ({', '.join(words)})", fix="leave the file out")
    return pieces, notes


def _cut(
    header: EdfHeader, channels: Sequence[Channel], runs: Sequence[Run], marked: Sequence[Span]
) -> tuple[list[Piece], Fraction]:
    """Return the pieces that are left of runs of records, and how many seconds of them are marked.

    Cut where all channels have a sample, at or before a marked span's begin and at or behind its end.
    """
    n_parts = math.gcd(*(channel.signal.samples_per_record for channel in channels))
    part_s = header.record_duration_s / n_parts
    kept: list[tuple[Run, int, int]] = []
    for run in runs:
        at, end = 0, run.n_records * n_parts
        for start_s, stop_s in marked:
            start, stop = math.floor((start_s - run.onset_s) / part_s), math.ceil((stop_s - run.onset_s) / part_s)
            if start < end and stop > at:
                kept += [(run, at, start)] if start > at else []
                at = max(at, min(stop, end))
        kept += [(run, at, end)] if at < end else []
    if all(start % n_parts == stop % n_parts == 0 for _, start, stop in kept):
        kept, n_parts, part_s = [(r, a // n_parts, b // n_parts) for r, a, b in kept], 1, header.record_duration_s
    parts = _parts(header, channels, n_parts)
    pieces = [
        Piece(
            replace(parts[0], n_records=stop - start, n_records_declared=stop - start),
            parts[1],
            run.first * n_parts + start,
            n_parts,
            run.onset_s + start * part_s,
        )
        for run, start, stop in kept
    ]
    return pieces, part_s * (header.n_records * n_parts - sum(stop - start for _, start, stop in kept))


def _parts(header: EdfHeader, channels: Sequence[Channel], n_parts: int) -> tuple[EdfHeader, tuple[Channel, ...]]:
    """Return the header and the channels of a file whose records are parts of this one's, of taken signals alone."""
    taken, start = [], 0
    for channel in channels:
        n = channel.signal.samples_per_record // n_parts
        signal = replace(channel.signal, samples_per_record=n, start=start)
        taken.append(replace(channel, signals=(signal,)))
        start += n
    signals = tuple(channel.signal for channel in taken)
    duration_s = header.record_duration_s / n_parts
    return replace(
        header, record_duration_s=duration_s, signals=signals, record_samples=start, runs=(), annotations=()
    ), tuple(taken)


class _Part:
    """The records of one piece. Keeps the file's records that it read last, since one may hold many of them."""

    def __init__(self, piece: Piece, edf: EdfFile) -> None:
        self.header, self._piece, self._edf = piece.header, piece, edf
        self._sources = {signal.number: signal for signal in edf.header.signals}
        self._held: tuple[int, int, Int16] = (0, 0, np.empty((0, 0), dtype=np.int16))

    def records(self, first: int, last: int) -> Int16:
        """Return records first to last of the piece: int16 (last - first, header.record_samples)."""
        n = self._piece.per_record
        start, stop = self._piece.first + first, self._piece.first + last
        record = start // n
        samples = self._hold(record, -(-stop // n))
        columns: list[Int16] = []
        for channel in self._piece.channels:
            source: EdfSignal = self._sources[channel.signal.number]
            parts = samples[:, source.start : source.start + source.samples_per_record]
            parts = parts.reshape(len(samples) * n, channel.signal.samples_per_record)
            columns.append(parts[start - record * n : stop - record * n])
        return np.concatenate(columns, axis=1)

    def _hold(self, first: int, last: int) -> Int16:
        held_from, held_to, samples = self._held
        if not held_from <= first <= last <= held_to:
            held_from, samples = first, self._edf.records(first, last)
            self._held = first, last, samples
        return samples[first - held_from : last - held_from]


def places_of(pieces: Sequence[Piece], lengths: Sequence[int], rate_hz: int) -> tuple[list[int], int]:
    """Return the first output sample of each piece, of these lengths, and the end of the last one.

    It is the sample nearest to the piece's begin, or the next one that no earlier piece takes.
    """
    places: list[int] = []
    end = 0
    for piece, length in zip(pieces, lengths, strict=True):
        places.append(max(end, round(piece.onset_s * rate_hz)))
        end = places[-1] + length
    return places, end


def gaps_between(places: Sequence[int], lengths: Sequence[int], n_samples: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of output samples that no piece takes, as [start, stop)."""
    end = 0
    for place, length in zip([*places, n_samples], [*lengths, 0], strict=True):
        if place > end:
            yield end, place
        end = place + length
