"""What a recording's label files say together: seizure time, types and channels, and what was odd.

Owns which file decides and what is reported. Knows nothing of signals, samples, windows or folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from brainbrr.core.digest import files_digest, source_digest
from brainbrr.eeg.corpus.label_formats import (
    BINARY,
    ROLES,
    SZCORE,
    TUSZ,
    Event,
    LabelFile,
    Vocabulary,
    read_label_file,
    seconds_text,
    suffix_of,
    unreadable,
)
from brainbrr.errors import AnnotationError, Fix

__all__ = [
    "ROLES",
    "SZCORE",
    "TUSZ",
    "UNLABELLED",
    "Annotations",
    "Event",
    "Vocabulary",
    "label_digest",
    "read_annotations",
]

TOLERANCE_US = 1_000_000
"""Two files may differ by this much time, either way, before it is reported: their decimals are rounded."""

_DETAILS = (".csv", ".lbl", ".tse", "events.tsv")  # types and channels first, types alone after
_SEIZURE = "seiz"


@dataclass(frozen=True)
class Annotations:
    """The labels of one recording, times in microseconds from its start.

    `seizures` decides seizure time: sorted, disjoint, whole head. `typed` adds type and channels, one
    event per (start, stop, label). Time in neither is background, over `duration_us` (None: over the whole
    recording). Not labelled means nothing is known, which is never background.
    """

    labelled: bool
    seizures: tuple[Event, ...] = ()
    typed: tuple[Event, ...] = ()
    duration_us: int | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON without floats: seizures as [start, stop], typed as [start, stop, label, channels]."""
        return {
            "labelled": self.labelled,
            "seizures": [[event.start_us, event.stop_us] for event in self.seizures],
            "typed": [[event.start_us, event.stop_us, event.label, list(event.channels)] for event in self.typed],
            "duration_us": self.duration_us,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: object) -> Annotations:
        """Return what to_json gave. Strict: raises AnnotationError for anything else."""
        if not isinstance(value, Mapping) or set(value) != {"labelled", "seizures", "typed", "duration_us", "notes"}:
            raise _not_ours(value)
        duration_us, notes = value["duration_us"], value["notes"]
        seizures = tuple(_event(item, 2) for item in _list(value["seizures"]))
        typed = tuple(_event(item, 4) for item in _list(value["typed"]))
        touching = any(left.stop_us >= right.start_us for left, right in pairwise(seizures))
        unknown = value["labelled"] is False and (seizures or typed or duration_us is not None)
        if (
            not isinstance(value["labelled"], bool)
            or touching
            or unknown
            or list(typed) != sorted(typed, key=_order)
            or not (duration_us is None or (type(duration_us) is int and 0 < duration_us < 2**63))
            or not all(isinstance(note, str) for note in _list(notes))
        ):
            raise _not_ours(value)
        return cls(value["labelled"], seizures, typed, duration_us, tuple(notes))


UNLABELLED = Annotations(labelled=False)
"""A recording of a corpus that was declared unlabelled: nothing is known about any of its time."""


def read_annotations(files: Mapping[str, Path], *, vocabulary: Vocabulary | None = None) -> Annotations:
    """Return what label files, given by role (".csv_bi", ".csv", ...), say about one recording.

    The first of ROLES decides seizure time; types and channels come from the multi-class files, and where
    they disagree with it by more than TOLERANCE_US that is a note. Without a vocabulary each format's own
    is used. Raises AnnotationError when there is no file, or when any of them is malformed.
    """
    if unknown := set(files) - set(ROLES):
        raise ValueError(f"not a kind of label file: {', '.join(sorted(unknown))}")
    if not files:
        raise AnnotationError(
            f"no label file; looked for {', '.join(f'NAME{suffix_of(role)}' for role in ROLES)}",
            fix=Fix(
                "put it beside the recording, or declare the corpus unlabelled: ",
                ("ingest", "ROOT", "--labels", "none"),
            ),
        )
    words = {role: vocabulary or (SZCORE if role == "events.tsv" else TUSZ) for role in ROLES if role in files}
    read = {role: read_label_file(role, files[role], words[role]) for role in words}
    seizures = {role: _union(_seizures(file.events, words[role])) for role, file in read.items()}
    decides = next(iter(read))
    details = next((role for role in _DETAILS if role in read), None)
    durations = {role: file.duration_us for role, file in read.items() if file.duration_us is not None}
    duration_us = next(iter(durations.values()), None)
    notes = [note for file in read.values() for note in file.notes]
    if duration_us is None:
        notes.append("no file states a duration: the labels are taken to cover the whole recording")
    for role, file in read.items():
        notes += _oddities(role, file, words[role], decides=role == decides)
    for role in read:
        if role != decides:
            notes += _disagreement(decides, seizures[decides], role, seizures[role])
    for role, other_us in durations.items():
        if duration_us is not None and abs(other_us - duration_us) > TOLERANCE_US:
            notes.append(f"{role} covers {seconds_text(other_us)}, {next(iter(durations))} {seconds_text(duration_us)}")
    return Annotations(
        labelled=True,
        seizures=tuple(Event(start, stop, _SEIZURE) for start, stop in seizures[decides]),
        typed=_typed(read[details].events, words[details]) if details else (),
        duration_us=duration_us,
        notes=tuple(notes),
    )


