"""Scan a corpus: the recordings below its root, their labels and sources, and which of them the store has already.

A file whose stat has not changed since it was last read is not opened again.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from pathlib import Path
from typing import TypeAlias

from brainbrr.core.access import Guard, guards
from brainbrr.core.digest import source_digest
from brainbrr.core.progress import Progress
from brainbrr.core.statcache import FileFacts, Sources, keep
from brainbrr.core.threads import cores
from brainbrr.eeg.corpus import census, tree
from brainbrr.eeg.corpus.annotations import Annotations, check_length, label_digest, read_annotations
from brainbrr.eeg.corpus.terms import published_terms
from brainbrr.eeg.corpus.tree import Corpus, RecordingFile, locate, refuse_outside
from brainbrr.eeg.corpus.vocabulary import Meaning
from brainbrr.eeg.edf.header import EdfHeader
from brainbrr.eeg.edf.reader import located, read_header
from brainbrr.eeg.signal.preprocess import check
from brainbrr.errors import AnnotationError, BrainbrrError, CollisionError, EdfError, Fix, RecordingError, UsageError
from brainbrr.ingest.checksums import check_published
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.reuse import Made, Reusable, reuse
from brainbrr.store.access import require_narrower
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.generation import Quality
from brainbrr.store.opening import refuse_lost_store
from brainbrr.store.remotes import remotes_of
from brainbrr.store.store import Store
from brainbrr.views.retention import refuse_retired


class Outcome(Enum):
    """What became of a recording. REFUSED: the file is at fault; FAILED: what should have built it is."""

    PENDING = "pending"
    NEW = "new"
    REUSED = "reused"
    RELABELLED = "relabelled"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class ScannedRecording:
    """What a run knows of one recording file. Each stage returns a new one, with what that stage found.

    `labels`: digest of its label files; `labels_changed`: the catalog has another one. `key`: what it becomes.
    `reusable`: its stored object, once there is one. `was_read`: this run read the whole file. `out_of_reach`: not even
    a stat was possible. `bytes_written`, `computed_twice` and `notes` are this run's. `remote`: the one that had its
    object, which was `copied` or is only there.
    """

    file: RecordingFile
    n_bytes: int
    labels: str | None = None
    labels_changed: bool = False
    annotations: Annotations | None = None
    source: str | None = None
    key: str | None = None
    reusable: Reusable | None = None
    outcome: Outcome = Outcome.PENDING
    error: BrainbrrError | None = None
    was_read: bool = False
    out_of_reach: bool = False
    bytes_written: int = 0
    computed_twice: int = 0
    quality: Quality | None = None
    notes: tuple[str, ...] = ()
    remote: str | None = None
    copied: bool = False

    @property
    def is_here(self) -> bool:
        """Whether its object is in the store itself, not only at a remote."""
        return self.reusable is not None and (self.remote is None or self.copied)

    @property
    def path(self) -> str:
        """Its path below the corpus's root, by which the catalog knows it."""
        return self.file.path

    def having(self, **changes: object) -> ScannedRecording:
        """Return it with other fields, in half the time of dataclasses.replace(): stages do it for every recording."""
        return ScannedRecording(**(vars(self) | changes))

    def failed(self, error: BrainbrrError) -> ScannedRecording:
        """Return it with an error, REFUSED where that is the recording's own."""
        outcome = Outcome.REFUSED if isinstance(error, RecordingError) else Outcome.FAILED
        return dataclasses.replace(self, error=error, outcome=outcome)

    @property
    def outcome_reused(self) -> Outcome:
        """Its outcome where an earlier run, another process or another recording has stored its object."""
        return Outcome.RELABELLED if self.labels_changed else Outcome.REUSED

    def reused(self, reusable: Reusable | None) -> ScannedRecording:
        """Return it with an object that is stored already."""
        return dataclasses.replace(self, reusable=reusable, outcome=self.outcome_reused)


Updates: TypeAlias = Generator[ScannedRecording, None, None]
"""Recordings as a stage leaves them, each as soon as it is done."""


@dataclass(frozen=True)
class CorpusScan:
    """A corpus as a run found it. `base`: the catalog generation that it is compared with.

    `store` is None only in a dry run without a store. `sources` and `records`: what this machine remembers by stat,
    of the files below the root and of the store's records.
    """

    options: IngestOptions
    corpus: Corpus
    store: Store | None
    base: Catalog | None
    labelled: bool
    removed: frozenset[str]
    recordings: tuple[ScannedRecording, ...]
    sources: Sources | None = None
    records: FileFacts | None = None
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @cached_property
    def label_map(self) -> Mapping[str, Meaning]:
        """The label map of this run, by default the one that the catalog's labels were read with."""
        if self.options.label_map is not None:
            return self.options.label_map
        said = (
            row.annotations.get("label_map")
            for row in (self.base.rows if self.base else {}).values()
            if row.annotations
        )
        return next(filter(None, said), {})

    @cached_property
    def recipe_digest(self) -> str:
        """The recipe's digest, computed once for all recordings."""
        return self.options.recipe.digest


