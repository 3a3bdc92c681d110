"""What a recording's label files say together: seizure time, types and channels, and what was odd.

Owns which file decides and what is reported. Knows nothing of signals, samples, windows or folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from brainbrr.core.digest import files_digest, source_digest
from brainbrr.eeg.corpus.bids import read_channels
from brainbrr.eeg.corpus.label_formats import BINARY, FORMATS, ROLES, read_label_file, suffix_of
from brainbrr.eeg.corpus.label_rows import END_US, Event, LabelFile, seconds_text, unreadable
from brainbrr.eeg.corpus.vocabulary import Meaning, Vocabulary, is_label_map
from brainbrr.errors import AnnotationError, Fix

TOLERANCE_US = 1_000_000
"""Two files may differ by this much time, either way, before it is reported: their decimals are rounded."""

CHANNELS = "channels.tsv"
"""The role of BIDS's table of channels, which may be beside any label file."""

_DETAILS = (".csv", ".lbl", ".tse", "events.tsv", "a1.tsv")  # types and channels first, types alone after
_SEIZURE = "seiz"
_OPTIONAL = {"unknown", "unusable", "label_map", "last"}


@dataclass(frozen=True)
class Annotations:
    """The labels of one recording, times in microseconds from its start.

    `seizures` decides seizure time: sorted, disjoint, whole head. `typed` adds type and channels, one
    event per (start, stop, label). `unknown` may hold a seizure or not: (start, stop), sorted, disjoint, no seizure in
    it. Other time is background, over `duration_us` (None: over the whole recording). Not labelled means nothing is
    known, which is never background. `unusable` are channels that a table calls bad, or no EEG: absent for a view.
    `label_map` is the laboratory's own that they were read with. `last` is the last background row, (start, stop),
    where it ends after all else: the signal should reach it.
    """

    labelled: bool
    seizures: tuple[Event, ...] = ()
    typed: tuple[Event, ...] = ()
    duration_us: int | None = None
    notes: tuple[str, ...] = ()
    unknown: tuple[tuple[int, int], ...] = ()
    unusable: tuple[str, ...] = ()
    label_map: tuple[tuple[str, Meaning], ...] = ()
    last: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON without floats: seizures as [start, stop], typed as [start, stop, label, channels].

        `unknown`, `unusable`, `label_map` and `last` are left out where there are none.
        """
        optional = {
            "unknown": [list(span) for span in self.unknown],
            "unusable": list(self.unusable),
            "label_map": dict(self.label_map),
            "last": list(self.last or ()),
        }
        return {
            "labelled": self.labelled,
            "seizures": [[event.start_us, event.stop_us] for event in self.seizures],
            "typed": [[event.start_us, event.stop_us, event.label, list(event.channels)] for event in self.typed],
            "duration_us": self.duration_us,
            "notes": list(self.notes),
            **{name: value for name, value in optional.items() if value},
        }

    @classmethod
    def from_json(cls, value: object) -> Annotations:
        """Return what to_json gave. Strict: raises AnnotationError for anything else."""
        names = {"labelled", "seizures", "typed", "duration_us", "notes"}
        if not isinstance(value, Mapping) or set(value) - _OPTIONAL != names:
            raise _not_ours(value)
        duration_us, notes = value["duration_us"], value["notes"]
        seizures = tuple(_event(item, 2) for item in _list(value["seizures"]))
        typed = tuple(_event(item, 4) for item in _list(value["typed"]))
        unknown = tuple(_event(item, 2) for item in _list(value.get("unknown", [])))
        touching = any(left.stop_us >= right.start_us for each in (seizures, unknown) for left, right in pairwise(each))
        unusable = tuple(_list(value.get("unusable", [])))
        label_map = value.get("label_map", {})
        last = _event(value["last"], 2) if "last" in value else None
        known = seizures or typed or unknown or unusable or label_map or last or duration_us is not None
        if (
            not isinstance(value["labelled"], bool)
            or touching
            or (value["labelled"] is False and known)
            or not all(isinstance(name, str) and name for name in unusable)
            or not is_label_map(label_map)
            or list(typed) != sorted(typed, key=_order)
            or not (duration_us is None or (type(duration_us) is int and 0 < duration_us < 2**63))
            or not all(isinstance(note, str) for note in _list(notes))
        ):
            raise _not_ours(value)
        spans = tuple((event.start_us, event.stop_us) for event in unknown)
        return cls(
            value["labelled"],
            seizures,
            typed,
            duration_us,
            tuple(notes),
            spans,
            unusable,
            tuple(label_map.items()),
            (last.start_us, last.stop_us) if last else None,
        )


UNLABELLED = Annotations(labelled=False)
"""A recording without labels: nothing is known about any of its time."""


def read_annotations(
    files: Mapping[str, Path],
    *,
    recording: str | None = None,
    label_map: Mapping[str, Meaning] | None = None,
    empty: bool = False,
) -> Annotations:
    """Return what label files, given by role (".csv_bi", ".csv", ...), say about one recording.

    The first of ROLES decides seizure time; types and channels come from the multi-class files, and where
    they disagree with it by more than TOLERANCE_US that is a note. Each format has its own vocabulary, to which
    `label_map` adds a laboratory's words. `recording` is the recording's file name, for a file that lists many.
    `empty`: a table without rows says that there was no event. Raises AnnotationError when there is no file, or when
    any of them is malformed.
    """
    if strange := set(files) - {*ROLES, CHANNELS}:
        raise ValueError(f"not a kind of label file: {', '.join(sorted(strange))}")
    if not set(files) - {CHANNELS}:
        names = ", ".join(f"NAME{suffix_of(role)}" for role in ROLES if not FORMATS[role].shared)
        raise AnnotationError(
            f"no label file; looked for {names}, a CHB-MIT summary and a Siena list",
            fix=Fix(
                "put it beside the recording, or leave the recordings that have none unlabelled: ",
                ("ingest", "ROOT", "--labels", "optional"),
            ),
        )
    read: dict[str, LabelFile] = {}
    words: dict[str, Vocabulary] = {}
    for role in (role for role in ROLES if role in files):
        read[role], words[role] = read_label_file(
            role, files[role], recording=recording, label_map=label_map, empty=empty
        )
    seizures = {role: _union(_seizures(file.events, words[role])) for role, file in read.items()}
    decides = next(iter(read))
    details = next((role for role in _DETAILS if role in read), None)
    durations = {role: file.duration_us for role, file in read.items() if file.duration_us is not None}
    duration_us = next(iter(durations.values()), None)
    notes = [note for file in read.values() for note in file.notes]
    if duration_us is None and not read[decides].whole:
        notes.append("no file states a duration: the labels are taken to cover the whole recording")
    for role, file in read.items():
        notes += _oddities(role, file, words[role], decides=role == decides)
    for role in read:
        if role != decides:
            notes += _disagreement(decides, seizures[decides], role, seizures[role])
    for role, other_us in durations.items():
        if duration_us is not None and abs(other_us - duration_us) > TOLERANCE_US:
            notes.append(f"{role} covers {seconds_text(other_us)}, {next(iter(durations))} {seconds_text(duration_us)}")
    unusable: tuple[str, ...] = ()
    if CHANNELS in files:
        table = read_channels(files[CHANNELS])
        unusable = table.bad + table.not_eeg
        notes += [f"{CHANNELS}: bad: {', '.join(table.bad)}"] if table.bad else []
        notes += [f"{CHANNELS}: not EEG: {', '.join(table.not_eeg)}"] if table.not_eeg else []
    unknown, why = _unknown(read, words, decides=decides, until_us=END_US if duration_us is None else duration_us)
    return Annotations(
        labelled=True,
        seizures=tuple(Event(start, stop, _SEIZURE) for start, stop in seizures[decides]),
        typed=_typed(read[details].events, words[details]) if details else (),
        duration_us=duration_us,
        notes=tuple(notes + why),
        unknown=tuple(_without(unknown, seizures[decides])),
        unusable=unusable,
        label_map=tuple(sorted((label_map or {}).items())),
        last=_last_background(read[decides], words[decides], duration_us),
    )


def _last_background(file: LabelFile, words: Vocabulary, duration_us: int | None) -> tuple[int, int] | None:
    """Return the background row that ends last, where that is after the stated length and all other rows."""
    quiet = [event for event in file.events if event.label in words.background]
    last = max(quiet, key=lambda event: event.stop_us, default=None)
    others = (event.stop_us for event in file.events if event.label not in words.background)
    if last is None or last.stop_us <= max([duration_us + TOLERANCE_US if duration_us else 0, *others]):
        return None
    return last.start_us, last.stop_us


def _unknown(
    read: Mapping[str, LabelFile], words: Mapping[str, Vocabulary], *, decides: str, until_us: int
) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the time of which files say nothing, or that nothing can be known, and a note for each reason."""
    spans: list[tuple[int, int]] = []
    notes = []
    for role, file in read.items():
        marked = [event for event in file.events if event.label in words[role].unknown]
        names = sorted({event.label for event in marked})
        if marked:
            covered = _union(marked)
            notes.append(f"{role}: {seconds_text(_total_us(covered))} of {', '.join(names)} are not background")
            spans += covered
        spans += file.unknown
    events = read[decides].events
    if words[decides].unannotated(event.label for event in events) == "unknown":
        quiet = _quiet(events, words[decides])
        spans += _without([(0, until_us)], quiet)
        notes.append(
            f"{decides}: it lists artefacts or discharges beside seizures, so time is background only where a row says "
            f"so: {seconds_text(_total_us(quiet))}"
        )
    return _joined(spans), notes


