"""The text formats that seizure labels come in: one parser each, one strictness for all.

Owns rows, exact times and vocabularies. Knows nothing of which file decides, of signals, of folders.

The lines of a label file, one at a time, of bounded bytes and of nothing but text. Knows no format.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path

from brainbrr.core.files import open_followed
from brainbrr.errors import AnnotationError

MAX_LABEL_BYTES = 1 << 22
"""A day of rows for each of twenty channels is a quarter of it."""

_CONTROL = re.compile(r"[^\t\n\r -~\xa0-\U0010ffff]")


@dataclass(frozen=True)
class Line:
    """A line without the spaces around it, and where it stands."""

    path: Path
    number: int
    text: str

    def refuse(self, what: str, fix: str) -> AnnotationError:
        """Return the error that shows this line and where it stands; of many files with one mistake, the same words."""
        row = self.text if len(self.text) <= 120 else f"{self.text[:117]}..."
        what = f"{what}: {row!r}, line {self.number} of the {self.path.suffix}"
        return AnnotationError(what, where=f"{self.path}:{self.number}", fix=fix)


def read_lines(path: Path) -> Iterator[Line]:
    """Give the lines that are not empty, one at a time: a file may be nothing but lines."""
    try:
        with open_followed(path) as file:
            n_bytes = os.fstat(file.fileno()).st_size
            data = file.read(n_bytes) if n_bytes <= MAX_LABEL_BYTES else b""
    except OSError as error:
        raise unreadable(path, error) from None
    if n_bytes > MAX_LABEL_BYTES:
        raise AnnotationError(
            f"a label file of more than {MAX_LABEL_BYTES:,} bytes", where=path, fix="restore it from the corpus"
        )
    if data.startswith(b"version https://git-lfs"):
        raise AnnotationError("this is a git-LFS pointer, not a label file", where=path, fix="run `git lfs pull`")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise AnnotationError(
            f"byte 0x{data[error.start]:02x} is not UTF-8, line {number} of the {path.suffix}",
            where=f"{path}:{number}",
            fix="restore the file from the corpus, or save it as UTF-8",
        ) from None
    if not text.strip():
        raise AnnotationError("the label file is empty", where=path, fix="restore it from the corpus")
    if control := _CONTROL.search(text):
        number = text.count("\n", 0, control.start()) + 1
        raise AnnotationError(
            f"a control character, {control[0]!r}, line {number} of the {path.suffix}",
            where=f"{path}:{number}",
            fix="restore the file from the corpus",
        )
    # Not splitlines(): it also breaks at form feeds and the like, and line numbers would drift.
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if stripped := line.strip(" \r\n"):
            yield Line(path, number, stripped)


def unreadable(path: Path, error: OSError) -> AnnotationError:
    """Return the error that says why a label file cannot be read."""
    return AnnotationError(
        f"the label file cannot be read: {error.strerror}", where=path, fix="restore it, or make it readable"
    )


ROLES = (".csv_bi", ".tse_bi", ".lbl_bi", ".csv", ".tse", ".lbl", "events.tsv")
"""Kinds of label file, the one that decides seizure time first: binary files were made for that."""

BINARY = frozenset({".csv_bi", ".tse_bi", ".lbl_bi"})

_CSV_COLUMNS = ["channel", "start_time", "stop_time", "label", "confidence"]
_TSV_LABELS = ("eventType", "trial_type")
_WHOLE_HEAD = frozenset({"TERM", "n/a", "all"})
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_MOST_FIELDS = 1000  # of a header
_INTEGER = re.compile(r"\d{1,6}", re.ASCII)
_DURATION = re.compile(r"(\S+?)\s*(s|secs?|seconds?)?", re.IGNORECASE)
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_MICROSECOND = Decimal("0.000001")
_LONGEST_S = 10**9  # 31 years: above it a number is not a time


@dataclass(frozen=True)
class Event:
    """A stretch of labelled time in microseconds from the recording's start; no channels: the whole head."""

    start_us: int
    stop_us: int
    label: str
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """The labels a corpus may use, and which of them are seizures. Anything else is an error.

    A family covers its name and all that follow it after "_" or "-": "sz" is also "sz_foc_ia".
    """

    name: str
    seizures: frozenset[str]
    background: frozenset[str]
    others: frozenset[str] = frozenset()
    families: tuple[str, ...] = ()

    def find(self, text: str) -> str | None:
        """Return the label as this vocabulary writes it, or None when it is unknown."""
        if self._in_family(text):
            return text
        label = text.lower()
        return label if label in self.seizures | self.background | self.others else None

    def is_seizure(self, label: str) -> bool:
        """Say whether a known label is a seizure."""
        return label in self.seizures or self._in_family(label)

    def _in_family(self, text: str) -> bool:
        return any(text == family or text.startswith((f"{family}_", f"{family}-")) for family in self.families)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TUSZ = Vocabulary(
    name="TUSZ",
    seizures=_words("seiz fnsz gnsz spsz cpsz absz tnsz cnsz tcsz atsz mysz nesz"),
    background=_words("bckg null (null)"),
    others=_words("spsw gped pled eybl eyeb eyem artf intr slow chew shiv musc elpp elst elec calb hphs trip"),
)
"""NEDC's annotation symbols, as the symbol tables of TUSZ 1.5 and the annotation guidelines list them."""

