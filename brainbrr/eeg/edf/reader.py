"""Read EDF and EDF+ files, strictly: samples in one pass, as the integers that they are.

Knows nothing of electrodes, recipes or filters.

EDF and EDF+ that is still coming: from a pipe, or from a file that is read as if it were one. Seeks nowhere.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    count_signals,
    parse,
    refuse_mangled_text,
    refuse_other_formats,
)
from brainbrr.eeg.edf.timestamps import Note, follows, notes_in, onset_of, placed
from brainbrr.errors import EdfError, RecordingError

_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 24
_ANNOTATED_BYTES = 1 << 20
_HASHED_BYTES = 1 << 19  # at a time: what was read is hashed while the cache has it
_HELD_BYTES = 1 << 27
_held = threading.local()


@dataclass(frozen=True)
class WholeFile:
    """The SHA-256 of a file, and its bytes: None of a file that is too large to be held.

    The bytes are there until this thread reads the next one: their memory is used again.
    """

    path: Path
    source: str
    data: UInt8 | None


def read_whole(path: Path) -> WholeFile:
    """Read a file once, and hash it meanwhile. Raises OSError."""
    hasher = SourceHasher()
    with FileIO(open_plain(path, follow=True)) as file:
        size = os.fstat(file.fileno()).st_size
        is_held = size < _HELD_BYTES
        room = _room(size + 1 if is_held else _HASHED_BYTES)  # one more, so that one read finds the end
        at = 0
        while n := file.readinto(room[at : at + _HASHED_BYTES].data):
            hasher.update(room[at : at + n])
            if is_held:
                at += n
                if at == len(room):  # it grows meanwhile
                    room = np.concatenate([room, np.empty(len(room) + _HASHED_BYTES, dtype=np.uint8)])
    return WholeFile(path, hasher.hexdigest(), room[:at] if is_held else None)


def _room(n_bytes: int) -> UInt8:
    """Return memory that this thread keeps, since fresh memory costs a page fault for every 4 kB."""
    room: UInt8 | None = getattr(_held, "room", None)
    if room is None or len(room) < n_bytes:
        room = _held.room = np.empty(n_bytes, dtype=np.uint8)
    return room[:n_bytes]


def read_header(path: Path, *, accept_truncated: bool = False) -> EdfHeader:
    """Return the header of an EDF file, checked against the file's size and, for EDF+, its timestamps.

    `EdfHeader.runs` says where the timestamps of EDF+ have gaps.
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

    def __init__(self, path: Path, *, accept_truncated: bool = False, whole: WholeFile | None = None) -> None:
        """Raises EdfError as read_header does. `whole`: the file's bytes, where they were read before."""
        self._path = path
        self._whole = whole if whole is not None and whole.data is not None else None
        self._file: FileIO | None = None
        with located(path):
            if self._whole is None:
                try:
                    self._file = FileIO(open_plain(path, follow=True))
                except OSError as error:
                    raise _unreadable(error) from error
            try:
                self.header = self._read_header(accept_truncated=accept_truncated)
            except BaseException:
                self.__exit__()
                raise
        self._n_seen = 0
        if self._whole is None:
            self._seen = SourceHasher()
            self._seen.update(self._read(self.header.n_bytes, 0))

    def __enter__(self) -> EdfFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def records(self, first: int, last: int) -> Int16:
        """Return records first to last: int16 (last − first, header.record_samples), all signals side by side.

        Raises EdfError when the file has become shorter.
        """
        n_bytes = 2 * self.header.record_samples
        with located(self._path):
            data = self._read((last - first) * n_bytes, self.header.n_bytes + first * n_bytes)
        if self._whole is None and first <= self._n_seen < last:
            self._seen.update(data[(self._n_seen - first) * n_bytes :])
            self._n_seen = last
        return data.view("<i2").reshape(last - first, self.header.record_samples).astype(np.int16, copy=False)

    def source(self) -> str:
        """Return the SHA-256 of the bytes that were read, once every record was: what the samples came from."""
        if self._whole is not None:
            return self._whole.source
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
        data = self._bytes(n_bytes, offset)
        if len(data) < n_bytes and not short:
            raise EdfError("the file changed while it was read", fix="ingest again when it is at rest")
        return data

    def _bytes(self, n_bytes: int, offset: int) -> UInt8:
        if self._file is None:
            assert self._whole is not None and self._whole.data is not None
            return self._whole.data[offset : offset + n_bytes]
        data = np.empty(n_bytes, dtype=np.uint8)
        n = 0
        try:
            while n < n_bytes and (got := os.preadv(self._file.fileno(), [data.data[n:]], offset + n)):
                n += got
        except OSError as error:
            raise _unreadable(error) from error
        return data[:n]

    def _size(self) -> int:
        if self._file is None:
            assert self._whole is not None and self._whole.data is not None
            return len(self._whole.data)
        return os.fstat(self._file.fileno()).st_size

    def _read_header(self, *, accept_truncated: bool) -> EdfHeader:
        size = self._size()
        head = self._read(_HEAD_BYTES, 0, short=True).tobytes()
        refuse_other_formats(head)
        refuse_mangled_text(head)
        main = head[:256]
        n_signals = count_signals(main, size)
        table = self._read(256 * n_signals, 256).tobytes()
        return self._check_times(parse(main, table, size, accept_truncated=accept_truncated))

    def _check_times(self, header: EdfHeader) -> EdfHeader:
        """Return the header with the times of its records, by the timestamp that EDF+ puts first in each one.

        All records are looked at where the file says EDF+D, or where the last timestamp is not the expected one.
        Raises EdfError for times that cannot be.
        """
        if not header.annotations:
            if header.discontinuous:
                what = "the file is discontinuous (EDF+D) without timestamps: its gaps are not known"
                raise EdfError(what, fix="split it at its gaps into EDF+C files")
            return header
        last = header.n_records - 1
        ends_s = {i: self._onset_s(header, i) for i in (0, last)}
        first_s = ends_s[0] or Fraction(0)
        if not header.discontinuous and all(follows(header, ends_s[i], i, first_s=first_s) for i in ends_s):
            return header
        return placed(header, [self._onset_s(header, i) for i in range(header.n_records)])

    def _onset_s(self, header: EdfHeader, i: int) -> Fraction | None:
        """Return the timestamp of a record, None where it has none."""
        keeper = header.annotations[0]
        at = header.n_bytes + 2 * (i * header.record_samples + keeper.start)
        return onset_of(self._read(2 * min(keeper.samples_per_record, 16), at).tobytes())

    def annotations(self) -> list[Note]:
        """Return the file's annotations, their onsets counted from the begin of its first record."""
        header, found = self.header, []
        step = max(1, _ANNOTATED_BYTES // (2 * header.record_samples))
        for first in range(0, header.n_records if header.annotations else 0, step):
            n = min(step, header.n_records - first)
            data = self._read(2 * n * header.record_samples, header.n_bytes + 2 * first * header.record_samples)
            records = data.view("<i2").reshape(n, -1)
            columns = [records[:, a.start : a.start + a.samples_per_record] for a in header.annotations]
            found += notes_in(b"\0".join(column[i].tobytes() for i in range(n) for column in columns))
        first_s = (self._onset_s(header, 0) if found else None) or Fraction(0)
        return [note._replace(onset_s=note.onset_s - first_s) for note in found]


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
        self.header = parse(main, self._head[256:], None, accept_truncated=False)
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
