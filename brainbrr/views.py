"""A view: profile, split and window over a catalog and a recipe. Joins eeg and store; writes nothing.

The same objects serve every view. A view says what it holds, what is missing, and has a digest only when whole.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from brainbrr import windows as w
from brainbrr.digest import json_digest
from brainbrr.eeg.annotations import Annotations
from brainbrr.eeg.normalise import Transform, transform
from brainbrr.eeg.recipe import Recipe
from brainbrr.eeg.spatial import Matrix, operator
from brainbrr.errors import IntegrityError, UsageError, ViewNotReadyError
from brainbrr.recordings import LeftOut, Missing, Omission, Stale, ViewRecording
from brainbrr.store.chunks import ShardReader
from brainbrr.store.records import Record
from brainbrr.store.store import Store

if TYPE_CHECKING:
    import mne

_OPEN_READERS = 128
VIEW_FORMAT = 1


@dataclass(frozen=True)
class Window:
    """One window: signal (view rows, length) float32, its labels and where it comes from."""

    signal: np.ndarray[Any, np.dtype[np.float32]]
    valid: np.ndarray[Any, np.dtype[np.bool_]]
    label: np.ndarray[Any, np.dtype[np.uint8]]
    events: tuple[tuple[float, float, str], ...]  # (start_s, stop_s, label) in the recording
    recording: ViewRecording
    start_s: float
    rate_hz: int
    channels: tuple[str, ...]


class View:
    """Windows over stored recordings. `len(view)` counts them, `view[i]` reads one.

    Reading needs the store only: neither the EDF tree nor the catalog. Safe under threads and fork.
    """

    def __init__(
        self,
        store: Store | None,
        *,
        corpus: str,
        profile: str,
        split: str | None,
        recipe: Recipe,
        window: w.WindowSpec,
        recordings: tuple[ViewRecording, ...],
        missing: tuple[Missing, ...] = (),
        omitted: tuple[Omission, ...] = (),
        stale: tuple[Stale, ...] = (),
        left_out: tuple[LeftOut, ...] = (),
        selection: Mapping[str, Any] | None = None,
    ) -> None:
        self._store = store
        self.corpus, self.profile, self.split = corpus, profile, split
        self.recipe, self.window = recipe, window
        self.recordings, self.missing, self.omitted, self.stale = recordings, missing, omitted, stale
        self.left_out, self.selection = left_out, dict(selection or {})
        self.rate_hz = recipe.rate_hz
        self.length = window.samples("length_s", recipe.rate_hz)
        self.stride = window.samples("stride_s", recipe.rate_hz)
        self._readers: OrderedDict[str, ShardReader] = OrderedDict()
        self._lock = threading.Lock()
        self._transforms: dict[str, Transform] = {}
        for recorded, absent in {(r.record.array.channels, r.record.array.absent) for r in recordings}:
            rows_of(recorded, absent, window)  # a view that cannot be read is an error now, not at its first window

    @property
    def store(self) -> Store:
        """The store that is read. Raises ViewNotReadyError where nothing was ever ingested."""
        if self._store is None:
            raise ViewNotReadyError("the view is empty: there is no store yet", fix="brainbrr ingest ROOT")
        return self._store

    @property
    def state(self) -> str:
        """`empty`, `incomplete`, `stale` or `ready`: the first that applies."""
        if not self.recordings and not any(missing.stored for missing in self.missing):
            return "empty"
        if self.missing:
            return "incomplete"
        return "stale" if self.stale else "ready"

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of what the view is; None until every object exists."""
        if self.missing or not self.recordings:
            return None
        return view_digest(self.recipe, self.window, self.recordings, self.omitted)

    @property
    def synthetic(self) -> bool:
        """Whether any of the signal was generated."""
        return any(recording.synthetic for recording in self.recordings)

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """The rows of a window, after order, subset and reference."""
        return rows_of(self.recipe.channels, (), self.window)[0]

    @cached_property
    def windows(self) -> np.ndarray[Any, Any]:
        """Every window as (recording: int32, start: int64), in the order of recordings."""
        starts = [self._starts(recording) for recording in self.recordings]
        table = np.zeros(sum(map(len, starts)), dtype=[("recording", np.int32), ("start", np.int64)])
        if starts:
            table["recording"] = np.repeat(np.arange(len(starts)), [len(s) for s in starts])
            table["start"] = np.concatenate(starts)
        return table

    def _starts(self, recording: ViewRecording) -> np.ndarray[Any, np.dtype[np.int64]]:
        return w.window_starts(recording.n_samples, length=self.length, stride=self.stride, tail=self.window.tail)

    @cached_property
    def _seizure_samples(self) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        return [
            w.seizure_samples(r.seizures, rate_hz=self.rate_hz, n_samples=min(r.n_samples, r.valid_until))
            for r in self.recordings
        ]

    @cached_property
    def n_dropped(self) -> int:
        """Samples that no window holds: tails, and what lies between windows that do not touch."""
        return sum(r.n_samples - self._n_covered(r) for r in self.recordings)

    def _n_covered(self, recording: ViewRecording) -> int:
        starts = self._starts(recording)
        stops = np.minimum(starts + self.length, recording.n_samples)
        overlaps = np.maximum(stops[:-1] - starts[1:], 0)
        return int((stops - starts).sum() - overlaps.sum())

    def classes(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return each window's class: 0 background, 1 partial seizure, 2 full seizure, 3 nothing labelled."""
        parts = [
            w.classify(
                self._starts(recording),
                length=self.length,
                seizures=seizures,
                labelled_until=recording.valid_until,
                full_fraction=self.window.full_fraction,
            )
            for recording, seizures in zip(self.recordings, self._seizure_samples, strict=True)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Window:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        index %= len(self)
        signal = np.empty((len(self.channels), self.length), dtype=np.float32)
        label = np.empty(self.length, dtype=np.uint8)
        valid = np.empty(self.length, dtype=np.bool_)
        self.fill(index, signal, label, valid)
        position, start = self.windows[index]
        recording = self.recordings[position]
        first_us = int(start) * 1_000_000 // self.rate_hz
        last_us = (int(start) + self.length) * 1_000_000 // self.rate_hz
        return Window(
            signal=signal,
            valid=valid,
            label=label,
            events=recording.events_between(first_us, last_us),
            recording=recording,
            start_s=int(start) / self.rate_hz,
            rate_hz=self.rate_hz,
            channels=self.channels,
        )

    def fill(
        self,
        index: int,
        signal: np.ndarray[Any, np.dtype[np.float32]],
        label: np.ndarray[Any, np.dtype[np.uint8]],
        valid: np.ndarray[Any, np.dtype[np.bool_]],
    ) -> None:
        """Read one window into buffers: signal (view rows, length), label and valid (length,).

        label is 0 background, 1 seizure, 255 not labelled; valid is false in padding and past the labels' duration.
        Padding is zeros. Raises IntegrityError where stored bytes are damaged.
        """
        position, start = (int(value) for value in self.windows[index])
        self.read(position, start, signal)
        recording = self.recordings[position]
        n_real = min(self.length, recording.n_samples - start)
        n_labelled = min(max(recording.valid_until - start, 0), self.length)
        valid[:] = False
        valid[: n_labelled if recording.labelled else n_real] = True
        label[:n_labelled] = 0
        label[n_labelled:] = w.UNKNOWN
        for first, last in self._seizure_samples[position]:
            if last > start and first < start + n_labelled:
                label[max(first - start, 0) : min(last - start, n_labelled)] = 1

    def read(self, position: int, start: int, signal: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        """Read from sample `start` of one recording into (view rows, n); zeros past its end."""
        recording = self.recordings[position]
        n_real = min(signal.shape[1], recording.n_samples - start)
        stored = self._reader(recording).read(start, start + n_real)
        self._transform(recording).apply(stored, signal[:, :n_real])
        signal[:, n_real:] = 0.0

    def _reader(self, recording: ViewRecording) -> ShardReader:
        with self._lock:
            reader = self._readers.pop(recording.content, None) or self.store.reader(recording.content)
            self._readers[recording.content] = reader
            if len(self._readers) > _OPEN_READERS:
                self._readers.popitem(last=False)  # another thread may still read it: it closes with its last user
            return reader

    def _transform(self, recording: ViewRecording) -> Transform:
        found = self._transforms.get(recording.key)
        if found is None:
            found = self._transforms[recording.key] = transform_of(recording.record, self.window)
        return found

    def to_mne(self, position: int) -> mne.io.RawArray:
        """Return one whole recording as MNE's Raw: in volts, not normalised, with its events as annotations.

        The view's order, reference and interpolation are applied. Raises DependencyError without mne.
        """
        from brainbrr.mne_bridge import to_raw

        recording = self.recordings[position]
        microvolts = np.empty((len(self.channels), recording.n_samples), dtype=np.float32)
        in_microvolts = self.window.model_copy(update={"normalise": "none", "scale_uv": None, "clip": None})
        stored = self._reader(recording).read(0, recording.n_samples)
        transform_of(recording.record, in_microvolts).apply(stored, microvolts)
        events = recording.events_between(0, recording.end_us)
        return to_raw(microvolts, channels=self.channels, rate_hz=self.rate_hz, events=events)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def to_json(self) -> dict[str, Any]:
        """Return the frozen view: all that reading needs beside the store. Raises UsageError when not ready."""
        if self.state != "ready":
            raise UsageError(f"a view that is {self.state} cannot be frozen")
        return {
            "format": VIEW_FORMAT,
            "digest": self.digest,
            "corpus": self.corpus,
            "profile": self.profile,
            "split": self.split,
            "selection": self.selection,
            "recipe": {"name": self.recipe.name, "digest": self.recipe.digest, "fields": self.recipe.identity()},
            "window": self.window.identity(),
            "recordings": [
                {
                    "path": r.path,
                    "patient": r.patient,
                    "split": r.split,
                    "source": r.source,
                    "synthetic": r.synthetic,
                    "key": r.key,
                    "content": r.content,
                    "annotations": r.annotations.to_json(),
                }
                for r in self.recordings
            ],
            "omitted": [vars(omission) for omission in self.omitted],
            "left_out": [vars(each) for each in self.left_out],
        }

    @classmethod
    def from_json(cls, store: Store, frozen: Mapping[str, Any]) -> View:
        """Open a frozen view. Raises IntegrityError when the store no longer holds what it names."""
        if frozen.get("format") != VIEW_FORMAT:
            raise UsageError(f"a frozen view of format {frozen.get('format')!r}; this brainbrr reads {VIEW_FORMAT}")
        recipe = Recipe.from_identity(frozen["recipe"]["fields"], name=frozen["recipe"]["name"])
        recordings = []
        for entry in frozen["recordings"]:
            record = store.record(entry["key"])
            if record is None or record.content != entry["content"] or not store.has_object(record):
                raise IntegrityError(
                    f"the frozen view names content {entry['content'][:12]}, which the store does not hold",
                    where=entry["path"],
                    fix="ingest the corpus into this store again",
                )
            recordings.append(
                ViewRecording(
                    path=entry["path"],
                    patient=entry["patient"],
                    split=entry["split"],
                    source=entry["source"],
                    synthetic=entry["synthetic"],
                    annotations=Annotations.from_json(entry["annotations"]),
                    record=record,
                )
            )
        view = cls(
            store,
            corpus=frozen["corpus"],
            profile=frozen["profile"],
            split=frozen["split"],
            recipe=recipe,
            window=w.WindowSpec.model_validate(frozen["window"]),
            recordings=tuple(recordings),
            omitted=tuple(Omission(**entry) for entry in frozen["omitted"]),
            left_out=tuple(LeftOut(**entry) for entry in frozen.get("left_out", ())),
            selection=frozen["selection"],
        )
        if view.digest != frozen["digest"]:
            raise IntegrityError("the frozen view does not match its own digest", where=frozen["digest"])
        return view


def view_digest(
    recipe: Recipe, window: w.WindowSpec, recordings: Iterable[ViewRecording], omitted: Iterable[Omission]
) -> str:
    """Return the SHA-256 of a view: no path, corpus or profile name is in it."""
    return json_digest(
        {
            "recipe": recipe.digest,
            "window": window.identity(),
            "recordings": sorted([r.key, r.content, r.split, r.patient, r.event_digest] for r in recordings),
            "omitted": sorted([o.source or "", o.split, o.error] for o in omitted),
        }
    )


def rows_of(recorded: tuple[str, ...], absent: tuple[str, ...], window: w.WindowSpec) -> tuple[tuple[str, ...], Matrix]:
    """Return a view's rows and the matrix that makes them. Raises ConfigError, MontageError as `spatial.operator`."""
    return operator(recorded, absent, channels=window.channels, reference=window.reference, missing=window.missing)


def transform_of(record: Record, window: w.WindowSpec) -> Transform:
    """Return how a stored recording becomes rows of a view."""
    array = record.array
    return transform(
        rows_of(array.channels, array.absent, window)[1],
        step_uv=[Fraction(array.quantum_uv) * 2**k for k in array.k],
        statistics=record.statistics,
        normalise=window.normalise,
        scale_uv=window.scale_uv,
        clip=window.clip,
    )