SZCORE = Vocabulary(
    name="SzCORE",
    seizures=frozenset(),
    background=_words("bckg"),
    others=_words("impd"),  # SeizeIT2 writes it beside bckg and sz_...
    families=("sz",),
)
"""BIDS events in the SzCORE annotation format, where seizures are `sz` and the ILAE types below it, `sz_foc_ia`."""


@dataclass(frozen=True)
class LabelFile:
    """What one label file says: every row, how much time it covers (None: not said), what was odd."""

    events: tuple[Event, ...]
    duration_us: int | None
    notes: tuple[str, ...] = ()


def read_label_file(role: str, path: Path, words: Vocabulary) -> LabelFile:
    """Return the rows of one label file of a role in ROLES.

    Raises AnnotationError with file:line, the row and what to do about it.
    """
    file = _PARSERS[role.removesuffix("_bi")](path, read_lines(path), words)
    if not file.events and file.duration_us is None:
        # An empty list is only an answer when the file says how much time it looked at.
        raise AnnotationError(
            "no rows, and nothing that says how much time was looked at",
            where=path,
            fix="write a background row over the recording's length, or restore the file from the corpus",
        )
    notes = file.notes if file.events else (*file.notes, "no rows: background over the stated duration")
    return LabelFile(file.events, file.duration_us, tuple(f"{role}: {note}" for note in notes))


def suffix_of(role: str) -> str:
    """Return what a label file's name has after the recording's: ".csv_bi", "_events.tsv"."""
    return role if role.startswith(".") else f"_{role}"


def microseconds(text: str) -> int:
    """Return a decimal number of seconds as whole microseconds, half to even beyond six decimals.

    Exact: never a float on the way. Raises ValueError that says what is wrong.
    """
    if len(text) > 40 or not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number of seconds")
    value = Decimal(text)
    if value < 0:
        raise ValueError(f"{text} s is negative")
    if value > _LONGEST_S:
        raise ValueError(f"{text} s is not a time in a recording")
    return int(value.quantize(_MICROSECOND, context=_EXACT).scaleb(6, context=_EXACT))


def seconds_text(us: int) -> str:
    """Return microseconds as exact seconds with the unit: "1.5 s"."""
    return f"{Decimal(us).scaleb(-6).normalize():f} s"


def _event(line: Line, words: Vocabulary, *, start: str, stop: str, label: str, channels: tuple[str, ...]) -> Event:
    """Return one row's event, or refuse the row: times are decimals, 0 <= start <= stop, label known."""
    try:
        start_us, stop_us = microseconds(start), microseconds(stop)
    except ValueError as error:
        raise line.refuse(f"malformed row, {error}", "correct the time, in seconds from the start") from None
    return _checked(line, words, start_us=start_us, stop_us=stop_us, label=label, channels=channels)


def _checked(
    line: Line, words: Vocabulary, *, start_us: int, stop_us: int, label: str, channels: tuple[str, ...]
) -> Event:
    if stop_us < start_us:
        raise line.refuse("the event stops before it starts", "correct the row's times")
    known = words.find(label)
    if known is None:
        families = [form for name in words.families for form in (name, f"{name}_...")]
        names = ", ".join([*families, *sorted(words.seizures | words.background | words.others)])
        raise line.refuse(f"{label[:40]!r} is not a label of {words.name}", f"correct the label; known: {names}")
    return Event(start_us, stop_us, known, channels)


