"""A view: profile, split and window over a catalog and a recipe. Joins eeg and store; writes nothing.

The same objects serve every view. A view states what it holds and what is missing, and has a digest only when complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from operator import index as as_int
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from pydantic import ValidationError

from brainbrr.core.arrays import AnyArray, Bool, Float32, UInt8
from brainbrr.core.display import counted, html_table
from brainbrr.core.models import explain
from brainbrr.eeg.corpus.annotations import Annotations
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import Fix, IntegrityError, UsageError, ViewNotReadyError
from brainbrr.loading.build_index import index_of, rows_of
from brainbrr.loading.columnar import StoredRecordings
from brainbrr.loading.index import Index
from brainbrr.loading.labels import Labeller
from brainbrr.loading.reader import Shards, WindowReader
from brainbrr.loading.recordings import LeftOut, Members, Omission, Recordings, Scope, Totals, ViewRecording, totals_of
from brainbrr.loading.windows import WindowSpec
from brainbrr.store.frozen_views import VIEW_FORMAT, check_frozen, digest_of_texts, digest_of_view
from brainbrr.store.store import Store
from brainbrr.views.window import Window

if TYPE_CHECKING:
    import matplotlib.figure
    import mne
    import xarray
    from braindecode.datasets import BaseConcatDataset


class Windows(Sequence[Window]):
    """Some windows of a view, each read when it is used: what a slice of a view gives.

    Parameters
    ----------
    view : View
        The view.
    places : range
        Which of its windows.

    Examples
    --------
    >>> some = brainbrr.view("store", window=brainbrr.WindowSpec(2, stride_s=1))[10:20:5]
    >>> len(some), [window.start_s for window in some]
    (2, [10.0, 15.0])
    """

    def __init__(self, view: View, places: range) -> None:
        self._view, self._places = view, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Window: ...

    @overload
    def __getitem__(self, place: slice) -> Windows: ...

    def __getitem__(self, place: int | slice) -> Window | Windows:
        if isinstance(place, slice):
            return Windows(self._view, self._places[place])
        return self._view[self._places[place]]

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'window')} of {self._view!r}>"


class View:
    """Windows over stored recordings.

    ``len(view)`` counts windows, ``view[i]`` reads one, ``view[i:j]`` gives a sequence that reads each when it is used.
    Reading needs the store only: neither the EDF files nor the catalog. Safe under threads, fork and pickling.

    Attributes
    ----------
    recordings : Recordings
        The stored recordings, in the order of the view.
    missing, omitted, stale, left_out : tuple
        Recordings that cannot be used yet; that were refused, which was accepted; whose files changed; and whose
        findings score below the requested quality.
    corpus, profile, split, selection
        Which part of which corpus this is.
    recipe : Recipe
        What was done to the signal before it was stored.
    window : WindowSpec
        What is done to it when it is read.
    rate_hz, length, stride : int
        Samples per second, and a window's length and stride in samples.
    fix : str or None
        The command that makes the view ready, where it is not.

    Examples
    --------
    >>> view = brainbrr.view("store", profile="smoke", window=brainbrr.WindowSpec(2, stride_s=1))
    >>> view
    <View demo/smoke: 6 recordings, 0.04 h, 126 windows of 2 s every 1 s at 256 Hz, ready>
    >>> [window.start_s for window in view[0:3]]
    [0.0, 1.0, 2.0]
    """

    def __init__(
        self,
        store: Store | None,
        members: Members,
        *,
        scope: Scope,
        recipe: Recipe,
        window: WindowSpec,
        fix: str | None = None,
    ) -> None:
        self._store = store
        self.members, self.scope, self.recipe, self.window, self.fix = members, scope, recipe, window, fix
        given = members.recordings
        self.recordings = given if isinstance(given, Recordings) else Recordings(given)
        self.missing, self.omitted, self.stale = members.missing, members.omitted, members.stale
        self.left_out = members.left_out
        self.corpus, self.profile, self.split = scope.corpus, scope.profile, scope.split
        self.selection = dict(scope.selection)
        self.rate_hz = recipe.rate_hz
        self.length = window.samples("length_s", recipe.rate_hz)
        self.stride = window.samples("stride_s", recipe.rate_hz)
        for recorded, absent in self._layouts():
            rows_of(recorded, absent, window)  # a view that cannot be read is an error now, not at its first window

    def __repr__(self) -> str:
        split = f", split {self.split}" if self.split else ""
        hours = self.totals.seconds / 3600
        cut = f"{counted(len(self), 'window')} of {self.window.length_s} s every {self.window.stride_s} s"
        lacks = f" ({counted(len(self.missing), 'recording')} missing)" if self.missing else ""
        holds = f"{counted(len(self.recordings), 'recording')}, {hours:.2f} h, {cut} at {self.rate_hz} Hz"
        return f"<View {self.corpus or '?'}/{self.profile}{split}: {holds}, {self.state}{lacks}>"

    def _repr_html_(self) -> str:
        rows = {
            "corpus, profile, split": f"{self.corpus or '?'}, {self.profile}, {self.split or 'all'}",
            "state": self.state,
            "recordings": f"{len(self.recordings)} ({len(self.missing)} missing, {len(self.omitted)} omitted)",
            "patients": self.totals.patients,
            "hours": f"{self.totals.seconds / 3600:.2f}",
            "seizures": self.totals.seizures,
            "windows": f"{len(self):,} of {self.window.length_s} s every {self.window.stride_s} s",
            "signal": f"{len(self.channels)} channels at {self.rate_hz} Hz, normalise {self.window.normalise}",
            "recipe": f"{self.recipe.name} {self.recipe.digest[:12]}",
            "digest": self.digest or "none until it is complete",
            **({"fix": self.fix} if self.fix else {}),
            **({"data": "SYNTHETIC"} if self.synthetic else {}),
        }
        return html_table(rows.items(), caption="brainbrr view")

    @property
    def store(self) -> Store:
        """The store that is read. Raises ViewNotReadyError where nothing was ever ingested."""
        if self._store is None:
            raise ViewNotReadyError("the view is empty: there is no store yet", fix=Fix(("ingest", "ROOT")))
        return self._store

    @property
    def store_if_there(self) -> Store | None:
        """The store, None where nothing was ever ingested."""
        return self._store

    @property
    def state(self) -> str:
        """`empty`, `incomplete`, `stale` or `ready`: the first that applies."""
        if not self.recordings and not any(missing.stored for missing in self.missing):
            return "empty"
        if self.missing:
            return "incomplete"
        return "stale" if self.stale else "ready"

    def require_ready(self, *, location: Path | str | None = None) -> None:
        """Do nothing where the view is ready.

        Parameters
        ----------
        location : path-like, optional
            Where the store would be, for a view without one.

        Raises
        ------
        ViewNotReadyError
            The view is not ready; the error names its state, the first reason and the command that makes it ready.
        """
        if self.state == "ready":
            return
        reasons = [each.reason for each in self.missing] + [each.reason for each in self.stale]
        of = f"{len(self.recordings)} of {len(self.recordings) + len(self.missing)} recordings are stored"
        place = location or (self._store.where if self._store else None)
        raise ViewNotReadyError(
            f"the view is {self.state}: {of}" + (f"; {reasons[0]}" if reasons else ""),
            where=f"corpus {self.corpus or '?'}, profile {self.profile}, split {self.split or 'all'}, "
            f"recipe {self.recipe.name}" + (f", store {place}" if place else ""),
            fix=self.fix,
        )

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the view's recordings, labels, recipe and window; None until every object exists."""
        if self.missing or not self.recordings:
            return None
        if isinstance(self.recordings, StoredRecordings):
            omitted = ([o.source or "", o.split, o.error] for o in self.omitted)
            return digest_of_texts(self.recipe.digest, self.window.identity(), self.recordings.named(), omitted)
        return view_digest(self.recipe, self.window, self.recordings, self.omitted)

    @property
    def synthetic(self) -> bool:
        """Whether any of the signal was generated."""
        return self.totals.synthetic

    @cached_property
    def totals(self) -> Totals:
        """Hours, seizures, patients and more of all recordings together."""
        if isinstance(self.recordings, StoredRecordings):
            return self.recordings.totals(self.length)
        return totals_of(self.recordings, self.length)

    def _layouts(self) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Return every pair of recorded and absent channels."""
        if isinstance(self.recordings, StoredRecordings):
            return self.recordings.layouts()
        return {(recording.record.array.channels, recording.absent) for recording in self.recordings}

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """The rows of a window, after order, subset and reference."""
        return rows_of(self.recipe.channels, (), self.window)[0]

    @cached_property
    def index(self) -> Index:
        """All that reading needs beside the objects, as flat arrays; windows are numbered as it numbers them."""
        digest = None if self.missing else self.digest
        if isinstance(self.recordings, StoredRecordings):
            return self.recordings.to_index(recipe=self.recipe, window=self.window, digest=digest)
        return index_of(self.recordings, recipe=self.recipe, window=self.window, digest=digest)

    @cached_property
    def windows(self) -> AnyArray:
        """Every window as (recording: int32, start: int64), in the order of recordings."""
        table = np.zeros(len(self), dtype=[("recording", np.int32), ("start", np.int64)])
        table["recording"], table["start"] = self.index.locate(np.arange(len(self)))
        return table

    @property
    def n_dropped(self) -> int:
        """Samples that are in no window: ends of recordings, and gaps between windows that do not touch."""
        return self.index.n_uncovered

    def classes(self) -> UInt8:
        """Return each window's class.

        Returns
        -------
        ndarray of uint8, shape (windows,)
            0 background, 1 partial seizure, 2 full seizure, 3 nothing labelled. A window is a full seizure where the
            share of its labelled time that is seizure reaches ``window.full_fraction``.
        """
        return self.index.classes()

    def __len__(self) -> int:
        return len(self.index)

    @overload
    def __getitem__(self, place: int) -> Window: ...

    @overload
    def __getitem__(self, place: slice) -> Windows: ...

    def __getitem__(self, place: int | slice) -> Window | Windows:
        if self.missing or not self.recordings:  # a part of a view would be taken for all of it
            self.require_ready()
        if isinstance(place, slice):
            return Windows(self, range(len(self))[place])
        index = as_int(place)
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        return self._read_window(index % len(self))

    def __iter__(self) -> Iterator[Window]:
        return iter(self[:])

    def _read_window(self, index: int) -> Window:
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
        """Read one window into buffers; padding and gaps are zeros.

        Parameters
        ----------
        index : int
            The window, from 0.
        signal : ndarray of float32, shape (channels, samples)
            Filled with the signal.
        label : ndarray of uint8, shape (samples,)
            Filled with 0 background, 1 seizure, 255 not labelled.
        valid : ndarray of bool, shape (samples,)
            Filled with false in padding, in gaps and past the labels' duration.

        Raises
        ------
        IntegrityError
            A stored tile is damaged.
        """
        position, start = self._place(index)
        self.read(position, start, signal)
        self._labels.fill(np.array([position]), np.array([start]), label[None], valid[None])
        if not self.recordings[position].labelled:
            valid[: self.recordings[position].n_samples - start] = True
            for first, last in self.index.gaps_of(position):
                valid[max(first - start, 0) : max(last - start, 0)] = False

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
        """Read a part of one recording into a buffer; zeros past its end and in gaps.

        Parameters
        ----------
        position : int
            The recording's place in `recordings`.
        start : int
            The first sample.
        signal : ndarray of float32, shape (channels, samples)
            Filled with the signal.

        Raises
        ------
        IntegrityError
            A stored tile is damaged.
        """
        self._reader.fill(position, start, signal)

    def over(self, store: Store) -> View:
        """Return the same view, read from another store.

        Parameters
        ----------
        store : Store
            A store that holds the view's objects.

        Returns
        -------
        View
            With the same digest.
        """
        other = copy(self)
        other._store = store
        other.__dict__.pop("_reader", None)  # reads the old one
        return other

    def plot(self, index: int) -> matplotlib.figure.Figure:
        """Draw one window, as `brainbrr show` draws: rows with names, units, time, events shaded, odd rows marked.

        Parameters
        ----------
        index : int
            The window, as in ``view[index]``.

        Returns
        -------
        matplotlib.figure.Figure
            In the view's own rows and units. A notebook shows it; ``figure.savefig("window.png")`` writes it.

        Raises
        ------
        DependencyError
            matplotlib is not installed.
        IntegrityError
            A stored tile is damaged.

        Examples
        --------
        >>> figure = brainbrr.view("store", window=brainbrr.WindowSpec(10)).plot(0)
        >>> len(figure.axes[0].get_yticklabels())
        19
        """
        from brainbrr.views.strips import plot_window

        return plot_window(self[index], self.window, store=self.store, corpus=self.corpus)

    def to_mne(self, position: int) -> mne.io.RawArray:
        """Return one recording as MNE's Raw, not normalised, with its events as annotations.

        The view's order of channels, reference and interpolation are applied. Gaps are zeros below an annotation
        BAD_ACQ_SKIP, as MNE's own readers write them.

        Parameters
        ----------
        position : int
            The recording's place in `recordings`.

        Returns
        -------
        mne.io.RawArray
            In volts, at `rate_hz`. ``info["highpass"]`` and ``info["lowpass"]`` are the edges of the pass band in Hz
            that the recording really has, ``info["line_freq"]`` is the notch, electrodes are at their standard 10-20
            positions, and ``info["description"]`` names the recipe. Channels with NaN are marked bad.

        Raises
        ------
        DependencyError
            mne is not installed.
        IntegrityError
            A stored tile is damaged.

        Examples
        --------
        >>> raw = brainbrr.view("store").to_mne(0)
        >>> raw.info["highpass"], raw.info["lowpass"], raw.info["line_freq"]
        (0.5, 120.0, 60.0)
        """
        from brainbrr.views.mne import Acquisition, to_raw

        recording = self.recordings[position]
        in_microvolts = self.window.model_copy(update={"normalise": "none", "scale_uv": None, "clip": None})
        index = index_of((recording,), recipe=self.recipe, window=in_microvolts)
        microvolts = np.empty((len(self.channels), recording.n_samples), dtype=np.float32)
        WindowReader(index, Shards(index, self.store)).fill(0, 0, microvolts)
        made = Acquisition.of(recording.record, self.recipe, reference=self.window.reference)
        gaps = [(start / 1e6, stop / 1e6, "BAD_ACQ_SKIP") for start, stop in recording.gaps]
        events = [*recording.events_between(0, recording.end_us), *gaps]
        return to_raw(microvolts, made, channels=self.channels, events=events)

    def to_xarray(self) -> xarray.Dataset:
        """Return all windows as an xarray Dataset. The signal of a window is read when it is used.

        Returns
        -------
        xarray.Dataset
            `signal` is float32, (window, channel, time), normalised as the view says. Coordinates of each window are
            its `recording`, `patient`, `split`, `start_s` and `label` (background, partial, full or unlabelled).

        Raises
        ------
        DependencyError
            xarray is not installed.

        Examples
        --------
        >>> windows = brainbrr.view("store", window=brainbrr.WindowSpec(4)).to_xarray()
        >>> windows.sel(channel=["Cz", "Pz"]).isel(window=slice(0, 3)).signal.shape
        (3, 2, 1024)
        """
        from brainbrr.views.bridges import to_xarray

        return to_xarray(self)

    def to_braindecode(self) -> BaseConcatDataset[Any]:
        """Return the labelled windows as braindecode's dataset, whose EEGClassifier trains on it as it is.

        Returns
        -------
        braindecode.datasets.BaseConcatDataset
            A dataset for each recording, so that ``split("split")`` and ``split("patient")`` work. An item is the
            signal, float32 (channels, samples), 1 where any of it is seizure, else 0, and the place of the window.

        Raises
        ------
        DependencyError
            braindecode is not installed.
        """
        from brainbrr.views.bridges import to_braindecode

        return to_braindecode(self)

    def to_json(self) -> dict[str, Any]:
        """Return the frozen view: all that reading needs in addition to the store.

        Returns
        -------
        dict
            JSON without floats; `from_json` opens it.

        Raises
        ------
        UsageError
            The view is not ready.
        """
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

        Parameters
        ----------
        store : Store
            A store that holds the view's objects.
        frozen : mapping
            What `to_json` returned.

        Returns
        -------
        View
            With the same digest.

        Raises
        ------
        UsageError
            Another format.
        IntegrityError
            It is not what `to_json` returned, or the store no longer holds what it references.
        """
        check_frozen(frozen)
        try:
            recipe = Recipe.from_identity(frozen["recipe"]["fields"], name=frozen["recipe"]["name"])
            window = WindowSpec.model_validate(frozen["window"])
        except ValidationError as error:
            raise IntegrityError(f"the frozen view's recipe or window: {explain(error)}") from None
        store.prefetch(entry["key"] for entry in frozen["recordings"])
        view = cls(
            store,
            Members(
                tuple(_stored(store, entry) for entry in frozen["recordings"]),
                omitted=tuple(Omission(**entry) for entry in frozen["omitted"]),
                left_out=tuple(LeftOut(**entry) for entry in frozen.get("left_out", ())),
            ),
            scope=Scope(frozen["corpus"], frozen["profile"], frozen["split"], frozen["selection"]),
            recipe=recipe,
            window=window,
        )
        if view.digest != frozen["digest"]:
            raise IntegrityError("the frozen view does not match its own digest", where=frozen["digest"])
        return view


def _stored(store: Store, entry: Mapping[str, Any]) -> ViewRecording:
    """Return a recording of a frozen view. Raises IntegrityError where the store does not hold it."""
    record = store.record(entry["key"])
    named = entry["source"], entry["content"]
    if record is None or (record.source, record.content) != named or not store.has_object(record):
        raise IntegrityError(
            f"the frozen view names content {entry['content'][:12]}, which the store does not hold",
            where=entry["path"],
            fix="ingest the corpus into this store again",
        )
    return ViewRecording(
        path=entry["path"],
        patient=entry["patient"],
        split=entry["split"],
        source=entry["source"],
        synthetic=entry["synthetic"],
        annotations=Annotations.from_json(entry["annotations"]),
        record=record,
    )


def view_digest(
    recipe: Recipe, window: WindowSpec, recordings: Iterable[ViewRecording], omitted: Iterable[Omission]
) -> str:
    """Return the SHA-256 of a view: no path, corpus or profile name is in it."""
    return digest_of_view(
        recipe.digest,
        window.identity(),
        ([r.key, r.content, r.split, r.patient, r.event_digest] for r in recordings),
        ([o.source or "", o.split, o.error] for o in omitted),
    )
