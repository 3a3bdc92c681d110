"""Labels as three public corpora publish them: CHB-MIT, Siena and SeizeIT1. Each lists seizures alone, over all time.

Knows what their documentation says and their known mistakes. Knows nothing of which file decides, of signals, of
folders.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from brainbrr.core.files import open_plain
from brainbrr.eeg.corpus.label_rows import (
    END_US,
    MAX_LABEL_BYTES,
    Event,
    LabelFile,
    Line,
    checked,
    microseconds,
    read_lines,
    seconds_text,
    unreadable,
)
from brainbrr.eeg.corpus.vocabulary import Vocabulary
from brainbrr.errors import AnnotationError

_SEIZURE = "seiz"
_DAY_US = 86_400 * 1_000_000
_CLOCK = re.compile(r"(\d{1,2})[.:](\d{2})[.:](\d{2})", re.ASCII)
_SECONDS = re.compile(r"([\d.]+)\s*(seconds?|secs?|s)?", re.ASCII | re.IGNORECASE)
_TIME_OF_SEIZURE = re.compile(r"(?:seizure)?\s*(?:n?\s*\d+)?\s*(start|end) time", re.IGNORECASE)


# CHB-MIT


def read_chbmit_summary(path: Path, words: Vocabulary, recording: str) -> LabelFile:
    """CHB-MIT's chbNN-summary.txt: a section for each recording, with the number and the times of its seizures.

    The corpus puts a .seizures file beside each recording that has any. So one that its summary does not list has
    none where others of its folder have such files; where no file of the folder has one, or one is of a recording
    that is not there, nothing is known of it.
    """
    listed: Line | None = None
    count: tuple[Line, int] | None = None
    times: list[tuple[Line, str, int]] = []
    inside = False
    for line in read_lines(path):
        name, colon, value = (part.strip() for part in line.text.partition(":"))
        if name.lower() == "file name":
            inside = value.lower() == recording.lower()
            if inside and listed is not None:
                raise line.refuse("a second section for this recording", "keep one of the two")
            listed = line if inside else listed
        elif not inside or not colon:
            continue
        elif name.lower() == "number of seizures in file":
            if not value.isascii() or not value.isdigit():
                raise line.refuse("the number of seizures is not a number", "write a whole number")
            count = line, int(value)
        elif match := _TIME_OF_SEIZURE.fullmatch(name):
            times.append((line, match[1].lower(), _elapsed(line, value)))
    if listed is None:
        return _not_listed(path, recording)
    events = [
        checked(line, words, start_us=start_us, stop_us=stop_us, label=_SEIZURE, channels=())
        for line, start_us, stop_us in _paired(times)
    ]
    if count is None:
        raise listed.refuse("the section does not say how many seizures there are", "restore the file from the corpus")
    if count[1] != len(events):
        what = f"{count[1]} seizures are stated, the times of {len(events)} follow"
        raise count[0].refuse(what, "restore the file from the corpus")
    return LabelFile(tuple(events), None, whole=True)


def _not_listed(path: Path, recording: str) -> LabelFile:
    try:
        names = {each.name.lower() for each in path.parent.iterdir()}
    except OSError as error:
        raise unreadable(path, error) from None
    others = [name for name in names if name.endswith(".seizures")]
    if not others or any(name.removesuffix(".seizures") not in names for name in others):  # it may be a renamed one
        raise AnnotationError(
            f"{path.name} does not list {recording}",
            where=path,
            fix="restore the file from the corpus; its .seizures files tell which recordings have seizures",
        )
    note = f"{path.name} does not list {recording}, and it has no .seizures file as others here: no seizures"
    return LabelFile((), None, (note,), whole=True)


def _elapsed(line: Line, value: str) -> int:
    match = _SECONDS.fullmatch(value)
    try:
        if match is not None:
            return microseconds(match[1])
    except ValueError:
        pass
    raise line.refuse("not a time in seconds", "write: Seizure Start Time: 2996 seconds")


def _paired(times: Sequence[tuple[Line, str, int]]) -> Iterator[tuple[Line, int, int]]:
    """Give each seizure's last line, start and stop; they alternate."""
    if len(times) % 2:
        raise times[-1][0].refuse("a seizure without its other time", "write a start and an end for each seizure")
    for (first, start, start_us), (second, end, stop_us) in zip(times[::2], times[1::2], strict=True):
        if (start, end) != ("start", "end"):
            wrong = first if start != "start" else second
            raise wrong.refuse("start and end times do not alternate", "write a start and an end for each seizure")
        yield second, start_us, stop_us