def scan(options: IngestOptions, progress: Progress) -> CorpusScan:
    """Find all recordings of a corpus, and open or create the store.

    Raises UsageError for a root that holds no corpus, for a store or for recordings that seem to be on a disk that is
    not mounted, and for a retired recipe; AccessError for a store that more people may read than the corpus.
    """
    corpus = locate(options.root, name=options.corpus)
    survey = tree.survey(corpus, patient_from=options.patient_from)
    files = survey.recordings
    store = _open_or_create(options, guards(corpus.root))
    if store is not None and (widened := require_narrower(store.location, corpus.root)):
        progress.say(widened)
    if store is not None:
        refuse_retired(store, options.recipe)
    base = store.catalog(corpus.name) if store else None
    if store is not None and base is None and (known := known_as(store, files)):
        name, n = known
        progress.say(
            f"warning: {n} of {len(files)} recordings have the path and size of one in corpus {name!r}; if this is "
            f"that corpus, renamed or moved, stop and give `--corpus {name}`, or there will be two"
        )
    settings = dict(base.settings) if base else {}
    if options.patient_from is not None:
        settings["patient_from"] = options.patient_from
    elif "patient_from" in settings:
        files = tuple(tree.name_patients(files, settings["patient_from"]))
    settings |= _terms(options, settings, corpus.root, files)
    refuse_unlabelling(options, corpus, base, files)
    labelled = options.labels != "none"
    settings[census.LABELS_UNREAD] = "\n".join(survey.labels_unread) if labelled else ""
    if labelled and stays_unlabelled(base, files):
        labelled = False
        progress.say(f"{corpus.name} was declared unlabelled and has no label files: it stays unlabelled")
    removed = frozenset(base.rows if base else ()) - {file.path for file in files}
    refuse_removal(corpus, base, removed, accepted="removed" in options.accept)
    host = options.host
    return CorpusScan(
        options,
        corpus,
        store,
        base,
        labelled,
        removed,
        recordings=tuple(map(_scanned, files)),
        settings=settings,
        sources=host.sources(corpus.root) if host else None,
        records=host.records(store.location) if host and store else None,
    )


def known_as(store: Store, files: Sequence[RecordingFile]) -> tuple[str, int] | None:
    """Return the corpus that has most of these files, by path and size, and how many; None where it is below half."""
    if not (corpora := store.corpora()):
        return None
    sizes: dict[str, int] = {}
    for file in files:
        with suppress(OSError):  # a broken link is refused later
            sizes[file.path] = file.edf.stat().st_size
    best = ("", 0)
    for name in corpora:
        with suppress(BrainbrrError):  # a damaged catalog is reported by what needs it
            catalog = store.catalog(name)
            same = sum(sizes.get(path) == row.n_bytes for path, row in catalog.rows.items()) if catalog else 0
            best = max(best, (name, same), key=lambda each: each[1])
    return best if 2 * best[1] > len(files) else None


def _terms(
    options: IngestOptions, settings: Mapping[str, str], root: Path, files: Sequence[RecordingFile]
) -> dict[str, str]:
    """Return the access terms that the catalog is to keep; none where they follow from the layout."""
    if options.terms is not None:
        return options.terms.settings()
    found = None if "access" in settings else published_terms(root, {role for file in files for role in file.labels})
    return found.settings() if found else {}


def _open_or_create(options: IngestOptions, corpus: Sequence[Guard]) -> Store | None:
    store = Store.open_if_there(options.store)
    if store is None:
        refuse_lost_store(options.store, options.host)
    if options.dry_run or (store is not None and options.codec is None):
        return store
    return Store.create(options.store, codec=options.codec, within=corpus)


def stays_unlabelled(catalog: Catalog | None, files: Sequence[RecordingFile]) -> bool:
    """Return whether a corpus was declared unlabelled and still has no label files."""
    return catalog is not None and not catalog.labelled and not any(file.labels for file in files)


