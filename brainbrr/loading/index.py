"""The index of a view: all that reading its windows needs beside the objects, as flat arrays in one small file.

Half a kilobyte a recording, whatever the number of windows. Knows no store; labels are in samples, not in files.
The file is numpy's npz. `np.load` would set aside what a file claims to hold, so sizes and dtypes are compared first.
"""

from __future__ import annotations

import io
import json
import os
import struct
import tokenize
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from brainbrr.core import files
from brainbrr.core.access import OWNER_ONLY, Guard, file_mode, narrow
from brainbrr.core.arrays import AnyArray, Bool, Float32, Float64, Int8, Int16, Int32, Int64, UInt8
from brainbrr.core.digest import decimal_text, is_digest
from brainbrr.core.models import explain
from brainbrr.errors import IntegrityError
from brainbrr.loading.normalise import sources, weights_of
from brainbrr.loading.rows import MIXED, NO_OFFSETS, NO_WEIGHTS, Rows
from brainbrr.loading.windows import BACKGROUND, FULL, PARTIAL, UNLABELLED, Grid, ranges, touching

MAX_INDEX_BYTES = 1 << 31
"""The size of an index of four million recordings."""

_FRAME = "frame"
_MAX_HEADER_BYTES = 256
_NOT_ZIP = (struct.error, zipfile.BadZipFile, EOFError, RuntimeError, OSError)
"""What zipfile raises for other files; RuntimeError: encrypted, an unknown method, or JSON a thousand deep."""

_NOT_NPY = (SyntaxError, tokenize.TokenError, UserWarning)
"""What numpy raises beside ValueError for a header that is none."""


def save(path: Path, head: Mapping[str, Any], arrays: Mapping[str, AnyArray], *, like: Path | None = None) -> None:
    """Write a head (JSON) and arrays to a file, atomically, no more readable than `like`. Raises OSError."""
    within = OWNER_ONLY if like is None else (Guard.of(like),)
    text = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path, durable=False, mode=file_mode(path.parent, within)) as file:
        narrow(Path(file.name), within)  # its group may be another one than foreseen
        np.savez(file, allow_pickle=False, **{_FRAME: text}, **arrays)


