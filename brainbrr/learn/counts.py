"""What a scorer counted, and the rates that follow. Knows no scorer, no events, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Counts:
    """True detections, false ones, what the reference holds (events, samples or epochs), seconds of recording.

    Fractions occur: TAES counts parts of events.
    """

    hits: float = 0
    false: float = 0
    reference: float = 0
    seconds: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def misses(self) -> float:
        """What of the reference was not found."""
        return self.reference - self.hits

    def array(self) -> Array:
        """Return the counts as `rates` takes them, (4,)."""
        return np.array(astuple(self), dtype=np.float64)


def rates(counts: Array) -> dict[str, Array]:
    """Return sensitivity, precision, F1 and false alarms per 24 h of recording, each (...), of counts (..., 4).

    NaN where there is nothing to divide by: no sensitivity without a reference, no precision when nothing was said,
    no F1 without a reference and a false alarm.
    """
    hits, false, reference, seconds = np.moveaxis(counts, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "sensitivity": np.where(reference > 0, hits / reference, np.nan),
            "precision": np.where(hits + false > 0, hits / (hits + false), np.nan),
            "f1": np.where(reference + false > 0, 2 * hits / (reference + hits + false), np.nan),
            "false_alarms_per_day": np.where(seconds > 0, false / seconds * 86_400, np.nan),
        }


def told(values: Mapping[str, Array]) -> dict[str, float | None]:
    """Return rates as JSON has them: None, not NaN."""
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}
