"""The formats that seizure labels come in: which file is read how. NEDC's formats and BIDS tables are read here.

Knows nothing of which file decides, of signals, of folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from brainbrr.eeg.corpus import published
from brainbrr.eeg.corpus.label_rows import (
    NUMBER,
    Event,
    LabelFile,
    Line,
    check_confidence,
    checked,
    event,
    microseconds,
    read_lines,
    seconds_text,
)
from brainbrr.eeg.corpus.vocabulary import SZCORE, TUSZ, Meaning, Vocabulary
from brainbrr.errors import AnnotationError

BINARY = frozenset({".csv_bi", ".tse_bi", ".lbl_bi"})

_CSV_COLUMNS = ["channel", "start_time", "stop_time", "label", "confidence"]
_TSV_LABELS = ("eventtype", "trial_type")
_WHOLE_HEAD = frozenset({"term", "n/a", "all"})
_MOST_FIELDS = 1000  # of a header
_INTEGER = re.compile(r"\d{1,6}", re.ASCII)
_DURATION = re.compile(r"(\S+?)\s*(s|secs?|seconds?)?", re.IGNORECASE)


def read_label_file(
    role: str,
    path: Path,
    *,
    recording: str | None = None,
    label_map: Mapping[str, Meaning] | None = None,
    empty: bool = False,
) -> tuple[LabelFile, Vocabulary]:
    """Return the rows of one label file of a role in ROLES, and the words that it may use.

    Each format brings its vocabulary; `label_map` adds a laboratory's own words. A file that holds the labels of
    many recordings needs the file name of the `recording`. A table without rows or length is refused, unless `empty`:
    then it says that there was no event. Raises AnnotationError with file:line, the row and what to do about it.
    """
    form = FORMATS[role]
    words = form.words.with_map(label_map or {})
    if form.shared and recording is None:
        raise ValueError(f"{role} holds the labels of many recordings: which one is wanted?")
    file = form.read(path, words, recording or "")
    if not file.events and file.duration_us is None and not (file.whole or empty):
        # An empty list is only an answer when the file says how much time it looked at.
        raise AnnotationError(
            "no rows, and nothing that says how much time was looked at",
            where=path,
            fix="write a background row over the recording's length, or restore the file from the corpus",
        )
    notes = file.notes
    if not file.events and file.duration_us is not None:
        notes = (*notes, "no rows: background over the stated duration")
    return replace(file, notes=tuple(f"{role}: {note}" for note in notes)), words


def suffix_of(role: str) -> str:
    """Return what a label file's name has after the recording's: ".csv_bi", "_events.tsv"."""
    return role if role.startswith(".") else f"_{role}"


def _read_csv(path: Path, words: Vocabulary, _: str) -> LabelFile:
    """NEDC csv_v1: `# key = value` lines, the column row, then channel,start_time,stop_time,label,confidence."""
    header: dict[str, tuple[Line, str]] = {}
    events: list[Event] = []
    columns = False
    for line in read_lines(path):
        fields = [_unquoted(field.strip()) for field in line.text.split(",")]
        if line.text.startswith("#"):
            name, equals, value = line.text.lstrip("#").partition("=")
            if equals and not columns and header.setdefault(name.strip(), (line, value.strip()))[1] != value.strip():
                raise line.refuse(f"a second {name.strip()[:40]!r} that differs from the first", "keep one of the two")
            if len(header) > _MOST_FIELDS:
                raise line.refuse(f"more than {_MOST_FIELDS} header fields", "restore the file from the corpus")
        elif not columns:
            if [field.lower() for field in fields] != _CSV_COLUMNS:
                raise line.refuse("the column row is missing", f"write {','.join(_CSV_COLUMNS)} before the first row")
            columns = True
        else:
            if len(fields) != len(_CSV_COLUMNS) or not fields[0]:
                raise line.refuse("malformed row", f"write {','.join(_CSV_COLUMNS)}, five fields, none empty")
            channel, start, stop, label, confidence = fields
            check_confidence(line, confidence)
            channels = () if channel.lower() in _WHOLE_HEAD else (channel,)
            events.append(event(line, words, start=start, stop=stop, label=label, channels=channels))
    if not columns:
        raise AnnotationError(
            f"the column row {','.join(_CSV_COLUMNS)} is missing",
            where=path,
            fix="restore the file from the corpus",
        )
    if "version" in header and not header["version"][1].startswith("csv_v1."):
        line, version = header["version"]
        raise line.refuse(f"unknown format version {version[:40]!r}", "brainbrr reads csv_v1")
    duration_us = _duration(*header["duration"]) if "duration" in header else None
    notes = [] if "duration" in header else ["no `# duration`"]
    stem = path.name.rpartition(".")[0]
    # Not an error: a renamed recording keeps its labels, and both keep what they were called.
    if "bname" in header and header["bname"][1] != stem:
        notes.append(f"bname says {header['bname'][1][:255]!r}, the file is called {stem!r}")
    return LabelFile(tuple(events), duration_us, tuple(notes))


def _unquoted(field: str) -> str:
    """Return a field without the quotes that spreadsheets write around it: "FP1-F7" is the channel FP1-F7."""
    return field[1:-1].strip() if len(field) > 1 and field[0] == field[-1] == '"' else field


def _duration(line: Line, value: str) -> int:
    match = _DURATION.fullmatch(value)
    try:
        duration_us = microseconds(match[1]) if match else 0
    except ValueError:
        duration_us = 0
    if not duration_us:
        raise line.refuse("the duration is not a positive number of seconds", "write `# duration = 1750.00 secs`")
    return duration_us


def _read_tse(path: Path, words: Vocabulary, _: str) -> LabelFile:
    """NEDC tse_v1: `version = tse_v1.0.0`, then start stop label confidence for the whole head."""
    events: list[Event] = []
    for line in _after_version(read_lines(path), "tse"):
        fields = line.text.split()
        if len(fields) != 4:
            raise line.refuse("malformed row", "write start stop label confidence, four fields")
        start, stop, label, confidence = fields
        check_confidence(line, confidence)
        events.append(event(line, words, start=start, stop=stop, label=label, channels=()))
    return _tiled(path, events)


def _read_lbl(path: Path, words: Vocabulary, _: str) -> LabelFile:
    """NEDC lbl_v1: montage lines, a symbol table, and label = {level, sub, start, stop, channel, [one-hot]}."""
    montage: dict[str, str] = {}
    symbols: dict[str, dict[str, str]] = {}
    events: list[Event] = []
    for line in _after_version(read_lines(path), "lbl"):
        name, equals, value = (part.strip() for part in line.text.partition("="))
        if not equals:
            raise line.refuse("malformed line", "write name = value")
        if name == "montage":
            index, comma, rest = value.partition(",")
            channel = rest.partition(":")[0].strip()
            if not comma or not _INTEGER.fullmatch(index) or not channel:
                raise line.refuse("malformed montage line", "write montage = 0, FP1-F7: EEG FP1-REF -- EEG F7-REF")
            montage[index] = channel
        elif name.startswith("symbols["):
            symbols[name.removeprefix("symbols[").removesuffix("]")] = _symbols(line, value)
        elif name == "label":
            events.append(_one_hot(line, value, montage, symbols, words))
        elif name != "number_of_levels" and not name.startswith("level["):
            raise line.refuse("unknown line", "lines are montage, number_of_levels, level[n], symbols[n] and label")
    return _tiled(path, events)


def _symbols(line: Line, value: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for item in value.removeprefix("{").removesuffix("}").split(","):
        index, _, label = (part.strip() for part in item.partition(":"))
        if not _INTEGER.fullmatch(index) or len(label) < 3 or {label[0], label[-1]} != {"'"} or index in table:
            raise line.refuse(f"malformed symbol table at {item.strip()[:40]!r}", "write {0: 'null', 1: 'spsw', ...}")
        table[index] = label[1:-1]
    return table


def _one_hot(
    line: Line, value: str, montage: dict[str, str], symbols: dict[str, dict[str, str]], words: Vocabulary
) -> Event:
    fix = "write label = {level, sublevel, start, stop, channel, [0.0, 1.0, ...]}, one value above 0"
    head, _, tail = value.removeprefix("{").removesuffix("}").partition("[")
    fields = [field.strip() for field in head.split(",")]
    weights = [weight.strip() for weight in tail.strip().removesuffix("]").split(",")]
    if len(fields) != 6 or fields[5] or not all(NUMBER.fullmatch(weight) for weight in weights):
        raise line.refuse("malformed row", fix)
    level, _, start, stop, channel, _ = fields
    hot = [index for index, weight in enumerate(weights) if Decimal(weight) != 0]
    if len(hot) != 1 or Decimal(weights[hot[0]]) < 0:
        raise line.refuse(f"{len(hot)} of {len(weights)} labels are marked, not one", fix)
    if channel not in montage:
        raise line.refuse(f"channel {channel[:40]!r} is not in the file's montage", "add its montage line")
    label = symbols.get(level, {}).get(str(hot[0]))
    if label is None:
        raise line.refuse(
            f"label {hot[0]} of level {level[:40]!r} is not in the file's symbol table", "add it to symbols"
        )
    return event(line, words, start=start, stop=stop, label=label, channels=(montage[channel],))


def _after_version(lines: Iterable[Line], kind: str) -> Iterator[Line]:
    """Give the lines that are no comments, after a `version = <kind>_v1...` line."""
    found = False
    for line in lines:
        if line.text.startswith("#"):
            continue
        name, _, version = (part.strip() for part in line.text.partition("="))
        if found:
            yield line
        elif name != "version" or not version.startswith(f"{kind}_v1."):
            raise line.refuse(f"not a .{kind} file of version 1", f"its first line is `version = {kind}_v1.0.0`")
        found = True


def _tiled(path: Path, events: list[Event]) -> LabelFile:
    """Formats without a stated duration list background too: they cover what their rows cover, up to the last stop."""
    notes = []
    reached = gap_us = 0
    for each in sorted(events, key=lambda each: each.start_us):
        gap_us += max(0, each.start_us - reached)
        reached = max(reached, each.stop_us)
    if events and not reached:
        raise AnnotationError("the rows cover no time", where=path, fix="restore the file from the corpus")
    if gap_us:
        notes.append(f"{seconds_text(gap_us)} between rows are not labelled: taken as background")
    return LabelFile(tuple(events), reached or None, tuple(notes))


def _read_events_tsv(path: Path, words: Vocabulary, _: str) -> LabelFile:
    """BIDS events: tab-separated with a column row; onset, duration and eventType (or trial_type) are needed.

    Columns and labels may be in any case.
    """
    rows = read_lines(path)
    first = next(rows)  # there is one: the file is not empty
    columns = [field.strip().lower() for field in first.text.split("\t")]
    kind = next((name for name in _TSV_LABELS if name in columns), None)
    missing = [name for name in ("onset", "duration") if name not in columns] + ([] if kind else ["eventType"])
    if missing or kind is None or len(set(columns)) != len(columns):
        wrong = f"missing columns {', '.join(missing)}" if missing else "a column occurs twice"
        raise first.refuse(wrong, "write onset, duration, eventType, ... separated by tabs")
    events: list[Event] = []
    duration_us: int | None = None
    for line in rows:
        fields = [field.strip() for field in line.text.split("\t")]
        if len(fields) != len(columns):
            raise line.refuse(f"malformed row, {len(fields)} fields for {len(columns)} columns", "separate by tabs")
        row = dict(zip(columns, fields, strict=True))
        try:
            start_us = microseconds(row["onset"])
            stop_us = start_us + microseconds(row["duration"])
            covered = row.get("recordingduration", "n/a")
            covers_us = None if covered == "n/a" else microseconds(covered)
        except ValueError as error:
            raise line.refuse(f"malformed row, {error}", "write seconds; an event needs its duration") from None
        if row.get("confidence", "n/a") != "n/a":
            check_confidence(line, row["confidence"])
        if covers_us is not None:
            if duration_us not in (None, covers_us) or not covers_us:
                raise line.refuse("recordingDuration is 0, or not that of the rows above", "write one duration")
            duration_us = covers_us
        named = [name.strip() for name in row.get("channels", "n/a").split(",")]
        channels = tuple(filter(None, named)) if {*map(str.lower, named)}.isdisjoint(_WHOLE_HEAD) else ()
        events.append(checked(line, words, start_us=start_us, stop_us=stop_us, label=row[kind], channels=channels))
    return LabelFile(tuple(events), duration_us)


@dataclass(frozen=True)
class Format:
    """How one kind of label file is read; `shared`: one file holds the labels of many recordings."""

    read: Callable[[Path, Vocabulary, str], LabelFile]
    words: Vocabulary
    shared: bool = False


FORMATS = {
    ".csv_bi": Format(_read_csv, TUSZ),
    ".tse_bi": Format(_read_tse, TUSZ),
    ".lbl_bi": Format(_read_lbl, TUSZ),
    ".csv": Format(_read_csv, TUSZ),
    ".tse": Format(_read_tse, TUSZ),
    ".lbl": Format(_read_lbl, TUSZ),
    "events.tsv": Format(_read_events_tsv, SZCORE),
    "a1.tsv": Format(published.read_seizeit1, SZCORE),
    "summary.txt": Format(published.read_chbmit_summary, TUSZ, shared=True),
    ".edf.seizures": Format(published.read_chbmit_seizures, TUSZ),
    "Seizures-list.txt": Format(published.read_siena_list, TUSZ, shared=True),
}
"""Kinds of label file, the one that decides seizure time first: binary files were made for that."""

ROLES = tuple(FORMATS)
