"""The recordings of a view: what a catalog row and a record say together, and what is missing or left out.

Reads records, no signal; knows nothing of windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from brainbrr.core.digest import json_digest, key_of
from brainbrr.eeg.corpus.annotations import UNLABELLED, Annotations
from brainbrr.eeg.corpus.label_formats import Event
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import IntegrityError
from brainbrr.store.catalog import Row
from brainbrr.store.records import Record
from brainbrr.store.store import Store


@dataclass(frozen=True)
class Missing:
    """A recording of the view that cannot be used yet, and why; `stored`: only something beside its object lacks."""

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
    """A refused recording whose absence somebody accepted."""

    recording: str
    split: str
    source: str | None
    error: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A stored recording whose findings score below what was asked for."""

    recording: str
    split: str
    score: int


@dataclass(frozen=True)
class ViewRecording:
    """One stored recording of a view, with its labels clipped to the signal."""

    path: str
    patient: str
    split: str
    source: str
    synthetic: bool
    annotations: Annotations
    record: Record

    @property
    def key(self) -> str:
        """What the object was made from."""
        return self.record.key

    @property
    def content(self) -> str:
        """What the object is."""
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
    def labelled(self) -> bool:
        """Whether anybody said where seizures are."""
        return self.annotations.labelled

    @property
    def seizures(self) -> tuple[tuple[int, int], ...]:
        """Seizures inside the signal: (start, stop) in microseconds, ascending."""
        return tuple(clip(self.annotations.seizures, self.end_us))

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

    def events_between(self, start_us: int, stop_us: int) -> tuple[tuple[float, float, str], ...]:
        """Return the events that touch a stretch of time, by type where known: (start_s, stop_s, label)."""
        return tuple(
            (event.start_us / 1e6, min(event.stop_us, self.end_us) / 1e6, event.label)
            for event in self.annotations.typed or self.annotations.seizures
            if event.start_us < min(stop_us, self.end_us) and event.stop_us > start_us
        )

    @property
    def event_digest(self) -> str:
        """SHA-256 of what the labels say; notes do not count."""
        said = self.annotations.to_json()
        said.pop("notes", None)
        return json_digest(said)


def clip(events: Iterable[Event], end_us: int) -> list[tuple[int, int]]:
    """Return events as (start, stop) microseconds, without what lies past the end."""
    return [(event.start_us, min(event.stop_us, end_us)) for event in events if event.start_us < end_us]


def assemble(
    store: Store,
    rows: Iterable[Row],
    *,
    recipe: Recipe,
    labelled: bool,
) -> tuple[tuple[ViewRecording, ...], tuple[Missing, ...], tuple[Omission, ...]]:
    """Sort catalog rows into stored, missing and accepted as omitted, under one recipe.

    In a `labelled` corpus a recording without labels is missing: it is not known to be background.
    """
    ready: list[ViewRecording] = []
    missing: list[Missing] = []
    omitted: list[Omission] = []
    recipe_id = recipe.digest
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
        if row.source is None:
            missing.append(Missing(row.path, "not ingested"))
            continue
        try:
            record = store.record(key_of(source=row.source, recipe=recipe_id))
        except IntegrityError as error:
            missing.append(Missing(row.path, f"its record is damaged: {error.what}"))
            continue
        if record is None:
            missing.append(Missing(row.path, "not stored under this recipe"))
        elif not store.has_object(record):
            missing.append(Missing(row.path, "its object is gone from the store"))
        else:
            labels = UNLABELLED if row.annotations is None else Annotations.from_json(row.annotations)
            ready.append(ViewRecording(row.path, row.patient, row.split, row.source, row.synthetic, labels, record))
    return tuple(ready), tuple(missing), tuple(omitted)


def name_of(store: Store, key: str) -> str:
    """Return how people know what a key was made from: corpus and path, as catalogs say; else the key."""
    with suppress(IntegrityError, OSError):  # it is for a message about damage, which it must not hide
        record = store.record(key)
        for corpus in store.corpora() if record else ():
            catalog = store.catalog(corpus)
            for path, row in catalog.rows.items() if catalog else ():
                if record and row.source == record.source:
                    return f"recording {path} of {corpus}"
    return f"the recording of key {key}"
