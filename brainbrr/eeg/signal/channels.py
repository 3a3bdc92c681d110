"""Which signals of an EDF file a recipe takes, and which it refuses. Reads headers, no samples.

The samples of the channels that a recipe takes, read once over the file, a window of records at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol

import numpy as np

from brainbrr.core.arrays import Int16
from brainbrr.eeg.edf.header import EdfHeader, EdfSignal
from brainbrr.eeg.signal.montage import find_channels, need_half
from brainbrr.eeg.signal.recipe import MAX_RATIO_TERM, Band, Recipe, effective_band
from brainbrr.errors import EdfError, Fix, MontageError

_READ_BYTES = 1 << 22

MAX_STEP_UV = 10
"""A digital step above this is no EEG: real ones are below 1 µV, broken re-exports above 1,000."""

_RATE_HZ = (Fraction(50), Fraction(65_536))  # below: its upper band edge, 0.48 of the rate, is under 24 Hz


@dataclass(frozen=True)
class Channel:
    """A channel of the recipe: its row, the signals that name it (several must be copies), what can be kept of it.

    `rate` (Hz) is what the samples are taken to have: the header's, or the nearest one that can be resampled.
    """

    name: str
    row: int
    signals: tuple[EdfSignal, ...]
    rate: Fraction
    band: Band

    @property
    def signal(self) -> EdfSignal:
        """The first signal of that name, whose samples are taken."""
        return self.signals[0]


def select(header: EdfHeader, recipe: Recipe, *, accept_contacts: bool = False) -> tuple[list[Channel], list[str]]:
    """Return the recipe's channels that are there, each one checked, and what is odd about them.

    Raises EdfError for a signal that cannot be trusted, MontageError for channels that are missing or ambiguous, and,
    unless `accept_contacts`, for contacts of depth or grid electrodes.
    """
    notes: list[str] = []
    channels: list[Channel] = []
    labels = [signal.label for signal in header.signals]
    aliases = dict(recipe.aliases)
    places = find_channels(labels, recipe.channels, aliases=aliases, accept_contacts=accept_contacts)
    named = {name: [header.signals[i] for i in found] for name, found in places.items()}
    if recipe.unit is not None:
        replaced = {each.unit or "empty one" for signals in named.values() for each in signals} - {recipe.unit}
        if replaced:
            notes.append(f"the recipe's unit {recipe.unit} is taken, not the header's {', '.join(sorted(replaced))}")
        named = {name: [replace(each, unit=recipe.unit) for each in signals] for name, signals in named.items()}
    duration_s = _resampleable(header, [signals[0] for signals in named.values() if signals], recipe, notes)
    for name, signals in named.items():
        if len({_layout(signal) for signal in signals}) > 1:
            notes.append(f"{name} is absent: {' and '.join(map(str, signals))} differ in rate or scale")
        elif signals:
            rate = signals[0].samples_per_record / duration_s
            band = _checked_band(signals[0], rate, recipe)
            channels.append(Channel(name, recipe.channels.index(name), tuple(signals), rate, band))
            if signals[0].unit.startswith("\xb0"):
                notes.append(f"{signals[0]}: the unit's byte B0 is read as µ")
    there = {channel.name for channel in channels}
    need_half([name for name in recipe.channels if name not in there], recipe.channels, labels)
    tiny = [channel for channel in channels if _range_uv(channel.signal) < 1]
    if tiny and len(tiny) == len(channels):
        raise EdfError(
            f"no channel has a physical range of even 1 µV ({tiny[0].signal}: {float(_range_uv(tiny[0].signal)):g} µV)",
            fix="correct the unit in the EDF's header",
        )
    notes += [f"{channel.signal}: its physical range is below 1 µV" for channel in tiny]
    return channels, notes


def _resampleable(header: EdfHeader, signals: Sequence[EdfSignal], recipe: Recipe, notes: list[str]) -> Fraction:
    """Return the record duration (s) nearest to the header's whose rates can be resampled: the header's, mostly.

    A header writes a duration in 8 characters, which rounds a rate of 999.412 Hz. Within that rounding the simplest
    ratio is taken, and its deviation noted.
    """
    duration_s = header.record_duration_s
    common = math.gcd(*(signal.samples_per_record for signal in signals))
    if not recipe.exact or not common or _terms(recipe.rate_hz * duration_s / common) <= MAX_RATIO_TERM:
        return duration_s
    per_s = Fraction(recipe.rate_hz, common)
    half_s = header.record_rounding_s
    simplest = _simplest(per_s * (duration_s - half_s), per_s * (duration_s + half_s))
    if _terms(simplest) <= MAX_RATIO_TERM:
        taken_s = simplest / per_s
        ppm = float((duration_s / taken_s - 1) * 1_000_000)
        notes.append(
            f"the record duration of {float(duration_s):g} s is rounded: rates are taken {ppm:+.3f} ppm off, "
            "as the nearest that can be resampled"
        )
        return taken_s
    return duration_s


def _terms(ratio: Fraction) -> int:
    return max(ratio.numerator, ratio.denominator)


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction of the smallest terms in [low, high], 0 < low <= high (Stern and Brocot)."""
    whole = low.numerator // low.denominator
    if whole == low or whole + 1 <= high:
        return Fraction(whole if whole == low else whole + 1)
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))


