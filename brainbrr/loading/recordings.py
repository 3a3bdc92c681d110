"""The recordings of a view: what a catalog row and a record state together, and what is missing or left out.

Reads records, no signal; knows nothing of windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, overload

from brainbrr.core.digest import json_digest, key_of
from brainbrr.core.display import counted, html_table
from brainbrr.eeg.corpus.annotations import UNLABELLED, Annotations
from brainbrr.eeg.corpus.label_rows import Event
from brainbrr.eeg.signal.montage import electrode_of
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import CollisionError, DependencyError, IntegrityError
from brainbrr.loading.windows import joined, outside
from brainbrr.store.catalog import Row
from brainbrr.store.records import Record
from brainbrr.store.store import Store

if TYPE_CHECKING:
    import pandas

_ROWS_SHOWN = 20


@dataclass(frozen=True)
class Missing:
    """A recording of the view that cannot be used yet, and why. `stored`: its object itself exists."""

    recording: str
    reason: str
    stored: bool = False


@dataclass(frozen=True)
class Stale:
    """A recording of the view whose EDF or label file is no longer what the catalog says."""

    recording: str
    reason: str


@dataclass(frozen=True)
class Omission:
    """A refused recording whose absence was accepted."""

    recording: str
    split: str
    source: str | None
    error: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A stored recording whose findings score below the requested quality."""

    recording: str
    split: str
    score: int


@dataclass(frozen=True, repr=False)
class ViewRecording:
    """One stored recording of a view, with its labels clipped to the signal.

    Attributes
    ----------
    path : str
        In the corpus, with forward slashes.
    patient, split : str
        As the corpus names them; split "none" where it names no splits.
    source : str
        Digest of the EDF's bytes.
    synthetic : bool
        Whether the signal was generated.
    annotations : Annotations
        Its labels.
    record : Record
        What is stored, and how it was made.

    Examples
    --------
    >>> recording = brainbrr.view("store").recordings[0]
    >>> recording.duration_s
    23.0
    """

    path: str
    patient: str
    split: str
    source: str
    synthetic: bool
    annotations: Annotations
    record: Record

    def __repr__(self) -> str:
        facts = f"patient {self.patient}, split {self.split}, {self.duration_s:g} s"
        labels = counted(len(self.seizures), "seizure") if self.labelled else "unlabelled"
        return f"<ViewRecording {self.path}: {facts}, {labels}{', synthetic' if self.synthetic else ''}>"

    def _repr_html_(self) -> str:
        return html_table(self.to_dict().items(), caption="brainbrr recording")

    def to_dict(self) -> dict[str, Any]:
        """Return one row of a table.

        Returns
        -------
        dict
            Path, patient, split, length in seconds, whether it is labelled, number of seizures and their seconds,
            absent channels, whether it is synthetic, and its key and content digest.
        """
        return {
            "path": self.path,
            "patient": self.patient,
            "split": self.split,
            "duration_s": self.duration_s,
            "labelled": self.labelled,
            "seizures": len(self.seizures),
            "seizure_s": sum(stop - start for start, stop in self.seizures) / 1e6,
            "absent": ", ".join(self.absent),
            "synthetic": self.synthetic,
            "key": self.key,
            "content": self.content,
        }

    @property
    def key(self) -> str:
        """Digest of what the object was made from: source and recipe."""
        return self.record.key

    @property
    def content(self) -> str:
        """Digest of the stored samples."""
        return self.record.content

    @property
    def n_samples(self) -> int:
        """Samples of each channel."""
        return self.record.array.n_samples

    @property
    def duration_s(self) -> float:
        """Length of the signal in seconds."""
        return self.n_samples / self.record.array.rate_hz

    @property
    def recorded_s(self) -> float:
        """Seconds of it that are in no gap."""
        return self.record.array.n_recorded / self.record.array.rate_hz

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Time in which nothing was recorded: (start, stop) in microseconds, ascending."""
        return self.record.array.gaps_us

    @property
    def labelled(self) -> bool:
        """Whether labels state where seizures are."""
        return self.annotations.labelled

    @property
    def seizures(self) -> tuple[tuple[int, int], ...]:
        """Seizures inside the signal: (start, stop) in microseconds, ascending; what is in a gap is left out."""
        return tuple(outside(clip(self.annotations.seizures, self.end_us), self.gaps))

    @property
    def end_us(self) -> int:
        """End of the signal in microseconds, rounded up."""
        return -(-self.n_samples * 1_000_000 // self.record.array.rate_hz)

    @property
    def n_clipped(self) -> int:
        """Seizures of the label file that reach past the signal."""
        return sum(event.stop_us > self.end_us for event in self.annotations.seizures)

    @property
    def valid_until(self) -> int:
        """First sample that the labels do not cover; 0 when nothing is labelled."""
        if not self.labelled:
            return 0
        if self.annotations.duration_us is None:
            return self.n_samples
        return min(self.n_samples, -(-self.annotations.duration_us * self.record.array.rate_hz // 1_000_000))

    @property
    def absent(self) -> tuple[str, ...]:
        """Channels that the recording does not have, or that its labels call unusable, in the recipe's order."""
        array = self.record.array
        if not self.annotations.unusable:
            return array.absent
        unusable = {*self.annotations.unusable, *map(electrode_of, self.annotations.unusable)}
        return tuple(name for name in array.channels if name in array.absent or name in unusable)

    @property
    def unknown(self) -> tuple[tuple[int, int], ...]:
        """Time inside the signal that may hold a seizure or not, gaps too: (start, stop) in microseconds, ascending."""
        spans = ((start, min(stop, self.end_us)) for start, stop in self.annotations.unknown if start < self.end_us)
        return tuple(joined([*spans, *self.gaps]))

    def events_between(self, start_us: int, stop_us: int) -> tuple[tuple[float, float, str], ...]:
        """Return the events that overlap an interval, by type where known.

        Parameters
        ----------
        start_us, stop_us : int
            The interval in microseconds from the start of the recording.

        Returns
        -------
        tuple of (float, float, str)
            Start and stop in seconds, and the label.
        """
        return tuple(
            (event.start_us / 1e6, min(event.stop_us, self.end_us) / 1e6, event.label)
            for event in self.annotations.typed or self.annotations.seizures
            if event.start_us < min(stop_us, self.end_us) and event.stop_us > start_us
        )

    @property
    def event_digest(self) -> str:
        """SHA-256 of the labels: see `event_digest`."""
        return event_digest(self.annotations)


