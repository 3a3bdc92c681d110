"""Read EDF and EDF+ files, strictly: samples in one pass, as the integers that they are.

Knows nothing of electrodes, recipes or filters.

EDF and EDF+ that is still coming: from a pipe, or from a file that is read as if it were one. Seeks nowhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from brainbrr.core.arrays import Int16, UInt8
from brainbrr.core.digest import SourceHasher
from brainbrr.core.files import open_plain
from brainbrr.eeg.edf.header import (
    EdfHeader,
    EdfSignal,
    count_signals,
    parse,
    refuse_mangled_text,
    refuse_other_formats,
)
from brainbrr.errors import EdfError, RecordingError

_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 24
_ROUNDED = Fraction(1, 200)  # how far the record duration in a header may be from what steady timestamps say
_ONSET = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15[\d.]*)?\x14")  # EDF+ 2.2.4: the time-keeping TAL of a record


def read_header(path: Path, *, accept_truncated: bool = False) -> EdfHeader:
    """Return the header of an EDF file, checked against the file's size and, for EDF+, its timestamps.

    Records are taken to follow each other without gaps; a file that says otherwise is refused.
    With `accept_truncated`, a file that ends before its declared last record is read up to there.
    Raises EdfError, naming the file, the signal and the field, for whatever cannot be trusted.
    """
    with EdfFile(path, accept_truncated=accept_truncated) as edf:
        return edf.header


@contextmanager
def located(path: Path) -> Iterator[None]:
    """Name the file in errors of code that does not know it."""
    try:
        yield
    except RecordingError as error:
        if error.where is None:
            raise type(error)(error.what, where=path, fix=error.fix) from error.__cause__
        raise


class EdfFile:
    """An open EDF file. Samples come record by record, in one pass over the file, never the whole of it."""

    def __init__(self, path: Path, *, accept_truncated: bool = False) -> None:
        """Raises EdfError as read_header does."""
        with located(path):
            try:
                self._file = FileIO(open_plain(path, follow=True))
            except OSError as error:
                raise _unreadable(error) from error
            try:
                self.header = self._read_header(accept_truncated=accept_truncated)
            except BaseException:
                self._file.close()
                raise
        self._path = path
        self._seen = SourceHasher()
        self._seen.update(self._read(self.header.n_bytes, 0))
        self._n_seen = 0

    def __enter__(self) -> EdfFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def records(self, first: int, last: int) -> Int16:
        """Return records first to last: int16 (last − first, header.record_samples), all signals side by side.

        Raises EdfError when the file has become shorter.
        """
        n_bytes = 2 * self.header.record_samples
        with located(self._path):
            data = self._read((last - first) * n_bytes, self.header.n_bytes + first * n_bytes)
        if first <= self._n_seen < last:
            self._seen.update(data[(self._n_seen - first) * n_bytes :])
            self._n_seen = last
        return data.view("<i2").reshape(last - first, self.header.record_samples).astype(np.int16, copy=False)

    def source(self) -> str:
        """Return the SHA-256 of the bytes that were read, once every record was: what the samples came from."""
        at = self.header.n_bytes + 2 * self._n_seen * self.header.record_samples
        while len(data := self._read(_HEAD_BYTES, at, short=True)):
            self._seen.update(data)
            at += len(data)
        return self._seen.hexdigest()

    def digital(self, index: int) -> Int16:
        """Return all samples of `header.signals[index]`: int16 (n,), in digital steps, at its own rate."""
        signal = self.header.signals[index]
        step = max(1, _BLOCK_BYTES // (2 * self.header.record_samples))
        n = self.header.n_records
        blocks = [self.records(first, min(first + step, n)) for first in range(0, n, step)]
        columns = slice(signal.start, signal.start + signal.samples_per_record)
        return np.concatenate([block[:, columns] for block in blocks]).reshape(-1)

    def _read(self, n_bytes: int, offset: int, *, short: bool = False) -> UInt8:
        """Return bytes of the file; fewer only where it ends and `short` allows it. Raises EdfError."""
        data = np.empty(n_bytes, dtype=np.uint8)
        n = 0
        try:
            while n < n_bytes and (got := os.preadv(self._file.fileno(), [data.data[n:]], offset + n)):
                n += got
        except OSError as error:
            raise _unreadable(error) from error
        if n < n_bytes and not short:
            raise EdfError("the file changed while it was read", fix="ingest again when it is at rest")
        return data[:n]

    def _read_header(self, *, accept_truncated: bool) -> EdfHeader:
        size = os.fstat(self._file.fileno()).st_size
        head = self._read(_HEAD_BYTES, 0, short=True).tobytes()
        refuse_other_formats(head)
        refuse_mangled_text(head)
        main = head[:256]
        n_signals = count_signals(main, size)
        table = self._read(256 * n_signals, 256).tobytes()
        header, keeper = parse(main, table, size, accept_truncated=accept_truncated)
        return self._check_times(header, keeper)

    def _check_times(self, header: EdfHeader, keeper: EdfSignal | None) -> EdfHeader:
        """Refuse records that do not follow each other, by the timestamp that EDF+ puts first in each one.

        All records are looked at where the file says EDF+D, or where the last timestamp is not the expected one.
        Timestamps that are steady, but not at the header's record duration, are right: the header's is rounded.
        A jump forward is a gap, whatever the file calls itself. What is odd and no gap is a note, except in EDF+D.
        """
        fix = "split it at its gaps into EDF+C files"
        if keeper is None:
            if header.discontinuous:
                raise EdfError("the file is discontinuous (EDF+D) without timestamps: its gaps are not known", fix=fix)
            return header
        # Half a sample, since timestamps are rounded; 1 ms at rates that no EEG has.
        tolerance_s = 1 / max(Fraction(1), min(Fraction(1000), 2 * max(signal.rate for signal in header.signals)))
        ends = {i: self._onset_s(header, keeper, i) for i in sorted({0, header.n_records - 1})}
        first_s = ends[0] if ends[0] is not None else Fraction(0)

        def off_s(onset_s: Fraction, i: int) -> Fraction:
            return onset_s - first_s - i * header.record_duration_s

        if not header.discontinuous and all(
            onset_s is not None and abs(off_s(onset_s, i)) <= tolerance_s for i, onset_s in ends.items()
        ):
            return header
        onsets_s = [self._onset_s(header, keeper, i) for i in range(header.n_records)]
        steady_s = None if header.discontinuous else _steady(onsets_s, tolerance_s)
        if steady_s is not None and abs(steady_s / header.record_duration_s - 1) <= _ROUNDED:
            note = (
                f"the timestamps come every {float(steady_s):.9g} s, and the header says records of "
                f"{float(header.record_duration_s):g} s: the timestamps are taken"
            )
            return header.lasting(steady_s, tolerance_s / max(1, header.n_records - 1), note)
        before_s = Fraction(0)
        for i, onset_s in enumerate(onsets_s):
            if onset_s is None:
                odd, is_gap = f"record {i + 1} has no timestamp", False
            elif abs(off_s(onset_s, i)) > tolerance_s:
                odd = f"record {i + 1} starts at {float(onset_s):g} s, not at {float(onset_s - off_s(onset_s, i)):g} s"
                is_gap = off_s(onset_s, i) > before_s + tolerance_s
            else:
                before_s = off_s(onset_s, i)
                continue
            if header.discontinuous or is_gap:
                kind = header.reserved if header.reserved.isprintable() else ""
                raise EdfError(f"the file has gaps ({kind or 'plain EDF with timestamps'}): {odd}", fix=fix)
            return replace(header, notes=(*header.notes, odd))
        return header

    def _onset_s(self, header: EdfHeader, keeper: EdfSignal, i: int) -> Fraction | None:
        """Return the timestamp of a record, None where it has none."""
        at = header.n_bytes + 2 * (i * header.record_samples + keeper.start)
        match = _ONSET.match(self._read(2 * min(keeper.samples_per_record, 16), at).tobytes())
        return Fraction(match[1].decode()) if match else None


def _steady(onsets_s: list[Fraction | None], tolerance_s: Fraction) -> Fraction | None:
    """Return the seconds from one timestamp to the next where all are that far apart, else None."""
    first_s, last_s = onsets_s[0], onsets_s[-1]
    if len(onsets_s) < 3 or first_s is None or last_s is None or last_s <= first_s:
        return None
    step_s = (last_s - first_s) / (len(onsets_s) - 1)
    is_steady = all(
        each is not None and abs(each - first_s - i * step_s) <= tolerance_s for i, each in enumerate(onsets_s)
    )
    return step_s if is_steady else None


def _unreadable(error: OSError) -> EdfError:
    return EdfError(f"the file cannot be read: {error.strerror}")


class EdfStream:
    """An EDF whose records are given out in their order, each as soon as it is whole.

    header.n_records is ENDLESS. Raises EdfError for a header that cannot be trusted, and for EDF+D, whose gaps only
    the whole file tells. Timestamps are not looked at: EDF+C promises that there are no gaps.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        main = file.read(256)
        refuse_other_formats(main)
        n_bytes = 256 * count_signals(main, None)
        self._head = main + file.read(n_bytes)
        if len(self._head) < 256 + n_bytes:
            raise EdfError("the stream ends inside its header", fix="send the whole file")
        self.header, _ = parse(main, self._head[256:], None, accept_truncated=False)
        if self.header.discontinuous:
            raise EdfError("a stream cannot be discontinuous (EDF+D)", fix="split it at its gaps into EDF+C files")
        self._waiting: list[Int16] = []
        self.n_heard = 0

    def wait(self, last: int) -> bool:
        """Read on until all records before `last` have come; say whether they have, or the stream has ended.

        Raises EdfError where it ends before the record that its header declares as the last, or goes on after it.
        """
        while self.n_heard < last:
            data = self._file.read(2 * self.header.record_samples)
            declared = self.header.n_records_declared
            if len(data) < 2 * self.header.record_samples:
                if self.n_heard < declared:
                    raise EdfError(f"the stream ended after {self.n_heard} of {declared} records")
                return False
            if self.n_heard == declared:
                raise EdfError(f"the stream goes on after the {declared} records that its header declares")
            if not self.n_heard:
                refuse_mangled_text(self._head + data)
            self._waiting.append(np.frombuffer(data, "<i2").astype(np.int16, copy=False))
            self.n_heard += 1
        return True

    def records(self, first: int, last: int) -> Int16:
        """Return records first to last, each once and in order: int16 (last − first, header.record_samples).

        They must have come.
        """
        found = np.stack(self._waiting[: last - first])
        del self._waiting[: last - first]
        return found
