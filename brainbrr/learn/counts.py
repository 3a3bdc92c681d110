"""What a scorer counted, and the rates that follow. Knows no scorer, no events, no files."""

from __future__ import annotations

from dataclasses import dataclass

Events = list[tuple[float, float]]
"""Seizures of one recording as (start, stop) in seconds: sorted, disjoint."""


@dataclass(frozen=True)
class Counts:
    """True detections, false ones, the reference's number of events (or samples, or epochs), seconds of recording.

    Fractions occur: TAES counts parts of events.
    """

    hits: float = 0
    false: float = 0
    reference: float = 0
    seconds: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.false + other.false,
            self.reference + other.reference,
            self.seconds + other.seconds,
        )

    @property
    def misses(self) -> float:
        """What of the reference was not found."""
        return self.reference - self.hits

    @property
    def sensitivity(self) -> float | None:
        """Share of the reference that was found; None without any."""
        return self.hits / self.reference if self.reference else None

    @property
    def precision(self) -> float | None:
        """Share of what was said that was true; None when nothing was."""
        return self.hits / (self.hits + self.false) if self.hits + self.false else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; None when there is neither a reference nor a false detection."""
        total = self.reference + self.hits + self.false
        return 2 * self.hits / total if self.reference + self.false else None

    @property
    def false_per_day(self) -> float | None:
        """False detections per 24 h of recording."""
        return self.false / self.seconds * 86_400 if self.seconds else None
