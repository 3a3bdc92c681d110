"""Bundles: a ready view with its objects, records and catalog in one archive, the same bytes for the same view.

Without names, recordings are called by their source's digest and patients by a digest of one of their recordings. What
says who stored them, and when, is left out in both cases.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from brainbrr.core import files, models
from brainbrr.core.access import Guard, file_mode
from brainbrr.core.digest import json_digest
from brainbrr.core.progress import Progress
from brainbrr.eeg.corpus.annotations import UNLABELLED, Annotations
from brainbrr.eeg.corpus.census import LABELS_UNREAD
from brainbrr.eeg.corpus.terms import TERMS
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.errors import UsageError
from brainbrr.loading.recordings import Members, Omission, ViewRecording
from brainbrr.share import transfer
from brainbrr.share.archive import write_archive
from brainbrr.share.terms import require_allowed
from brainbrr.share.transfer import Chosen
from brainbrr.store import catalog as catalogs
from brainbrr.store import formats, remotes
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.formats import ARRAY_FILE, SHARD_FILE
from brainbrr.store.layout import GROUP
from brainbrr.store.places import scheme_of
from brainbrr.store.records import Record
from brainbrr.store.remotes import Remote
from brainbrr.store.send import shard_bytes
from brainbrr.store.sidecars import Findings, named_view
from brainbrr.store.store import Store
from brainbrr.views.view import View

_NO_TIME = "1980-01-01T00:00:00+00:00"
_KEPT_PROVENANCE = ("recipe_name", "certificate")

Parts = dict[str, Callable[[], bytes]]


@dataclass(frozen=True)
class BundleReport:
    """What was written into which archive, and whether recordings have their names in it."""

    file: Path
    corpus: str
    profile: str
    digest: str
    recordings: int
    named: bool
    bytes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "file": str(self.file), "seconds": round(self.seconds, 3)}


def bundle(store: Store, chosen: Chosen, out: Path, *, names: bool, progress: Progress) -> BundleReport:
    """Write a ready view into a new archive, no more readable than the store; each object is verified as it is read.

    Raises ViewNotReadyError, AccessError where the corpus's terms forbid it, UsageError where a file is in the way,
    IntegrityError for damage, SpaceError.
    """
    began = time.monotonic()
    view = transfer.view_in(store, chosen)
    view.require_ready(location=store.location)
    catalog = transfer.catalog_in(store, view.corpus)
    require_allowed(catalog, _private_folder(store, out), what=f"writing it to {out.name}")
    if out.exists():
        raise UsageError("a file is here already", where=out, fix="delete it, or choose another name with -o")
    view, catalog = _contents(view, catalog, names=names)
    n_bytes = sum(recording.record.array.shard_bytes for recording in view.recordings)
    files.check_space(out.parent, n_bytes=n_bytes, n_inodes=1)
    progress.start("bundling", n_bytes, "B")
    try:
        writing = files.writing(out.parent, n_bytes=n_bytes, what="the archive", option="--out")
        with tempfile.TemporaryDirectory(prefix="brainbrr-") as folder, writing:
            parts = _parts(view, catalog, Store.create(Path(folder) / "store", codec="none"), progress)
            mode = file_mode(out.parent, (Guard.of(store.location),))
            with files.replacing(out, mode=mode) as file:
                write_archive(file, parts)
    finally:
        progress.stop()
    return BundleReport(
        file=out,
        corpus=view.corpus,
        profile=view.profile,
        digest=str(view.digest),
        recordings=len(view.recordings),
        named=names,
        bytes=out.stat().st_size,
        seconds=time.monotonic() - began,
    )


def _private_folder(store: Store, out: Path) -> Remote:
    """Return the remote that a file is written into, or its folder as one that is not declared private."""
    folder = out.absolute().parent.resolve()
    for each in remotes.remotes_of(store):
        if each.private and scheme_of(each.url) is None and folder.is_relative_to(each.url):
            return each
    return Remote(name=str(folder), url=str(folder))


def _contents(view: View, catalog: Catalog, *, names: bool) -> tuple[View, Catalog]:
    """Return view and catalog as an archive holds them. Raises UsageError where the two disagree about a recording."""
    called: Callable[[str, str], tuple[str, str]] = _same if names else _Aliases(view, catalog)
    recordings, rows = list[ViewRecording](), list[Row]()
    for each in view.recordings:
        path, patient = called(each.path, each.patient)
        labels = each.annotations if names else dataclasses.replace(each.annotations, notes=())
        recordings.append(dataclasses.replace(each, path=path, patient=patient, annotations=labels))
        rows.append(_row(catalog, each, recordings[-1], names=names))
    omitted = []
    for omission in view.omitted:
        row = catalog.rows.get(omission.recording)
        if row is None or row.source != omission.source or view.recipe.digest not in row.refusals:
            raise _changed(omission.recording)
        path, patient = called(row.path, row.patient)
        reason = omission.reason if names else omission.error
        omitted.append(Omission(path, omission.split, omission.source, omission.error, reason))
        refusal = row.refusals[view.recipe.digest].model_copy(update={"reason": reason})
        new: dict[str, Any] = {"path": path, "patient": patient, "split": omission.split, "contents": {}, "quality": {}}
        rows.append(_stripped(row, names).model_copy(update={**new, "refusals": {view.recipe.digest: refusal}}))
    corpus = view.corpus if names else f"{view.corpus}-unnamed"[-64:]
    settings = {k: v for k, v in catalog.settings.items() if k != LABELS_UNREAD and (names or k in TERMS)}
    scope = dataclasses.replace(view.scope, corpus=corpus, selection=view.selection if names else {})
    left_out = view.left_out if names else ()
    members = Members(tuple(recordings), omitted=tuple(omitted), left_out=left_out)
    by_path = {row.path: row for row in sorted(rows, key=lambda row: row.path)}
    found = dataclasses.replace(
        catalog,
        corpus=corpus,
        seq=1,
        parent=None,
        base=None,
        removed=(),
        created=_NO_TIME,
        rows=by_path,
        settings=settings,
    )
    return View(view.store, members, scope=scope, recipe=view.recipe, window=view.window), found


def _same(path: str, patient: str) -> tuple[str, str]:
    return path, patient


class _Aliases:
    """What recordings and patients are called without their names: the same in every bundle of one catalog."""

    def __init__(self, view: View, catalog: Catalog) -> None:
        self._rows, self._used = catalog.rows, set[str]()
        self._first: dict[str, str] = {}  # of each patient, the least source
        for row in catalog.rows.values():
            self._note(row.patient, row.source)
        for each in view.recordings:  # where splits call several patients of the catalog one
            known = catalog.rows.get(each.path)
            self._note(each.patient, self._first.get(known.patient, each.source) if known else each.source)

    def _note(self, patient: str, source: str | None) -> None:
        if source is not None:
            self._first[patient] = min(self._first.get(patient, source), source)

    def __call__(self, path: str, patient: str) -> tuple[str, str]:
        """Return how a recording and its patient are called."""
        row = self._rows.get(path)
        source = (row.source if row else None) or json_digest([path])
        name = next(name for n in range(1, 1000) if (name := f"{source[:16]}{f'-{n}' * (n > 1)}") not in self._used)
        self._used.add(name)
        whose = json_digest(["patient", self._first.get(patient, source)])
        return f"unnamed/{name}.edf", f"p{whose[:12]}"


def _row(catalog: Catalog, recording: ViewRecording, called: ViewRecording, *, names: bool) -> Row:
    """Return a recording's row with what the view says of it. Raises UsageError where the catalog says other things."""
    row, recipe = catalog.rows.get(recording.path), recording.record.recipe
    said = UNLABELLED if row is None or row.annotations is None else Annotations.from_json(row.annotations)
    if row is None or (row.source, row.contents.get(recipe), said) != (
        recording.source,
        recording.content,
        recording.annotations,
    ):
        raise _changed(recording.path)
    new = {"path": called.path, "patient": called.patient, "split": called.split, "refusals": {}}
    contents = {recipe: recording.content}
    quality = {name: each for name, each in row.quality.items() if name == recipe}
    return _stripped(row, names).model_copy(update={**new, "contents": contents, "quality": quality})


