"""Which signals of an EDF file a recipe takes, and which it refuses. Reads headers, no samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from brainbrr.eeg.band import MAX_RATIO_TERM, Band, effective_band
from brainbrr.eeg.edf_header import EdfHeader, EdfSignal
from brainbrr.eeg.montage import find_channels
from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import EdfError, MontageError

MAX_STEP_UV = 10
"""A digital step above this is no EEG: real ones are below 1 µV, broken re-exports above 1,000."""

_RATE_HZ = (Fraction(125, 2), Fraction(65_536))  # below: its upper band edge, 0.48 of the rate, is under 30 Hz


@dataclass(frozen=True)
class Channel:
    """A channel of the recipe: its row, the signals that name it (several must be copies), what can be kept of it."""

    name: str
    row: int
    signals: tuple[EdfSignal, ...]
    band: Band

    @property
    def signal(self) -> EdfSignal:
        """The first signal of that name, whose samples are taken."""
        return self.signals[0]


def select(header: EdfHeader, recipe: Recipe) -> tuple[list[Channel], list[str]]:
    """Return the recipe's channels that are there, each one checked, and what is odd about them.

    Raises EdfError for a signal that cannot be trusted, MontageError for channels that are missing or ambiguous.
    """
    notes: list[str] = []
    channels: list[Channel] = []
    for name, indices in find_channels([signal.label for signal in header.signals], recipe.channels).items():
        if indices:
            signals = [header.signals[i] for i in indices]
            if len(signals) > 1 and len({_layout(signal) for signal in signals}) > 1:
                raise ambiguous(name, signals, "differ in rate or scale")
            channels.append(
                Channel(name, recipe.channels.index(name), tuple(signals), _checked_band(signals[0], recipe))
            )
            if signals[0].unit.startswith("\xb0"):
                notes.append(f"{signals[0]}: the unit's byte B0 is read as µ")
    tiny = [channel for channel in channels if _range_uv(channel.signal) < 1]
    if tiny and len(tiny) == len(channels):
        raise EdfError(
            f"no channel has a physical range of even 1 µV ({tiny[0].signal}: {float(_range_uv(tiny[0].signal)):g} µV)",
            fix="correct the unit in the EDF's header",
        )
    notes += [f"{channel.signal}: its physical range is below 1 µV" for channel in tiny]
    return channels, notes


def _layout(signal: EdfSignal) -> tuple[object, ...]:
    return signal.gain_uv, signal.offset_uv, signal.samples_per_record


def _range_uv(signal: EdfSignal) -> Fraction:
    return abs(signal.gain_uv) * (signal.digital_max - signal.digital_min)


def _checked_band(signal: EdfSignal, recipe: Recipe) -> Band:
    """Return the band that is left of a signal. Raises EdfError for a step or a rate that no EEG has."""
    if abs(signal.gain_uv) > MAX_STEP_UV:
        raise EdfError(
            f"{signal}: one digital step is {float(abs(signal.gain_uv)):g} µV (fields: unit, physical and digital "
            f"minimum and maximum); above {MAX_STEP_UV} µV nothing is left of an EEG",
            fix="export it again with a range that fits the signal",
        )
    lowest_hz, highest_hz = _RATE_HZ
    if not lowest_hz <= signal.rate <= highest_hz:
        raise EdfError(
            f"{signal}: {float(signal.rate):g} Hz (fields: samples per record, record duration) is no EEG's rate; "
            f"{float(lowest_hz):g} to {float(highest_hz):g} Hz are"
        )
    if not recipe.exact:  # it lowers no edge for a low rate
        low_hz, high_hz = map(Fraction, recipe.bandpass_hz) if recipe.bandpass_hz else (None, None)
        return Band(low_hz, high_hz, None if recipe.notch_hz is None else Fraction(recipe.notch_hz))
    ratio = recipe.rate_hz / signal.rate
    if max(ratio.numerator, ratio.denominator) > MAX_RATIO_TERM:
        raise EdfError(
            f"{signal}: its rate of {signal.rate} Hz (fields: samples per record, record duration) has no usable "
            f"ratio to {recipe.rate_hz} Hz"
        )
    band = effective_band(signal.rate, recipe.rate_hz, bandpass_hz=recipe.bandpass_hz, notch_hz=recipe.notch_hz)
    if band.low_hz is not None and band.high_hz is not None and band.low_hz >= band.high_hz:
        raise EdfError(
            f"{signal}: at {float(signal.rate):g} Hz the band ends at {float(band.high_hz):g} Hz, "
            f"below the recipe's lower edge of {float(band.low_hz):g} Hz"
        )
    return band


def ambiguous(name: str, signals: Sequence[EdfSignal], why: str) -> MontageError:
    """Return the error for several signals that name one channel and are not copies of each other."""
    return MontageError(
        f"{name} is ambiguous: {' and '.join(map(str, signals))} {why}",
        fix="relabel the one that is not meant, or leave the file out with `brainbrr ingest ROOT --accept-refused`",
    )
