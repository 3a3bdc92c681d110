"""What one ingest learned of each recording, and the catalog generation that follows from it. Reads no files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from brainbrr.digest import key_of
from brainbrr.eeg.annotations import Annotations
from brainbrr.eeg.corpus import Corpus, RecordingFile
from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import BrainbrrError
from brainbrr.store.catalog import Catalog, Refusal, Row
from brainbrr.store.store import Store


@dataclass
class Entry:
    """What this run learned of one recording file."""

    file: RecordingFile
    n_bytes: int
    labels: str | None = None
    annotations: Annotations | None = None
    error: BrainbrrError | None = None
    source: str | None = None
    outcome: str | None = None  # new | reused
    was_read: bool = False


def row_of(entry: Entry, before: Row | None) -> Row:
    """Return a recording's row: labels as read now, the rest as known before while the file has its old size."""
    same_file = before is not None and before.n_bytes == entry.n_bytes
    source = entry.source or (before.source if before and same_file else None)
    return Row(
        path=entry.file.path,
        patient=entry.file.patient,
        session=entry.file.session,
        split=entry.file.split,
        source=source,
        n_bytes=entry.n_bytes,
        signal_us=before.signal_us if before and before.source == source else None,
        synthetic=before.synthetic if before and before.source == source else False,
        labels=entry.labels,
        annotations=entry.annotations.to_json() if entry.annotations else None,
        refusals=dict(before.refusals) if before and before.source == source else {},
    )


def merged(
    latest: Catalog | None,
    found: Corpus,
    entries: Mapping[str, Entry],
    store: Store,
    *,
    chosen: set[str],
    recipe: Recipe,
    labelled: bool,
    accept_refused: bool,
) -> Catalog:
    """Return the next generation: our words for what we read, the latest ones for the rest."""
    rows: dict[str, Row] = {}
    for path, entry in entries.items():
        rows[path] = row_of(entry, latest.rows.get(path) if latest else None)
        if entry.error is not None:
            rows[path] = _refused(rows[path], entry, recipe, accept=accept_refused and path in chosen)
        elif path in chosen:
            rows[path] = _stored(rows[path], recipe, store)
    return Catalog(
        corpus=found.name,
        seq=latest.seq + 1 if latest else 1,
        parent=None,
        layout=found.layout,
        labelled=labelled,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=rows,
    )


def _refused(row: Row, entry: Entry, recipe: Recipe, *, accept: bool) -> Row:
    """Return a row with this run's refusal; one that was accepted stays so while its reason and labels do."""
    error = type(entry.error).__name__
    was = row.refusals.get(recipe.digest)
    still = was is not None and was.accepted and was.error == error and was.labels == entry.labels
    what = entry.error.what if entry.error else ""
    refusal = Refusal(error, what, accept or still, entry.labels)
    return dataclasses.replace(row, refusals={**row.refusals, recipe.digest: refusal})


def _stored(row: Row, recipe: Recipe, store: Store) -> Row:
    """Return a row with what its record says of the signal, once it has one."""
    record = store.record(key_of(source=row.source, recipe=recipe.digest)) if row.source else None
    if record is None:  # interrupted before its turn
        return row
    return dataclasses.replace(
        row,
        refusals={digest: refusal for digest, refusal in row.refusals.items() if digest != recipe.digest},
        signal_us=record.array.n_samples * 1_000_000 // record.array.rate_hz,
        synthetic=bool(record.signal.get("synthetic")),
    )
