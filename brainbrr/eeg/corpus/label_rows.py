"""Lines, rows, exact times and events: what every label format is made of, with one strictness for all.

Knows no format: lines of bounded bytes and of nothing but text, times in whole microseconds, labels of a vocabulary.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path

from brainbrr.core.files import open_plain
from brainbrr.eeg.corpus.vocabulary import Vocabulary
from brainbrr.errors import AnnotationError

MAX_LABEL_BYTES = 1 << 22
"""A day of rows for each of twenty channels is a quarter of it."""

_CONTROL = re.compile(r"[^\t\n\r -~\xa0-\U0010ffff]")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_MICROSECOND = Decimal("0.000001")
_LONGEST_S = 10**9  # 31 years: above it a number is not a time
END_US = _LONGEST_S * 1_000_000
"""The end of any recording."""


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
        with os.fdopen(open_plain(path, follow=True), "rb") as file:
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


@dataclass(frozen=True)
class Event:
    """A stretch of labelled time in microseconds from the recording's start; no channels: the whole head."""

    start_us: int
    stop_us: int
    label: str
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelFile:
    """What one label file says: every row, how much time it covers (None: not said), what was odd.

    `whole`: the format's convention is to list seizures alone, over the whole recording. `unknown` are stretches
    (start, stop) that may hold a seizure or not.
    """

    events: tuple[Event, ...]
    duration_us: int | None
    notes: tuple[str, ...] = ()
    whole: bool = False
    unknown: tuple[tuple[int, int], ...] = ()


def microseconds(text: str) -> int:
    """Return a decimal number of seconds as whole microseconds, half to even beyond six decimals.

    Exact: never a float on the way. Raises ValueError that says what is wrong.
    """
    if len(text) > 40 or not NUMBER.fullmatch(text):
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


def event(line: Line, words: Vocabulary, *, start: str, stop: str, label: str, channels: tuple[str, ...]) -> Event:
    """Return one row's event, or refuse the row: times are decimals, 0 <= start <= stop, label known."""
    try:
        start_us, stop_us = microseconds(start), microseconds(stop)
    except ValueError as error:
        raise line.refuse(f"malformed row, {error}", "correct the time, in seconds from the start") from None
    return checked(line, words, start_us=start_us, stop_us=stop_us, label=label, channels=channels)


def checked(
    line: Line, words: Vocabulary, *, start_us: int, stop_us: int, label: str, channels: tuple[str, ...]
) -> Event:
    """Return one row's event, or refuse the row: 0 <= start <= stop, label known, no seizure of no length."""
    if stop_us < start_us:
        raise line.refuse("the event stops before it starts", "correct the row's times")
    known = words.find(label)
    if known is None:
        raise line.refuse(
            f"{label[:40]!r} is not a label of {words.name}",
            f"correct the label, or say what it means with --label-map; known: {words.listed()}",
        )
    if start_us == stop_us and words.is_seizure(known):
        raise line.refuse("a seizure of no length", "write the seizure's end: as it is, all of it would be background")
    return Event(start_us, stop_us, known, channels)


def check_confidence(line: Line, text: str) -> None:
    """Refuse a row whose confidence is not a number."""
    if not NUMBER.fullmatch(text):
        raise line.refuse(f"malformed row, confidence {text[:40]!r} is not a number", "write 1.0000")
