"""The catalog generation that follows from one ingest, and its publication. Reads no recording."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from brainbrr.core.digest import key_of
from brainbrr.errors import AnnotationError, BrainbrrError, RecordingError
from brainbrr.ingest.scan import CorpusScan, ScannedRecording
from brainbrr.store.catalog import Catalog, Refusal, Row
from brainbrr.store.store import Store

Recordings = Mapping[str, ScannedRecording]


def publish(scan: CorpusScan, store: Store, recordings: Recordings, chosen: Collection[str]) -> Catalog:
    """Publish the next generation of the corpus's catalog, with the outcome of every recording so far.

    It is published even where nothing changed but that it is younger than a deletion. What a running gc has taken
    meanwhile of what it names is put back.
    """
    published = store.publish(
        scan.corpus.name,
        partial(next_generation, scan, recordings, chosen),
        not_before=lambda catalog: store.stored_again(keys_of(catalog)),
    )
    store.cancel_deletions()
    return published


def next_generation(
    scan: CorpusScan, recordings: Recordings, chosen: Collection[str], latest: Catalog | None
) -> Catalog:
    """Return the generation after `latest`: ours for what this run read, the latest one for the rest.

    `scan.base` is the generation that this run began with. What others published since then is newer than our scan:
    recordings that they added stay, and so do labels that they changed. What was deleted on purpose is not named, since
    what is named and missing is damage.
    """
    theirs = latest.rows if latest else {}
    known = scan.base.rows if scan.base else {}
    rows = {path: row for path, row in theirs.items() if path not in recordings and path not in known}
    for path, recording in recordings.items():
        before = theirs.get(path)
        row = row_of(recording, before, base=known.get(path), recipe=scan.recipe_digest)
        if before is not None and path in known and before.labels != known[path].labels and recording.error is None:
            row = row.model_copy(update={"labels": before.labels, "annotations": before.annotations})
        if isinstance(recording.error, RecordingError):
            accept = "refused" in scan.options.accept and path in chosen
            row = _refused(row, recording.error, scan.recipe_digest, accept=accept)
        rows[path] = row
    settings = {**(latest.settings if latest else {}), **scan.settings}
    merged = Catalog(
        corpus=scan.corpus.name,
        seq=latest.seq + 1 if latest else 1,
        parent=None,
        layout=scan.corpus.layout,
        labelled=scan.labelled,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=rows,
        settings={name: text for name, text in settings.items() if text},
    )
    gone = scan.store.deleted_records() if scan.store else None
    return _without_deleted(merged, gone) if gone else merged


def row_of(recording: ScannedRecording, before: Row | None, *, base: Row | None, recipe: str) -> Row:
    """Return a recording's row: labels and object as of this run, the rest as before while the EDF is the same.

    `base`: the row that this run began with, whose annotations are taken as they are while its labels are the same.
    """
    # a link to a disk that is not mounted is no change: a gc would delete the recording's object
    n_bytes = before.n_bytes if before and recording.out_of_reach else recording.n_bytes
    same_file = before is not None and before.n_bytes == n_bytes
    source = recording.source or (before.source if before and same_file else None)
    known = before if before and before.source == source else None
    signal_us, synthetic = (known.signal_us, known.synthetic) if known else (None, False)
    contents = dict(known.contents) if known else {}
    quality = dict(known.quality) if known else {}
    if recording.quality is not None:
        quality[recipe] = recording.quality
    if recording.reusable is not None:
        signal_us, synthetic = recording.reusable.signal_us, recording.reusable.synthetic
        if recording.is_here:
            contents[recipe] = recording.reusable.content
    return Row(
        path=recording.path,
        patient=recording.file.patient,
        session=recording.file.session,
        split=recording.file.split,
        source=source,
        n_bytes=n_bytes,
        signal_us=signal_us,
        synthetic=synthetic,
        labels=recording.labels,
        annotations=_annotations_of(recording, base),
        refusals={
            digest: refusal
            for digest, refusal in (known.refusals if known else {}).items()
            if not (recording.reusable is not None and digest == recipe)
            and (refusal.error != AnnotationError.__name__ or refusal.labels == recording.labels)
        },
        contents=contents,
        quality=quality,
    )


def _annotations_of(recording: ScannedRecording, base: Row | None) -> dict[str, Any] | None:
    if recording.annotations is None:
        return None
    known = base.annotations if base is not None and not recording.labels_changed else None
    if known is not None and known.get("notes") == list(
        recording.annotations.notes
    ):  # a length that was accepted is one
        return known
    return recording.annotations.to_json()


def _refused(row: Row, error: BrainbrrError, recipe: str, *, accept: bool) -> Row:
    """Return a row with this run's refusal; an accepted one stays so while its reason and labels are the same."""
    kind = type(error).__name__
    was = row.refusals.get(recipe)
    still = was is not None and was.accepted and was.error == kind and was.labels == row.labels
    refusal = Refusal(error=kind, reason=error.what, accepted=accept or still, labels=row.labels)
    return row.model_copy(update={"refusals": {**row.refusals, recipe: refusal}})


def keys_of(catalog: Catalog) -> Iterator[str]:
    """Yield the key of every object that a generation names."""
    for row in catalog.rows.values():
        if row.source is not None:
            yield from (key_of(source=row.source, recipe=recipe) for recipe in row.contents)


def _without_deleted(catalog: Catalog, is_gone: Callable[[str], bool]) -> Catalog:
    def left(row: Row) -> Row:
        if row.source is None:
            return row
        stored = {r: c for r, c in row.contents.items() if not is_gone(key_of(source=row.source, recipe=r))}
        return row if len(stored) == len(row.contents) else row.model_copy(update={"contents": stored})

    return dataclasses.replace(catalog, rows={path: left(row) for path, row in catalog.rows.items()})