def _labelled_rows(catalog: Catalog | None) -> list[Row]:
    """Return the recordings that have labels, or were stored with labels whose files are missing now."""
    if catalog is None or not catalog.labelled:
        return []
    return [
        row
        for row in catalog.rows.values()
        if (row.annotations["labelled"] if row.annotations is not None else row.contents)
    ]


def refuse_unlabelling(
    options: IngestOptions, corpus: Corpus, base: Catalog | None, files: Sequence[RecordingFile]
) -> None:
    """Raise UsageError where a corpus would lose all its labels: by "none", or by "optional" without a label file."""
    lost = _labelled_rows(base)
    keeps = options.labels == "found" or (options.labels == "optional" and any(file.labels for file in files))
    if not lost or keeps or options.relabel:
        return
    n_seizures = sum(len(row.annotations["seizures"]) for row in lost if row.annotations)
    raise UsageError(
        f"corpus {corpus.name!r} has labels: {len(lost)} recordings with {n_seizures} seizures would become unlabelled",
        where=corpus.root,
        fix=f"leave out --labels {options.labels}; to delete these labels from the catalog, give --relabel as well",
    )


def _scanned(file: RecordingFile) -> ScannedRecording:
    if file.refusal is not None:
        return ScannedRecording(file, 0).failed(RecordingError(file.refusal, where=file.path, fix=file.fix))
    try:
        return ScannedRecording(file, file.edf.stat().st_size)
    except OSError as error:  # a broken link
        return dataclasses.replace(ScannedRecording(file, 0).failed(_unreadable(file, error)), out_of_reach=True)


def _unreadable(file: RecordingFile, error: OSError) -> RecordingError:
    return RecordingError(f"the EDF cannot be read: {error.strerror}", where=file.edf)


def label(scan: CorpusScan, progress: Progress) -> Updates:
    """Yield every recording with its labels, those of all profiles: a profile is chosen by them."""
    progress.start("labels", len(scan.recordings), "files")
    try:
        for recording in scan.recordings:
            yield read_labels(scan, recording)
            progress.advance(note=recording.path)
    finally:
        progress.stop()


def read_labels(scan: CorpusScan, recording: ScannedRecording) -> ScannedRecording:
    """Return a recording with its labels: from the catalog where the bytes of the label files are the same.

    One whose labels cannot be read, or are malformed, is refused.
    """
    if recording.file.refusal is not None:
        return recording
    before = scan.base.rows.get(recording.path) if scan.base else None
    files, digest, annotations = recording.file.labels, None, None
    failure: RecordingError | None = None
    if scan.labelled:
        try:
            refuse_outside(scan.corpus, files)
            digest = _label_digest(scan, files) if files else None
            if before is not None and before.annotations is not None and _same_labels(scan, before, digest):
                annotations = Annotations.from_json(before.annotations)
            else:
                annotations = _read_annotations(scan, recording.file)
        except RecordingError as error:
            failure = error
    changed = before is not None and not _same_labels(scan, before, digest)
    read = recording.having(labels=digest, labels_changed=changed, annotations=annotations)
    if failure is not None:
        return read.failed(failure)
    return with_length_checked(scan, read) if changed and before is not None and before.contents else read


def _same_labels(scan: CorpusScan, before: Row, digest: str | None) -> bool:
    """Return whether a catalog's labels are of these bytes, and were read with the same label map."""
    if before.annotations is None or not before.annotations["labelled"]:
        return before.labels == digest
    return before.labels == digest and before.annotations.get("label_map", {}) == scan.label_map


def with_length_checked(scan: CorpusScan, recording: ScannedRecording) -> ScannedRecording:
    """Return a recording whose labels fit the length of its signal, with what there is to note; else it is refused.

    The length is that of the stored signal. Where there is none, or where the labels do not fit it, the EDF's header
    is read, since a partial record at the file's end gives the labels more room.
    """
    if recording.annotations is None or not recording.annotations.labelled:
        return recording
    check = partial(check_length, recording.annotations, accept=scan.options.accept)
    stored_us = _stored_signal_us(scan, recording)
    if stored_us is not None:
        with suppress(AnnotationError):
            return recording.having(annotations=check(stored_us))
    try:
        header = read_header(recording.file.edf, accept_truncated="truncated" in scan.options.accept)
    except (RecordingError, OSError):
        return recording  # it is refused for that where it is built
    try:
        checked = within_signal(recording.annotations, header, recording.n_bytes, accept=scan.options.accept)
    except AnnotationError as error:
        return recording.having(key=None, reusable=None).failed(error)
    return recording.having(annotations=checked)


