"""SzCORE's scorers through timescoring: events at 10 Hz, events of masks at 1 Hz as its platform scores them, samples.

Knows events and seconds. The parameters are timescoring's; another value than its default is named in every score.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring

from brainbrr.core.models import parse
from brainbrr.errors import UsageError
from brainbrr.scoring.bootstrap import Counts
from brainbrr.scoring.events import Events, SzcoreRule

_VERSION = f"timescoring {version('timescoring')}"
_EVENT_HZ = 10
_MASK_HZ = 1
DEFAULT = SzcoreRule()


def rule_of(changes: Sequence[str]) -> SzcoreRule:
    """Return timescoring's parameters with some changed, "tolerance_start_s=0". Raises UsageError for another name."""
    pairs = (change.partition("=") for change in changes)
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    return parse(SzcoreRule, fields, where="--szcore", error=UsageError)


def scorer(rule: SzcoreRule = DEFAULT, *, mean: bool = True) -> str:
    """Return what the event scores at 10 Hz and the sample scores are."""
    over = "mean over patients" if mean else "counts of all recordings together"
    return f"SzCORE ({_VERSION}): {_rules(rule)}; samples at 1 Hz; {over}"


def platform_scorer(rule: SzcoreRule = DEFAULT) -> str:
    """Return what the event scores of masks are."""
    return f"SzCORE as its platform ({_VERSION}): events of masks at 1 Hz; {_rules(rule)}; mean over patients"


def _rules(rule: SzcoreRule) -> str:
    overlap = f"overlap above {rule.min_overlap:g}" if rule.min_overlap else "any overlap"
    return (
        f"{overlap}, {rule.tolerance_start_s:g} s before and {rule.tolerance_end_s:g} s after, "
        f"gaps under {rule.merge_gap_s:g} s merged, over {_length(rule.max_event_s)} split"
    )


def _length(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds:g} s"


def event_counts(reference: Events, hypothesis: Events, *, duration_s: float, rule: SzcoreRule = DEFAULT) -> Counts:
    """Return one recording's event counts by timescoring, whose times are exact to a tenth of a second."""
    truth, said = (_exact(events, _EVENT_HZ, duration_s) for events in (reference, hypothesis))
    return _events(truth, said, duration_s, rule)


def platform_counts(reference: Events, hypothesis: Events, *, duration_s: float, rule: SzcoreRule = DEFAULT) -> Counts:
    """Return one recording's event counts as SzCORE's platform has them: of masks at 1 Hz, whose edges are cut off.

    An event within one second is none, and events in neighbouring seconds are one (epilepsy2bids, `getMask`).
    """
    n = max(int(duration_s * _MASK_HZ), 1)
    masks = np.zeros((2, n), dtype=np.bool_)
    for mask, events in zip(masks, (reference, hypothesis), strict=True):
        for start, stop in events:
            mask[int(start * _MASK_HZ) : int(stop * _MASK_HZ)] = True
    return _events(Annotation(masks[0], _MASK_HZ), Annotation(masks[1], _MASK_HZ), duration_s, rule)


def sample_counts(reference: Events, hypothesis: Events, *, duration_s: float) -> Counts:
    """Return one recording's sample counts."""
    masks = (_exact(events, _MASK_HZ, duration_s) for events in (reference, hypothesis))
    sample = SampleScoring(*masks, fs=_MASK_HZ)
    return Counts(int(sample.tp), int(sample.fp), int(sample.refTrue), duration_s)


def _events(reference: Annotation, hypothesis: Annotation, duration_s: float, rule: SzcoreRule) -> Counts:
    parameters = EventScoring.Parameters(
        toleranceStart=rule.tolerance_start_s,
        toleranceEnd=rule.tolerance_end_s,
        minOverlap=rule.min_overlap,
        maxEventDuration=rule.max_event_s,
        minDurationBetweenEvents=rule.merge_gap_s,
    )
    event = EventScoring(reference, hypothesis, parameters)
    return Counts(int(event.tp), int(event.fp), int(event.refTrue), duration_s)


def _exact(events: Events, hz: int, duration_s: float) -> Annotation:
    # sorted, since timescoring merges neighbours in the order given and scores unsorted ones wrong
    return Annotation(sorted(events), hz, max(round(duration_s * hz), 1))