def _layout(signal: EdfSignal) -> tuple[object, ...]:
    return signal.gain_uv, signal.offset_uv, signal.samples_per_record


def _range_uv(signal: EdfSignal) -> Fraction:
    return abs(signal.gain_uv) * (signal.digital_max - signal.digital_min)


def _checked_band(signal: EdfSignal, rate: Fraction, recipe: Recipe) -> Band:
    """Return the band that is left of a signal. Raises EdfError for a step or a rate that no EEG has."""
    if abs(signal.gain_uv) > MAX_STEP_UV:
        raise EdfError(
            f"{signal}: one digital step is {float(abs(signal.gain_uv)):g} µV (fields: unit, physical and digital "
            f"minimum and maximum); above {MAX_STEP_UV} µV nothing is left of an EEG",
            fix="export it again with a range that fits the signal",
        )
    lowest_hz, highest_hz = _RATE_HZ
    if not lowest_hz <= rate <= highest_hz:
        raise EdfError(
            f"{signal}: {float(rate):g} Hz (fields: samples per record, record duration) is no EEG's rate; "
            f"{float(lowest_hz):g} to {float(highest_hz):g} Hz are",
            fix="correct the EDF's header, or leave the file out",
        )
    if not recipe.exact:  # it lowers no edge for a low rate
        low_hz, high_hz = map(Fraction, recipe.bandpass_hz) if recipe.bandpass_hz else (None, None)
        return Band(low_hz, high_hz, None if recipe.notch_hz is None else Fraction(recipe.notch_hz))
    ratio = recipe.rate_hz / rate
    if _terms(ratio) > MAX_RATIO_TERM:
        raise EdfError(
            f"{signal}: its rate of {signal.rate} Hz (fields: samples per record, record duration) has no usable "
            f"ratio to {recipe.rate_hz} Hz within what the header's digits leave open",
            fix="correct the record duration in the EDF's header, or leave the file out",
        )
    band = effective_band(rate, recipe.rate_hz, bandpass_hz=recipe.bandpass_hz, notch_hz=recipe.notch_hz)
    if band.low_hz is not None and band.high_hz is not None and band.low_hz >= band.high_hz:
        raise EdfError(
            f"{signal}: at {float(rate):g} Hz the band ends at {float(band.high_hz):g} Hz, "
            f"below the recipe's lower edge of {float(band.low_hz):g} Hz"
        )
    return band


def agreeing(edf: Records, channels: Sequence[Channel]) -> tuple[list[Channel], list[str]]:
    """Return the channels whose signals are copies of each other, and a note for each one that is left out.

    Reads the file once where a channel is named by several signals.
    """
    several = [channel for channel in channels if len(channel.signals) > 1]
    differing: dict[str, Channel] = {}
    step = max(1, _READ_BYTES // (2 * edf.header.record_samples))
    for start in range(0, edf.header.n_records if several else 0, step):
        records = edf.records(start, min(start + step, edf.header.n_records))
        for channel in several:
            first, *others = (_of(records, signal) for signal in channel.signals)
            if not all(np.array_equal(first, other) for other in others):
                differing[channel.name] = channel
    notes = [
        f"{name} is absent: {' and '.join(map(str, channel.signals))} have different samples"
        for name, channel in differing.items()
    ]
    return [channel for channel in channels if channel.name not in differing], notes


def ambiguous(name: str, signals: Sequence[EdfSignal], why: str) -> MontageError:
    """Return the error for several signals that name one channel and are not copies of each other."""
    return MontageError(
        f"{name} is ambiguous: {' and '.join(map(str, signals))} {why}",
        fix=Fix(
            "rename the channel that is not meant, or leave the file out with ",
            ("ingest", "ROOT", "--accept", "refused"),
        ),
    )


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
        by_rate.setdefault(channel.rate, []).append(channel)
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
"""What an observer gets of new samples: a group, and int16 (channels, any) of it."""


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
