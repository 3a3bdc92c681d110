"""`ingest`: EDF files in, objects and one catalog generation out. Running it again is the recovery from anything."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainbrr.core.digest import key_of, source_digest
from brainbrr.core.files import check_space
from brainbrr.core.progress import Progress, Silent
from brainbrr.core.statcache import FileFacts, Host, keep
from brainbrr.eeg.corpus.tree import locate, scan
from brainbrr.eeg.signal.preprocess import check
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.engine import Engine
from brainbrr.engines.local import local_engine
from brainbrr.errors import AnnotationError, BrainbrrError, RecordingError, UsageError
from brainbrr.ingest.build import Builder, Built, Task, build_all, examine_stored
from brainbrr.ingest.catalog_update import keys_of, let_go, merged
from brainbrr.ingest.plan import bytes_needed, stays_unlabelled
from brainbrr.ingest.scan import (
    Entry,
    entry_of,
    hash_sources,
    is_there,
    read_labels,
    refuse_lost_store,
    refuse_removal,
    remember,
    stored,
)
from brainbrr.profiles import Profile, choose
from brainbrr.store.catalog import Catalog
from brainbrr.store.formats import SAVES_AT_MOST, Codec
from brainbrr.store.layout import INODES_PER_OBJECT
from brainbrr.store.records import Record
from brainbrr.store.store import Store
from brainbrr.views.retention import refuse_retired
from brainbrr.views.select import members


@dataclass(frozen=True)
class Failure:
    """A recording that was refused, how to mend it, and whether its absence is accepted."""

    recording: str
    error: str
    reason: str
    fix: str | None
    accepted: bool


@dataclass
class IngestReport:
    """What one ingest did. Each recording counts in one of new, reused, relabelled, failed.

    `relabelled_elsewhere` counts recordings outside the profile whose label files changed: labels cover the corpus.
    `computed_twice` counts those that another process stored while this one built them too.
    """

    corpus: str
    recipe: Recipe
    profile: str | None
    store: Path
    recordings: int = 0
    new: int = 0
    reused: int = 0
    relabelled: int = 0
    relabelled_elsewhere: int = 0
    removed: int = 0
    failed: list[Failure] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    computed_twice: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    script: str | None = None

    @property
    def exit_code(self) -> int:
        """1 when a recording failed that nobody accepted."""
        return int(any(not failure.accepted for failure in self.failed))

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["recipe"] = self.recipe.described()
        fields["store"] = str(self.store)
        fields["failed"] = [vars(failure) for failure in self.failed]
        fields["seconds"] = round(self.seconds, 3)
        return fields


def ingest(
    store: Store | None,
    root: Path,
    *,
    location: Path | None = None,
    corpus: str | None = None,
    profile: Profile | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008  # frozen
    workers: int | None = None,
    engine: Engine | None = None,
    labels: str = "found",
    codec: Codec | None = None,
    dry_run: bool = False,
    accept_refused: bool = False,
    accept_truncated: bool = False,
    accept_removed: bool = False,
    rehash: bool = False,
    host: Host | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> IngestReport:
    """Store every recording of a corpus (or of a profile of it) that the store does not have yet.

    With `store` None, the store at `location` is created, except in a dry run, which writes to no store. `codec`: how
    a new store keeps its tiles; a store that is there must have the same.
    Files are hashed here, by `workers` threads; what is missing is built by `engine`, by default `workers` processes.
    With a host, a file or record whose stat has not moved since it was read is not opened again. With `rehash`,
    neither that nor stored objects are trusted: damaged ones are built again.
    Raises UsageError for a root that holds no corpus, SpaceError before any work when the disk is too small.
    A refused recording is in the report, the rest goes on.
    """
    began = time.monotonic()
    found = locate(root, name=corpus)
    files = scan(found)
    if store is None:
        refuse_lost_store(_needed(location), host)
    if not dry_run and (store is None or codec is not None):
        store = Store.create(_needed(location, store), codec=codec)
    if store is not None:
        refuse_retired(store, recipe)
    base = store.catalog(found.name) if store else None
    if stays_unlabelled(base, files) and labels != "none":
        labels = "none"
        progress.say(f"{found.name} was declared unlabelled and has no label files: it stays unlabelled")
    entries = {file.path: entry_of(file) for file in files}
    removed = set(base.rows) - set(entries) if base else set()
    refuse_removal(found, base, removed, accepted=accept_removed)
    sources = host.sources(found.root) if host else None
    records = host.records(store.location) if host and store else None
    digest_of = source_digest if sources is None else sources.hash if rehash else sources.digest
    progress.start("labels", len(entries), "files")
    for entry in entries.values():
        if labels != "none":
            read_labels(entry, base.rows.get(entry.file.path) if base else None, found, digest_of)
        progress.advance()
    progress.stop()

    report = IngestReport(found.name, recipe, profile.name if profile else None, _needed(location, store))
    report.dry_run = dry_run
    report.removed = len(removed)
    taken = choose(files, profile, has_seizures=_seizures(entries)) if profile else files
    chosen = [file.path for file in taken]
    if profile and base:
        before = {row.path for row in members(base.rows, profile)}
        report.entered = sorted((set(chosen) - before) & set(base.rows))
        report.left = sorted((before - set(chosen)) & set(entries))
    report.recordings = len(chosen)
    picked = [entries[path] for path in chosen]

    def next_generation(latest: Catalog | None) -> Catalog:
        following = merged(
            latest,
            base,
            found,
            entries,
            chosen=set(chosen),
            recipe=recipe,
            labelled=labels != "none",
            accept_refused=accept_refused,
        )
        gone = store.deleted_records() if store else None
        return let_go(following, gone) if gone else following

    hashed = False
    try:
        hash_sources(picked, sources=sources, rehash=rehash, workers=workers, progress=progress)
        hashed = True
        tasks, same = _tasks(picked, store, recipe, accept_truncated, records, prove=rehash)
        n_reused = sum(entry.outcome == "reused" for entry in picked)
        progress.say(f"{'Would build' if dry_run else 'Building'} {len(tasks)} missing, reusing {n_reused}")
        if dry_run or store is None:
            _foresee(tasks, same, entries, recipe)
            report.script = engine.script(tasks) if engine and tasks else None
        else:
            _check_space(store, tasks, recipe)
            builder = Builder.for_ingest(store.location, found.root, recipe, prove=rehash)
            _build(builder, tasks, same, entries, engine or local_engine(workers, len(tasks)), progress, report)
            if records:
                remember(store, [e.record.key for e in picked if isinstance(e.record, Record)], records)
            n_bytes, unexamined = examine_stored(
                store, picked, recipe, workers=workers, prove=rehash, progress=progress
            )
            report.bytes_written += n_bytes
            for path, why in unexamined.items():
                report.notes.setdefault(path, []).append(why)
    except KeyboardInterrupt:
        progress.say("interrupted: what is done is kept, and the same command goes on from there")
        raise
    finally:
        # also after Ctrl-C: what is done is in the catalog
        if not dry_run and store is not None and (hashed or any(entry.source for entry in picked)):
            published = _publish(store, found.name, next_generation)
            store.cancel_deletions()  # what a gc took while no catalog named it comes back
            if host and (trouble := keep(lambda: host.remember_root(store.location, found.name, found.root))):
                progress.say(trouble)
        if records and (trouble := keep(records.save)):
            progress.say(trouble)
    if dry_run or store is None:
        published = next_generation(base)
    else:
        # and what it had deleted by then is built again
        again, same = _taken(picked, store, recipe, accept_truncated)
        if again:
            progress.say(f"Building {len(again)} again, which a gc took before the catalog named them")
            builder = Builder.for_ingest(store.location, found.root, recipe)
            _build(builder, again, same, entries, engine or local_engine(workers, len(again)), progress, report)
            published = _publish(store, found.name, next_generation)
    _count(report, entries, picked, base, published)
    report.seconds = time.monotonic() - began
    return report


def _publish(store: Store, corpus: str, merge: Callable[[Catalog | None], Catalog]) -> Catalog:
    """Publish the next generation, also where it differs in nothing but that it is younger than a deletion."""
    return store.publish(corpus, merge, not_before=lambda named: store.stored_again(keys_of(named)))


def _needed(location: Path | None, store: Store | None = None) -> Path:
    if store is not None:
        return store.location
    if location is None:
        raise UsageError("no store is given", fix="pass a store, or the location of one")
    return location


def _seizures(entries: Mapping[str, Entry]) -> dict[str, bool]:
    return {path: entry.annotations is not None and bool(entry.annotations.seizures) for path, entry in entries.items()}


def _tasks(
    picked: list[Entry],
    store: Store | None,
    recipe: Recipe,
    accept_truncated: bool,
    records: FileFacts | None,
    *,
    prove: bool,
) -> tuple[list[Task], dict[str, list[str]]]:
    """Return the builds to do, one per key, and for each key all the paths that share its source."""
    tasks: dict[str, Task] = {}
    same: dict[str, list[str]] = {}
    digest = recipe.digest
    for entry in picked:
        if entry.error is not None or entry.source is None:
            entry.error = _graver(entry, recipe, accept_truncated)
            continue
        key = key_of(source=entry.source, recipe=digest)
        entry.record = stored(store, key, remembered=records, prove=prove) if store else None
        if entry.record is not None:
            entry.outcome = "reused"
            continue
        same.setdefault(key, []).append(entry.file.path)
        if key not in tasks:
            tasks[key] = Task(entry.file.path, entry.file.edf, entry.source, entry.n_bytes, key, accept_truncated)
    return list(tasks.values()), same


def _taken(
    picked: list[Entry], store: Store, recipe: Recipe, accept_truncated: bool
) -> tuple[list[Task], dict[str, list[str]]]:
    """Return builds of what was stored when this run looked, and is so no more."""
    digest = recipe.digest
    known = [(entry, entry.source, entry.record) for entry in picked]
    gone = [
        entry
        for entry, source, record in known
        if source and record and not is_there(store, key_of(source=source, recipe=digest), record)
    ]
    return _tasks(gone, store, recipe, accept_truncated, None, prove=False)


def _foresee(tasks: list[Task], same: Mapping[str, list[str]], entries: Mapping[str, Entry], recipe: Recipe) -> None:
    """Say what builds would do, as far as headers tell."""
    for task in tasks:
        for path in same[task.key]:
            try:
                check(entries[path].file.edf, recipe, accept_truncated=task.accept_truncated)
                entries[path].outcome = "new" if path == task.path else "reused"
            except RecordingError as error:
                entries[path].error = error


def _graver(entry: Entry, recipe: Recipe, accept_truncated: bool) -> BrainbrrError | None:
    """Return what is wrong with the EDF itself, when something is: that comes before its labels."""
    if not isinstance(entry.error, AnnotationError):
        return entry.error
    try:
        check(entry.file.edf, recipe, accept_truncated=accept_truncated)
    except RecordingError as error:
        return error
    return entry.error


def _check_space(store: Store, tasks: list[Task], recipe: Recipe) -> None:
    needed = sum(bytes_needed(task.edf, recipe, accept_truncated=task.accept_truncated) for task in tasks)
    at_least = needed // SAVES_AT_MOST[store.codec]
    check_space(store.location, n_bytes=at_least, n_inodes=INODES_PER_OBJECT * len(tasks))


def _build(
    builder: Builder,
    tasks: list[Task],
    same: Mapping[str, list[str]],
    entries: Mapping[str, Entry],
    engine: Engine,
    progress: Progress,
    report: IngestReport,
) -> None:
    counts: Counter[str] = Counter()

    def done(task: Task, built: Built | BrainbrrError) -> None:
        counts["failed" if isinstance(built, BrainbrrError) else "new"] += 1
        for path in same[task.key]:
            entry = entries[path]
            if isinstance(built, BrainbrrError):
                entry.error = built
            else:
                entry.outcome = "new" if path == task.path and built.is_new else "reused"
                entry.record = built.record
        if isinstance(built, Built):
            report.bytes_written += built.n_bytes_written
            entries[task.path].was_read |= not built.was_found
            report.computed_twice += not (built.is_new or built.was_found)
            if built.notes:
                report.notes[task.path] = list(built.notes)
        said = f"{counts['new']} new · {counts['failed']} failed · {Path(task.path).name}"
        progress.advance(task.n_bytes, note=said)

    progress.start("building", sum(task.n_bytes for task in tasks), "B")
    try:
        build_all(tasks, builder, engine=engine, done=done, say=progress.say)
    finally:
        progress.stop()


def _count(
    report: IngestReport,
    entries: Mapping[str, Entry],
    picked: list[Entry],
    base: Catalog | None,
    published: Catalog,
) -> None:
    outcomes: Counter[str] = Counter()
    known = base.rows if base else {}
    relabelled = {path for path, entry in entries.items() if path in known and known[path].labels != entry.labels}
    report.bytes_read = sum(entry.n_bytes for entry in picked if entry.was_read)
    for entry in picked:
        path = entry.file.path
        if entry.error is not None:
            refusal = published.rows[path].refusals.get(report.recipe.digest)  # none: lost, but not refused
            accepted = refusal is not None and refusal.accepted
            report.failed.append(Failure(path, type(entry.error).__name__, entry.error.what, entry.error.fix, accepted))
        elif entry.outcome is not None:
            outcomes["relabelled" if entry.outcome == "reused" and path in relabelled else entry.outcome] += 1
        notes = entry.annotations.notes if entry.annotations else entry.file.notes
        if notes:
            report.notes.setdefault(path, []).extend(notes)
    report.new, report.reused, report.relabelled = outcomes["new"], outcomes["reused"], outcomes["relabelled"]
    report.relabelled_elsewhere = len(relabelled - {entry.file.path for entry in picked})
