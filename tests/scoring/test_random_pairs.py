"""Every scorer against a plain count in exact fractions, on random pairs: events under a second, gaps at the limits.

Edges are eighths of a second, which floats hold exactly, so that the limits (90 s, 30 s, a quarter) are met to the
digit and ties of rounding occur: no difference can be blamed on the last bit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from brainbrr.errors import UsageError
from brainbrr.scoring import nedc, szcore
from brainbrr.scoring.bootstrap import Counts
from brainbrr.scoring.events import Events, SzcoreRule

Span = tuple[Fraction, Fraction]
N_PAIRS = 2000
_GAPS = (1, 4, 239, 240, 241, 479, 480, 481, 719, 720, 721, 728)
"""Eighths of a second: around nothing, 30, 60 and 90 s."""


@dataclass(frozen=True)
class Pair:
    duration: Fraction
    reference: list[Span]
    hypothesis: list[Span]

    def floats(self) -> tuple[Events, Events]:
        one, two = ([(float(a), float(b)) for a, b in side] for side in (self.reference, self.hypothesis))
        return one, two


def pairs() -> Iterator[Pair]:
    """Give random pairs; half of the hypothesis's edges are near the reference's."""
    draw = random.Random(16)
    for _ in range(N_PAIRS):
        n_eighths = draw.randrange(80, 6_000)
        reference = events(draw, n_eighths, ())
        edges = [int(edge * 8) for span in reference for edge in span]
        yield Pair(Fraction(n_eighths, 8), reference, events(draw, n_eighths, edges))


def events(draw: random.Random, n_eighths: int, near: Sequence[int]) -> list[Span]:
    found: list[Span] = []
    place = 0
    while len(found) < 8:
        start = place + draw.choice((*_GAPS, draw.randrange(1, 3000)))
        if near and draw.random() < 0.5:
            start = max(draw.choice(near) + draw.choice((-1, 1)) * draw.choice((0, *_GAPS)), place + 1)
        stop = start + draw.choice((1, 3, 7, 8, 9, 40, 400, 2399, 2400, 2401, draw.randrange(1, 6000)))
        if stop > n_eighths:
            break
        found.append((Fraction(start, 8), Fraction(stop, 8)))
        place = stop
    return found


def ticks(span: Span, hz: int) -> slice:
    """Return the samples of a span, its edges rounded to even."""
    return slice(round(span[0] * hz), round(span[1] * hz))


def plain_events(reference: list[Span], hypothesis: list[Span], n_tenths: int, rule: SzcoreRule) -> tuple[int, ...]:
    """Return hits, false alarms and reference events as timescoring defines them."""
    truth, said = (split(merged(side, rule), rule) for side in (reference, hypothesis))
    detected, excused = np.zeros(n_tenths, dtype=bool), np.zeros(n_tenths, dtype=bool)
    for span in said:
        detected[ticks(span, 10)] = True
    hits = 0
    for start, stop in truth:
        first = max(start - Fraction(rule.tolerance_start_s), Fraction(0))
        last = min(stop + Fraction(rule.tolerance_end_s), Fraction(n_tenths, 10))
        around = ticks((first, last), 10)
        share = Fraction(int(detected[around].sum()), 10) / (last - first)
        if share > Fraction(rule.min_overlap) + Fraction(1, 1_000_000):
            hits += 1
            excused[around] = True
    false = sum(not excused[ticks(span, 10)].any() for span in said)
    return hits, false, len(truth)


def merged(side: list[Span], rule: SzcoreRule) -> list[Span]:
    found: list[Span] = []
    for span in side:
        if found and span[0] - found[-1][1] < rule.merge_gap_s:
            found[-1] = (found[-1][0], span[1])
        else:
            found.append(span)
    return found


def split(side: list[Span], rule: SzcoreRule) -> list[Span]:
    longest, found = Fraction(rule.max_event_s), []
    for start, stop in side:
        while stop - start > longest:
            found.append((start, start + longest))
            start += longest
        found.append((start, stop))
    return found


def in_whole_seconds(side: list[Span]) -> list[Span]:
    """Return the events of a mask at 1 Hz."""
    seconds = sorted({second for start, stop in side for second in range(int(start), int(stop))})
    found: list[Span] = []
    for second in seconds:
        if found and found[-1][1] == second:
            found[-1] = (found[-1][0], Fraction(second + 1))
        else:
            found.append((Fraction(second), Fraction(second + 1)))
    return found


def plain_taes(reference: list[Span], hypothesis: list[Span]) -> tuple[Fraction, Fraction]:
    """Return hits and false alarms: each event is used once; what an earlier one reaches is lost."""
    hits, false = Fraction(0), Fraction(0)
    unused, lost = list(hypothesis), set()
    for event in reference:
        mine = [each for each in unused if touch(event, each)]
        if event in lost or not mine:
            continue
        unused = [each for each in unused if each not in mine]
        length = event[1] - event[0]
        for start, stop in mine:
            hits += (min(event[1], stop) - max(event[0], start)) / length
            beside = max(event[0] - start, Fraction(0)) + max(stop - event[1], Fraction(0))
            false += min(beside / length, Fraction(1))
        if mine[0][1] > event[1]:
            lost |= {each for each in reference if each[0] > event[0] and touch(each, mine[0])}
    return hits, false + len(unused)


def touch(one: Span, other: Span) -> bool:
    return max(int(one[0]), int(other[0])) <= min(int(one[1]), int(other[1]))


def plain_epochs(pair: Pair) -> tuple[int, int, int]:
    counts = [0, 0, 0]
    middle = Fraction(1, 8)
    while middle <= pair.duration:
        truth, said = (any(a < middle <= b for a, b in side) for side in (pair.reference, pair.hypothesis))
        counts = [counts[0] + (truth and said), counts[1] + (said and not truth), counts[2] + truth]
        middle += Fraction(1, 4)
    return counts[0], counts[1], counts[2]


def of(counts: Counts) -> tuple[float, float, float]:
    return counts.hits, counts.false, counts.reference


RULES = (
    SzcoreRule(),
    SzcoreRule(tolerance_start_s=0, tolerance_end_s=0),
    SzcoreRule(min_overlap=0.25, merge_gap_s=30),
    SzcoreRule(max_event_s=60),
)


def test_szcores_counts_are_the_plain_ones_with_any_parameters() -> None:
    for nth, pair in enumerate(pairs()):
        rule = RULES[nth % len(RULES) if nth % 2 else 0]
        seconds = float(pair.duration)
        tenths = max(round(pair.duration * 10), 1)
        found = szcore.event_counts(*pair.floats(), duration_s=seconds, rule=rule)
        assert of(found) == plain_events(pair.reference, pair.hypothesis, tenths, rule), (nth, pair)
        whole = (in_whole_seconds(side) for side in (pair.reference, pair.hypothesis))
        found = szcore.platform_counts(*pair.floats(), duration_s=seconds, rule=rule)
        assert of(found) == plain_events(*whole, int(seconds) * 10, rule), (nth, pair)


def test_sample_counts_and_nedcs_are_the_plain_ones() -> None:
    for nth, pair in enumerate(pairs()):
        seconds = float(pair.duration)
        truth, said = (np.zeros(round(pair.duration), dtype=bool) for _ in range(2))
        for mask, side in ((truth, pair.reference), (said, pair.hypothesis)):
            for span in side:
                mask[ticks(span, 1)] = True
        expected = ((truth & said).sum(), (said & ~truth).sum(), truth.sum())
        assert of(szcore.sample_counts(*pair.floats(), duration_s=seconds)) == expected, (nth, pair)
        hits, false = (
            sum(any(a < d and c < b for c, d in other) for a, b in one)
            for one, other in ((pair.reference, pair.hypothesis), (pair.hypothesis, pair.reference))
        )
        expected = (hits, len(pair.hypothesis) - false, len(pair.reference))
        assert of(nedc.overlap(*pair.floats(), duration_s=seconds).seizure) == expected, (nth, pair)
        if nth % 10 == 0:
            assert of(nedc.epoch(*pair.floats(), duration_s=seconds).seizure) == plain_epochs(pair), (nth, pair)
        counts = nedc.taes(*pair.floats(), duration_s=seconds).seizure
        parts = plain_taes(pair.reference, pair.hypothesis)
        assert (counts.hits, counts.false) == pytest.approx([float(each) for each in parts]), (nth, pair)


def test_at_1_hz_an_event_within_a_second_is_none_and_neighbours_are_one() -> None:
    short, apart = [(10.25, 10.75)], [(0.0, 1.0), (91.0, 92.0)]
    assert of(szcore.event_counts(short, short, duration_s=100)) == (1, 0, 1)
    assert of(szcore.platform_counts(short, short, duration_s=100)) == (0, 0, 0)
    near = [(0.0, 1.0), (90.9, 92.0)]
    assert szcore.event_counts(near, near, duration_s=100).reference == 1, "89.9 s apart"
    assert szcore.platform_counts(near, near, duration_s=100).reference == 1
    assert szcore.event_counts(apart, apart, duration_s=100).reference == 2


@pytest.mark.parametrize("change", ["tolerance=3", "min_overlap=2", "max_event_s"])
def test_a_parameter_that_timescoring_does_not_have_is_refused(change: str) -> None:
    with pytest.raises(UsageError):
        szcore.rule_of([change])
    assert "0 s before" in szcore.scorer(szcore.rule_of(["tolerance_start_s=0"]))
