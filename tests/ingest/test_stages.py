"""Each stage of an ingest, called alone: scan, label, look up, build, examine, publish, and a dry run's plan."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from brainbrr.core.digest import key_of, source_digest
from brainbrr.core.progress import Silent
from brainbrr.core.statcache import Host
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.engine import Ended, Notify
from brainbrr.engines.local import Here
from brainbrr.errors import AnnotationError, EdfError, SpaceError, UsageError
from brainbrr.ingest import missing
from brainbrr.ingest.catalog_update import next_generation, publish
from brainbrr.ingest.examine import examine
from brainbrr.ingest.ingest import ingest, pending_again
from brainbrr.ingest.missing import after_build, build_missing, tasks_of
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.plan import plan
from brainbrr.ingest.scan import (
    CorpusScan,
    Outcome,
    ScannedRecording,
    chosen_paths,
    find,
    label,
    look_up,
    remembered_source,
    scan,
    with_hashed_source,
)
from brainbrr.profiles import Profile
from brainbrr.store.layout import INODES_PER_OBJECT
from brainbrr.store.store import Store

QUIET = Silent()
N = 18


@pytest.fixture
def options(corpus: Path, tmp_path: Path) -> IngestOptions:
    return IngestOptions(root=corpus, store=tmp_path / "store", workers=1)


def by_path(recordings: Iterator[ScannedRecording]) -> dict[str, ScannedRecording]:
    return {each.path: each for each in recordings}


def looked_up(options: IngestOptions) -> tuple[CorpusScan, Store, list[ScannedRecording]]:
    """Return what the first three stages find, in a store that exists."""
    scanned = scan(options, QUIET)
    assert scanned.store is not None
    return scanned, scanned.store, list(look_up(scanned, list(label(scanned, QUIET)), QUIET))


def a_copy(corpus: Path) -> tuple[str, str]:
    """Copy a recording with its labels under another name; return the paths of both."""
    edf = min((corpus / "edf" / "train").rglob("*.edf"))
    for suffix in (".edf", ".csv", ".csv_bi"):
        shutil.copy(edf.with_suffix(suffix), edf.with_name(f"{edf.stem[:-1]}9{suffix}"))
    copy = edf.with_name(f"{edf.stem[:-1]}9.edf")
    return edf.relative_to(corpus).as_posix(), copy.relative_to(corpus).as_posix()


def test_scan_lists_every_recording_and_creates_the_store(options: IngestOptions) -> None:
    scanned = scan(options, QUIET)
    assert len(scanned.recordings) == N and scanned.base is None and scanned.removed == frozenset()
    for each in scanned.recordings:
        assert each.n_bytes == each.file.edf.stat().st_size
        assert (each.outcome, each.labels, each.source, each.was_read) == (Outcome.PENDING, None, None, False)
    assert Store.open(options.store).corpora() == ()


def test_scan_for_a_dry_run_creates_no_store(options: IngestOptions) -> None:
    assert scan(dataclasses.replace(options, dry_run=True), QUIET).store is None
    assert not options.store.exists()


def test_unknown_labels_are_refused(options: IngestOptions) -> None:
    with pytest.raises(UsageError, match="labels"):
        dataclasses.replace(options, labels="nnoe")  # type: ignore[arg-type]


def test_values_of_a_stage_do_not_change(options: IngestOptions) -> None:
    scanned = scan(options, QUIET)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scanned.recordings[0].source = "0" * 64  # type: ignore[misc]
    labelled = list(label(scanned, QUIET))
    assert all(each.annotations is None for each in scanned.recordings)
    assert all(each.annotations is not None for each in labelled)


def test_label_refuses_a_malformed_file_and_reads_the_others(options: IngestOptions, corpus: Path) -> None:
    bad = min(corpus.rglob("*.csv_bi"))
    bad.write_text("nonsense\n")
    labelled = list(label(scan(options, QUIET), QUIET))
    refused = [each for each in labelled if each.outcome is Outcome.REFUSED]
    assert [each.file.edf.stem for each in refused] == [bad.stem]
    assert isinstance(refused[0].error, AnnotationError) and refused[0].labels is not None
    assert sum(each.annotations is not None for each in labelled) == N - 1


def test_label_of_an_unlabelled_corpus_reads_nothing(options: IngestOptions, corpus: Path) -> None:
    for file in corpus.rglob("*.csv*"):
        file.write_text("nonsense\n")
    for each in label(scan(dataclasses.replace(options, labels="none"), QUIET), QUIET):
        assert (each.labels, each.annotations, each.outcome) == (None, None, Outcome.PENDING)


def test_a_profile_chooses_by_labels(options: IngestOptions) -> None:
    profile = Profile("smoke", {"train": 2, "dev": 0, "eval": 0, "none": 0})
    scanned = scan(dataclasses.replace(options, profile=profile), QUIET)
    labelled = by_path(label(scanned, QUIET))
    chosen = chosen_paths(scanned, labelled)
    seizures = [labelled[path].annotations for path in chosen]
    assert len(chosen) == 2 and any(each is not None and each.seizures for each in seizures)
    assert len(chosen_paths(dataclasses.replace(scanned, options=options), labelled)) == N


def test_a_source_is_hashed_once_and_then_remembered(options: IngestOptions, tmp_path: Path) -> None:
    scanned = scan(dataclasses.replace(options, host=Host(tmp_path / "host")), QUIET)
    first = scanned.recordings[0]
    assert remembered_source(scanned, first) is None
    hashed = with_hashed_source(scanned, first)
    assert (hashed.source, hashed.was_read) == (source_digest(first.file.edf), True)
    assert remembered_source(scanned, first) in (None, hashed.source)  # None: written a moment ago


def test_an_edf_that_cannot_be_read_is_refused_by_its_name(options: IngestOptions, corpus: Path) -> None:
    edf = min(corpus.rglob("*.edf"))
    edf.unlink()
    edf.symlink_to("gone.edf")
    scanned = scan(options, QUIET)
    broken = next(each for each in scanned.recordings if each.file.edf.name == edf.name)
    assert (broken.outcome, broken.out_of_reach, broken.n_bytes) == (Outcome.REFUSED, True, 0)
    assert with_hashed_source(scanned, broken).outcome is Outcome.REFUSED


def test_find_gives_the_key_and_says_of_an_edf_first_what_is_wrong(options: IngestOptions, corpus: Path) -> None:
    scanned = scan(options, QUIET)
    hashed = with_hashed_source(scanned, scanned.recordings[0])
    found = find(scanned, hashed, hashed.source)
    assert found.key == key_of(source=str(hashed.source), recipe=Recipe().digest)
    assert (found.outcome, found.reusable) == (Outcome.PENDING, None)
    mislabelled = hashed.failed(AnnotationError("no label file"))
    assert find(scanned, mislabelled, hashed.source).error is mislabelled.error
    hashed.file.edf.write_bytes(hashed.file.edf.read_bytes()[:1000])
    assert isinstance(find(scanned, mislabelled, hashed.source).error, EdfError)


@pytest.mark.slow
def test_build_stores_each_source_once(options: IngestOptions, corpus: Path) -> None:
    _, copy = a_copy(corpus)
    scanned, store, chosen = looked_up(options)
    assert len(tasks_of(chosen, options)) == N + 1 and all(each.source is None for each in chosen)
    built = by_path(build_missing(scanned, store, chosen, QUIET))
    assert sum(each.outcome is Outcome.NEW for each in built.values()) == N
    assert built[copy].outcome is Outcome.REUSED and built[copy].bytes_written == 0
    assert all(each.bytes_written > 0 for each in built.values() if each.outcome is Outcome.NEW)
    assert {each.key for each in built.values()} == set(store.keys())
    again = by_path(build_missing(scanned, store, looked_up(options)[2], QUIET))
    assert [each.outcome for each in again.values()] == [Outcome.REUSED] * (N + 1)
    assert {path: each.reusable for path, each in again.items()} == {p: each.reusable for p, each in built.items()}


def test_space_is_asked_for_what_the_catalog_has_and_the_store_lost(
    options: IngestOptions, stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, *, n_bytes: int, n_inodes: int) -> None:
        raise SpaceError(f"{n_inodes} inodes of {n_bytes > 0}")

    shutil.copytree(stored.location, options.store)
    shutil.rmtree(options.store / "records")
    monkeypatch.setattr(missing, "check_space", full)
    scanned, store, unknown = looked_up(options)
    known = [find(scanned, each, each.source) for each in (with_hashed_source(scanned, each) for each in unknown)]
    with pytest.raises(SpaceError, match=f"{INODES_PER_OBJECT * N} inodes of True"):
        list(build_missing(scanned, store, known, QUIET))


def test_a_build_that_is_closed_early_has_stored_what_it_yielded(options: IngestOptions) -> None:
    scanned, store, chosen = looked_up(options)
    building = build_missing(scanned, store, chosen, QUIET)
    first = next(building)
    building.close()
    assert first.outcome is Outcome.NEW and first.key in set(store.keys()) and len(list(store.keys())) < N


def test_a_failed_build_fails_every_recording_of_its_source(options: IngestOptions, corpus: Path) -> None:
    original, copy = a_copy(corpus)
    scanned, _, chosen_now = looked_up(options)
    hashed = [with_hashed_source(scanned, each) for each in chosen_now]
    chosen = {each.path: find(scanned, each, each.source) for each in hashed}
    (task,) = (task for task in tasks_of(chosen.values(), options) if task.path in (original, copy))
    for path in (original, copy):
        assert after_build(chosen[path], task, EdfError("torn")).outcome is Outcome.REFUSED
        assert after_build(chosen[path], task, SpaceError("full")).outcome is Outcome.FAILED


@pytest.mark.slow
def test_examine_covers_what_has_no_findings(options: IngestOptions) -> None:
    scanned, store, chosen = looked_up(options)
    list(build_missing(scanned, store, chosen, QUIET))
    reused = list(build_missing(scanned, store, looked_up(options)[2], QUIET))
    written = [each for each in examine(scanned, store, reused, QUIET) if each.bytes_written]
    assert written == []
    lost = min(options.store.glob("findings/*/*.json"))
    lost.unlink()
    examined = [each for each in examine(scanned, store, reused, QUIET) if each.bytes_written]
    assert [str(each.key) for each in examined] == [lost.name.partition("-")[0]]
    assert examined[0].bytes_written > 0 and examined[0].was_read and lost.exists()
    lost.unlink()
    examined[0].file.edf.write_bytes(b"another file")
    notes = [note for each in examine(scanned, store, reused, QUIET) for note in each.notes]
    assert [note.partition(": ")[0] for note in notes] == ["not examined"]


def test_the_next_generation_is_a_value_until_it_is_published(options: IngestOptions) -> None:
    scanned, store, chosen = looked_up(options)
    recordings = {each.path: each for each in chosen}
    recordings |= by_path(build_missing(scanned, store, chosen[:3], QUIET))
    generation = next_generation(scanned, recordings, frozenset(recordings), None)
    assert store.catalog("demo") is None and len(generation.rows) == N
    assert sum(bool(row.contents) for row in generation.rows.values()) == 3
    assert [bool(row.source) for row in generation.rows.values()].count(True) == 3
    assert publish(scanned, store, recordings, frozenset(recordings)).rows == generation.rows
    catalog = store.catalog("demo")
    assert catalog is not None and catalog.rows == generation.rows


@pytest.mark.slow
def test_what_is_deleted_before_it_is_named_is_pending_again(options: IngestOptions) -> None:
    scanned, store, chosen = looked_up(options)
    built = list(build_missing(scanned, store, chosen, QUIET))
    assert pending_again(store, built) == []
    shutil.rmtree(store.layout.object(built[0].reusable.content))  # type: ignore[union-attr]
    (pending,) = pending_again(store, built)
    assert (pending.path, pending.outcome, pending.reusable) == (built[0].path, Outcome.PENDING, None)
    (again,) = build_missing(scanned, store, [pending], QUIET)
    assert again.reusable == built[0].reusable and pending_again(store, [again]) == []


@pytest.mark.slow
def test_a_plan_counts_what_is_missing_and_writes_nothing(options: IngestOptions, corpus: Path) -> None:
    original, copy = a_copy(corpus)
    bad = max(corpus.rglob("*.edf"))
    bad.write_bytes(bad.read_bytes()[:1000])
    dry = dataclasses.replace(options, dry_run=True)
    scanned = scan(dry, QUIET)
    chosen = list(look_up(scanned, list(label(scanned, QUIET)), QUIET))
    planned, needs = plan(scanned, chosen, QUIET)
    outcomes = {each.path: each.outcome for each in planned}
    assert (outcomes[original], outcomes[copy]) == (Outcome.NEW, Outcome.NEW)  # only their hashes can tell
    assert [problem["recording"] for problem in needs.problems] == [bad.relative_to(corpus).as_posix()]
    assert (needs.labelled, needs.stored, needs.inodes_needed) == (N + 1, 0, INODES_PER_OBJECT * N)
    assert needs.bytes_needed > 0 and needs.hours > 0 and needs.sampled == 3 and needs.seconds_estimate
    assert needs.bytes_source == sum(edf.stat().st_size for edf in corpus.rglob("*.edf"))
    assert (needs.width, needs.executor, needs.script) == (1, "this process", None)
    assert not options.store.exists()
    assert needs.to_identify == 0
    ingest(options)
    after = ingest(dry).plan
    assert after is not None and (after.stored, after.bytes_needed, after.seconds_estimate) == (0, 0, 0.0)
    assert after.to_identify == N and after.hours == pytest.approx(needs.hours, rel=1e-4)


@pytest.mark.slow
def test_ctrl_c_publishes_what_is_done(options: IngestOptions) -> None:
    done: list[Any] = []

    class Interrupted(Here):
        def run(self, work: Any, tasks: Sequence[Any], notify: Notify) -> Ended[Any, Any]:
            done.extend(task for batch in tasks[:2] for task in batch.tasks)
            yield from super().run(work, tasks[:2], notify)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(dataclasses.replace(options, engine=Interrupted()))
    catalog = Store.open(options.store).catalog("demo")
    assert catalog is not None and sum(bool(row.source) for row in catalog.rows.values()) == len(done)
    assert sum(bool(row.contents) for row in catalog.rows.values()) == len(done) > 2
    report = ingest(options)
    assert (report.new, report.reused, report.failed) == (N - len(done), len(done), ())


@pytest.mark.slow
def test_a_report_is_a_value_and_only_a_dry_run_has_a_plan(options: IngestOptions) -> None:
    dry = ingest(dataclasses.replace(options, dry_run=True))
    done = ingest(options)
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.new = 0  # type: ignore[misc]
    assert dry.plan is not None and done.plan is None
    assert set(dry.to_json()) - set(done.to_json()) == set(dry.plan.to_json()) - {"script"}
    assert (dry.new, dry.bytes_written, done.new) == (N, 0, N)
