"""What one ingest learned of each recording, and the catalog generation that follows from it. Reads no files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from brainbrr.core.digest import key_of
from brainbrr.eeg.corpus.tree import Corpus
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import AnnotationError, BrainbrrError, RecordingError
from brainbrr.ingest.scan import Entry, Stored
from brainbrr.store.catalog import Catalog, Refusal, Row


def row_of(entry: Entry, before: Row | None, *, recipe: str) -> Row:
    """Return a recording's row: labels and record as read now, the rest as known before while the EDF is the same."""
    # a link to a disk that is not mounted is no change: a gc would let go of what the recording became
    n_bytes = before.n_bytes if before and entry.out_of_reach else entry.n_bytes
    same_file = before is not None and before.n_bytes == n_bytes
    source = entry.source or (before.source if before and same_file else None)
    known = before if before and before.source == source else None
    signal_us, synthetic = (known.signal_us, known.synthetic) if known else (None, False)
    contents = dict(known.contents) if known else {}
    if entry.record is not None:
        found = entry.record if isinstance(entry.record, Stored) else Stored.of(entry.record)
        signal_us, synthetic = found.signal_us, found.synthetic
        contents[recipe] = found.content
    return Row(
        path=entry.file.path,
        patient=entry.file.patient,
        session=entry.file.session,
        split=entry.file.split,
        source=source,
        n_bytes=n_bytes,
        signal_us=signal_us,
        synthetic=synthetic,
        labels=entry.labels,
        annotations=entry.annotations.to_json() if entry.annotations else None,
        refusals={
            digest: refusal
            for digest, refusal in (known.refusals if known else {}).items()
            if not (entry.record is not None and digest == recipe)
            and (refusal.error != AnnotationError.__name__ or refusal.labels == entry.labels)
        },
        contents=contents,
    )


def merged(
    latest: Catalog | None,
    base: Catalog | None,
    found: Corpus,
    entries: Mapping[str, Entry],
    *,
    chosen: set[str],
    recipe: Recipe,
    labelled: bool,
    accept_refused: bool,
) -> Catalog:
    """Return the next generation: our words for what we read, the latest ones for the rest.

    `base` is the generation that this run began with. What others published since then is newer than our scan:
    their recordings stay, and so do labels that they read.
    """
    theirs = latest.rows if latest else {}
    known = base.rows if base else {}
    digest = recipe.digest
    rows = {path: row for path, row in theirs.items() if path not in entries and path not in known}
    for path, entry in entries.items():
        before = theirs.get(path)
        row = row_of(entry, before, recipe=digest)
        if before is not None and path in known and before.labels != known[path].labels and entry.error is None:
            row = dataclasses.replace(row, labels=before.labels, annotations=before.annotations)
        if isinstance(entry.error, RecordingError):
            row = _refused(row, entry.error, digest, accept=accept_refused and path in chosen)
        rows[path] = row
    return Catalog(
        corpus=found.name,
        seq=latest.seq + 1 if latest else 1,
        parent=None,
        layout=found.layout,
        labelled=labelled,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=rows,
    )


def keys_of(catalog: Catalog) -> Iterator[str]:
    """Yield the keys under which a generation says that something was stored."""
    for row in catalog.rows.values():
        if row.source is not None:
            yield from (key_of(source=row.source, recipe=recipe) for recipe in row.contents)


def let_go(catalog: Catalog, is_gone: Callable[[str], bool]) -> Catalog:
    """Return a generation that does not name what was deleted on purpose: what is named and not there is damage."""

    def left(row: Row) -> Row:
        if row.source is None:
            return row
        there = {r: c for r, c in row.contents.items() if not is_gone(key_of(source=row.source, recipe=r))}
        return row if len(there) == len(row.contents) else dataclasses.replace(row, contents=there)

    return dataclasses.replace(catalog, rows={path: left(row) for path, row in catalog.rows.items()})


def _refused(row: Row, error: BrainbrrError, recipe: str, *, accept: bool) -> Row:
    """Return a row with this run's refusal; one that was accepted stays so while its reason and labels do."""
    kind = type(error).__name__
    was = row.refusals.get(recipe)
    still = was is not None and was.accepted and was.error == kind and was.labels == row.labels
    refusal = Refusal(kind, error.what, accept or still, row.labels)
    return dataclasses.replace(row, refusals={**row.refusals, recipe: refusal})
