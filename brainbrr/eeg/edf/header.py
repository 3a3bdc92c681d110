"""What the header of an EDF or EDF+ file says, strictly: every field checked, every number exact.

Follows Kemp et al. 1992 (EDF) and Kemp & Olivan 2003 (EDF+). Opens no file.

What a file is called that was to be an EDF and is none: by its first bytes only.

Knows nothing of headers and signals; `edf` asks here before it believes one.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

from brainbrr.errors import EdfError

_ANNOTATIONS = "edf annotations"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d\d?)?", re.ASCII)

# Units in lower case, as latin-1 shows their bytes: µ is B5 there, C2 B5 or CE BC in UTF-8, and some writers
# leave B0 of it. No EEG is in megavolts, so case says nothing.
_UNITS_UV = {
    **dict.fromkeys(("uv", "µv", "âµv", "î¼v", "°v", "mcv", "microv"), Fraction(1)),
    "nv": Fraction(1, 1000),
    "mv": Fraction(1000),
    "v": Fraction(1_000_000),
}

# Field widths in bytes, in the header's order.
_MAIN = (("version", 8), ("patient", 80), ("recording", 80), ("date", 8), ("time", 8), ("header bytes", 8),
         ("reserved", 44), ("number of records", 8), ("record duration", 8), ("number of signals", 4))  # fmt: skip
_SIGNAL = (("label", 16), ("transducer", 80), ("unit", 8), ("physical minimum", 8), ("physical maximum", 8),
           ("digital minimum", 8), ("digital maximum", 8), ("prefilter", 80), ("samples per record", 8),
           ("reserved", 32))  # fmt: skip


@dataclass(frozen=True)
class EdfSignal:
    """One signal as its header describes it.

    `number` counts the file's signals from 1, annotation channels included; `start` is its first sample in a
    record. `problems` says why its samples cannot be scaled, which matters only to who asks for them.
    """

    label: str
    unit: str
    physical_min: Fraction
    physical_max: Fraction
    digital_min: int
    digital_max: int
    samples_per_record: int
    prefilter: str
    rate: Fraction
    number: int
    start: int
    problems: tuple[str, ...] = ()

    @cached_property
    def gain_uv(self) -> Fraction:
        """Microvolts per digital step; negative where the physical range is reversed, which is legal.

        Raises EdfError naming the signal and the field that makes it meaningless.
        """
        if self.problems:
            fix = "correct the EDF's header, or leave the file out"
            if self.digital_min > self.digital_max:
                fix += "; a negative gain is written as a reversed physical range (EDF+ 2.1.3, 5)"
            raise EdfError(f"{self}: {'; '.join(self.problems)}", fix=fix)
        return self._unit_uv() * (self.physical_max - self.physical_min) / (self.digital_max - self.digital_min)

    @cached_property
    def offset_uv(self) -> Fraction:
        """Microvolts at digital zero. Raises EdfError as gain_uv does."""
        return self._unit_uv() * self.physical_min - self.gain_uv * self.digital_min

    def _unit_uv(self) -> Fraction:
        if (unit_uv := _UNITS_UV.get(self.unit.lower())) is None:
            what = f"the unit {self.unit!r} is not known" if self.unit else "the unit is empty"
            raise EdfError(
                f"{self}: {what}; guessing it could be wrong by a factor of a million",
                fix="write uV, mV, V or nV into the EDF's header",
            )
        return unit_uv

    def __str__(self) -> str:
        return f"signal {self.number} ({self.label!r})"


@dataclass(frozen=True)
class Run:
    """Records that follow each other without a gap: the first one, and when it begins after the file's first record."""

    first: int
    n_records: int
    onset_s: Fraction


