"""A signal as MNE's Raw. The only module that imports mne, and only when asked. Knows no store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from brainbrr.core.arrays import Float32
from brainbrr.eeg.signal.recipe import Recipe, effective_band
from brainbrr.errors import DependencyError
from brainbrr.store.records import Record

if TYPE_CHECKING:
    import mne

_ELECTRODES = "standard_1020"


@dataclass(frozen=True)
class Acquisition:
    """What MNE needs to know of a signal: rate, pass band (in Hz), notch, reference and recipe.

    `low_hz` is 0 where nothing was high-passed; `high_hz` is at most half of the rate.
    """

    rate_hz: int
    low_hz: float
    high_hz: float
    notch_hz: float | None
    reference: str
    recipe: str

    @classmethod
    def of(cls, record: Record, recipe: Recipe, *, reference: str) -> Acquisition:
        """Return it for a recording: the edges that its own rates left of the recipe's band.

        Where channels differ, the band is the one that all of them pass.
        """
        rates = [Fraction(recipe.rate_hz), *_rates(record.signal)]
        bands = [
            effective_band(rate, recipe.rate_hz, bandpass_hz=recipe.bandpass_hz, notch_hz=recipe.notch_hz)
            for rate in rates
        ]
        notches = {band.notch_hz for band in bands[1:] or bands}
        return cls(
            rate_hz=recipe.rate_hz,
            low_hz=float(max(band.low_hz or Fraction(0) for band in bands)),
            high_hz=float(min(band.high_hz or rate / 2 for band, rate in zip(bands, rates, strict=True))),
            notch_hz=float(notch) if len(notches) == 1 and (notch := notches.pop()) is not None else None,
            reference=reference,
            recipe=f"{recipe.name} {recipe.digest[:12]}",
        )

    def described(self) -> str:
        """Return one line for `info["description"]`."""
        notch = "no notch" if self.notch_hz is None else f"notch {self.notch_hz:g} Hz"
        band = f"pass band {self.low_hz:g} to {self.high_hz:g} Hz, {notch}"
        return f"brainbrr recipe {self.recipe}: {band}, {self.rate_hz} Hz, reference {self.reference}"


def to_raw(
    microvolts: Float32,
    made: Acquisition,
    *,
    channels: Sequence[str],
    events: Iterable[tuple[float, float, str]],
) -> mne.io.RawArray:
    """Return (channels, samples) in volts, with events (start_s, stop_s, label) as annotations.

    Rows that hold NaN are marked bad; electrodes are at their standard 10-20 positions, pairs of them at none.
    Raises DependencyError without mne.
    """
    try:
        import mne
    except ImportError as error:
        raise DependencyError("to_mne() needs mne", fix="pip install 'brainbrr[mne]'") from error
    info = mne.create_info(list(channels), made.rate_hz, "eeg")
    info["bads"] = [name for name, row in zip(channels, microvolts, strict=True) if np.isnan(row).any()]
    info["description"] = made.described()
    info["line_freq"] = made.notch_hz
    with info._unlock():  # create_info takes no filters, and the setters refuse them
        info["highpass"], info["lowpass"] = made.low_hz, made.high_hz
        if made.reference != "recorded":
            info["custom_ref_applied"] = mne.io.constants.FIFF.FIFFV_MNE_CUSTOM_REF_ON
    raw = mne.io.RawArray(microvolts.astype(np.float64) * 1e-6, info, verbose="error")
    raw.set_montage(_ELECTRODES, match_case=False, on_missing="ignore", verbose="error")
    intervals = list(events)
    raw.set_annotations(
        mne.Annotations(
            onset=[start for start, _, _ in intervals],
            duration=[stop - start for start, stop, _ in intervals],
            description=[label for _, _, label in intervals],
        )
    )
    return raw


def _rates(signal: Mapping[str, Any]) -> list[Fraction]:
    """Return the channels' own rates in Hz as a record states them; none where it does not."""
    rates: list[Fraction] = []
    with suppress(AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):  # a record from elsewhere
        rates = [Fraction(text) for text in signal["edf"]["rates"].values()]
    return [rate for rate in rates if rate > 0]
