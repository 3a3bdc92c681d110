"""The samples of the channels that a recipe takes, read once over the file, a window of records at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import numpy as np

from brainbrr.eeg.channels import Channel, ambiguous
from brainbrr.eeg.edf import Int16
from brainbrr.eeg.edf_header import EdfHeader, EdfSignal

_READ_BYTES = 1 << 22


@dataclass
class Group:
    """Channels of one rate: `n` samples each, of which `samples` holds int16 (channels, any) from `first` on."""

    rate: Fraction
    channels: tuple[Channel, ...]
    per_record: int
    n: int
    first: int = 0
    samples: Int16 = field(default_factory=lambda: np.empty((0, 0), dtype=np.int16))


def groups_of(header: EdfHeader, channels: Sequence[Channel]) -> tuple[Group, ...]:
    """Return channels by their rate, in the order of the first of each."""
    by_rate: dict[Fraction, list[Channel]] = {}
    for channel in channels:
        by_rate.setdefault(channel.signal.rate, []).append(channel)
    return tuple(
        Group(
            rate,
            tuple(found),
            found[0].signal.samples_per_record,
            found[0].signal.samples_per_record * header.n_records,
        )
        for rate, found in by_rate.items()
    )


def copies_of(channels: Sequence[Channel]) -> list[str]:
    """Return a note for each signal that a window found to be a copy of another."""
    return [f"{other} is a copy of {channel.signal}" for channel in channels for other in channel.signals[1:]]


@dataclass
class Seen:
    """What a channel's digital samples were: the lowest, the highest, and how many lay at the header's limits."""

    lowest: int = 32767
    highest: int = -32768
    n_at_limit: int = 0

    def update(self, samples: Int16, signal: EdfSignal) -> None:
        """Take the next samples."""
        lowest, highest = int(samples.min()), int(samples.max())
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        for limit, touched in ((signal.digital_min, lowest), (signal.digital_max, highest)):
            beyond = np.less_equal if limit == signal.digital_min else np.greater_equal
            if beyond(touched, limit):
                self.n_at_limit += int(np.count_nonzero(beyond(samples, limit)))


def records_of(groups: Sequence[Group], spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the records, first and last, that hold a span of samples of each group."""
    per_record = [group.per_record for group in groups]
    return (
        min(first // n for (first, _), n in zip(spans, per_record, strict=True)),
        max(-(-last // n) for (_, last), n in zip(spans, per_record, strict=True)),
    )


class Records(Protocol):
    """What records are read from: a file, or a stream."""

    header: EdfHeader

    def records(self, first: int, last: int) -> Int16:
        """Return records first to last: int16 (last − first, header.record_samples), all signals side by side."""


Watch = Callable[[Group, Int16], None]
"""What is told of new samples: a group, and int16 (channels, any) of it."""


class Window:
    """The records of a file that are in memory. It moves forward: each record is read and watched once."""

    def __init__(self, edf: Records, groups: Sequence[Group], *, watch: Watch) -> None:
        self._edf, self._groups, self._watch = edf, groups, watch
        self._first = self._last = 0
        for group in groups:
            group.first, group.samples = 0, np.empty((len(group.channels), 0), dtype=np.int16)

    def move(self, first: int, last: int) -> None:
        """Hold records first to last, both at least as late as before. Raises EdfError, MontageError."""
        for group in self._groups:
            kept = group.samples[:, (first - self._first) * group.per_record :]
            samples = np.empty((len(group.channels), (last - first) * group.per_record), dtype=np.int16)
            samples[:, : kept.shape[1]] = kept
            group.first, group.samples = first * group.per_record, samples
        step = max(1, _READ_BYTES // (2 * self._edf.header.record_samples))
        for start in range(self._last, last, step):
            stop = min(start + step, last)
            records = self._edf.records(start, stop)
            for group in self._groups:
                at = slice((start - first) * group.per_record, (stop - first) * group.per_record)
                for row, channel in enumerate(group.channels):
                    group.samples[row, at].reshape(stop - start, -1)[...] = _of(records, channel.signal)
                    self._compare(records, channel)
                self._watch(group, group.samples[:, at])
        self._first, self._last = first, last

    @staticmethod
    def _compare(records: Int16, channel: Channel) -> None:
        for other in channel.signals[1:]:
            if not np.array_equal(_of(records, other), _of(records, channel.signal)):
                raise ambiguous(channel.name, channel.signals, "have different samples")


def _of(records: Int16, signal: EdfSignal) -> Int16:
    return records[:, signal.start : signal.start + signal.samples_per_record]
