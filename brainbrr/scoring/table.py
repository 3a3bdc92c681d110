"""Scores as text: rows with scorer, name, value and interval, and the verdict. Formats; computes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainbrr.scoring.bootstrap import LEAST_PATIENTS

NO_VALUE = "–"
ENOUGH_SEIZURES = 30
"""Below this number of seizures a tuned threshold is said to be uncertain."""

PLATFORM = "SzCORE at 1 Hz, mean over patients"
"""The events as SzCORE's platform scores them."""

_STEPS = {
    "auroc": ("AUROC", "{:.3f}"),
    "auprc": ("AUPRC", "{:.3f}"),
    "seizure_share": ("share of time in seizure: AUPRC of chance", "{:.3f}"),
}
_SZCORE_EVENTS = {
    "event_f1": ("event F1", "{:.3f}"),
    "sensitivity": ("event sensitivity", "{:.3f}"),
    "precision": ("event precision", "{:.3f}"),
    "false_alarms_per_day": ("false alarms per 24 h", "{:.1f}"),
}
_SZCORE = {
    **_SZCORE_EVENTS,
    "sample_f1": ("sample F1", "{:.3f}"),
    "sample_sensitivity": ("sample sensitivity", "{:.3f}"),
    "sample_precision": ("sample precision", "{:.3f}"),
}
_NEDC = {
    "sensitivity": ("sensitivity", "{:.3f}"),
    "precision": ("precision", "{:.3f}"),
    "f1": ("F1", "{:.3f}"),
    "false_alarms_per_day": ("false alarms per 24 h", "{:.1f}"),
}
_EPOCH = {**_NEDC, "false_alarms_per_day": ("false alarms, s per 24 h", "{:.0f}")}
_TIME = {"flagged_share": ("share of time flagged", "{:.1%}"), "latency_s": ("median latency", "{:.1f} s")}


@dataclass(frozen=True)
class Row:
    """One score: a scorer's short name, the score's, and the texts of value and interval."""

    scorer: str
    name: str
    value: str
    interval: str


def score_rows(found: Mapping[str, Any]) -> list[Row]:
    """Return every score of `metrics`, or of `event_metrics` with its intervals, in the order to show them."""
    intervals = found["intervals"]
    groups = [
        ("every 0.25 s", _STEPS, found, intervals),
        ("SzCORE, mean over patients", _SZCORE, found, intervals),
        (PLATFORM, _SZCORE_EVENTS, found["platform"], intervals["platform"]),
        ("SzCORE, all together", _SZCORE, found["micro"], intervals["micro"]),
        *(
            (f"NEDC {name.upper()}", _EPOCH if name == "epoch" else _NEDC, each, intervals["nedc"][name])
            for name, each in found["nedc"].items()
        ),
        ("NEDC OVLP, threshold swept", *_swept(found, intervals)),
        ("time", _TIME, found, intervals),
    ]
    return [row for group in groups for row in _group(*group)]


def scorers(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (short name, scorer in full) of all that `score_rows` shows."""
    swept = found.get("rate_scorer")
    named = [
        ("every 0.25 s", found.get("step_scorer")),
        ("SzCORE, mean over patients", found["scorer"]),
        (PLATFORM, found["platform"]["scorer"]),
        ("SzCORE, all together", found["micro"]["scorer"]),
        *((f"NEDC {name.upper()}", each["scorer"]) for name, each in found["nedc"].items()),
        (
            "NEDC OVLP, threshold swept",
            swept and f"{swept}; each false alarm in {found['hours']:.3g} h adds {24 / found['hours']:.3g} per 24 h",
        ),
        ("latency", found["latency_scorer"]),
        ("intervals", found["intervals_by"]),
    ]
    return [(name, scorer) for name, scorer in named if scorer]


def verdict(found: Mapping[str, Any]) -> list[str]:
    """Return sentences: whether the detector beats the baseline, and how certain that is."""
    words = {
        True: "The detector beats the line-length baseline in {}.",
        False: "The detector does NOT beat the line-length baseline in {}.",
        None: "Detector and baseline cannot be compared in {}: it is not defined.",
    }
    titles = {"auroc": "AUROC", "auprc": "AUPRC", "event_f1": "event F1"}
    sentences = [words[beats].format(titles[name]) for name, beats in found["beats_baseline"].items()]
    unsure = [title for name, title in titles.items() if _overlap(found, name)]
    if unsure:
        sentences.append(f"Intervals overlap, so the difference may be chance, in: {', '.join(unsure)}.")
    if found["patients"] < LEAST_PATIENTS:
        sentences.append(
            f"Few seizures ({found['seizures']}) and patients ({found['patients']}): differences may be chance."
        )
    tuning = found.get("tuning")
    if tuning and tuning["seizures"] < ENOUGH_SEIZURES:
        sentences.append(
            f"The threshold was tuned on {tuning['seizures']} seizures of {tuning['patients']} patients: fewer than "
            f"{ENOUGH_SEIZURES}, so other patients would give another one."
        )
    if found.get("chose_weights"):
        sentences.append(f"{found['chose_weights']} of these patients chose the weights: the scores are too good.")
    return sentences


def _overlap(found: Mapping[str, Any], name: str) -> bool:
    ours, theirs = found["intervals"][name], found["baseline"]["intervals"][name]
    return bool(ours and theirs and ours[0] <= theirs[1] and theirs[0] <= ours[1])


def _swept(
    found: Mapping[str, Any], intervals: Mapping[str, Any]
) -> tuple[dict[str, tuple[str, str]], dict[str, Any], Mapping[str, Any]]:
    at = found.get("sensitivity_at", {})
    names = {rate: (f"sensitivity at {rate} false alarms per 24 h", "{:.3f}") for rate in at}
    return names, {rate: each["sensitivity"] for rate, each in at.items()}, intervals.get("sensitivity_at", {})


def _group(
    scorer: str, names: Mapping[str, tuple[str, str]], found: Mapping[str, Any], intervals: Mapping[str, Any]
) -> Iterator[Row]:
    for key, (name, form) in names.items():
        if key in found:
            value, interval = found[key], intervals.get(key)
            shown = NO_VALUE if value is None else form.format(value)
            yield Row(scorer, name, shown, _interval(key, form, interval, found.get("counts", {})))


def _interval(key: str, form: str, interval: Sequence[float] | None, counts: Mapping[str, Any]) -> str:
    """Return the text of an interval: that over patients where it is one, else Wilson's; with the counts behind it."""
    wilson = counts.get("wilson", {}).get(key)
    if wilson and interval and interval[0] == interval[1]:  # the same in every patient: resampling them shows nothing
        interval = None
    text = " to ".join(form.format(edge) for edge in interval or wilson or ())
    if not wilson:
        return text
    n = counts["reference"] if key == "sensitivity" else counts["hits"] + counts["false"]
    return f"{text} ({counts['hits']:g} of {n:g}{'' if interval else ', Wilson'})"