def load(
    path: Path, dtypes: Mapping[str, str], optional: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, AnyArray]]:
    """Return the head and the arrays of these dtypes; of the optional ones all or none.

    Raises FileNotFoundError, and IntegrityError for what save() does not write.
    """
    with path.open("rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        data = file.read(n_bytes) if n_bytes <= MAX_INDEX_BYTES else b""
    try:
        if n_bytes > MAX_INDEX_BYTES:
            raise ValueError(f"more than {MAX_INDEX_BYTES:,} bytes")
        members = _members(data)
        if not members.keys().isdisjoint(optional):
            dtypes = {**dtypes, **optional}
        if members.keys() != {_FRAME, *dtypes}:
            raise ValueError(f"it holds {len(members)} arrays, or others than an index has")
        arrays = {name: _array(members[name], dtype) for name, dtype in {_FRAME: "u1", **dtypes}.items()}
        head = json.loads(arrays.pop(_FRAME).tobytes())
        if not isinstance(head, dict):
            raise ValueError("its frame is not a JSON object")
        return head, arrays
    except (ValueError, TypeError, LookupError, *_NOT_ZIP, *_NOT_NPY) as error:
        raise no_index(error, path) from None


def no_index(error: Exception, path: Path) -> IntegrityError:
    """Return the error for a file that is not an index."""
    fix = "delete it: it is made again from the store"
    return IntegrityError(f"not an index as brainbrr writes it: {error!s:.200}", where=path, fix=fix)


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of a zip that is not compressed: together they are no more than the file."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        found = file.infolist()
        if any(each.compress_type != zipfile.ZIP_STORED for each in found):
            raise ValueError("it is compressed")
        if sum(max(each.file_size, each.compress_size) for each in found) > len(data):
            raise ValueError("it claims to hold more than it does")
        return {each.filename.removesuffix(".npy"): file.read(each) for each in found}  # checks the crc32 of each


def _array(data: bytes, dtype: str) -> AnyArray:
    """Return the array of a .npy file, which must be of this dtype and hold all that its header claims."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array is of another version of numpy's format")
    if int.from_bytes(data[8:10], "little") > _MAX_HEADER_BYTES:
        raise ValueError("the header of an array is too long")
    shape, by_columns, found = np.lib.format.read_array_header_1_0(file)
    if by_columns or found != np.dtype(f"<{dtype}"):
        raise ValueError(f"an array is not as numpy writes one of {dtype}")
    content = bytearray(file.read())
    array: AnyArray = np.ndarray(shape, dtype=found, buffer=content)
    if array.nbytes != len(content):
        raise ValueError("an array is not of the shape that it claims")
    return array


INDEX_FORMAT = 2
MAX_SAMPLES = 1 << 40
MAX_RATE_HZ = 65_536
MAX_K = 40
NO_CHANNELS = -1
"""`event_place` of an event that names no channels: the whole head."""

SEIZURE_TYPE = "seiz"
"""The type of a seizure whose type is not labelled."""


@dataclass(frozen=True)
class Frame:
    """What all recordings of an index share. `digest` is the view's, None for a view that is not complete.

    `matrices` (view rows, recorded rows) act on microvolts, one for each set of `absent` channels that occurs.
    """

    digest: str | None
    rate_hz: int
    length: int
    stride: int
    tail: str
    full_fraction: str
    clip: str | None
    quantum_uv: str
    channels: tuple[str, ...]
    rows: tuple[str, ...]
    absent: tuple[tuple[str, ...], ...]
    matrices: tuple[tuple[tuple[float, ...], ...], ...]
    patients: tuple[str, ...]
    types: tuple[str, ...]
    places: tuple[tuple[str, ...], ...]

    def check(self) -> None:
        """Raise ValueError for a field that is out of range, not a decimal number, or of the wrong length."""
        for name, most in (("rate_hz", MAX_RATE_HZ), ("length", MAX_SAMPLES), ("stride", MAX_SAMPLES)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is not from 1 to {most}")
        for name in ("full_fraction", "quantum_uv", "clip"):
            text = getattr(self, name)
            if text is not None and (decimal_text(text) != text or Fraction(text) <= 0):
                raise ValueError(f"{name} is not a decimal number above 0 in its shortest form")
        if self.tail not in ("drop", "pad", "shift"):
            raise ValueError(f"tail is {self.tail[:40]!r}")
        if self.digest is not None and not is_digest(self.digest, 64):
            raise ValueError("its digest is not of 64 hex digits")
        if len(self.absent) != len(self.matrices):
            raise ValueError("absent and matrices are not of one length")


class RowTable(NamedTuple):
    """Rows of many windows that are one recorded channel each: source, centre int32, gain float32 (windows, rows)."""

    source: Int32
    centre: Int32
    gain: Float32


@dataclass(frozen=True, eq=False)
class Index:
    """All that reading a view needs in addition to the store, as flat arrays.

    Windows are not listed: their places follow by arithmetic, so an index is small and opens in milliseconds.

    Attributes
    ----------
    frame : Frame
        What all recordings share: digest of the view, rate, length, stride, rows, names.
    key, content : ndarray of uint8, shape (n, 16), (n, 32)
        Of each recording's object.
    n_samples, labelled_until : ndarray of int64, shape (n,)
        Samples, and the first one that the labels do not cover.
    labelled : ndarray of bool, shape (n,)
        Whether there are labels.
    layout, patient : ndarray of int32, shape (n,)
        Places in the frame's matrices and patients.
    k : ndarray of int8, shape (n, recorded rows)
        Exponents: a stored step is quantum_uv * 2**k µV.
    centre, gain : ndarray of int16 and float32, shape (n, rows)
        A row is (stored - centre) * gain.
    mixed : ndarray of int32, shape (n,)
        For recordings with a row that mixes channels its place in offset and scale, else -1.
    offset, scale : ndarray of float64, shape (any, rows)
        Of rows that mix channels.
    seizure_bounds, event_bounds : ndarray of int64, shape (n + 1,)
        Seizures of recording i are rows seizure_bounds[i] to seizure_bounds[i + 1]; events likewise.
    seizures, events : ndarray of int64, shape (any, 2)
        Half-open sample ranges below labelled_until.
    event_type, event_place : ndarray of int32, shape (events,)
        Places in the frame's types and places.
    unknown : ndarray of int64, shape (spans, 2)
        Half-open sample ranges below labelled_until that may hold a seizure or not.
    unknown_of : ndarray of int32, shape (spans,)
        The recording of each, ascending.
    gaps : ndarray of int64, shape (gaps, 2)
        Half-open sample ranges in which nothing was recorded; those below labelled_until are also in `unknown`.
    gap_of : ndarray of int32, shape (gaps,)
        The recording of each, ascending.

    Examples
    --------
    >>> index = brainbrr.view("store", profile="smoke", window=brainbrr.WindowSpec(2, stride_s=1)).index
    >>> index.save(Path("view.npz"))
    >>> len(brainbrr.Index.load(Path("view.npz"))) == len(index)
    True
    """

    frame: Frame
    key: UInt8
    content: UInt8
    n_samples: Int64
    labelled: Bool
    labelled_until: Int64
    layout: Int32
    patient: Int32
    k: Int8
    centre: Int16
    gain: Float32
    mixed: Int32
    offset: Float64
    scale: Float64
    seizure_bounds: Int64
    seizures: Int64
    event_bounds: Int64
    events: Int64
    event_type: Int32
    event_place: Int32
    unknown: Int64 = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    unknown_of: Int32 = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    gaps: Int64 = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    gap_of: Int32 = field(default_factory=lambda: np.zeros(0, dtype=np.int32))

    # Windows

    @cached_property
    def grid(self) -> Grid:
        """Where windows are in a recording."""
        return Grid(self.frame.length, self.frame.stride, self.frame.tail)

    @cached_property
    def bounds(self) -> Int64:
        """The windows of recording i are numbered from bounds[i] to bounds[i + 1]: int64 (n + 1,)."""
        return np.concatenate([[0], np.cumsum(self.grid.counts(self.n_samples))])

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def locate(self, windows: Int64) -> tuple[Int64, Int64]:
        """Return where windows begin.

        Parameters
        ----------
        windows : ndarray of int64, shape (n,)
            Numbers of windows.

        Returns
        -------
        recordings, starts : ndarray of int64, shape (n,)
            The recording of each, and its first sample there.

        Raises
        ------
        IndexError
            A number is beyond the last window.
        """
        if len(windows) and not (windows.min() >= 0 and windows.max() < len(self)):
            raise IndexError(f"windows {windows.min()} to {windows.max()} of {len(self)}")
        recordings = np.searchsorted(self.bounds, windows, side="right") - 1
        return recordings, self.grid.starts(self.n_samples[recordings], windows - self.bounds[recordings])

    def classes(self) -> UInt8:
        """Return each window's class by the share of its labelled time that is seizure.

        Returns
        -------
        ndarray of uint8, shape (windows,)
            0 background, 1 partial seizure, 2 full seizure, 3 nothing labelled.
        """
        classes = np.full(len(self), BACKGROUND, dtype=np.uint8)
        whole, last = self.grid.whole(self.n_samples), self.grid.last(self.n_samples)
        labelled = np.minimum(whole, -(-self.labelled_until // self.frame.stride))
        labelled += (last >= 0) & (last < self.labelled_until)
        classes[ranges(self.bounds[:-1] + labelled, self.bounds[1:])] = UNLABELLED

        blind, blind_share, time = self._shares(self.unknown_of, self.unknown)
        classes[blind[blind_share >= time]] = UNLABELLED
        recording = np.repeat(np.arange(len(self.n_samples)), np.diff(self.seizure_bounds))
        touched, seizure, time = self._shares(recording, self.seizures)
        if len(blind):
            both = np.isin(touched, blind)
            time[both] -= blind_share[np.searchsorted(blind, touched[both])]
        fraction = Fraction(self.frame.full_fraction)
        full = seizure * fraction.denominator >= time * fraction.numerator
        classes[touched] = np.where(full, FULL, PARTIAL)
        return classes

    def _shares(self, recording: AnyArray, spans: Int64) -> tuple[Int64, Int64, Int64]:
        """Return the windows that spans touch, how much of each they cover together, and its labelled time."""
        length, whole, last = self.frame.length, self.grid.whole(self.n_samples), self.grid.last(self.n_samples)
        onset, offset = spans.T
        low = np.clip((onset - length) // self.frame.stride + 1, 0, whole[recording])
        high = np.clip(-(-offset // self.frame.stride), low, whole[recording])
        tail = last[recording]
        in_tail = np.flatnonzero((tail >= 0) & (tail < offset) & (tail + length > onset))
        begin, end = self.bounds[recording], self.bounds[recording + 1]
        event, nth = np.repeat(np.arange(len(onset)), high - low), ranges(low, high)
        windows = np.concatenate([begin[event] + nth, end[in_tail] - 1])
        start = np.concatenate([nth * self.frame.stride, tail[in_tail]])
        event = np.concatenate([event, in_tail])
        stop = np.minimum(start + length, self.labelled_until[recording[event]])
        share = np.minimum(stop, offset[event]) - np.maximum(start, onset[event])
        touched, place = np.unique(windows, return_inverse=True)
        covered, time = np.zeros(len(touched), dtype=np.int64), np.ones(len(touched), dtype=np.int64)
        np.add.at(covered, place, share)
        time[place] = stop - start
        return touched, covered, time

    @cached_property
    def n_uncovered(self) -> int:
        """Samples that no window holds: tails, and what is between windows that do not touch."""
        whole, last, n = self.grid.whole(self.n_samples), self.grid.last(self.n_samples), self.n_samples
        length, stride = self.frame.length, self.frame.stride
        end = np.minimum((whole - 1) * stride + length, n)
        covered = np.where(stride < length, end, (whole - 1) * length + np.minimum(length, n - (whole - 1) * stride))
        covered += np.where(last >= 0, np.minimum(last + length, n) - np.maximum(last, end), 0)
        return int((n - covered).sum())

    @cached_property
    def unknown_bounds(self) -> Int64:
        """The unknown spans of recording i are those from [i] to [i + 1]: int64 (n + 1,)."""
        return self._bounds_of(self.unknown_of)

    @cached_property
    def gap_bounds(self) -> Int64:
        """The gaps of recording i are those from [i] to [i + 1]: int64 (n + 1,)."""
        return self._bounds_of(self.gap_of)

    def _bounds_of(self, recording: Int32) -> Int64:
        return np.searchsorted(recording, np.arange(len(self.n_samples) + 1)).astype(np.int64)

    def gaps_of(self, recording: int) -> tuple[tuple[int, int], ...]:
        """Return the gaps of a recording.

        Parameters
        ----------
        recording : int
            Its place in the index.

        Returns
        -------
        tuple of (int, int)
            Half-open ranges of samples, ascending.
        """
        first, last = self.gap_bounds[recording : recording + 2]
        return tuple((start, stop) for start, stop in self.gaps[first:last].tolist())

    def gaps_in(self, recordings: Int64, starts: Int64, n: Int64) -> list[tuple[int, int, int]]:
        """Return where windows touch gaps.

        Parameters
        ----------
        recordings, starts, n : ndarray of int64, shape (windows,)
            The recording of each window, its first sample there, and its length.

        Returns
        -------
        list of (int, int, int)
            The window, and where the gap begins and ends inside of it.
        """
        if not len(self.gaps):
            return []
        found = touching(self.gap_bounds, self.gaps, recordings, starts, n)
        return list(zip(*(each.tolist() for each in found), strict=True))

    # Numbers

    @cached_property
    def layouts(self) -> tuple[tuple[AnyArray, AnyArray], ...]:
        """The matrix of each layout, and which recorded channel each of its rows is."""
        matrices = [np.array(matrix, dtype=np.float64) for matrix in self.frame.matrices]
        return tuple((matrix, sources(matrix)) for matrix in matrices)

    def rows(self, recording: int) -> Rows:
        """Return what the rows of a recording's windows are made of.

        Parameters
        ----------
        recording : int
            Its place in the index.

        Returns
        -------
        Rows
            Source channels, centres, gains and weights.
        """
        matrix, source = self.layouts[self.layout[recording]]
        place, gain = self.mixed[recording], self.gain[recording]
        centre = self.centre[recording].astype(np.int32)
        if place < 0:
            return Rows(source, centre, gain, NO_WEIGHTS, NO_OFFSETS, self.clip, matrix.shape[1])
        offset, scale = self.offset[place], self.scale[place]
        step_uv = float(self.frame.quantum_uv) * 2.0 ** self.k[recording]
        return Rows(
            source, centre, gain, weights_of(matrix, source, step_uv, scale), offset, self.clip, matrix.shape[1]
        )

    @cached_property
    def _sources(self) -> Int32:
        return np.array([source for _, source in self.layouts], dtype=np.int32).reshape(-1, len(self.frame.rows))

    def table(self, recordings: Int64) -> RowTable:
        """Return what the rows of many windows are made of.

        Parameters
        ----------
        recordings : ndarray of int64, shape (n,)
            The recording of each window.

        Returns
        -------
        RowTable
            Arrays of shape (n, rows); rows that mix channels have source MIXED.
        """
        return RowTable(
            self._sources[self.layout[recordings]], self.centre[recordings].astype(np.int32), self.gain[recordings]
        )

    @cached_property
    def clip(self) -> np.float32:
        """What rows are cut to, infinite where they are not."""
        return np.float32(np.inf if self.frame.clip is None else self.frame.clip)

    # A file

    def check(self) -> None:
        """Check that the arrays fit together: readers rely on it.

        Raises
        ------
        ValueError
            An array's shape, values or bounds do not fit.
        """
        frame, n = self.frame, len(self.n_samples)
        n_rows, n_channels = len(frame.rows), len(frame.channels)
        events, n_mixed = len(self.event_type), len(self.offset)
        shapes = {
            "key": (n, 16), "content": (n, 32), "n_samples": (n,), "labelled": (n,), "labelled_until": (n,),
            "layout": (n,), "patient": (n,), "k": (n, n_channels), "centre": (n, n_rows),
            "gain": (n, n_rows), "mixed": (n,),
            "offset": (n_mixed, n_rows), "scale": (n_mixed, n_rows), "seizure_bounds": (n + 1,),
            "seizures": (len(self.seizures), 2), "event_bounds": (n + 1,), "events": (events, 2),
            "event_type": (events,), "event_place": (events,),
            "unknown": (len(self.unknown), 2), "unknown_of": (len(self.unknown),),
            "gaps": (len(self.gaps), 2), "gap_of": (len(self.gaps),),
        }  # fmt: skip
        places = {
            "layout": (0, len(frame.matrices)), "patient": (0, len(frame.patients)), "mixed": (-1, n_mixed),
            "event_type": (0, len(frame.types)), "event_place": (NO_CHANNELS, len(frame.places)),
            "unknown_of": (0, n), "gap_of": (0, n),
            "n_samples": (1, MAX_SAMPLES), "labelled_until": (0, MAX_SAMPLES), "k": (0, MAX_K + 1),
        }  # fmt: skip
        frame.check()
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, where {shape} belongs")
        for name, (least, stop) in places.items():
            if ((getattr(self, name) < least) | (getattr(self, name) >= stop)).any():
                raise ValueError(f"{name} holds a number outside of {least} to {stop - 1}")
        if any(matrix.shape != (n_rows, n_channels) for matrix, _ in self.layouts) or not n_channels:
            raise ValueError("a matrix is not of view rows by recorded rows")
        if (self.labelled_until > self.n_samples).any():
            raise ValueError("labelled_until is beyond the last sample")
        mixes = np.array([(source == MIXED).any() for _, source in self.layouts], dtype=np.bool_)
        if (mixes[self.layout] & (self.mixed < 0)).any():
            raise ValueError("mixed has no place for a recording whose rows mix channels")
        for name, spans in (("seizure_bounds", self.seizures), ("event_bounds", self.events)):
            bounds = getattr(self, name)
            if bounds[0] or bounds[-1] != len(spans) or (np.diff(bounds) < 0).any():
                raise ValueError(f"{name} does not rise from 0 to {len(spans)}")
            first, last = spans.T
            if ((first < 0) | (first >= last) | (last > np.repeat(self.labelled_until, np.diff(bounds)))).any():
                raise ValueError(f"{name} leads to a span outside of what is labelled")
        inside = {
            "unknown": (self.unknown, self.unknown_of, self.labelled_until),
            "gaps": (self.gaps, self.gap_of, self.n_samples),
        }
        for name, (spans, recording, end) in inside.items():
            first, last = spans.T
            if ((first < 0) | (first >= last) | (last > end[recording])).any() or (np.diff(recording) < 0).any():
                raise ValueError(f"{name} holds a span outside of its recording's labels or samples, or out of order")

    def save(self, path: Path, *, like: Path | None = None) -> None:
        """Write the index to a file, which appears complete or not at all.

        Parameters
        ----------
        path : Path
            An ``.npz`` file.
        like : Path, optional
            The store's folder: users who may not read that may not read the file. Default: only its owner may.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        names = [*DTYPES, *(OPTIONAL_DTYPES if len(self.unknown) or len(self.gaps) else ())]
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in names}
        save(path, {"format": INDEX_FORMAT, **vars(self.frame)}, arrays, like=like)

    @classmethod
    def load(cls, path: Path) -> Index:
        """Read an index that `save`, or ``brainbrr view --index``, wrote.

        Parameters
        ----------
        path : Path
            The file.

        Returns
        -------
        Index
            With every array checked.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        IntegrityError
            The file holds anything else.
        """
        head, arrays = load(path, DTYPES, OPTIONAL_DTYPES)
        try:
            index = cls(frame=_frame(head), **arrays)
            index.check()
            return index
        except (ValueError, TypeError) as error:
            raise no_index(error, path) from None


DTYPES = {
    "key": "u1", "content": "u1", "n_samples": "i8", "labelled": "b1", "labelled_until": "i8", "layout": "i4",
    "patient": "i4", "k": "i1", "centre": "i2", "gain": "f4", "mixed": "i4", "offset": "f8", "scale": "f8",
    "seizure_bounds": "i8", "seizures": "i8", "event_bounds": "i8", "events": "i8", "event_type": "i4",
    "event_place": "i4",
}  # fmt: skip
"""What the arrays of an index hold."""

OPTIONAL_DTYPES = {"unknown": "i8", "unknown_of": "i4", "gaps": "i8", "gap_of": "i4"}
"""Arrays that a file has where there is such time: an older version refuses to read it as background."""


def _frame(head: dict[str, Any]) -> Frame:
    if head.pop("format", None) != INDEX_FORMAT:
        raise ValueError("of another format")
    if unknown := head.keys() - {f.name for f in fields(Frame)}:
        raise ValueError(f"its frame has {min(unknown)[:40]!r}, which no frame has")
    try:
        return TypeAdapter(Frame).validate_python(head, strict=False)
    except ValidationError as error:
        raise ValueError(explain(error)) from None