def event_digest(annotations: Annotations) -> str:
    """Return the SHA-256 of labels; notes, and what was only compared with the signal's length, do not count."""
    labels = annotations.to_json()
    return json_digest({name: value for name, value in labels.items() if name not in ("notes", "last")})


@dataclass(frozen=True)
class Totals:
    """What the recordings of a view have together; `absent` and `flat`: recordings by channel."""

    seconds: float
    seizures: int
    clipped: int
    patients: int
    short: int
    synthetic: bool
    absent: Mapping[str, int]
    flat: Mapping[str, int]
    n_bytes: int | None = None
    """Of their objects, None where it is not known without a look at each."""


class Recordings(Sequence[ViewRecording]):
    """The recordings of a view, a sequence that shows itself as a table.

    Parameters
    ----------
    recordings : iterable of ViewRecording
        The recordings.

    Examples
    --------
    >>> recordings = brainbrr.view("store").recordings
    >>> len(recordings), sorted({each.split for each in recordings})
    (18, ['dev', 'eval', 'train'])
    >>> recordings.to_dicts()[0]["duration_s"]
    23.0
    """

    def __init__(self, recordings: Iterable[ViewRecording] = ()) -> None:
        self._recordings = tuple(recordings)

    def __len__(self) -> int:
        return len(self._recordings)

    @overload
    def __getitem__(self, place: int) -> ViewRecording: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[ViewRecording, ...]: ...

    def __getitem__(self, place: int | slice) -> ViewRecording | tuple[ViewRecording, ...]:
        if isinstance(place, slice):
            return tuple(map(self._one, range(len(self))[place]))
        return self._one(range(len(self))[place])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def _one(self, place: int) -> ViewRecording:
        return self._recordings[place]

    def __repr__(self) -> str:
        found = self._totals()
        held = f"{counted(len(self), 'recording')}, {counted(found.patients, 'patient')}"
        return f"<{held}, {found.seconds / 3600:.2f} h>"

    def _totals(self) -> Totals:
        return totals_of(self, 0)

    def _repr_html_(self) -> str:
        rows = [each.to_dict() for each in self[:_ROWS_SHOWN]]
        more = f", the first {_ROWS_SHOWN} of them" if len(self) > _ROWS_SHOWN else ""
        columns = [name for name in rows[0] if name not in ("key", "content")] if rows else []
        cells = ([row[name] for name in columns] for row in rows)
        return html_table(cells, columns=columns, caption=counted(len(self), "recording") + more)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the table, a dictionary for each recording.

        Returns
        -------
        list of dict
            As `ViewRecording.to_dict` gives them.
        """
        return [each.to_dict() for each in self]

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame
            A row for each recording, with the columns of `to_dicts`.

        Raises
        ------
        DependencyError
            pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise DependencyError("to_pandas() needs pandas", fix="pip install pandas, or use to_dicts()") from error
        return pandas.DataFrame(self.to_dicts())


def totals_of(recordings: Sequence[ViewRecording], length: int) -> Totals:
    """Return what recordings have together; windows have `length` samples."""
    names = [each.record.signal.get("flat") for each in recordings]
    flat = [name for each in names if isinstance(each, list) for name in each if isinstance(name, str)]
    return Totals(
        seconds=sum(each.recorded_s for each in recordings),
        seizures=sum(len(each.seizures) for each in recordings),
        clipped=sum(each.n_clipped for each in recordings),
        patients=len({each.patient for each in recordings}),
        short=sum(each.n_samples < length for each in recordings),
        synthetic=any(each.synthetic for each in recordings),
        absent=Counter(name for each in recordings for name in each.absent),
        flat=Counter(flat),
    )


@dataclass(frozen=True)
class Scope:
    """Which part of a corpus a view is: corpus, profile, split (None: all), and what narrows them further."""

    corpus: str
    profile: str
    split: str | None = None
    selection: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Members:
    """The recordings that a view reads, and those that it lacks, with the reasons."""

    recordings: Sequence[ViewRecording]
    missing: tuple[Missing, ...] = ()
    omitted: tuple[Omission, ...] = ()
    stale: tuple[Stale, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def clip(events: Iterable[Event], end_us: int) -> list[tuple[int, int]]:
    """Return events as (start, stop) microseconds, cut at the end of the signal."""
    return [(event.start_us, min(event.stop_us, end_us)) for event in events if event.start_us < end_us]


OTHER_LABELS = "the same bytes have other labels"
"""How the reason begins why a recording of `contradictions` is in no view."""


def contradictions(rows: Iterable[Row]) -> tuple[tuple[str, ...], ...]:
    """Return the paths of each source that occurs with different labels, sorted.

    Recordings without labels contradict nothing, and types only where both have some.
    """
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        if row.source is not None and row.annotations is not None and row.annotations.get("labelled"):
            by_source.setdefault(row.source, []).append(row)
    return tuple(
        sorted(
            tuple(sorted(row.path for row in same))
            for same in by_source.values()
            if len(same) > 1 and any(_contradict(left, right) for left, right in combinations(same, 2))
        )
    )


def _contradict(left: Row, right: Row) -> bool:
    ours, theirs = left.annotations or {}, right.annotations or {}
    if any(ours.get(name, []) != theirs.get(name, []) for name in ("seizures", "unknown")):
        return True
    return bool(ours["typed"] and theirs["typed"] and ours["typed"] != theirs["typed"])


def contradiction(paths: Sequence[str], path: str) -> str:
    """Return why a recording among `paths`, which are the same bytes with different labels, cannot be used."""
    return f"{OTHER_LABELS} as {', '.join(each for each in paths if each != path)}"


def assemble(
    store: Store,
    rows: Iterable[Row],
    *,
    recipe: Recipe,
    labelled: bool,
    contradicting: Iterable[Sequence[str]] = (),
) -> tuple[tuple[ViewRecording, ...], tuple[Missing, ...], tuple[Omission, ...]]:
    """Sort catalog rows into stored, missing and accepted as omitted, under one recipe.

    In a `labelled` corpus a recording without labels is missing: it is not known to be background. So is one whose
    labels contradict those of the same bytes elsewhere in the corpus, `contradicting`.
    """
    ready: list[ViewRecording] = []
    missing: list[Missing] = []
    omitted: list[Omission] = []
    rows, recipe_id = tuple(rows), recipe.digest
    store.prefetch(key_of(source=row.source, recipe=recipe_id) for row in rows if row.source)
    others = {path: paths for paths in contradicting for path in paths}
    for row in rows:
        refusal = row.refusals.get(recipe_id)
        if refusal is not None and refusal.accepted:
            omitted.append(Omission(row.path, row.split, row.source, refusal.error, refusal.reason))
            continue
        if refusal is not None:
            missing.append(Missing(row.path, f"refused: {refusal.reason}"))
            continue
        if labelled and row.annotations is None:
            missing.append(Missing(row.path, "its labels are missing or malformed"))
            continue
        if labelled and row.path in others:
            missing.append(Missing(row.path, contradiction(others[row.path], row.path)))
            continue
        if row.source is None:
            missing.append(Missing(row.path, "not ingested"))
            continue
        try:
            record = store.made_from(source=row.source, recipe=recipe_id)
        except CollisionError as error:
            missing.append(Missing(row.path, error.what))
            continue
        except IntegrityError as error:
            missing.append(Missing(row.path, f"its record is damaged: {error.what}"))
            continue
        if record is None:
            missing.append(Missing(row.path, "not stored under this recipe"))
        elif not store.has_object(record):
            missing.append(Missing(row.path, "its object is missing from the store"))
        else:
            labels = UNLABELLED if row.annotations is None else Annotations.from_json(row.annotations)
            ready.append(ViewRecording(row.path, row.patient, row.split, row.source, row.synthetic, labels, record))
    return tuple(ready), tuple(missing), tuple(omitted)


def name_of(store: Store, key: str) -> str:
    """Return the corpus and path that a catalog gives for a key; where none does, the key."""
    with suppress(IntegrityError, OSError):  # it is for a message about damage, which it must not hide
        record = store.record(key)
        for corpus in store.corpora() if record else ():
            catalog = store.catalog(corpus)
            for path, row in catalog.rows.items() if catalog else ():
                if record and row.source == record.source:
                    return f"recording {path} of {corpus}"
    return f"the recording of key {key}"
