"""Events in the formats of other tools: TUSZ's csv_bi and SzCORE's BIDS table. `eeg.corpus.annotations` reads both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from brainbrr.scoring.events import Events, Scored

_BIDS_COLUMNS = ("onset", "duration", "eventType", "confidence", "channels", "dateTime", "recordingDuration")


def csv_bi(recording: Scored, events: Events) -> str:
    """Return events as a TUSZ csv_bi file that covers the whole recording; confidence is the mean probability."""
    stem = "".join(
        letter if letter.isprintable() else "?" for letter in Path(recording.path).stem
    )  # no line of its own
    lines = [
        "# version = csv_v1.0.0",
        f"# bname = {stem}",
        f"# duration = {recording.duration_s:.4f} secs",
        "# montage_file = none: brainbrr's detector speaks of the whole head",
        "#",
        "channel,start_time,stop_time,label,confidence",
    ]
    for start, stop, seizure in _with_background(events, recording.duration_s):
        mean = mean_score(recording, start, stop)
        label, confidence = ("seiz", mean) if seizure else ("bckg", 1 - mean)
        lines.append(f"TERM,{start:.4f},{stop:.4f},{label},{confidence:.4f}")
    return "\n".join(lines) + "\n"


def bids_tsv(recording: Scored, events: Events) -> str:
    """Return events as SzCORE's table: one row a seizure, or one of background over a recording without any.

    dateTime is n/a: a store keeps no recording's date.
    """
    rows = [(start, stop, "sz") for start, stop in events] or [(0.0, recording.duration_s, "bckg")]
    lines = ["\t".join(_BIDS_COLUMNS)]
    for start, stop, label in rows:
        mean = mean_score(recording, start, stop)
        confidence = mean if label == "sz" else 1 - mean
        fields = (f"{start:.4f}", f"{stop - start:.4f}", label, f"{confidence:.4f}", "all", "n/a")
        lines.append("\t".join((*fields, f"{recording.duration_s:.4f}")))
    return "\n".join(lines) + "\n"


def mean_score(recording: Scored, start: float, stop: float) -> float:
    """Return the mean of a recording's probabilities over an event, in seconds."""
    first, last = round(start / recording.step_s), math.ceil(stop / recording.step_s - 1e-6)  # the last may be short
    part = recording.score[first:last]
    return float(part.mean()) if len(part) else 0.0


def _with_background(events: Events, duration_s: float) -> Iterator[tuple[float, float, bool]]:
    at = 0.0
    for start, stop in events:
        if start > at:
            yield at, start, False
        yield start, stop, True
        at = stop
    if at < duration_s:
        yield at, duration_s, False
