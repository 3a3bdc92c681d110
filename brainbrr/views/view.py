"""A view: profile, split and window over a catalog and a recipe. Joins eeg and store; writes nothing.

The same objects serve every view. A view says what it holds, what is missing, and has a digest only when whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from brainbrr.core.arrays import AnyArray, Bool, Float32, UInt8
from brainbrr.core.toml import explain
from brainbrr.eeg.corpus.annotations import Annotations
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import Fix, IntegrityError, UsageError, ViewNotReadyError
from brainbrr.loading import windows as w
from brainbrr.loading.build_index import index_of, rows_of
from brainbrr.loading.index import Index
from brainbrr.loading.labels import Labeller
from brainbrr.loading.reader import Shards, WindowReader
from brainbrr.loading.recordings import LeftOut, Missing, Omission, Stale, ViewRecording
from brainbrr.store.frozen_views import VIEW_FORMAT, check_frozen, digest_of_view
from brainbrr.store.store import Store

if TYPE_CHECKING:
    import mne


@dataclass(frozen=True)
class Window:
    """One window: signal (view rows, length) float32, its labels and where it comes from."""

    signal: Float32
    valid: Bool
    label: UInt8
    events: tuple[tuple[float, float, str], ...]  # (start_s, stop_s, label) in the recording
    recording: ViewRecording
    start_s: float
    rate_hz: int
    channels: tuple[str, ...]


class View:
    """Windows over stored recordings. `len(view)` counts them, `view[i]` reads one.

    Reading needs the store only: neither the EDF tree nor the catalog. Safe under threads, fork and pickling.
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
        for recorded, absent in {(r.record.array.channels, r.record.array.absent) for r in recordings}:
            rows_of(recorded, absent, window)  # a view that cannot be read is an error now, not at its first window

    @property
    def store(self) -> Store:
        """The store that is read. Raises ViewNotReadyError where nothing was ever ingested."""
        if self._store is None:
            raise ViewNotReadyError("the view is empty: there is no store yet", fix=Fix(("ingest", "ROOT")))
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
    def index(self) -> Index:
        """All that reading needs beside the objects, as flat arrays; windows are numbered as it numbers them."""
        digest = None if self.missing else self.digest
        return index_of(self.recordings, recipe=self.recipe, window=self.window, digest=digest)

    @cached_property
    def windows(self) -> AnyArray:
        """Every window as (recording: int32, start: int64), in the order of recordings."""
        table = np.zeros(len(self), dtype=[("recording", np.int32), ("start", np.int64)])
        table["recording"], table["start"] = self.index.locate(np.arange(len(self)))
        return table

    @property
    def n_dropped(self) -> int:
        """Samples that no window holds: tails, and what lies between windows that do not touch."""
        return self.index.n_uncovered

    def classes(self) -> UInt8:
        """Return each window's class: 0 background, 1 partial seizure, 2 full seizure, 3 nothing labelled."""
        return self.index.classes()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Window:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        index %= len(self)
        signal = np.empty((len(self.channels), self.length), dtype=np.float32)
        label = np.empty(self.length, dtype=np.uint8)
        valid = np.empty(self.length, dtype=np.bool_)
        self.fill(index, signal, label, valid)
        position, start = self._place(index)
        recording = self.recordings[position]
        first_us = start * 1_000_000 // self.rate_hz
        last_us = (start + self.length) * 1_000_000 // self.rate_hz
        return Window(
            signal=signal,
            valid=valid,
            label=label,
            events=recording.events_between(first_us, last_us),
            recording=recording,
            start_s=start / self.rate_hz,
            rate_hz=self.rate_hz,
            channels=self.channels,
        )

    def fill(
        self,
        index: int,
        signal: Float32,
        label: UInt8,
        valid: Bool,
    ) -> None:
        """Read one window into buffers: signal (view rows, length), label and valid (length,).

        label is 0 background, 1 seizure, 255 not labelled; valid is false in padding and past the labels' duration.
        Padding is zeros. Raises IntegrityError where stored bytes are damaged.
        """
        position, start = self._place(index)
        self.read(position, start, signal)
        self._labels.fill(np.array([position]), np.array([start]), label[None], valid[None])
        if not self.recordings[position].labelled:
            valid[: self.recordings[position].n_samples - start] = True

    def _place(self, index: int) -> tuple[int, int]:
        recordings, starts = self.index.locate(np.array([index]))
        return int(recordings[0]), int(starts[0])

    @cached_property
    def _labels(self) -> Labeller:
        return Labeller(self.index, kind="binary")

    @cached_property
    def _reader(self) -> WindowReader:
        return WindowReader(self.index, Shards(self.index, self.store))

    def read(self, position: int, start: int, signal: Float32) -> None:
        """Read from sample `start` of one recording into (view rows, n); zeros past its end."""
        self._reader.fill(position, start, signal)

    def over(self, store: Store) -> View:
        """Return the same view, read from another store that holds its objects."""
        other = copy(self)
        other._store = store
        other.__dict__.pop("_reader", None)  # reads the old one
        return other

    def to_mne(self, position: int) -> mne.io.RawArray:
        """Return one whole recording as MNE's Raw: in volts, not normalised, with its events as annotations.

        The view's order, reference and interpolation are applied. Raises DependencyError without mne.
        """
        from brainbrr.views.mne import to_raw

        recording = self.recordings[position]
        in_microvolts = self.window.model_copy(update={"normalise": "none", "scale_uv": None, "clip": None})
        index = index_of((recording,), recipe=self.recipe, window=in_microvolts)
        microvolts = np.empty((len(self.channels), recording.n_samples), dtype=np.float32)
        WindowReader(index, Shards(index, self.store)).fill(0, 0, microvolts)
        events = recording.events_between(0, recording.end_us)
        return to_raw(microvolts, channels=self.channels, rate_hz=self.rate_hz, events=events)

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
        """Open a frozen view.

        Raises UsageError for another format, IntegrityError when it is not as to_json() gives it, or the store no
        longer holds what it names.
        """
        check_frozen(frozen)
        try:
            recipe = Recipe.from_identity(frozen["recipe"]["fields"], name=frozen["recipe"]["name"])
            window = w.WindowSpec.model_validate(frozen["window"])
        except ValidationError as error:
            raise IntegrityError(f"the frozen view's recipe or window: {explain(error)}") from None
        recordings = []
        for entry in frozen["recordings"]:
            record = store.record(entry["key"])
            named = entry["source"], entry["content"]
            if record is None or (record.source, record.content) != named or not store.has_object(record):
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
            window=window,
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
    return digest_of_view(
        recipe.digest,
        window.identity(),
        ([r.key, r.content, r.split, r.patient, r.event_digest] for r in recordings),
        ([o.source or "", o.split, o.error] for o in omitted),
    )
