"""What the annotation channel of EDF+ says of time: when each record begins, and annotations with their length.

From timestamps to runs of records without a gap between them. Follows Kemp & Olivan 2003 (EDF+ 2.2.4). Opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import groupby, pairwise
from typing import NamedTuple

from brainbrr.eeg.edf.header import EdfHeader, Run
from brainbrr.errors import EdfError

LONGEST_GAP_S = 3600
"""A longer gap is refused: what is on either side of it are recordings of their own."""

_LONGEST_GAPS_S = 24 * 3600  # all of a file's together: they take space, and a few stamps can ask for any amount
_MOST_EARLY_S = 1  # by this much labels may be off as well
_ROUNDED = Fraction(1, 200)  # how far the record duration in a header may be from what steady timestamps say
_ONSET = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15[\d.]*)?\x14")  # the time-keeping TAL of a record
_ANNOTATION = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14([^\0]*)")
_SPLIT = "split it at its gaps into EDF+C files"


class Note(NamedTuple):
    """One annotation of a file: seconds on the file's clock, its length (0 where it has none), its text."""

    onset_s: Fraction
    duration_s: Fraction
    text: str


def onset_of(data: bytes) -> Fraction | None:
    """Return the time that a record's annotation channel begins with, None where it does not begin with one."""
    match = _ONSET.match(data)
    return Fraction(match[1].decode()) if match else None


def notes_in(data: bytes) -> list[Note]:
    """Return the annotations in the bytes of annotation channels, without those that keep the time."""
    return [
        Note(Fraction(match[1].decode()), Fraction((match[2] or b"0").decode()), text)
        for match in _ANNOTATION.finditer(data)
        for text in match[3].decode("utf-8", "replace").split("\x14")
        if text
    ]


def tolerance_s(header: EdfHeader) -> Fraction:
    """Return by how much a timestamp may be off: half a sample, since it is rounded; 1 ms at rates that no EEG has."""
    return 1 / max(Fraction(1), min(Fraction(1000), 2 * max(signal.rate for signal in header.signals)))


def follows(header: EdfHeader, onset_s: Fraction | None, i: int, *, first_s: Fraction) -> bool:
    """Say whether record `i` begins where it does in a file without gaps that begins at `first_s`."""
    return onset_s is not None and abs(onset_s - first_s - i * header.record_duration_s) <= tolerance_s(header)


def placed(header: EdfHeader, onsets_s: Sequence[Fraction | None]) -> EdfHeader:
    """Return a header with the times of its records, of which some are not where they would be without gaps.

    Timestamps that are steady, but not at the header's record duration, are right: the header's is rounded. A jump
    forward is a gap, whatever the file calls itself. What is odd and no gap is a note, except in EDF+D and in a file
    with gaps, which is refused. Raises EdfError.
    """
    runs, odd = _runs(header, onsets_s)
    if odd is None and len(runs) == 1:
        return header
    if (rounded := _rounded(header, onsets_s, n_runs=len(onsets_s) + 1 if odd else len(runs))) is not None:
        header = rounded
        runs, odd = _runs(header, onsets_s)
    if odd is not None and (header.discontinuous or len(runs) > 1):
        raise EdfError(f"the file has gaps ({_kind(header)}), and {odd}", fix=_SPLIT)
    if odd is not None and _goes_back(header, onsets_s):
        raise EdfError(f"the file's time goes back ({_kind(header)}): {odd}", fix="split it where its time goes back")
    if odd is not None:
        return replace(header, notes=(*header.notes, odd))
    if len(runs) == 1:
        return header
    _refuse_long(header, runs)
    first_s = runs[0].onset_s
    return replace(header, runs=tuple(replace(run, onset_s=run.onset_s - first_s) for run in runs))


def _runs(header: EdfHeader, onsets_s: Sequence[Fraction | None]) -> tuple[list[Run], str | None]:
    """Return the runs of records that follow each other, up to the first record that is odd and behind no gap."""
    step_s, tolerance = header.record_duration_s, tolerance_s(header)
    runs = [Run(0, 0, onsets_s[0] if onsets_s[0] is not None else Fraction(0))]
    for i, onset_s in enumerate(onsets_s):
        expected_s = runs[-1].onset_s + (i - runs[-1].first) * step_s
        if onset_s is None:
            return runs, f"record {i + 1} has no timestamp"
        if onset_s < expected_s - tolerance:
            return runs, f"record {i + 1} starts at {float(onset_s):g} s, not at {float(expected_s):g} s"
        if onset_s > expected_s + tolerance:
            runs.append(Run(i, 0, onset_s))
        runs[-1] = replace(runs[-1], n_records=i + 1 - runs[-1].first)
    return runs, None


def _goes_back(header: EdfHeader, onsets_s: Sequence[Fraction | None]) -> bool:
    """Say whether records are earlier than they should be, in a file whose timestamps keep the time for the most part.

    Where most do not follow each other, as where all are 0, the writer kept no time.
    """
    step_s, first_s = header.record_duration_s, onsets_s[0]
    steady = sum(
        abs(after - before - step_s) <= tolerance_s(header)
        for before, after in pairwise(onsets_s)
        if before is not None and after is not None
    )
    early = (first_s or 0) - _MOST_EARLY_S
    return 2 * steady >= len(onsets_s) - 1 and any(
        onset_s is not None and onset_s < early + i * step_s for i, onset_s in enumerate(onsets_s)
    )


def _rounded(header: EdfHeader, onsets_s: Sequence[Fraction | None], *, n_runs: int) -> EdfHeader | None:
    """Return the header with the record duration that its timestamps say, where that leaves fewer than `n_runs`."""
    known_s = [onset_s for onset_s in onsets_s if onset_s is not None]
    if len(known_s) < max(3, len(onsets_s)):
        return None
    near = [abs((after - before) / header.record_duration_s - 1) <= _ROUNDED for before, after in pairwise(known_s)]
    longest = first = i = 0  # the mean of a long stretch: one step alone is as coarse as its stamps
    for is_near, stretch in groupby(near):
        n = len(list(stretch))
        if is_near and n > longest:
            longest, first = n, i
        i += n
    if longest < 2:
        return None
    step_s = (known_s[first + longest] - known_s[first]) / longest
    note = (
        f"the timestamps come every {float(step_s):.9g} s, and the header says records of "
        f"{float(header.record_duration_s):g} s: the timestamps are taken"
    )
    taken = header.lasting(step_s, tolerance_s(header) / longest, note)
    runs, odd = _runs(taken, onsets_s)
    return taken if odd is None and len(runs) < n_runs else None


def _refuse_long(header: EdfHeader, runs: Sequence[Run]) -> None:
    total_s = Fraction(0)
    for before, run in pairwise(runs):
        gap_s = run.onset_s - before.onset_s - before.n_records * header.record_duration_s
        total_s += gap_s
        if gap_s > LONGEST_GAP_S or total_s > _LONGEST_GAPS_S:
            long = f"of {float(gap_s):g} s" if gap_s > LONGEST_GAP_S else f"that are {float(total_s):g} s together"
            raise EdfError(
                f"the file has gaps ({_kind(header)}) {long}: record {run.first + 1} starts at "
                f"{float(run.onset_s):g} s; a gap of an hour, and a day of gaps, are the most that one recording has",
                fix=_SPLIT,
            )


def _kind(header: EdfHeader) -> str:
    return header.reserved if header.reserved and header.reserved.isprintable() else "plain EDF with timestamps"
