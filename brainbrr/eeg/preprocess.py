"""From an EDF file to the array that a recipe describes: revision 0, float64, one function.

Owns which channels are taken, what is refused, and the numbers. Knows nothing of stores, labels or windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.eeg.edf import EdfFile, EdfHeader, EdfSignal, read_header
from brainbrr.eeg.fir import MAX_RATIO_TERM, Band, Chain, effective_band
from brainbrr.eeg.montage import find_channels
from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import EdfError, MontageError, RecordingError

Int16 = np.ndarray[Any, np.dtype[np.int16]]

ABSENT = -32768
"""What an absent channel's row is filled with; every other sample is within ±32767."""

MAX_STEP_UV = 10
"""A digital step above this is no EEG: real ones are below 1 µV, broken re-exports above 1,000."""

_LARGEST = 32767
_RATE_HZ = (Fraction(125, 2), Fraction(65_536))  # below: its upper band edge, 0.48 of the rate, is under 30 Hz
_BLOCK = 1 << 16  # samples per product: 2^16 · 2^30 is far below 2^53, so float64 sums are exact


@dataclass(frozen=True)
class Preprocessed:
    """One recording as a recipe describes it.

    `samples` is int16 (channels, n): row i in steps of quantum_uv · 2^k[i] microvolts, at rate_hz, sample 0
    at the recording's start. An absent channel's row is −32768 throughout, its k 0.
    `statistics` and `facts` are JSON without floats.
    """

    samples: Int16
    channels: tuple[str, ...]
    absent: tuple[str, ...]
    k: tuple[int, ...]
    rate_hz: int
    quantum_uv: str
    statistics: dict[str, Any]
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Channel:
    """A channel of the recipe: the signals that name it (several must be copies), and what can be kept of it."""

    name: str
    indices: tuple[int, ...]
    signal: EdfSignal
    band: Band


def check(path: Path, recipe: Recipe, *, accept_truncated: bool = False) -> EdfHeader:
    """Return the header of a file that `preprocess` would take, as far as headers tell.

    Raises the same errors as `preprocess`. Only reading the samples can tell whether two signals that name
    one electrode are copies.
    """
    header = read_header(path, accept_truncated=accept_truncated)
    with _located(path):
        _select(header, recipe)
    return header


