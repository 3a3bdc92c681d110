"""`ingest`: EDF files in, objects and one catalog generation out. Running it again recovers from anything.

Six stages, each a function of what the one before returned: scan, label, look up, build, examine, publish.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.core.progress import Progress, Silent
from brainbrr.core.statcache import keep
from brainbrr.eeg.corpus import census
from brainbrr.eeg.corpus.patients import patient_rule
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError, SpaceError
from brainbrr.ingest.catalog_update import next_generation, publish
from brainbrr.ingest.examine import examine
from brainbrr.ingest.missing import build_missing, tasks_of
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.plan import Plan, plan
from brainbrr.ingest.remotes import from_remotes
from brainbrr.ingest.scan import (
    CorpusScan,
    Outcome,
    ScannedRecording,
    Updates,
    chosen_paths,
    label,
    look_up,
    scan,
    seems_stored,
)
from brainbrr.loading.recordings import contradictions
from brainbrr.store.catalog import Catalog
from brainbrr.store.store import Store
from brainbrr.views.select import members, worst_quality

Recordings = dict[str, ScannedRecording]
"""By path: each as the last stage left it."""


@dataclass(frozen=True)
class Failure:
    """A recording that was refused or could not be built, what to do about it, and whether that is accepted."""

    recording: str
    error: str
    code: str
    reason: str
    fix: str | None
    accepted: bool

    @classmethod
    def of(cls, recording: str, error: BrainbrrError, *, accepted: bool = False) -> Failure:
        """Return the failure of a recording."""
        return cls(recording, type(error).__name__, error.code, error.what, error.fix, accepted)


@dataclass(frozen=True)
class IngestReport:
    """What one ingest did, or would do. Each recording counts in one of new, reused, relabelled, failed.

    `relabelled_elsewhere` counts recordings outside the profile whose label files changed: labels cover the corpus.
    `computed_twice` counts those that another process stored while this one built them too. `plan`: a dry run's.
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
    failed: tuple[Failure, ...] = ()
    entered: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    notes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    computed_twice: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    plan: Plan | None = None
    patients: tuple[str, ...] = ()
    patient_rule: str = ""
    not_read: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """By format: recordings that no reader is there for, and subjects without any. They are in `failed` too."""
    labels_unread: tuple[str, ...] = ()
    """Label files that belong to no recording."""
    worst_quality: Mapping[str, Any] | None = None
    """The chosen recording that scores least, its score from 0 to 100, and what lowers it most."""
    contradictions: tuple[tuple[str, ...], ...] = ()
    """Recordings of the corpus that are the same bytes with different labels: no view takes them."""
    from_remotes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """By remote: recordings that were not built because it has them; counted among the reused."""
    copied: bool = False
    """Whether those came into the store."""
    pushed: Mapping[str, Any] | None = None
    """What was sent as it was built: remote, objects and bytes."""

    @property
    def exit_code(self) -> int:
        """1 when a recording failed and that is not accepted, and where labels contradict each other.

        7 when an ingest would end for want of space.
        """
        if self.plan is not None and self.plan.no_space is not None:
            return SpaceError.exit_code
        return int(bool(self.contradictions) or any(not failure.accepted for failure in self.failed))

    @property
    def script(self) -> str | None:
        """What a dry run would submit, None where nothing is submitted."""
        return self.plan.script if self.plan else None

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields; a dry run's plan adds its own."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "plan"}
        return {
            **fields,
            "recipe": self.recipe.described(),
            "store": str(self.store),
            "failed": [dataclasses.asdict(failure) for failure in self.failed],
            "entered": list(self.entered),
            "left": list(self.left),
            "patients": list(self.patients),
            "not_read": {form: list(paths) for form, paths in self.not_read.items()},
            "labels_unread": list(self.labels_unread),
            "contradictions": [list(paths) for paths in self.contradictions],
            "from_remotes": dict(self.from_remotes),
            "notes": {path: list(notes) for path, notes in self.notes.items()},
            "seconds": round(self.seconds, 3),
            "script": None,
            **(self.plan.to_json() if self.plan else {}),
        }


