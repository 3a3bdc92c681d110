"""Plan an ingest, as a dry run does: what headers say that it would store and refuse, need and take. Builds nothing."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from brainbrr.core.files import check_space
from brainbrr.core.progress import Progress
from brainbrr.core.threads import one_blas_thread
from brainbrr.eeg.corpus.annotations import TOLERANCE_OF_LENGTH_US, length_difference
from brainbrr.eeg.edf.header import EdfHeader
from brainbrr.eeg.signal.preprocess import check, preprocess
from brainbrr.engines.local import local_engine
from brainbrr.errors import AnnotationError, RecordingError, SpaceError
from brainbrr.ingest.missing import bytes_of, tasks_of
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.scan import CorpusScan, Outcome, ScannedRecording, seems_stored, to_identify, within_signal
from brainbrr.store.formats import SAVES_AT_MOST
from brainbrr.store.layout import INODES_PER_OBJECT

_SAMPLE_FILES = 3


@dataclass(frozen=True)
class Plan:
    """What an ingest would need and take.

    `hours`: of all recordings whose header can be read. `stored`: recordings that are in the store already.
    `bytes_needed` and `inodes_needed`: of the objects that are missing, without a codec. `seconds_estimate`: from
    preprocessing `sampled` recordings here, for an engine that does `width` at a time (0: not known), each as fast as
    this machine; None where nothing could be measured. `lengths_differ`: recordings whose labels and signal differ in
    length by more than the tolerance, and `largest_difference_s` the largest difference, negative for shorter labels.
    """

    labelled: int
    hours: float
    stored: int
    bytes_source: int
    bytes_needed: int
    bytes_free: int
    inodes_needed: int
    inodes_free: int
    seconds_estimate: float | None
    sampled: int
    width: int
    executor: str
    problems: tuple[dict[str, str | None], ...]
    script: str | None
    to_identify: int = 0
    """Recordings whose files this machine has not hashed: are they what the catalog has by path and size?"""
    lengths_differ: int = 0
    largest_difference_s: float = 0.0
    no_space: str | None = None
    """Why an ingest would end for want of space."""

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "hours": round(self.hours, 4), "problems": list(self.problems)}


@dataclass(frozen=True)
class Planned:
    """A recording as an ingest would leave it, with the header that says so where one was read."""

    recording: ScannedRecording
    header: EdfHeader | None = None


def plan(
    scan: CorpusScan, chosen: Sequence[ScannedRecording], progress: Progress
) -> tuple[list[ScannedRecording], Plan]:
    """Return the chosen recordings as an ingest would leave them, as far as headers tell, and what that takes."""
    options = scan.options
    planned: list[Planned] = []
    keys: set[str | None] = set()
    progress.start("reading headers", len(chosen), "files")
    for recording in chosen:
        if seems_stored(scan, recording):
            planned.append(Planned(recording))
        else:
            planned.append(plan_one(recording, options, is_first=recording.key is None or recording.key not in keys))
        keys.add(recording.key)
        progress.advance(note=recording.path)
    progress.stop()
    seconds = [float(each.header.duration_s) if each.header else 0.0 for each in planned]
    to_build = [(each, s) for each, s in zip(planned, seconds, strict=True) if each.recording.outcome is Outcome.NEW]
    stored_us = [each.reusable.signal_us for each in chosen if each.reusable is not None]
    unhashed = [each.path for each in chosen if seems_stored(scan, each)]
    rows = scan.base.rows if scan.base else {}
    unhashed_us = sum(rows[path].signal_us or 0 for path in unhashed)
    disk = os.statvfs(next(p for p in (options.store, *options.store.absolute().parents) if p.exists()))
    width, executor = (options.engine or local_engine(options.workers)).width()
    estimate, sampled = _measure([(each.recording, s) for each, s in to_build], options, width)
    tasks = tasks_of(chosen, options)
    recordings = [each.recording for each in planned]
    n_bytes = sum(bytes_of(each.header, options.recipe) for each, _ in to_build if each.header)
    differences = [us for each in planned if abs(us := _length_difference(each)) > TOLERANCE_OF_LENGTH_US]
    return recordings, Plan(
        labelled=sum(each.annotations is not None and each.annotations.labelled for each in recordings),
        hours=(sum(seconds) + (sum(stored_us) + unhashed_us) / 1_000_000) / 3600,
        stored=len(stored_us),
        bytes_source=sum(each.n_bytes for each in recordings),
        bytes_needed=n_bytes,
        bytes_free=disk.f_bavail * disk.f_frsize,
        inodes_needed=INODES_PER_OBJECT * len(to_build),
        inodes_free=disk.f_favail,
        seconds_estimate=estimate,
        sampled=sampled,
        width=width,
        executor=executor,
        problems=tuple(
            {"recording": each.path, "reason": each.error.what, "fix": each.error.fix}
            for each in recordings
            if each.error is not None
        ),
        script=options.engine.script(tasks) if options.engine and tasks else None,
        to_identify=len(unhashed),
        lengths_differ=len(differences),
        largest_difference_s=max(differences, key=abs, default=0) / 1_000_000,
        no_space=_no_space(scan, n_bytes, len(to_build)),
    )


def _no_space(scan: CorpusScan, n_bytes: int, n_objects: int) -> str | None:
    """Return why an ingest would end for want of space, as it would say it."""
    codec = scan.store.codec if scan.store else scan.options.codec or "none"
    place = scan.options.store.absolute()
    try:
        if n_objects:
            check_space(
                next(each for each in (place, *place.parents) if each.exists()),
                n_bytes=n_bytes // SAVES_AT_MOST[codec],
                n_inodes=INODES_PER_OBJECT * n_objects,
            )
    except SpaceError as error:
        return error.what
    return None


def _length_difference(planned: Planned) -> int:
    """Return by how much a recording's labels go past its signal in microseconds, 0 where one of them is not known."""
    recording, header = planned.recording, planned.header
    if recording.annotations is None or (header is None and recording.reusable is None):
        return 0
    signal_us = (
        int(header.duration_s * 1_000_000) if header else recording.reusable.signal_us if recording.reusable else 0
    )
    return length_difference(recording.annotations, signal_us)