def _stripped(row: Row, names: bool) -> Row:
    """Return a row without session and notes, unless it keeps its names."""
    if names:
        return row
    labels = row.annotations and {**row.annotations, "notes": []}
    return row.model_copy(update={"session": None, "annotations": labels})


def _changed(path: str) -> UsageError:
    fix = "choose what to bundle with --profile, as the catalog is now"
    return UsageError("the catalog no longer says of this recording what the view does", where=path, fix=fix)


def _parts(view: View, catalog: Catalog, like: Store, progress: Progress) -> Parts:
    """Return all parts of an archive by name; `like`: an empty store, for the layout and the catalog's files."""
    parts: Parts = {"zarr.json": lambda: GROUP, "format.json": lambda: like.mark}
    layout, digest = like.layout, str(view.digest)

    def add(path: Path, part: Callable[[], bytes]) -> None:
        parts[path.relative_to(layout.root).as_posix()] = part

    for group in (layout.objects, *{layout.object(each.content).parent for each in view.recordings}):
        add(group / ARRAY_FILE, lambda: GROUP)
    for each in view.recordings:
        folder = layout.object(each.content)
        add(folder / ARRAY_FILE, partial(formats.zarr_json, each.record.array, "none"))
        add(folder / SHARD_FILE, partial(_shard, view.store, like, each.record, progress))
        add(layout.record(each.key), partial(_record, each.record))
        if found := view.store.findings(each.key, QUALITY_VERSION):
            said = Findings(key=each.key, version=QUALITY_VERSION, findings=found)
            add(layout.findings_of(each.key, QUALITY_VERSION), _checksummed(said.to_json()))
    like.publish(catalog.corpus, lambda _: catalog)
    small = [layout.root / "catalog" / name for name in catalogs.names(layout, catalog.corpus)]
    for path in small:
        add(path, path.read_bytes)
    add(layout.view(digest), _checksummed(named_view(digest, view.to_json())))
    small.append(layout.view(digest))
    add(layout.index, lambda: catalogs.index_bytes(path.relative_to(layout.root).as_posix() for path in small))
    return parts


def _checksummed(fields: Mapping[str, Any]) -> Callable[[], bytes]:
    data = models.to_checksummed(fields)
    return lambda: data


def _shard(source: Store, like: Store, record: Record, progress: Progress) -> bytes:
    data = shard_bytes(source, like, record)
    progress.advance(record.array.shard_bytes)
    return data


def _record(record: Record) -> bytes:
    """Return a record's file, without when, where and by which versions it was made."""
    kept = {name: record.provenance[name] for name in _KEPT_PROVENANCE if name in record.provenance}
    return models.to_checksummed(record.model_copy(update={"provenance": kept}).to_json())


def view_of_archive(source: Store, file: Path) -> str:
    """Return the digest of the one view of an archive. Raises UsageError where it has none, or several."""
    found = source.frozen_views()
    if len(found) != 1:
        raise UsageError(f"the archive holds {len(found)} views, where a bundle holds one", where=file)
    return found[0]