def _confidence(line: Line, text: str) -> None:
    if not _NUMBER.fullmatch(text):
        raise line.refuse(f"malformed row, confidence {text[:40]!r} is not a number", "write 1.0000")


def _read_csv(path: Path, lines: Iterable[Line], words: Vocabulary) -> LabelFile:
    """NEDC csv_v1: `# key = value` lines, the column row, then channel,start_time,stop_time,label,confidence."""
    header: dict[str, tuple[Line, str]] = {}
    events: list[Event] = []
    columns = False
    for line in lines:
        fields = [field.strip() for field in line.text.split(",")]
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
            _confidence(line, confidence)
            channels = () if channel in _WHOLE_HEAD else (channel,)
            events.append(_event(line, words, start=start, stop=stop, label=label, channels=channels))
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


def _duration(line: Line, value: str) -> int:
    match = _DURATION.fullmatch(value)
    try:
        duration_us = microseconds(match[1]) if match else 0
    except ValueError:
        duration_us = 0
    if not duration_us:
        raise line.refuse("the duration is not a positive number of seconds", "write `# duration = 1750.00 secs`")
    return duration_us


def _read_tse(path: Path, lines: Iterable[Line], words: Vocabulary) -> LabelFile:
    """NEDC tse_v1: `version = tse_v1.0.0`, then start stop label confidence for the whole head."""
    events: list[Event] = []
    for line in _after_version(lines, "tse"):
        fields = line.text.split()
        if len(fields) != 4:
            raise line.refuse("malformed row", "write start stop label confidence, four fields")
        start, stop, label, confidence = fields
        _confidence(line, confidence)
        events.append(_event(line, words, start=start, stop=stop, label=label, channels=()))
    return _tiled(path, events)


def _read_lbl(path: Path, lines: Iterable[Line], words: Vocabulary) -> LabelFile:
    """NEDC lbl_v1: montage lines, a symbol table, and label = {level, sub, start, stop, channel, [one-hot]}."""
    montage: dict[str, str] = {}
    symbols: dict[str, dict[str, str]] = {}
    events: list[Event] = []
    for line in _after_version(lines, "lbl"):
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
    if len(fields) != 6 or fields[5] or not all(_NUMBER.fullmatch(weight) for weight in weights):
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
    return _event(line, words, start=start, stop=stop, label=label, channels=(montage[channel],))


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
    for event in sorted(events, key=lambda event: event.start_us):
        gap_us += max(0, event.start_us - reached)
        reached = max(reached, event.stop_us)
    if events and not reached:
        raise AnnotationError("the rows cover no time", where=path, fix="restore the file from the corpus")
    if gap_us:
        notes.append(f"{seconds_text(gap_us)} between rows are not labelled: taken as background")
    return LabelFile(tuple(events), reached or None, tuple(notes))


def _read_events_tsv(path: Path, lines: Iterable[Line], words: Vocabulary) -> LabelFile:
    """BIDS events: tab-separated with a column row; onset, duration and eventType (or trial_type) are needed."""
    rows = (line for line in lines if line.text.strip())
    first = next(rows)  # there is one: the file is not empty
    columns = [field.strip() for field in first.text.split("\t")]
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
            covered = row.get("recordingDuration", "n/a")
            covers_us = None if covered == "n/a" else microseconds(covered)
        except ValueError as error:
            raise line.refuse(f"malformed row, {error}", "write seconds; an event needs its duration") from None
        if row.get("confidence", "n/a") != "n/a":
            _confidence(line, row["confidence"])
        if covers_us is not None:
            if duration_us not in (None, covers_us) or not covers_us:
                raise line.refuse("recordingDuration is 0, or not that of the rows above", "write one duration")
            duration_us = covers_us
        named = row.get("channels", "n/a")
        channels = () if named in _WHOLE_HEAD else tuple(filter(None, (name.strip() for name in named.split(","))))
        events.append(_checked(line, words, start_us=start_us, stop_us=stop_us, label=row[kind], channels=channels))
    return LabelFile(tuple(events), duration_us)


_PARSERS = {".csv": _read_csv, ".tse": _read_tse, ".lbl": _read_lbl, "events.tsv": _read_events_tsv}