def plan_one(recording: ScannedRecording, options: IngestOptions, *, is_first: bool) -> Planned:
    """Return what an ingest would make of a recording; `is_first` among those of its key, which build it once."""
    if recording.reusable is not None or not isinstance(recording.error, AnnotationError | None):
        return Planned(recording)
    try:
        header = check(recording.file.edf, options.recipe, accept=options.accept)
    except RecordingError as error:
        return Planned(recording.failed(error))
    if to_identify(recording) and recording.annotations is not None and recording.annotations.labelled:
        try:
            labels = within_signal(recording.annotations, header, recording.n_bytes, accept=options.accept)
            recording = dataclasses.replace(recording, annotations=labels)
        except AnnotationError as error:
            recording = recording.failed(error)
    if recording.error is not None:
        return Planned(recording, header)
    new = dataclasses.replace(recording, outcome=Outcome.NEW)
    return Planned(new if is_first else recording.reused(None), header)


def _measure(
    to_build: Sequence[tuple[ScannedRecording, float]], options: IngestOptions, width: int
) -> tuple[float | None, int]:
    """Return the seconds that all builds should take, from preprocessing a few of the shorter ones, and how many."""
    shorter = sorted(to_build, key=lambda pair: pair[1])[: max(_SAMPLE_FILES, len(to_build) // 2)]
    sample = shorter[-_SAMPLE_FILES:]
    measured_s = spent_s = 0.0
    for n, (recording, seconds) in enumerate(sample):
        began = time.monotonic()
        try:
            with one_blas_thread():
                for _ in preprocess(recording.file.edf, options.recipe, accept=options.accept).blocks():
                    pass
        except RecordingError:
            continue
        if n == 0 and len(sample) > 1:
            continue  # the first one also pays for imports
        spent_s += time.monotonic() - began
        measured_s += seconds
    if not to_build:
        return 0.0, 0
    if not measured_s or not width:
        return None, 0
    total, longest = sum(seconds for _, seconds in to_build), max(seconds for _, seconds in to_build)
    return round(max(total / width, longest) * spent_s / measured_s, 3), len(sample)
