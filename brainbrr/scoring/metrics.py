"""Scores of events: SzCORE's through timescoring, NEDC's, latency, share of time flagged, intervals over patients.

Knows events and seconds; no models, stores or files, no torch. Every score names its scorer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from brainbrr.core.arrays import Float64
from brainbrr.scoring import nedc, szcore
from brainbrr.scoring.bootstrap import Bootstrap, Counts, by_patient, for_json, rates, wilson
from brainbrr.scoring.curves import curves
from brainbrr.scoring.events import EventRule, Events, Pool, Scored, SzcoreRule, known_of, without

LATENCY_SCORER = "median over the seizures that any event overlaps, from onset to the first event, 0 when it was there"


@dataclass(frozen=True)
class Outcome:
    """One recording's reference and hypothesis: sorted, disjoint events within `duration_s`, none in `unknown` time."""

    path: str
    patient: str
    duration_s: float
    reference: Events
    hypothesis: Events
    types: tuple[str, ...] = ()
    unknown: Events = field(default_factory=list)

    @property
    def known_s(self) -> float:
        """Seconds that count: hours, and what false alarms are counted over."""
        return known_of(self.duration_s, self.unknown)


@dataclass(frozen=True)
class Judged:
    """The counts of each scorer in one recording; `platform` are those of events at 1 Hz."""

    event: Counts
    platform: Counts
    sample: Counts
    ovlp: Counts
    epoch: Counts
    taes: Counts
    latencies: tuple[float, ...]

    @classmethod
    def of(cls, outcome: Outcome, rule: SzcoreRule = szcore.DEFAULT) -> Judged:
        """Score one recording."""
        counts = {name: counts_of(outcome, name, rule) for name in _COUNTS}
        return cls(**counts, latencies=latencies(outcome.reference, outcome.hypothesis))

    def to_json(self) -> dict[str, Any]:
        """Return hits, false alarms and reference events of each scorer."""
        counts = {
            "szcore_event": self.event,
            "szcore_platform": self.platform,
            "szcore_sample": self.sample,
            **{f"nedc_{name}": getattr(self, name) for name in _NEDC},
        }
        return {
            name: {"hits": each.hits, "false": each.false, "reference": each.reference} for name, each in counts.items()
        }


_NEDC = {"ovlp": nedc.OVLP, "epoch": nedc.EPOCH, "taes": nedc.TAES}
_COUNTS: dict[str, Callable[[Events, Events, float, SzcoreRule], Counts]] = {
    "event": lambda truth, said, seconds, rule: szcore.event_counts(truth, said, duration_s=seconds, rule=rule),
    "platform": lambda truth, said, seconds, rule: szcore.platform_counts(truth, said, duration_s=seconds, rule=rule),
    "sample": lambda truth, said, seconds, _: szcore.sample_counts(truth, said, duration_s=seconds),
    "ovlp": lambda truth, said, seconds, _: nedc.overlap(truth, said, duration_s=seconds).seizure,
    "epoch": lambda truth, said, seconds, _: nedc.epoch(truth, said, duration_s=seconds).seizure,
    "taes": lambda truth, said, seconds, _: nedc.taes(truth, said, duration_s=seconds).seizure,
}


def counts_of(outcome: Outcome, scorer: str, rule: SzcoreRule) -> Counts:
    """Return the counts of one scorer, a field of Judged, in one recording."""
    counts = _COUNTS[scorer](outcome.reference, outcome.hypothesis, outcome.duration_s, rule)
    return replace(counts, seconds=outcome.known_s)


def latencies(reference: Events, hypothesis: Events) -> tuple[float, ...]:
    """Return for each seizure that an event overlaps how many seconds after its onset the first of them began."""
    firsts = ([start for start, stop in hypothesis if start < end and onset < stop] for onset, end in reference)
    return tuple(max(min(found) - onset, 0.0) for found, (onset, _) in zip(firsts, reference, strict=True) if found)


