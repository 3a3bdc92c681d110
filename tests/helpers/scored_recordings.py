"""What the tests of scores share: recordings made by hand, and NEDC's pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainbrr.eeg.corpus.annotations import read_annotations
from brainbrr.scoring.events import EventRule, Events, Scored
from brainbrr.scoring.metrics import Outcome

PLAIN = EventRule(closing_s=0, min_duration_s=0, merge_gap_s=0, resamples=200)
"""No rule but the threshold."""


def scored(score: list[float], seizures: Events, *, patient: str = "a", step_s: float = 1.0) -> Scored:
    values = np.array(score, dtype=np.float32)
    return Scored("x.edf", patient, values, step_s, len(values) * step_s, seizures)


def nedc_pairs(data: Path) -> list[Outcome]:
    """Return the pairs of NEDC's evaluation software, in its order."""
    folder = data / "scores" / "nedc_v6.0.0"
    pairs = []
    for file in sorted((folder / "ref").iterdir()):
        reference, hypothesis = (read_annotations({".csv_bi": folder / kind / file.name}) for kind in ("ref", "hyp"))
        assert reference.duration_us
        spans = [[(e.start_us / 1e6, e.stop_us / 1e6) for e in said.seizures] for said in (reference, hypothesis)]
        pairs.append(Outcome(file.name, file.name.partition("_")[0], reference.duration_us / 1e6, *spans))
    return pairs