def _quiet(events: Iterable[Event], words: Vocabulary) -> list[tuple[int, int]]:
    """Return the time that rows call background: on the whole head, or on each channel that the file names."""
    by_channel: dict[str | None, list[Event]] = {None: []}
    for event in events:
        for channel in event.channels or (None,):
            here = by_channel.setdefault(channel, [])
            if event.label in words.background:
                here.append(event)
    whole = by_channel.pop(None)
    channels = [_union([*rows, *whole]) for rows in by_channel.values()]
    quiet = channels[0] if channels else _union(whole)
    for other in channels[1:]:
        quiet = _shared(quiet, other)
    return quiet


TOLERANCE_OF_LENGTH_US = 1_000_000
"""Labels and signal may differ in length by this much and a partial record at the end, which no reader takes."""


def length_difference(annotations: Annotations, signal_us: int) -> int:
    """Return by how much labels go past their signal's end, negative where they declare less; in microseconds."""
    declared_us = signal_us if annotations.duration_us is None else annotations.duration_us
    return max([declared_us, *(event.stop_us for event in _to_be_reached(annotations))]) - signal_us


def _to_be_reached(annotations: Annotations) -> list[Event]:
    """Return what should be in the signal: all events, and the last background row."""
    last = [] if annotations.last is None else [Event(*annotations.last, "bckg")]
    return [*annotations.seizures, *annotations.typed, *last]