def label_digest(files: Mapping[str, Path], *, digest_of: Callable[[Path], str] = source_digest) -> str:
    """Return the XXH3-128 of the label files' bytes by role: it changes when any of them is edited.

    `digest_of` gives the XXH3-128 of one file; somebody may remember it. Raises AnnotationError for a file that
    cannot be read.
    """
    digests = {}
    for role, path in files.items():
        try:
            digests[role] = digest_of(path)
        except OSError as error:
            raise unreadable(path, error) from None
    return files_digest(digests)


def _order(event: Event) -> tuple[int, int, str]:
    return event.start_us, event.stop_us, event.label


def _seizures(events: Iterable[Event], words: Vocabulary) -> list[Event]:
    return [event for event in events if words.is_seizure(event.label)]


def _union(events: Iterable[Event]) -> list[tuple[int, int]]:
    """Return the time that events cover: sorted, disjoint, adjacent ones joined, no empty ones."""
    spans: list[tuple[int, int]] = []
    for start, stop in sorted((event.start_us, event.stop_us) for event in events if event.stop_us > event.start_us):
        if spans and start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], stop)
        else:
            spans.append((start, stop))
    return spans


def _typed(events: Iterable[Event], words: Vocabulary) -> tuple[Event, ...]:
    """Return all but background, with the channels of one (start, stop, label) in one event."""
    channels: dict[tuple[int, int, str], dict[str, None]] = {}
    whole: set[tuple[int, int, str]] = set()
    for event in events:
        if event.label in words.background or event.start_us == event.stop_us:
            continue
        where = channels.setdefault(_order(event), {})
        where.update(dict.fromkeys(event.channels))
        if not event.channels:
            whole.add(_order(event))
    return tuple(Event(*key, () if key in whole else tuple(channels[key])) for key in sorted(channels))


def _shared_us(ours: Sequence[tuple[int, int]], theirs: Sequence[tuple[int, int]]) -> int:
    """Return how much time two sorted, disjoint lists have in common."""
    shared = i = j = 0
    while i < len(ours) and j < len(theirs):
        shared += max(0, min(ours[i][1], theirs[j][1]) - max(ours[i][0], theirs[j][0]))
        if ours[i][1] < theirs[j][1]:
            i += 1
        else:
            j += 1
    return shared


def _total_us(spans: Iterable[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in spans)


def _disagreement(
    decides: str, ours: Sequence[tuple[int, int]], role: str, theirs: Sequence[tuple[int, int]]
) -> list[str]:
    shared = _shared_us(ours, theirs)
    more, less = _total_us(theirs) - shared, _total_us(ours) - shared
    if max(more, less) <= TOLERANCE_US:
        return []
    only = f"{seconds_text(more)} of seizure only in {role}, {seconds_text(less)} only in {decides}"
    return [f"{role} and {decides} disagree: {only}, which decides"]


def _oddities(role: str, file: LabelFile, words: Vocabulary, *, decides: bool) -> list[str]:
    """Return what a reader should know about rows that were taken as they stand."""
    notes = []
    marked = _seizures(file.events, words)
    if n := sum(event.start_us == event.stop_us for event in file.events):
        notes.append(f"{role}: rows of no length, left out: {n}")
    if file.duration_us and (n := sum(event.stop_us > file.duration_us for event in file.events)):
        notes.append(f"{role}: rows that end after the stated {seconds_text(file.duration_us)}: {n}")
    types = {event.label for event in file.events} - words.background - {_SEIZURE}
    if role in BINARY and types:
        notes.append(f"{role}: holds {', '.join(sorted(types))} beside bckg and seiz")
    if decides and role not in BINARY and "nesz" in types:
        notes.append(f"{role}: nesz (non-epileptic) rows count as seizure time")
    if all(not event.channels for event in file.events):
        quiet = _union(event for event in file.events if event.label in words.background)
        if both := _shared_us(_union(marked), quiet):
            notes.append(f"{role}: {seconds_text(both)} are both seizure and background: taken as seizure")
    return notes


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _not_ours(value)
    return value


def _event(value: object, n: int) -> Event:
    item = _list(value)
    if len(item) != n or not all(type(time) is int for time in item[:2]) or not 0 <= item[0] < item[1] < 2**63:
        raise _not_ours(value)
    label, channels = (_SEIZURE, []) if n == 2 else (item[2], _list(item[3]))
    if not all(isinstance(text, str) and text for text in (label, *channels)):
        raise _not_ours(value)
    return Event(item[0], item[1], label, tuple(channels))


def _not_ours(value: object) -> AnnotationError:
    text = repr(value)
    return AnnotationError(
        f"not annotations as brainbrr writes them: {text if len(text) <= 120 else text[:117] + '...'}",
        fix="ingest the corpus again; the labels are read anew",
    )