_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63
_NOTE, _BEGIN, _END = 22, 32, 33  # the symbols " [ and ]
_RESOLUTION = re.compile(rb"## time resolution: (\d{1,9}(?:\.\d{1,9})?)\s*\0*")


def read_chbmit_seizures(path: Path, words: Vocabulary, _: str) -> LabelFile:
    """CHB-MIT's NAME.edf.seizures: WFDB annotations in MIT format, where `[` begins a seizure and `]` ends it.

    Source: WFDB Applications Guide, annot(5).
    """
    try:
        with os.fdopen(open_plain(path, follow=True), "rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            data = file.read(n_bytes) if n_bytes <= MAX_LABEL_BYTES else b""
    except OSError as error:
        raise unreadable(path, error) from None
    found, rate = _wfdb(data, path)
    if rate is None:
        raise _no_wfdb(path, "it states no time resolution")
    codes = [code for code, _ in found]
    if not codes or codes != [_BEGIN, _END] * (len(codes) // 2):
        raise _no_wfdb(path, "it has no seizures, or their begins and ends do not alternate")
    events = []
    times = [round(Fraction(sample * 1_000_000) / rate) for _code, sample in found]
    for start_us, stop_us in zip(times[::2], times[1::2], strict=True):
        if not 0 <= start_us < stop_us <= END_US:
            raise _no_wfdb(path, f"a seizure from {seconds_text(start_us)} to {seconds_text(stop_us)}")
        events.append(Event(start_us, stop_us, words.find(_SEIZURE) or _SEIZURE))
    return LabelFile(tuple(events), None, whole=True)


def _wfdb(data: bytes, path: Path) -> tuple[list[tuple[int, int]], Fraction | None]:
    """Return the begins and ends as (code, sample), and the rate that the file states."""
    found: list[tuple[int, int]] = []
    rate: Fraction | None = None
    at = sample = 0
    try:
        while True:
            (word,) = struct.unpack_from("<H", data, at)
            code, interval = word >> 10, word & 0x3FF
            at += 2
            if word == 0:
                return found, rate
            if code == _SKIP:
                high, low = struct.unpack_from("<hH", data, at)
                at += 4
                sample += (high << 16) + low
            elif code == _AUX:
                text = data[at : at + interval]
                at += interval + interval % 2
                if match := _RESOLUTION.fullmatch(text):
                    rate = Fraction(match[1].decode()) or None
            elif code not in (_NUM, _SUB, _CHN):
                sample += interval
                if code in (_BEGIN, _END):
                    found.append((code, sample))
                elif code not in (0, _NOTE):
                    raise _no_wfdb(path, f"an annotation of code {code}, where [ and ] belong")
    except struct.error:
        raise _no_wfdb(path, "it ends in the middle of an annotation") from None


def _no_wfdb(path: Path, why: str) -> AnnotationError:
    return AnnotationError(
        f"not a .seizures file of CHB-MIT: {why}", where=path, fix="restore it from the corpus, or remove it"
    )


# Siena

_SIENA_NAMES = {
    "pn01.edf": "pn01-1.edf",
    "pn11-.edf": "pn11-1.edf",
}
"""File names as the lists have them, and as the files are called. A letter O for a zero (PNO6-1.edf) is read as one."""

_SIENA_TIMES = {
    ("pn00-3.edf", "seizure end time", "19.29.29"): "18.29.29",
    ("pn10-7.8.9.edf", "registration start time", "1 6.49.25"): "16.49.25",
}
"""Times that are known to be wrong, by recording, field and text: an hour too many, a space in the hour."""


def read_siena_list(path: Path, words: Vocabulary, recording: str) -> LabelFile:
    """Siena's Seizures-list-PNxx.txt: for each seizure its recording, and clock times of both.

    A time before the registration's start is on the next day. Known mistakes are corrected by row, with a note.
    """
    events: list[Event] = []
    notes: list[str] = []
    listed = inside = False
    began_us: int | None = None
    starts_us: int | None = None
    last: Line | None = None
    for line in read_lines(path):
        name, colon, value = (" ".join(part.split()) for part in line.text.partition(":"))
        field = name.lower()
        if field.startswith("seizure n "):  # "Seizure n 4 (B3):" has a colon, too
            continue
        if field == "file name":
            before, inside = inside, _siena_name(value) == recording.lower()
            if inside and not before:
                began_us = None
            if inside and value.lower() != recording.lower() and not listed:
                notes.append(f"{path.name} calls {recording} {value[:40]!r}")
            listed = listed or inside
            continue
        if not inside or not colon:
            continue
        if field == "registration start time":
            began_us = _clock(line, recording, field, value, notes)
        elif match := _TIME_OF_SEIZURE.fullmatch(name):
            field = f"seizure {match[1].lower()} time"
            if began_us is None:
                raise line.refuse("a seizure before its recording's start time", "restore the file from the corpus")
            time_us = (_clock(line, recording, field, value, notes) - began_us) % _DAY_US
            if (starts_us is None) != field.endswith("start time"):
                raise line.refuse("start and end times do not alternate", "write a start and an end for each seizure")
            if starts_us is None:
                starts_us, last = time_us, line
                continue
            stop_us = time_us if time_us >= starts_us else time_us + _DAY_US
            events.append(checked(line, words, start_us=starts_us, stop_us=stop_us, label=_SEIZURE, channels=()))
            starts_us = None
    if starts_us is not None and last is not None:
        raise last.refuse("a seizure without its other time", "write a start and an end for each seizure")
    if not listed:
        raise AnnotationError(
            f"{path.name} does not list {recording}", where=path, fix="restore the file from the corpus"
        )
    return LabelFile(tuple(events), None, tuple(dict.fromkeys(notes)), whole=True)


def _siena_name(value: str) -> str:
    name = value.lower()
    name = _SIENA_NAMES.get(name, name)
    return re.sub(r"(?<=pn)o(?=\d)", "0", name)


def _clock(line: Line, recording: str, field: str, value: str, notes: list[str]) -> int:
    """Return a time of day in microseconds."""
    text = _SIENA_TIMES.get((recording.lower(), field, value), value)
    if text != value:
        notes.append(f"{field} {value} is a known mistake: read as {text}")
    match = _CLOCK.fullmatch(text)
    hours, minutes, seconds = map(int, match.groups()) if match else (99, 0, 0)
    if hours > 24 or minutes > 59 or seconds > 59:
        raise line.refuse("not a time of day", "write hours, minutes and seconds: 19.58.36")
    return (hours * 3600 + minutes * 60 + seconds) * 1_000_000


# SeizeIT1

_SEIZEIT1_TYPES = {"fia": "sz_foc_ia", "fias": "sz_foc_ia", "fa": "sz_foc_a", "f-btc": "sz_foc_f2b"}
"""The corpus's types, and SzCORE's names for them."""

_ASSUMED_US = 30 * 1_000_000
_NO_END = frozenset({"none", "nan", "n/a", ""})


def read_seizeit1(path: Path, words: Vocabulary, _: str) -> LabelFile:
    """SeizeIT1's NAME_a1.tsv: comments, then start, stop, type and origin of each seizure, separated by tabs.

    Twelve seizures have no end: 30 s of each are seizure, as SzCORE's converter takes them, and the time after that
    up to the next row, or to the end, is unknown.
    """
    rows: list[tuple[Line, int, int | None, str]] = []
    head = False
    for line in read_lines(path):
        if line.text.startswith("#"):
            head = head or line.text.lstrip("# ").lower().startswith("source: seizeit")
            continue
        fields = [field.strip() for field in line.text.split("\t")]
        if not head:
            raise line.refuse("not a table of SeizeIT1", "it begins with `# Source: SeizeIt1`")
        if len(fields) not in (3, 4):
            raise line.refuse("malformed row", "write start, stop, type and origin, separated by tabs")
        try:
            start_us = microseconds(fields[0])
            stop_us = None if fields[1].lower() in _NO_END else microseconds(fields[1])
        except ValueError as error:
            raise line.refuse(f"malformed row, {error}", "correct the time, in seconds from the start") from None
        rows.append((line, start_us, stop_us, _SEIZEIT1_TYPES.get(fields[2].lower(), fields[2])))
    if not head:
        raise AnnotationError("not a table of SeizeIT1", where=path, fix="it begins with `# Source: SeizeIt1`")
    rows.sort(key=lambda row: row[1])
    events, notes, unknown = [], [], []
    following = [row[1] for row in rows[1:]] + [END_US]
    for (line, start_us, stop_us, label), next_us in zip(rows, following, strict=False):
        ends_us = min(start_us + _ASSUMED_US, next_us) if stop_us is None else stop_us
        events.append(checked(line, words, start_us=start_us, stop_us=ends_us, label=label, channels=()))
        if stop_us is None:
            notes.append(
                f"the seizure at {seconds_text(start_us)} has no end: {seconds_text(ends_us - start_us)} are taken as "
                f"seizure, and the time after that as unknown"
            )
            unknown += [(ends_us, next_us)] if ends_us < next_us else []
    return LabelFile(tuple(events), None, tuple(notes), whole=True, unknown=tuple(unknown))
