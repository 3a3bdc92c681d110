"""What is behind the means: each patient, each recording, seizures by type and by length, latencies, operating curves.

Knows counts and events; no models, stores or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np

from brainbrr.scoring import nedc
from brainbrr.scoring.bootstrap import Bootstrap, Counts, for_json, rates, wilson
from brainbrr.scoring.events import UNTYPED, EventRule, Scored
from brainbrr.scoring.metrics import Judged, Outcome, counts_of, outcomes_at

LENGTHS_S = (10.0, 30.0, 60.0, 300.0)
"""Borders between short and long seizures."""

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_CURVES = {"szcore": "event", "ovlp": "ovlp", "taes": "taes"}
"""What their counts are called in Judged."""


def recording_rows(outcomes: Sequence[Outcome], judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return a row for each recording: its events, and what each scorer counted."""
    return [
        {
            "recording": each.path,
            "patient": each.patient,
            "duration_s": each.duration_s,
            "seizures": [list(span) for span in each.reference],
            "events": [list(span) for span in each.hypothesis],
            "scores": counts.to_json(),
        }
        for each, counts in zip(outcomes, judged, strict=True)
    ]


def patient_rows(outcomes: Sequence[Outcome], judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return a row for each patient, in order of names: how much was recorded, and SzCORE's event scores."""
    rows = []
    for patient in sorted({each.patient for each in outcomes}):
        mine = [i for i, each in enumerate(outcomes) if each.patient == patient]
        counts = sum((judged[i].event for i in mine), Counts())
        flagged = sum(stop - start for i in mine for start, stop in outcomes[i].hypothesis)
        found = for_json(rates(counts.array()))
        rows.append(
            {
                "patient": patient,
                "recordings": len(mine),
                "hours": counts.seconds / 3600,
                "seizures": sum(len(outcomes[i].reference) for i in mine),
                "found": sum(sum(_found(outcomes[i])) for i in mine),
                "event_f1": found["f1"],
                "sensitivity": found["sensitivity"],
                "precision": found["precision"],
                "false_alarms_per_day": found["false_alarms_per_day"],
                "flagged_share": flagged / counts.seconds if counts.seconds else None,
            }
        )
    return rows


def by_seizure(outcomes: Sequence[Outcome]) -> dict[str, list[dict[str, Any]]]:
    """Return the sensitivity to seizures by `type` and by `length`: any overlap, with Wilson's interval."""
    types, lengths = [], []
    for each in outcomes:
        found = _found(each)
        named = each.types or (UNTYPED,) * len(each.reference)
        for (start, stop), hit, name in zip(each.reference, found, named, strict=True):
            types.append((name, hit, each.patient))
            lengths.append((int(np.searchsorted(LENGTHS_S, stop - start, "right")), hit, each.patient))
    edges = [0.0, *LENGTHS_S, np.inf]
    labels = [f"{low:g} to {high:g} s" if high < np.inf else f"from {low:g} s" for low, high in pairwise(edges)]
    return {"type": _groups(types, str), "length": _groups(lengths, lambda place: labels[place])}


def latency_spread(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return every latency in seconds, ascending, and its quantiles by their per cent."""
    delays = sorted(delay for each in judged for delay in each.latencies)
    quantiles = np.quantile(delays, _QUANTILES).tolist() if delays else [None] * len(_QUANTILES)
    return {"seconds": delays, "quantiles": dict(zip((f"{q:.0%}" for q in _QUANTILES), quantiles, strict=True))}


def operating_curves(recordings: Sequence[Scored], thresholds: Iterable[float], rule: EventRule) -> dict[str, Any]:
    """Return sensitivity and false alarms per 24 h of all recordings together at each threshold, for each scorer."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in _CURVES}
    for threshold in sorted(thresholds):
        outcomes = outcomes_at(recordings, threshold, rule)
        for name, scorer in _CURVES.items():
            counts = (counts_of(each, scorer, rule.szcore) for each in outcomes)
            at = for_json(rates(sum(counts, Counts()).array()))
            found[name].append(
                {"threshold": threshold} | {key: at[key] for key in ("sensitivity", "false_alarms_per_day")}
            )
    return found


def paired(ours: Mapping[str, float], theirs: Mapping[str, float], *, resamples: int, seed: int) -> dict[str, Any]:
    """Return how much better one detector is than another: the mean difference over the patients that both have.

    With its bootstrap interval (none below ten patients) and the two-sided sign test over patients that differ.
    """
    patients = sorted(ours.keys() & theirs.keys())
    differences = np.array([ours[each] - theirs[each] for each in patients])
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    n, fewer = better + worse, min(better, worse)
    p = min(1.0, 2 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n) if n else 1.0
    interval = None
    if patients:
        bootstrap = Bootstrap.of(len(patients), resamples=resamples, seed=seed)
        interval = bootstrap.of_means({"": differences})[""]
    mean = float(differences.mean()) if patients else None
    return {"patients": len(patients), "mean": mean, "interval": interval, "better": better, "worse": worse, "p": p}


def _found(outcome: Outcome) -> list[bool]:
    return [bool(hit) for hit in nedc.overlapped(outcome.reference, outcome.hypothesis)]


def _groups(rows: Sequence[tuple[Any, bool, str]], name_of: Callable[[Any], str]) -> list[dict[str, Any]]:
    found = []
    for key in sorted({row[0] for row in rows}):
        mine = [row for row in rows if row[0] == key]
        hits = sum(hit for _, hit, _ in mine)
        found.append(
            {
                "name": name_of(key),
                "seizures": len(mine),
                "patients": len({patient for *_, patient in mine}),
                "found": hits,
                "sensitivity": hits / len(mine),
                "wilson": wilson(hits, len(mine)),
            }
        )
    return found