def ingest(options: IngestOptions, *, progress: Progress = Silent()) -> IngestReport:  # noqa: B008  # stateless
    """Store every recording of a corpus, or of a profile of it, that the store does not have yet.

    A refused recording is in the report, and the others go on. When the work is interrupted or cannot go on, what is
    done is published, and the same call goes on from there.
    Raises UsageError for a root that holds no corpus, SpaceError before any work when the disk is too small.
    """
    began = time.monotonic()
    scanned = scan(options, progress)
    recordings = {each.path: each for each in label(scanned, progress)}
    paths = chosen_paths(scanned, recordings)
    if options.dry_run or scanned.store is None:
        report = _dry_run(scanned, recordings, paths, progress)
    else:
        published = _build_and_publish(scanned, scanned.store, recordings, paths, progress)
        report = report_of(scanned, recordings, paths, published)
    return dataclasses.replace(report, seconds=time.monotonic() - began)


def _build_and_publish(
    scanned: CorpusScan, store: Store, recordings: Recordings, paths: Sequence[str], progress: Progress
) -> Catalog:
    """Build and examine what is missing, and publish it; `recordings` always holds what is done so far."""

    def chosen() -> list[ScannedRecording]:
        return [recordings[path] for path in paths]

    try:
        _take(recordings, look_up(scanned, chosen(), progress))
        _take(recordings, from_remotes(scanned, store, chosen(), progress))
        if (sink := scanned.options.sink) is not None:
            here = {str(each.key): each.file.edf for each in chosen() if each.key and each.error is None}
            sink.begin(store, next_generation(scanned, recordings, frozenset(paths), scanned.base), here)
            sink.add(str(each.key) for each in chosen() if each.is_here)
        progress.say(f"Building {_missing_and_reused(scanned, chosen())}")
        _take(recordings, build_missing(scanned, store, chosen(), progress))
        _take(recordings, examine(scanned, store, chosen(), progress))
    except BaseException as stopped:
        if isinstance(stopped, KeyboardInterrupt):
            progress.say("interrupted: what is done is kept, and the same command goes on from there")
        if any(each.source for each in chosen()):
            _publish(scanned, store, recordings, paths, progress)
        raise
    published = _publish(scanned, store, recordings, paths, progress)
    deleted = pending_again(store, chosen())
    if not deleted:
        return published
    progress.say(f"Building {len(tasks_of(deleted, scanned.options))} again, which a gc deleted before they were named")
    _take(recordings, build_missing(scanned, store, deleted, progress))
    return _publish(scanned, store, recordings, paths, progress)


def _take(recordings: Recordings, updates: Updates) -> None:
    """Replace recordings as a stage yields them, so that none is lost when it stops."""
    with closing(updates):
        for each in updates:
            recordings[each.path] = each


def _missing_and_reused(scanned: CorpusScan, chosen: Sequence[ScannedRecording]) -> str:
    n_reused = sum(each.outcome in (Outcome.REUSED, Outcome.RELABELLED) for each in chosen)
    n_unknown = sum(seems_stored(scanned, each) for each in chosen)
    n_missing = len(tasks_of(chosen, scanned.options)) - n_unknown
    there = Counter(each.remote for each in chosen if each.remote)
    named = "".join(f", {n} from remote {name}" for name, n in there.items())
    return f"{n_missing} missing, reusing {n_reused}{named}" + (f", {n_unknown} to identify" if n_unknown else "")


def _publish(
    scanned: CorpusScan, store: Store, recordings: Recordings, paths: Sequence[str], progress: Progress
) -> Catalog:
    """Publish what is done, and remember the root for the commands that brainbrr prints."""
    published = publish(scanned, store, recordings, frozenset(paths))
    corpus, host = scanned.corpus, scanned.options.host
    if host and (trouble := keep(lambda: host.remember_root(store.location, corpus.name, corpus.root))):
        progress.say(trouble)
    return published


def pending_again(store: Store, chosen: Sequence[ScannedRecording]) -> list[ScannedRecording]:
    """Return as pending what a gc deleted after this run had found or built it, and before the catalog named it.

    Lists records and objects once: a gc moves whole files and folders away.
    """
    keys, contents = store.existing()
    return [
        dataclasses.replace(each, reusable=None, outcome=Outcome.PENDING)
        for each in chosen
        if each.key and each.reusable and each.is_here and not (each.key in keys and each.reusable.content in contents)
    ]