@dataclass(frozen=True)
class EdfHeader:
    """A file's header after all checks. `signals` leaves annotation channels out; `started` is ISO or None.

    `n_records` is how many whole records are read; `record_rounding_s` is half of the record duration's last digit;
    `notes` tells what was odd and harmless. `annotations` are the channels of annotations, of which the first keeps the
    time. `runs` are empty for a file without gaps.
    """

    patient: str
    recording_id: str
    started: str | None
    n_records: int
    n_records_declared: int
    record_duration_s: Fraction
    record_rounding_s: Fraction
    signals: tuple[EdfSignal, ...]
    reserved: str
    n_bytes: int
    record_samples: int
    notes: tuple[str, ...] = ()
    annotations: tuple[EdfSignal, ...] = ()
    runs: tuple[Run, ...] = ()

    @property
    def duration_s(self) -> Fraction:
        """Seconds from the begin of the first record to the end of the last whole one, gaps included."""
        if self.runs:
            return self.runs[-1].onset_s + self.runs[-1].n_records * self.record_duration_s
        return self.n_records * self.record_duration_s

    def lasting(self, record_duration_s: Fraction, rounding_s: Fraction, note: str) -> EdfHeader:
        """Return the header with another record duration, and so with other rates."""
        signals = tuple(replace(each, rate=each.samples_per_record / record_duration_s) for each in self.signals)
        return replace(
            self,
            record_duration_s=record_duration_s,
            record_rounding_s=rounding_s,
            signals=signals,
            notes=(*self.notes, note),
        )

    @property
    def discontinuous(self) -> bool:
        """Whether the file says that it may have gaps (EDF+D)."""
        return self.reserved.startswith("EDF+D")

    @property
    def synthetic(self) -> bool:
        """Whether the recording-id field has the word that marks a generated signal."""
        return "brainbrr_synthetic" in self.recording_id


ENDLESS = 1 << 40
"""How many records a stream has whose end is not known yet."""


def count_signals(main: bytes, size: int | None) -> int:
    """Return how many signals the first 256 bytes announce, once they fit a file of `size` bytes. Raises EdfError."""
    n_signals = _integer(_text(main[252:256]), "number of signals")
    if n_signals < 1:
        raise EdfError(f"the file has no signals (number of signals: {n_signals})")
    n_bytes = _integer(_text(main[184:192]), "header bytes")
    if n_bytes != (needed := 256 * (n_signals + 1)):
        raise EdfError(f"the header says it has {n_bytes} bytes; {n_signals} signals need {needed}")
    if size is not None and size < n_bytes:
        raise EdfError(f"the file ends inside its header, after {size} of {n_bytes} bytes", fix="get the whole file")
    return n_signals


def parse(main: bytes, table: bytes, size: int | None, *, accept_truncated: bool) -> EdfHeader:
    """Return what a header says of a file of `size` bytes.

    `main` is its first 256 bytes, `table` the 256 of each signal. Without a size it is still coming, and has ENDLESS
    records. Raises EdfError naming signal and field.
    """
    return _Parser(main, table, size).parse(accept_truncated=accept_truncated)