def within_signal(
    annotations: Annotations, header: EdfHeader, n_bytes: int, *, accept: frozenset[str] = frozenset()
) -> Annotations:
    """Return labels that fit an EDF of so many bytes, with what there is to note. Raises AnnotationError."""
    is_cut = n_bytes > header.n_bytes + 2 * header.record_samples * header.n_records
    partial_us = int(header.record_duration_s * 1_000_000) if is_cut else 0
    return check_length(annotations, int(header.duration_s * 1_000_000), partial_us=partial_us, accept=accept)


def _stored_signal_us(scan: CorpusScan, recording: ScannedRecording) -> int | None:
    if recording.reusable is not None:
        return recording.reusable.signal_us
    before = scan.base.rows.get(recording.path) if scan.base else None
    return before.signal_us if before is not None and before.n_bytes == recording.n_bytes else None


def _label_digest(scan: CorpusScan, files: Mapping[str, Path]) -> str:
    if scan.sources is None:
        return label_digest(files, digest_of=source_digest)
    return label_digest(files, digest_of=scan.sources.hash if scan.options.rehash else scan.sources.digest)


def _read_annotations(scan: CorpusScan, file: RecordingFile) -> Annotations:
    if not file.labels and scan.options.labels == "optional":
        return Annotations(labelled=False, notes=(*file.notes, "no label file: unlabelled"))
    try:
        read = read_annotations(file.labels, recording=file.edf.name, label_map=scan.label_map)
    except AnnotationError as error:
        if file.labels or _labelled_rows(scan.base) or any(each.file.labels for each in scan.recordings):
            raise
        fix = Fix(
            "put them beside the recordings, or declare the corpus unlabelled: ", ("ingest", "ROOT", "--labels", "none")
        )
        raise AnnotationError(error.what, where=error.where, fix=fix) from None
    notes = [*file.notes, *read.notes]
    if scan.corpus.layout == "tusz" and ".csv_bi" not in file.labels:
        notes.append(f"no .csv_bi, which should decide seizure time: {next(iter(file.labels))} does")
    return dataclasses.replace(read, notes=tuple(notes))


def chosen_paths(scan: CorpusScan, labelled: Mapping[str, ScannedRecording]) -> tuple[str, ...]:
    """Return the paths of the recordings that the profile takes, of all where none is given."""
    files = [recording.file for recording in scan.recordings]
    if scan.options.profile is None:
        return tuple(file.path for file in files)
    if scan.options.splits is not None:
        split_of = scan.options.splits.splits_of(scan.corpus.name, files)
        files = [dataclasses.replace(file, split=split_of[file.patient]) for file in files]
    seizures = {
        path: recording.annotations is not None and bool(recording.annotations.seizures)
        for path, recording in labelled.items()
    }
    chosen = census.choose_with_unread(files, scan.options.profile, has_seizures=seizures)
    return tuple(file.path for file in chosen)


def look_up(scan: CorpusScan, chosen: Sequence[ScannedRecording], progress: Progress) -> Updates:
    """Yield the chosen recordings, those whose source is known with it and their key, reused where the store has it.

    A source is known where this machine remembers it and the file's stat has not changed. Other files are hashed where
    they are built: only those are read here whose labels refuse them, and all where remotes are asked for their keys.
    """
    options, unread = scan.options, []
    asks = options.sink is not None or bool(options.host and scan.store and remotes_of(scan.store))
    for recording in chosen:
        if recording.file.refusal is not None:
            continue  # nothing of it is read
        try:
            source = remembered_source(scan, recording)
        except OSError as error:
            yield recording.failed(_unreadable(recording.file, error))
            continue
        if source is None and recording.error is None and not asks:
            yield recording
        elif source is None:
            unread.append(recording)
        else:
            yield find(scan, recording, source)
    progress.start("hashing", sum(recording.n_bytes for recording in unread), "B")
    pool = ThreadPoolExecutor(2 * (scan.options.workers or cores()))  # half of them wait for the disk
    try:
        for recording in pool.map(partial(with_hashed_source, scan), unread):
            yield find(scan, recording, recording.source)
            progress.advance(recording.n_bytes, note=recording.path)
    finally:
        pool.shutdown(cancel_futures=True)
        progress.stop()
        for table in (scan.sources, scan.records):
            if table and (trouble := keep(table.save)):
                progress.say(trouble)


def remembered_source(scan: CorpusScan, recording: ScannedRecording) -> str | None:
    """Return the source of a recording that this machine remembers, None where its file must be read.

    Raises OSError where the file has no stat.
    """
    if scan.sources is None or scan.options.rehash:
        return None
    return scan.sources.known(recording.file.edf)


