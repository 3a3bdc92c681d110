"""A signal as MNE's Raw. The only module that imports mne, and only when asked. Knows no store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from brainbrr.core.arrays import Float32
from brainbrr.errors import DependencyError

if TYPE_CHECKING:
    import mne


def to_raw(
    microvolts: Float32,
    *,
    channels: Sequence[str],
    rate_hz: int,
    events: Iterable[tuple[float, float, str]],
) -> mne.io.RawArray:
    """Return (channels, samples) in volts, with events (start_s, stop_s, label) as annotations.

    Rows that hold NaN are marked bad. Raises DependencyError without mne.
    """
    try:
        import mne
    except ImportError as error:
        raise DependencyError("to_mne() needs mne", fix="pip install 'brainbrr[mne]'") from error
    info = mne.create_info(list(channels), rate_hz, "eeg")
    info["bads"] = [name for name, row in zip(channels, microvolts, strict=True) if np.isnan(row).any()]
    raw = mne.io.RawArray(microvolts.astype(np.float64) * 1e-6, info, verbose="error")
    said = list(events)
    raw.set_annotations(
        mne.Annotations(
            onset=[start for start, _, _ in said],
            duration=[stop - start for start, stop, _ in said],
            description=[label for _, _, label in said],
        )
    )
    return raw