def _dry_run(scanned: CorpusScan, recordings: Recordings, paths: Sequence[str], progress: Progress) -> IngestReport:
    """Report what an ingest would do, as far as headers tell."""
    _take(recordings, look_up(scanned, [recordings[path] for path in paths], progress))
    if scanned.store is not None:
        _take(recordings, from_remotes(scanned, scanned.store, [recordings[path] for path in paths], progress))
    chosen = [recordings[path] for path in paths]
    progress.say(f"Would build {_missing_and_reused(scanned, chosen)}")
    planned, needs = plan(scanned, chosen, progress)
    recordings.update((each.path, each) for each in planned)
    published = next_generation(scanned, recordings, frozenset(paths), scanned.base)
    return dataclasses.replace(report_of(scanned, recordings, paths, published), dry_run=True, plan=needs)


def report_of(
    scanned: CorpusScan, recordings: Mapping[str, ScannedRecording], paths: Sequence[str], published: Catalog
) -> IngestReport:
    """Return the report of a run that left the recordings so, of which `paths` were chosen."""
    chosen = [recordings[path] for path in paths]
    outcomes = Counter(each.outcome for each in chosen if each.error is None)
    entered, left = _profile_changes(scanned, recordings, frozenset(paths))
    return IngestReport(
        corpus=scanned.corpus.name,
        recipe=scanned.options.recipe,
        profile=scanned.options.profile.name if scanned.options.profile else None,
        store=scanned.store.location if scanned.store else scanned.options.store,
        recordings=len(chosen),
        new=outcomes[Outcome.NEW],
        reused=outcomes[Outcome.REUSED],
        relabelled=outcomes[Outcome.RELABELLED],
        relabelled_elsewhere=sum(recordings[path].labels_changed for path in recordings.keys() - set(paths)),
        removed=len(scanned.removed),
        failed=tuple(_failures(chosen, published, scanned.recipe_digest)),
        entered=entered,
        left=left,
        notes={each.path: notes for each in chosen if (notes := _notes(each))},
        computed_twice=sum(each.computed_twice for each in chosen),
        bytes_read=sum(each.n_bytes for each in chosen if each.was_read),
        bytes_written=sum(each.bytes_written for each in chosen),
        patients=tuple(sorted({each.file.patient for each in chosen})),
        patient_rule=patient_rule(scanned.corpus.layout, scanned.settings.get("patient_from")),
        not_read=census.by_format(paths),
        labels_unread=tuple(census.labels_unread(scanned.settings)),
        worst_quality=worst_quality([published.rows[path] for path in paths], scanned.recipe_digest),
        contradictions=contradictions(published.rows.values()) if published.labelled else (),
        from_remotes=Counter(each.remote for each in chosen if each.remote),
        copied=scanned.options.copy,
    )


def _profile_changes(
    scanned: CorpusScan, recordings: Mapping[str, ScannedRecording], chosen: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the recordings that the profile takes now and did not before, and those that it no longer takes."""
    if scanned.options.profile is None or scanned.base is None:
        return (), ()
    splits = scanned.options.splits
    base = splits.assigned(scanned.base) if splits else scanned.base
    before = {row.path for row in members(base.rows, scanned.options.profile)}
    entered = sorted((chosen - before) & scanned.base.rows.keys())
    return tuple(entered), tuple(sorted((before - chosen) & recordings.keys()))


def _failures(chosen: Sequence[ScannedRecording], published: Catalog, recipe: str) -> Iterator[Failure]:
    for each in chosen:
        if each.error is not None:
            refusal = published.rows[each.path].refusals.get(recipe)  # None: it failed, but is not refused
            accepted = refusal is not None and refusal.accepted
            yield Failure.of(each.path, each.error, accepted=accepted)


def _notes(recording: ScannedRecording) -> tuple[str, ...]:
    source = recording.annotations if recording.annotations else recording.file
    return (*recording.notes, *source.notes)