def preprocess(path: Path, recipe: Recipe, *, accept_truncated: bool = False) -> Preprocessed:
    """Return one EDF recording as the recipe describes it. Filters and their edges: see `fir.Chain`.

    The step of a channel is quantum_uv · 2^k with the smallest k that holds it without clipping.
    A channel whose samples are all equal becomes zeros and is named in facts["flat"].
    Raises EdfError for a file or a signal that cannot be trusted, MontageError for channels that are missing
    or ambiguous; both name the file.
    """
    with _located(path), EdfFile(path, accept_truncated=accept_truncated) as edf:
        channels, notes = _select(edf.header, recipe)
        n = -(-edf.header.duration_s * recipe.rate_hz // 1)
        samples = np.full((len(recipe.channels), int(n)), ABSENT, dtype=np.int16)
        k = [0] * len(recipe.channels)
        flat: list[str] = []
        at_limit: dict[str, int] = {}
        chains: dict[Fraction, Chain] = {}
        for channel in channels:
            row = recipe.channels.index(channel.name)
            digital = _digital(edf, channel, notes)
            if digital.min() == digital.max():
                flat.append(channel.name)
                samples[row] = 0
                continue
            if n_at_limit := _count_at_limit(digital, channel.signal):
                at_limit[channel.name] = n_at_limit
            rate = channel.signal.rate
            if rate not in chains:
                chains[rate] = Chain(rate, recipe.rate_hz, channel.band)
            signal_uv = chains[rate].apply(digital)
            signal_uv *= float(channel.signal.gain_uv)
            if channel.band.low_hz is None:
                signal_uv += float(channel.signal.offset_uv)
            k[row] = _quantise(signal_uv, float(recipe.quantum_uv), out=samples[row])
        header = edf.header
    present = [recipe.channels.index(channel.name) for channel in channels]
    return Preprocessed(
        samples=samples,
        channels=recipe.channels,
        absent=tuple(name for i, name in enumerate(recipe.channels) if i not in present),
        k=tuple(k),
        rate_hz=recipe.rate_hz,
        quantum_uv=recipe.quantum_uv,
        statistics=exact_statistics(samples, present),
        facts={
            "edf": {
                "rates": {c.name: str(c.signal.rate) for c in channels},
                "labels": {c.name: c.signal.label for c in channels},
                "gain_uv": {c.name: str(c.signal.gain_uv) for c in channels},
                "duration_s": _text(header.duration_s),
                "started": header.started,
                "n_records": header.n_records,
            },
            "band_hz": _bands(channels),
            "flat": flat,
            "clipped_samples": at_limit,
            "synthetic": header.synthetic,
            "notes": [*header.notes, *notes],
        },
    )


def exact_statistics(samples: Int16, present: Sequence[int]) -> dict[str, Any]:
    """Return the exact integer statistics of the rows that are present, each in its own lattice steps.

    {"n", "sums" [C], "products" [C(C+1)/2: Σ x_i·x_j for i ≤ j, row by row], "quartiles" [C] of the values at
    the nearest ranks of 25, 50 and 75 %}. Other rows have sums and products of 0 and None for quartiles.
    """
    n_rows, n = samples.shape
    rows = np.asarray(present, dtype=np.intp)
    sums = np.zeros(n_rows, dtype=np.int64)
    products = np.zeros((n_rows, n_rows), dtype=np.int64)
    for start in range(0, n, _BLOCK):
        block = samples[rows, start : start + _BLOCK].astype(np.float64)
        sums[rows] += block.sum(axis=1).astype(np.int64)
        products[np.ix_(rows, rows)] += (block @ block.T).astype(np.int64)
    return {
        "n": n,
        "sums": sums.tolist(),
        "products": products[np.triu_indices(n_rows)].tolist(),
        "quartiles": [_quartiles(row) if i in present else None for i, row in enumerate(samples)],
    }


def _quartiles(row: Int16) -> list[int]:
    at_most = np.cumsum(np.bincount(row.astype(np.int32) + 32768, minlength=65536))
    return [int(np.searchsorted(at_most, -(-quarter * len(row) // 4))) - 32768 for quarter in (1, 2, 3)]


@contextmanager
def _located(path: Path) -> Iterator[None]:
    """Name the file in errors of code that knows only its header."""
    try:
        yield
    except RecordingError as error:
        if error.where is None:
            raise type(error)(error.what, where=path, fix=error.fix) from None
        raise


def _select(header: EdfHeader, recipe: Recipe) -> tuple[list[_Channel], list[str]]:
    """Return the recipe's channels that are there, each one checked, and what is odd about them."""
    notes: list[str] = []
    channels: list[_Channel] = []
    for name, indices in find_channels([signal.label for signal in header.signals], recipe.channels).items():
        if indices:
            signals = [header.signals[i] for i in indices]
            if len({_layout(signal) for signal in signals}) > 1:
                raise _ambiguous(name, signals, "differ in rate or scale")
            channels.append(_Channel(name, tuple(indices), signals[0], _checked_band(signals[0], recipe)))
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


def _digital(edf: EdfFile, channel: _Channel, notes: list[str]) -> Int16:
    """Return a channel's samples. Raises MontageError when signals of one name are not copies of each other."""
    digital = edf.digital(channel.indices[0])
    for other in channel.indices[1:]:
        if not np.array_equal(digital, edf.digital(other)):
            raise _ambiguous(channel.name, [edf.header.signals[i] for i in channel.indices], "have different samples")
        notes.append(f"{edf.header.signals[other]} is a copy of {channel.signal}")
    return digital


def _ambiguous(name: str, signals: Sequence[EdfSignal], why: str) -> MontageError:
    return MontageError(
        f"{name} is ambiguous: {' and '.join(map(str, signals))} {why}",
        fix="relabel the one that is not meant, or leave the recording out with `brainbrr ingest --accept-refused`",
    )


def _count_at_limit(digital: Int16, signal: EdfSignal) -> int:
    return int(np.count_nonzero((digital <= signal.digital_min) | (digital >= signal.digital_max)))


def _quantise(signal_uv: np.ndarray[Any, np.dtype[np.float64]], quantum_uv: float, *, out: Int16) -> int:
    """Fill `out` with the signal in steps of quantum_uv · 2^k; return k, the smallest that holds it."""
    signal_uv /= quantum_uv
    peak = max(signal_uv.max(), -signal_uv.min())
    k = 0
    while np.rint(peak / 2**k) > _LARGEST:
        k += 1
    signal_uv /= 2**k
    out[:] = np.rint(signal_uv, out=signal_uv)
    return k


def _bands(channels: Sequence[_Channel]) -> Mapping[str, Any]:
    """Return the effective edges: one set, or one per channel where rates make them differ."""
    bands = {
        c.name: {"low": _text(c.band.low_hz), "high": _text(c.band.high_hz), "notch": _text(c.band.notch_hz)}
        for c in channels
    }
    first = next(iter(bands.values()))
    return first if all(band == first for band in bands.values()) else bands


def _text(number: Fraction | None) -> str | None:
    """Return a number as a decimal where that is exact, else as a fraction."""
    if number is None:
        return None
    decimal = Decimal(number.numerator) / Decimal(number.denominator)
    return f"{decimal.normalize():f}" if Fraction(decimal) == number else str(number)
