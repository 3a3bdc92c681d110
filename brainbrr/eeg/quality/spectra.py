"""What a few seconds out of many say about channels: mains, kinship, the step they really have, what follows from what.

Stretches of 2 s, evenly spread by sample position: how samples arrive cannot matter, and a day costs as much as an
hour. Knows no files, no findings and no thresholds of findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from brainbrr.core.arrays import Complex128, Float64, Int16
from brainbrr.core.statistics import counts_of

SEGMENT_S = 2
N_SEGMENTS = 24
BAND_HZ = (1, 30)
LINES_HZ = (50, 60)

_AT_HZ = 1  # a line's bins: within 1 Hz, the main lobe of a Hann window over 2 s
_BESIDE_HZ = (2, 6)
_AT_ONCE = 3  # segments that stay in a processor's cache
_RIDGE = 1 / 64  # steps²: far below the 1/12 of rounding, and keeps the matrix of exact copies invertible


def segment_length(n_samples: int, rate: Fraction) -> int:
    """Return the samples of a segment: 2 s, or all that there is."""
    return min(n_samples, round(SEGMENT_S * rate))


def segment_starts(n_samples: int, length: int, n_segments: int) -> list[int]:
    """Return the first sample of each segment: evenly spread, ascending, without overlap."""
    return [(2 * i + 1) * n_samples // (2 * n_segments) - length // 2 for i in range(n_segments)]


class Spectra:
    """Spectra of channels at one rate. Their squared bins add up to the mean square of the signal in µV²."""

    def __init__(self, channels: Sequence[Int16], *, rate: Fraction, steps_uv: Sequence[float]) -> None:
        """`channels`: the segments of each, int16 (segments, samples), in steps of `steps_uv`."""
        length = channels[0].shape[1]
        window = np.hanning(length + 2)[1:-1]  # without the zeros at its ends
        window *= np.sqrt(2 / (length * np.square(window).sum()))
        self.hz: Float64 = np.arange(length // 2 + 1) * (float(rate) / length)
        n_kept = int(np.searchsorted(self.hz, max(LINES_HZ) + _BESIDE_HZ[1], side="right"))
        self.hz = self.hz[:n_kept]
        self.bins: Complex128 = np.empty((len(channels), len(channels[0]), n_kept), dtype=np.complex128)
        for bins, segments, step_uv in zip(self.bins, channels, steps_uv, strict=True):
            stretch = segments.astype(np.float64)
            stretch -= stretch.mean(axis=1, keepdims=True)
            stretch *= window * step_uv
            bins[:] = np.fft.rfft(stretch, axis=1)[:, :n_kept]

    def band(self) -> Complex128:
        """Return the bins of the EEG band, 1 to 30 Hz: (channels, segments, bins)."""
        return self._between(*BAND_HZ)

    def mains(self, line_hz: int) -> tuple[Float64, Float64] | None:
        """Return how much a line adds, in µV rms per channel and segment, and by how many dB it stands out.

        Standing out: the mean density within 1 Hz of the line over the median density 2 to 6 Hz beside it, on the
        louder side, both of the mean spectrum. None where the recording does not reach that far.
        """
        if line_hz + _AT_HZ > self.hz[-1]:
            return None
        at = power(self._between(line_hz - _AT_HZ, line_hz + _AT_HZ))
        sides = (
            self._between(line_hz - _BESIDE_HZ[1], line_hz - _BESIDE_HZ[0]),
            self._between(line_hz + _BESIDE_HZ[0], line_hz + _BESIDE_HZ[1]),
        )
        beside = [power(side).mean(axis=1) for side in sides if side.shape[2]]
        floor = np.max([np.median(each, axis=1) for each in beside], axis=0)
        tiny = np.finfo(np.float64).tiny
        ratio = np.maximum(at.mean(axis=(1, 2)), tiny) / np.maximum(floor, tiny)
        excess = at.sum(axis=2) - at.shape[2] * floor[:, np.newaxis]
        return np.sqrt(np.maximum(excess, 0)), 10 * np.log10(ratio)

    def _between(self, low_hz: float, high_hz: float) -> Complex128:
        first, last = np.searchsorted(self.hz, low_hz), np.searchsorted(self.hz, high_hz, side="right")
        return self.bins[:, :, first:last]


def power(bins: Complex128) -> Float64:
    """Return the mean square that each bin holds."""
    return np.square(bins.real) + np.square(bins.imag)


def kinship(bands: Complex128) -> tuple[Float64, Float64]:
    """Return each channel's largest absolute correlation with another one, and its µV rms: (channels, segments).

    A correlation is 0 where the channel or all others are silent.
    """
    by_segment = bands.transpose(1, 0, 2)
    products = np.real(by_segment @ by_segment.conj().transpose(0, 2, 1))
    rms_uv = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
    scale = rms_uv[:, :, np.newaxis] * rms_uv[:, np.newaxis, :]
    correlations = np.divide(np.abs(products), scale, out=np.zeros_like(products), where=scale > 0)
    each = range(correlations.shape[1])
    correlations[:, each, each] = 0
    return correlations.max(axis=2).T, rms_uv.T


def step_of(segments: Int16, limits: tuple[int, int]) -> int:
    """Return the step that a channel really moves in, in digital steps; 1 where nothing speaks for more.

    The distance between neighbouring values that occur, as it is at the 5th percentile: robust against a few values
    off the lattice, and against a lattice that was rounded to digital steps. Values at the limits are left out. Only
    where values repeat: samples that are all different say nothing.
    """
    lowest, counts = counts_of(segments.reshape(-1))
    first, last = (min(max(edge - lowest, 0), len(counts)) for edge in (limits[0] + 1, limits[1]))
    counts = counts[first:last]
    gaps = np.diff(np.flatnonzero(counts))
    if not len(gaps) or 2 * (len(gaps) + 1) > counts.sum():
        return 1
    return int(np.sort(gaps)[len(gaps) // 20])


def dependent(channels: Sequence[Int16], *, below: float, above: float) -> list[int]:
    """Return the channels that follow from the others, to within `below` steps rms; all at one rate.

    Found one at a time, the closest first, so that what remains is independent: the residual of channel i given the
    others is 1 / (C⁻¹)_ii. Channels that do not themselves reach `above` steps rms are not judged. An average
    reference over 19 rounded channels leaves 1.3 steps, and is not taken for an interpolation.
    """
    covariance = np.zeros((len(channels), len(channels)))
    n_segments, length = channels[0].shape
    for k in range(0, n_segments, _AT_ONCE):
        stretch = np.stack([segments[k : k + _AT_ONCE] for segments in channels]).astype(np.float64)
        stretch -= stretch.mean(axis=2, keepdims=True)
        rows = stretch.reshape(len(channels), -1)
        covariance += rows @ rows.T
    covariance /= n_segments * length
    left = [i for i in range(len(channels)) if covariance[i, i] >= above**2]
    found: list[int] = []
    while len(left) > 1 and n_segments * length >= 10 * len(left):
        inverse = np.linalg.inv(covariance[np.ix_(left, left)] + _RIDGE * np.eye(len(left)))
        residuals = 1 / np.diag(inverse)
        closest = len(left) - 1 - int(np.argmin(residuals[::-1]))  # the later of two equals
        if residuals[closest] >= below**2:
            break
        found.append(left.pop(closest))
    return sorted(found)