@dataclass
class _Parser:
    main: bytes
    table: bytes
    size: int | None
    notes: list[str] = field(default_factory=list)
    has_commas: bool = False

    def parse(self, *, accept_truncated: bool) -> EdfHeader:
        """Return the header."""
        main = _columns(self.main, _MAIN, 1)
        rows = _columns(self.table, _SIGNAL, len(self.table) // 256)
        duration_s = self._number(main["record duration"][0], "record duration")
        signals: list[EdfSignal] = []
        start = 0
        for i in range(len(self.table) // 256):
            signals.append(self._signal({name: texts[i] for name, texts in rows.items()}, i + 1, start, duration_s))
            start += signals[-1].samples_per_record
        keepers = [signal for signal in signals if signal.label.lower() == _ANNOTATIONS]
        measured = tuple(signal for signal in signals if signal.label.lower() != _ANNOTATIONS)
        if not measured:
            raise EdfError("the file holds annotations only, no signal")
        if duration_s <= 0:
            raise EdfError(f"the record duration is {main['record duration'][0]!r} s, so no rate is known")
        reserved = main["reserved"][0]
        if keepers and not reserved.startswith("EDF+"):
            self.notes.append("has an annotation channel although its header does not say EDF+")
        declared = _integer(main["number of records"][0], "number of records")
        n_records = self._records(declared, 2 * start, accept_truncated)
        if self.has_commas:
            self.notes.append("the header writes decimals with a comma")
        return EdfHeader(
            patient=main["patient"][0],
            recording_id=main["recording"][0],
            started=self._started(main["date"][0], main["time"][0]),
            n_records=n_records,
            n_records_declared=declared,
            record_duration_s=duration_s,
            record_rounding_s=_rounding(main["record duration"][0]),
            signals=measured,
            reserved=reserved,
            n_bytes=256 + len(self.table),
            record_samples=start,
            notes=tuple(self.notes),
            annotations=tuple(keepers),
        )

    def _signal(self, row: dict[str, str], number: int, start: int, duration_s: Fraction) -> EdfSignal:
        name = f"signal {number} ({row['label']!r})"
        n_samples = _integer(row["samples per record"], f"{name}, samples per record")
        if n_samples < 0:
            raise EdfError(f"{name}, samples per record: {n_samples}")
        problems: list[str] = []
        limits: dict[str, Fraction] = {}
        for what in ("physical minimum", "physical maximum", "digital minimum", "digital maximum"):
            try:
                limits[what] = self._number(row[what], what)
            except EdfError as error:
                problems.append(error.what)
                limits[what] = Fraction(0)
        if not problems:
            problems = _range_problems(limits)
        return EdfSignal(
            label=row["label"],
            unit=row["unit"],
            physical_min=limits["physical minimum"],
            physical_max=limits["physical maximum"],
            digital_min=int(limits["digital minimum"]),
            digital_max=int(limits["digital maximum"]),
            samples_per_record=n_samples,
            prefilter=row["prefilter"],
            rate=n_samples / duration_s if duration_s > 0 else Fraction(0),
            number=number,
            start=start,
            problems=tuple(problems),
        )

    def _number(self, text: str, what: str) -> Fraction:
        plain = text.replace(",", ".")
        if not _NUMBER.fullmatch(plain):
            raise EdfError(f"{what} is {text!r}, not a number")
        self.has_commas |= plain != text
        return Fraction(plain)

    def _records(self, declared: int, record_bytes: int, accept_truncated: bool) -> int:
        """Return how many whole records to read: the header's count, tried against the file's size."""
        if record_bytes == 0:
            raise EdfError("the records hold no samples (samples per record: all 0)")
        if self.size is None and declared >= -1:
            return ENDLESS
        whole, rest = divmod((self.size or 0) - 256 - len(self.table), record_bytes)
        if declared == -1:
            self.notes.append(f"the recording was never closed (number of records -1): {whole} whole records are there")
            if rest:
                self.notes.append(f"an incomplete last record of {rest} bytes is left out")
        elif declared < 0:
            raise EdfError(f"number of records is {declared}")
        elif declared < whole:
            raise EdfError(
                f"the header's number of records would drop signal: it says {declared}, {whole} are there",
                fix="correct the number of records in the EDF's header",
            )
        elif declared > whole:
            what = f"the file is truncated: {whole} of {declared} records are whole"
            if not accept_truncated:
                raise EdfError(what, fix="get the complete file, or read what there is with --accept truncated")
            self.notes.append(f"{what}; {rest} bytes of the next are left out")
        elif rest:
            self.notes.append(f"bytes after the last record are left out: {rest}")
        if whole == 0:
            raise EdfError(f"the file holds no data records (number of records: {declared})")
        return whole

    def _started(self, date: str, time: str) -> str | None:
        """Return the start as ISO text. Two-digit years are 1985 to 2084 (EDF+ 2.1.3)."""
        try:
            when = datetime.strptime(f"{date} {time}", "%d.%m.%y %H.%M.%S")
        except ValueError:
            self.notes.append("its start date and time are not valid")  # their text stays out of records
            return None
        century = 1900 if when.year % 100 >= 85 else 2000
        return when.replace(year=century + when.year % 100).isoformat()


def _rounding(number: str) -> Fraction:
    """Return half of a decimal number's last digit."""
    exponent = Decimal(number.replace(",", ".")).as_tuple().exponent
    return Fraction(10) ** int(exponent) / 2


def _range_problems(limits: dict[str, Fraction]) -> list[str]:
    low, high = limits["digital minimum"], limits["digital maximum"]
    problems = []
    if limits["physical minimum"] == limits["physical maximum"]:
        problems.append(f"physical minimum and maximum are both {float(limits['physical minimum']):g}")
    if low >= high:
        problems.append(f"digital minimum {float(low):g} is not below digital maximum {float(high):g}")
    elif low < -32768 or high > 32767 or low.denominator != 1 or high.denominator != 1:
        problems.append(f"digital range {float(low):g} to {float(high):g} is not of 16-bit integers")
    return problems


def _columns(block: bytes, fields: tuple[tuple[str, int], ...], n: int) -> dict[str, list[str]]:
    """Return each field's texts; a header holds all signals' first field, then all signals' second."""
    columns: dict[str, list[str]] = {}
    at = 0
    for name, width in fields:
        columns[name] = [_text(block[at + i * width : at + (i + 1) * width]) for i in range(n)]
        at += n * width
    return columns


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").strip("\0 \t\r\n")


def _integer(text: str, what: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise EdfError(f"{what} is {text!r}, not an integer")
    return int(text)


_ENOUGH = 16  # signs of damage: a few may be chance, or a text of the file
_FIX_MANGLED = "get it again and copy it in binary mode"


def refuse_other_formats(head: bytes) -> None:
    """Raise EdfError unless `head`, a file's first bytes, could be an EDF's: at least 256, of version 0."""
    if not head:
        raise EdfError("the file is empty, not an EDF", fix="get the file itself")
    if head.startswith(b"version https://git-lfs"):
        raise EdfError("the file is a git-LFS pointer, not an EDF", fix="fetch its content with `git lfs pull`")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise EdfError("the file is an HTML or XML page, not an EDF", fix="download the recording itself")
    if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise EdfError("the file is compressed, whatever its name says, not an EDF", fix="decompress it")
    if head.startswith(b"\xffBIOSEMI") or head[192:197] in (b"24BIT", b"BDF+C", b"BDF+D"):
        raise EdfError("the file is a BDF (24-bit samples), not an EDF", fix="convert it to EDF+ first")
    if len(head) < 256:
        raise EdfError(f"the file has {len(head)} bytes; an EDF's header alone has 256", fix="get the whole file")
    if head[:8].strip(b"\0 \t\r\n") != b"0":
        what = f"the file is not an EDF: its version field is {head[:8]!r}, not '0'"
        raise EdfError(what, fix="get the recording itself, or convert it to EDF")


def refuse_mangled_text(head: bytes) -> None:
    """Raise EdfError for samples that were taken for text, which changes their bytes and their number.

    A decoder leaves valid UTF-8 with U+FFFD (EF BF BD) for what was not; a copy in text mode leaves no line
    feed without a carriage return.
    """
    if head.count(b"\xef\xbf\xbd") >= _ENOUGH and _is_utf_8(head):
        raise EdfError("the file was decoded as text once, which destroyed its samples", fix=_FIX_MANGLED)
    if (n := head.count(b"\n")) >= _ENOUGH and head.count(b"\r\n") == n:
        raise EdfError("the file was copied as text, which put a byte before each line feed", fix=_FIX_MANGLED)


def _is_utf_8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # incremental: the last character may be cut
    except UnicodeDecodeError:
        return False
    return True