def check_length(
    annotations: Annotations,
    signal_us: int,
    *,
    partial_us: int = 0,
    accept: frozenset[str] = frozenset(),
) -> Annotations:
    """Compare the length that labels declare, and each event, with the signal's length in microseconds.

    Returns the annotations with notes. Labels that declare less leave the rest unlabelled, with a note. Where they
    declare more than the tolerance above, or where an event or a background row starts at the signal's end or later, or
    ends later than the tolerance, the labels are another recording's, or the signal is cut: AnnotationError, unless
    "label-length" or "truncated" is in `accept`. `partial_us` is the length of a partial record that was dropped at the
    signal's end.
    """
    tolerance_us = TOLERANCE_OF_LENGTH_US + partial_us
    declared_us = annotations.duration_us
    problems = []
    if declared_us is not None and declared_us > signal_us + tolerance_us:
        problems.append(f"the labels cover {seconds_text(declared_us)}, the signal {seconds_text(signal_us)}")
    for event in _to_be_reached(annotations):
        if event.start_us >= signal_us or event.stop_us > signal_us + tolerance_us:
            problems.append(
                f"{event.label} from {seconds_text(event.start_us)} to {seconds_text(event.stop_us)} is not in the "
                f"signal of {seconds_text(signal_us)}"
            )
            break
    if problems and not accept & {"label-length", "truncated"}:
        raise AnnotationError(
            "; ".join(problems),
            fix="restore the recording and its labels from the corpus, or cut the labels to the signal with "
            "--accept label-length",
        )
    notes = [f"{problem}: accepted" for problem in problems]
    if clipped := sum(signal_us < event.stop_us for event in annotations.seizures):
        notes.append(f"seizures that end after the signal, cut to it: {clipped}")
    if declared_us is not None and declared_us + tolerance_us < signal_us:
        notes.append(f"{seconds_text(signal_us - declared_us)} at the end are unlabelled")
    return replace(annotations, notes=tuple(dict.fromkeys((*annotations.notes, *notes))))


def label_digest(files: Mapping[str, Path], *, digest_of: Callable[[Path], str] = source_digest) -> str:
    """Return the SHA-256 of the label files' bytes by role: it changes when any of them is edited.

    `digest_of` gives the SHA-256 of one file; a caller may remember it. Raises AnnotationError for a file that
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
    return _joined((event.start_us, event.stop_us) for event in events)


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, stop in sorted((start, stop) for start, stop in spans if stop > start):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], stop)
        else:
            joined.append((start, stop))
    return joined


def _shared(ours: Sequence[tuple[int, int]], theirs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the time that two sorted, disjoint lists have in common."""
    shared = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        start, stop = max(ours[i][0], theirs[j][0]), min(ours[i][1], theirs[j][1])
        if start < stop:
            shared.append((start, stop))
        if ours[i][1] < theirs[j][1]:
            i += 1
        else:
            j += 1
    return shared


def _without(ours: Sequence[tuple[int, int]], theirs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the time of the first of two sorted, disjoint lists that is not in the second."""
    edges = [0, *(edge for span in theirs for edge in span), 2**63]
    return _shared(ours, list(zip(edges[::2], edges[1::2], strict=True)))


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


def _total_us(spans: Iterable[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in spans)


def _disagreement(
    decides: str, ours: Sequence[tuple[int, int]], role: str, theirs: Sequence[tuple[int, int]]
) -> list[str]:
    shared = _total_us(_shared(ours, theirs))
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
        if both := _total_us(_shared(_union(marked), quiet)):
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
        fix="ingest the corpus again; the labels are read again",
    )