def event_metrics(
    outcomes: Sequence[Outcome], bootstrap: Bootstrap, rule: SzcoreRule = szcore.DEFAULT
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return every score of events, and their intervals over patients, by the same names.

    As SzCORE: counts are added per patient, scores are means over the patients that have one. What no patient
    has (the sensitivity without any seizure) is None; `patients_scored` says how many have it. `platform`
    holds the event scores of masks at 1 Hz, `micro` the same scores from the counts of all recordings together, and
    `nedc` NEDC's, which are always such.
    """
    patients = [outcome.patient for outcome in outcomes]
    judged = [Judged.of(outcome, rule) for outcome in outcomes]

    def added(counts: Sequence[Counts]) -> Float64:
        return by_patient(patients, np.array([each.array() for each in counts]))

    event, sample = added([each.event for each in judged]), added([each.sample for each in judged])
    nedcs = {name: added([getattr(each, name) for each in judged]) for name in _NEDC}
    nedcs["epoch"][:, 3] /= nedc.EPOCH_S  # NEDC counts the false alarms of epochs in their seconds
    means = _named(rates(event), rates(sample))
    platform = _of_events(rates(added([each.platform for each in judged])))
    flagged = by_patient(patients, np.array([[_length(outcome.hypothesis), outcome.known_s] for outcome in outcomes]))
    seconds = float(flagged[:, 1].sum())
    share = float(flagged[:, 0].sum() / seconds)
    delays = [delay for each in judged for delay in each.latencies]
    found = {
        **for_json({name: _mean(values) for name, values in means.items()}),
        "flagged_share": share,
        "latency_s": float(np.median(delays)) if delays else None,
        "latency_scorer": LATENCY_SCORER,
        "hours": seconds / 3600,
        "hours_unknown": sum(_length(outcome.unknown) for outcome in outcomes) / 3600,
        "seizures": sum(len(outcome.reference) for outcome in outcomes),
        "recordings": len(outcomes),
        "patients": len(event),
        "patients_scored": {name: int((~np.isnan(values)).sum()) for name, values in means.items()},
        "scorer": szcore.scorer(rule),
        "platform": {
            **for_json({name: _mean(values) for name, values in platform.items()}),
            "scorer": szcore.platform_scorer(rule),
        },
        "micro": {
            **for_json(_named(rates(event.sum(0)), rates(sample.sum(0)))),
            "scorer": szcore.scorer(rule, mean=False),
            "counts": counted(event.sum(0), events=True),
        },
        "nedc": {
            name: {
                **for_json(rates(counts.sum(0))),
                "scorer": _NEDC[name],
                "counts": counted(counts.sum(0), events=name == "ovlp"),
            }
            for name, counts in nedcs.items()
        },
    }
    weighed = bootstrap.weights @ flagged
    intervals = {
        **bootstrap.of_means(means),
        "flagged_share": bootstrap.interval(share, weighed[:, 0] / weighed[:, 1]),
        "platform": bootstrap.of_means(platform),
        "micro": _named(bootstrap.of_sums(event), bootstrap.of_sums(sample)),
        "nedc": {name: bootstrap.of_sums(counts) for name, counts in nedcs.items()},
    }
    return found, intervals


def outcomes_at(recordings: Sequence[Scored], threshold: float, rule: EventRule) -> list[Outcome]:
    """Return the events of each recording at one threshold, beside its seizures."""
    spans, owner = Pool.of(recordings).events(threshold, rule)
    cuts = np.searchsorted(owner, np.arange(len(recordings) + 1))
    events = [[(a, b) for a, b in spans[cuts[i] : cuts[i + 1]].tolist()] for i in range(len(recordings))]
    return [
        Outcome(
            each.path,
            each.patient,
            each.duration_s,
            each.seizures,
            without(events[i], each.unknown),
            each.types,
            each.unknown,
        )
        for i, each in enumerate(recordings)
    ]


def metrics(recordings: Sequence[Scored], threshold: float, rule: EventRule, *, seed: int) -> dict[str, Any]:
    """Return every score of a set of series: of all thresholds, and of the events at one."""
    outcomes = outcomes_at(recordings, threshold, rule)
    n_patients = len({each.patient for each in recordings})
    bootstrap = Bootstrap.of(n_patients, resamples=rule.resamples, seed=seed)
    over_all, their_intervals = curves(recordings, rule, bootstrap)
    at_one, intervals = event_metrics(outcomes, bootstrap, rule.szcore)
    return {
        **over_all,
        **at_one,
        "threshold": threshold,
        "intervals": {**their_intervals, **intervals},
        "intervals_by": bootstrap.name,
    }


def counted(counts: Float64, *, events: bool) -> dict[str, Any]:
    """Return counts (4,); of whole events also Wilson's intervals, which take events for independent."""
    hits, false, reference, _ = counts.tolist()
    found = {"hits": hits, "false": false, "reference": reference}
    if not events:
        return found
    return {**found, "wilson": {"sensitivity": wilson(hits, reference), "precision": wilson(hits, hits + false)}}


def _named(event: dict[str, Any], sample: dict[str, Any]) -> dict[str, Any]:
    return {
        **_of_events(event),
        "sample_f1": sample["f1"],
        "sample_sensitivity": sample["sensitivity"],
        "sample_precision": sample["precision"],
    }


def _of_events(event: dict[str, Any]) -> dict[str, Any]:
    return {"event_f1": event["f1"], **{name: event[name] for name in event if name != "f1"}}


def _mean(values: Float64) -> Float64:
    there = values[~np.isnan(values)]
    return np.asarray(there.mean() if len(there) else np.nan)


def _length(events: Events) -> float:
    return sum(stop - start for start, stop in events)