def with_hashed_source(scan: CorpusScan, recording: ScannedRecording) -> ScannedRecording:
    """Return a recording with the hash of its file's bytes; one that cannot be read is refused."""
    read = dataclasses.replace(recording, was_read=True)
    try:
        source = (scan.sources.hash if scan.sources else source_digest)(recording.file.edf)
    except OSError as error:
        return read.failed(_unreadable(recording.file, error))
    return dataclasses.replace(read, source=source)


def to_identify(recording: ScannedRecording) -> bool:
    """Return whether a recording's file has to be hashed before anything is known of it: where it is built."""
    return recording.outcome is Outcome.PENDING and recording.source is None


def seems_stored(scan: CorpusScan, recording: ScannedRecording) -> bool:
    """Return whether one to identify has path and size of one whose object the catalog has: only its hash can tell."""
    row = scan.base.rows.get(recording.path) if scan.base and to_identify(recording) else None
    return row is not None and row.n_bytes == recording.n_bytes and scan.recipe_digest in row.contents


def find(scan: CorpusScan, recording: ScannedRecording, source: str | None) -> ScannedRecording:
    """Return a recording with its source and key and what the store has of it, pending where that is nothing.

    One that is refused stays so; an error of its EDF replaces one of its labels.
    """
    options = scan.options
    if isinstance(recording.error, AnnotationError):
        try:
            check(recording.file.edf, options.recipe, accept=options.accept)
        except RecordingError as error:
            return dataclasses.replace(recording.failed(error), source=source)
    if recording.error is not None or source is None:
        return dataclasses.replace(recording, source=source)
    made = Made(source, scan.recipe_digest)
    try:
        with located(recording.file.edf):
            check_published(recording.file.edf, source, options.checksums)
        found = reuse(scan.store, made, remembered=scan.records, verify=options.rehash) if scan.store else None
    except (CollisionError, EdfError) as error:
        return dataclasses.replace(recording.failed(error), source=source)
    outcome = Outcome.PENDING if found is None else recording.outcome_reused
    known = recording.having(source=source, key=made.key, reusable=found, outcome=outcome)
    return known if found is not None and was_checked(scan, known) else with_length_checked(scan, known)


def was_checked(scan: CorpusScan, recording: ScannedRecording) -> bool:
    """Return whether an earlier run stored this recording with these labels: it compared them with the signal."""
    before = scan.base.rows.get(recording.path) if scan.base else None
    if before is None or recording.labels_changed or before.source != recording.source:
        return False
    return scan.recipe_digest in before.contents and scan.recipe_digest not in before.refusals


_FIX = (
    "check that the whole corpus is mounted; another corpus needs --corpus NAME; "
    "if they were really deleted, give --accept removed"
)


def refuse_removal(corpus: Corpus, base: Catalog | None, removed: Iterable[str], *, accepted: bool) -> None:
    """Raise UsageError where recordings may be missing only because a disk is: a gc would delete their objects.

    That is where most of them are missing, or where one is behind a link that leads nowhere, behind a folder that
    cannot be read, or was all that a folder held, as an empty mount point looks. `accepted` takes all of it for a
    deletion, except a folder that cannot be read.
    """
    # what was never read is no loss, and what becomes of a .edf.gz is an .edf
    removed = sorted(path for path in removed if census.format_of(path) is None)
    n_known = sum(census.format_of(path) is None for path in base.rows) if base else 0
    empty: dict[Path, bool] = {}
    for path in removed:
        why = _out_of_reach(corpus.root, path, empty)
        if why is not None and not (accepted and why[1]):
            raise UsageError(f"recording {path} is out of reach: {why[0]}", where=corpus.root, fix=_FIX)
    if 2 * len(removed) > n_known and not accepted:
        raise UsageError(
            f"{len(removed)} of the {n_known} recordings of corpus {corpus.name!r} are not below this root",
            where=corpus.root,
            fix=_FIX,
        )


def _out_of_reach(root: Path, path: str, empty: dict[Path, bool]) -> tuple[str, bool] | None:
    """Return why a missing file may still exist, and whether that can be accepted; None where it is deleted."""
    try:
        (root / path).stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # no permission, a network that is gone
        return f"{error.strerror}", False
    for folder in [root / part for part in reversed(Path(path).parents[:-1])]:
        if not folder.exists():
            return ("a link leads nowhere", True) if folder.is_symlink() else None
        if folder not in empty:
            with os.scandir(folder) as entries:
                empty[folder] = next(entries, None) is None
        if empty[folder]:
            return f"folder {folder.relative_to(root)} is empty, as a mount point without its disk", True
    return None
