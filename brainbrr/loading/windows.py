"""Windows: length, stride, tail, normalisation, label rule, space. Chosen when reading, never stored.

Knows counts of samples, not files, stores or corpora.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
from pydantic import BaseModel, field_validator, model_validator

from brainbrr.core.arrays import Int64
from brainbrr.core.digest import Number, decimal_text
from brainbrr.core.models import Model
from brainbrr.eeg.signal.montage import PAIRS
from brainbrr.errors import ConfigError

UNKNOWN = 255
"""The label of a sample without labels: never background."""

BACKGROUND, PARTIAL, FULL, UNLABELLED = range(4)
"""Classes of a window."""


class WindowFields(TypedDict, total=False):
    """The fields of a `WindowSpec` that are given by name."""

    stride_s: Number
    tail: Literal["drop", "pad", "shift"]
    normalise: Literal["none", "fixed", "zscore", "robust"]
    scale_uv: Number | None
    clip: Number | None
    full_fraction: Number
    channels: Sequence[str] | str | None
    reference: Literal["recorded", "average", "bipolar"]
    missing: Literal["interpolate", "nan", "zero"]


class WindowSpec(Model):
    """How a view cuts, scales and arranges recordings. All of it is part of the view's digest, none of it is stored.

    Numbers are exact: a float is read by its shortest text, and kept as a decimal text. A recording shorter than a
    window is one padded window, whatever `tail` says.

    Parameters
    ----------
    length_s : float, str or Decimal
        Length of a window in seconds, a whole number of samples.
    stride_s : float, str or Decimal
        From the start of one window to the start of the next, in seconds.
    tail : {"drop", "pad", "shift"}
        What happens to the end of a recording: it is dropped, or the last window is padded (marked invalid), or
        shifted back.
    normalise : {"zscore", "robust", "fixed", "none"}
        "none" gives µV, "fixed" divides by `scale_uv`. "zscore" and "robust" use the exact statistics of the complete
        recording and channel.
    scale_uv : float, str or Decimal, optional
        For "fixed": the divisor in µV.
    clip : float, str or Decimal, optional
        The largest absolute value, in the units of the result.
    full_fraction : float, str or Decimal
        The share of a window's labelled time that makes it a full seizure, at most 1.
    channels : sequence of str, or {"tcp-22", "tcp-20", "tcp-18", "tcp-16"}, optional
        The rows, in this order, or a list of pairs by name, for the bipolar reference: TUSZ's TCP montage with ears
        (which the recipe `10-20-ears` records) and without; the longitudinal chains with and without the midline, the
        last as BIOT and CBraMod read them. Default: the recipe's.
    reference : {"recorded", "average", "bipolar"}
        "average" subtracts the mean of the recorded channels. "bipolar" gives pairs: the longitudinal ones, or those
        that `channels` names.
    missing : {"interpolate", "nan", "zero"}
        What an absent channel is.

    Raises
    ------
    ValidationError
        A field is not known, or a value is not allowed: NaN and infinity are not.

    Notes
    -----
    "robust" is (x - median) / (IQR / 1.349), where 1.349 is the interquartile range of the standard normal
    distribution; for a channel that varies though its interquartile range is 0, such as one that is flat half of the
    time, the standard deviation is used. The average reference, and the interpolation of absent channels by spherical
    splines, are those of `brainbrr.eeg.signal.montage`.

    Examples
    --------
    >>> brainbrr.WindowSpec(2, stride_s=0.1).stride_s
    '0.1'
    >>> brainbrr.WindowSpec(2, stride_s=0.5).samples("stride_s", rate_hz=256)
    128
    """

    length_s: str = "60"
    stride_s: str = "10"
    tail: Literal["drop", "pad", "shift"] = "drop"
    normalise: Literal["none", "fixed", "zscore", "robust"] = "zscore"
    scale_uv: str | None = None
    clip: str | None = None
    full_fraction: str = "1"
    channels: tuple[str, ...] | None = None
    reference: Literal["recorded", "average", "bipolar"] = "recorded"
    missing: Literal["interpolate", "nan", "zero"] = "interpolate"

    def __init__(self, length_s: Number = "60", **fields: Unpack[WindowFields]) -> None:
        BaseModel.__init__(self, length_s=length_s, **fields)

    @field_validator("length_s", "stride_s", "scale_uv", "clip", "full_fraction", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return value if value is None else decimal_text(value)

    @field_validator("channels", mode="before")
    @classmethod
    def _tuple(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in PAIRS:
                raise ValueError(f"{value!r} is no list of pairs: {', '.join(PAIRS)}")
            return PAIRS[value]
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _plausible(self) -> WindowSpec:
        for name in ("length_s", "stride_s", "scale_uv", "clip", "full_fraction"):
            value = getattr(self, name)
            if value is not None and not Decimal(value) > 0:
                raise ValueError(f"{name} = {value}: above 0")
        if Decimal(self.full_fraction) > 1:
            raise ValueError("full_fraction: at most 1")
        if (self.normalise == "fixed") != (self.scale_uv is not None):
            raise ValueError('scale_uv goes with normalise = "fixed", and only with it')
        return self

    def samples(self, name: Literal["length_s", "stride_s"], rate_hz: int) -> int:
        """Return the length or the stride in samples.

        Parameters
        ----------
        name : {"length_s", "stride_s"}
            Which of them.
        rate_hz : int
            Samples per second.

        Returns
        -------
        int
            Samples.

        Raises
        ------
        ConfigError
            It is not a whole number of samples.
        """
        count = Fraction(getattr(self, name)) * rate_hz
        if count.denominator != 1:
            raise ConfigError(f"{name} = {getattr(self, name)} is {float(count):g} samples at {rate_hz} Hz, not whole")
        return int(count)

    def identity(self) -> dict[str, Any]:
        """Return every field as canonical JSON takes it.

        Returns
        -------
        dict
            Numbers as decimal texts, tuples as lists.
        """
        fields = self.model_dump()
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


@dataclass(frozen=True)
class Grid:
    """Where windows are in recordings, in samples. Works on many recordings at once.

    Every recording has a window: one that is shorter than a window is one padded window at 0.
    """

    length: int
    stride: int
    tail: str

    def whole(self, n_samples: Int64) -> Int64:
        """Return how many windows begin at a multiple of the stride, before any for the tail: int64."""
        return np.maximum((n_samples - self.length) // self.stride + 1, 1)

    def last(self, n_samples: Int64) -> Int64:
        """Return the first sample of the window that `tail` adds, -1 where it adds none: int64."""
        whole = self.whole(n_samples)
        start = n_samples - self.length if self.tail == "shift" else whole * self.stride
        covered = (whole - 1) * self.stride + self.length
        # with a stride longer than the window, the next one may begin past the end
        return np.where((covered < n_samples) & (start < n_samples) & (self.tail != "drop"), start, -1)

    def counts(self, n_samples: Int64) -> Int64:
        """Return the number of windows of each recording: int64, at least 1."""
        return self.whole(n_samples) + (self.last(n_samples) >= 0)

    def starts(self, n_samples: Int64, nth: Int64) -> Int64:
        """Return the first sample of the nth window of each recording: int64, ascending in nth."""
        return np.where(nth < self.whole(n_samples), nth * self.stride, self.last(n_samples))

    def starts_of(self, n_samples: int) -> Int64:
        """Return the first sample of every window of one recording: int64, ascending."""
        n = np.array([n_samples], dtype=np.int64)
        return self.starts(n, np.arange(self.counts(n)[0], dtype=np.int64))


def seizure_samples(events_us: Sequence[tuple[int, int]], *, rate_hz: int, n_samples: int) -> Int64:
    """Return events as half-open sample ranges (n, 2) inside the recording: sample i is at i / rate_hz seconds."""
    ranges = [(_ceil(start * rate_hz), min(_ceil(stop * rate_hz), n_samples)) for start, stop in events_us]
    return np.array([pair for pair in ranges if pair[0] < pair[1]], dtype=np.int64).reshape(-1, 2)


def _ceil(product_us: int) -> int:
    return -(-product_us // 1_000_000)


def outside(spans: Iterable[tuple[int, int]], holes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what is left of half-open spans outside of holes; holes are sorted and disjoint."""
    left = []
    for start, stop in spans:
        for hole_start, hole_stop in holes:
            if hole_start < stop and hole_stop > start:
                if start < hole_start:
                    left.append((start, hole_start))
                start = hole_stop
        if start < stop:
            left.append((start, stop))
    return left


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return half-open spans sorted, with those that overlap or touch as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return found


def touching(bounds: Int64, spans: Int64, recordings: Int64, starts: Int64, n: Int64) -> tuple[Int64, Int64, Int64]:
    """Return which windows spans touch, and from where to where inside them: one entry for each pair.

    The spans of recording i, in its samples, are those from bounds[i] to bounds[i + 1]; windows are `n` samples from
    `starts` on.
    """
    first, stop = bounds[recordings], bounds[recordings + 1]
    window = np.repeat(np.arange(len(recordings)), stop - first)
    onset, offset = (spans[ranges(first, stop)] - starts[window][:, None]).T
    onset, offset = np.maximum(onset, 0), np.minimum(offset, n[window])
    touches = onset < offset
    return window[touches], onset[touches], offset[touches]


def ranges(starts: Int64, stops: Int64) -> Int64:
    """Return all integers of half-open ranges, one range after the other: int64."""
    sizes = stops - starts
    shifts = np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes) if len(sizes) else starts
    return shifts + np.arange(len(shifts), dtype=np.int64)
