"""`plan`: what an ingest would need and refuse, before any work. Writes nothing."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainbrr.core.digest import key_of
from brainbrr.core.progress import Progress, Silent
from brainbrr.core.threads import one_blas_thread
from brainbrr.eeg.corpus.annotations import read_annotations
from brainbrr.eeg.corpus.tree import RecordingFile, locate, scan
from brainbrr.eeg.edf.header import EdfHeader
from brainbrr.eeg.signal.preprocess import check, preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.engine import Engine
from brainbrr.engines.local import local_engine
from brainbrr.errors import RecordingError
from brainbrr.ingest.scan import stored
from brainbrr.profiles import Profile, choose
from brainbrr.store.catalog import Catalog
from brainbrr.store.formats import stored_bytes
from brainbrr.store.layout import INODES_PER_OBJECT
from brainbrr.store.store import Store

_SAMPLE_FILES = 3


@dataclass
class PlanReport:
    """What an ingest would take, and what it would refuse."""

    corpus: str
    profile: str | None
    recordings: int
    labelled: int = 0
    hours: float = 0.0
    stored: int = 0
    bytes_source: int = 0
    bytes_needed: int = 0
    bytes_free: int = 0
    inodes_needed: int = 0
    inodes_free: int = 0
    seconds_estimate: float | None = None
    sampled: int = 0
    width: int = 1
    executor: str = ""
    problems: list[dict[str, str | None]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "hours": round(self.hours, 4)}


def plan(
    root: Path,
    *,
    store: Store | None,
    location: Path,
    corpus: str | None = None,
    profile: Profile | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008  # frozen
    workers: int | None = None,
    engine: Engine | None = None,
    labels: str = "found",
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> PlanReport:
    """Return files, hours, bytes and inodes needed against what is free, a time estimate, and what will be refused.

    Headers and label files are read, and up to three recordings are preprocessed to measure the speed. The estimate
    is for `engine` (default: `workers` processes) as wide as it can be now, each of its places as fast as this machine.
    What the catalog knows to be stored costs nothing. Raises UsageError for a root without a corpus.
    """
    found = locate(root, name=corpus)
    files = scan(found)
    catalog = store.catalog(found.name) if store else None
    if stays_unlabelled(catalog, files):
        labels = "none"
    problems: dict[str, RecordingError] = {}
    seizures: dict[str, bool] = {}
    labelled: set[str] = set()
    for file in files:
        try:
            seizures[file.path] = False
            if labels != "none":
                seizures[file.path] = bool(read_annotations(file.labels, recording=file.edf.name).seizures)
                labelled.add(file.path)
        except RecordingError as error:
            problems[file.path] = error
    chosen = choose(files, profile, has_seizures=seizures) if profile else files
    report = PlanReport(found.name, profile.name if profile else None, len(chosen))
    report.labelled = sum(file.path in labelled for file in chosen)

    to_build: list[tuple[RecordingFile, float]] = []
    progress.start("reading headers", len(chosen), "files")
    for file in chosen:
        progress.advance()
        try:
            report.bytes_source += file.edf.stat().st_size
            header = check(file.edf, recipe)
        except OSError as error:
            problems[file.path] = RecordingError(f"the EDF cannot be read: {error.strerror}", where=file.edf)
            continue
        except RecordingError as error:
            problems[file.path] = error
            continue
        seconds = float(header.duration_s)
        report.hours += seconds / 3600
        if file.path in problems:
            continue
        if store is not None and catalog is not None and _is_stored(store, catalog, file, recipe):
            report.stored += 1
            continue
        to_build.append((file, seconds))
        report.bytes_needed += _bytes(header, recipe)
    progress.stop()
    report.problems = [
        {"recording": f.path, "reason": problems[f.path].what, "fix": problems[f.path].fix}
        for f in chosen
        if f.path in problems
    ]
    report.inodes_needed = INODES_PER_OBJECT * len(to_build)
    disk = os.statvfs(next(p for p in (location, *location.parents) if p.exists()))
    report.bytes_free, report.inodes_free = disk.f_bavail * disk.f_frsize, disk.f_favail
    report.width, report.executor = (engine or local_engine(workers)).width()
    report.seconds_estimate, report.sampled = _measure(to_build, recipe, report.width)
    return report


def bytes_needed(edf: Path, recipe: Recipe, *, accept_truncated: bool = False) -> int:
    """Return the bytes that one recording will take, 0 when its header already refuses it."""
    try:
        header = check(edf, recipe, accept_truncated=accept_truncated)
    except RecordingError:
        return 0
    return _bytes(header, recipe)


def _bytes(header: EdfHeader, recipe: Recipe) -> int:
    return stored_bytes(len(recipe.channels), math.ceil(header.duration_s * recipe.rate_hz), recipe.rate_hz)


def _is_stored(store: Store, catalog: Catalog, file: RecordingFile, recipe: Recipe) -> bool:
    row = catalog.rows.get(file.path)
    if row is None or row.source is None or row.n_bytes != file.edf.stat().st_size:
        return False
    return stored(store, key_of(source=row.source, recipe=recipe.digest)) is not None


def stays_unlabelled(catalog: Catalog | None, files: Sequence[RecordingFile]) -> bool:
    """Say whether a corpus was declared unlabelled and nothing has come since that would say otherwise."""
    return catalog is not None and not catalog.labelled and not any(file.labels for file in files)


def _measure(to_build: list[tuple[RecordingFile, float]], recipe: Recipe, width: int) -> tuple[float | None, int]:
    """Return the seconds that all builds should take, from preprocessing a few of the shorter ones."""
    shorter = sorted(to_build, key=lambda pair: pair[1])[: max(_SAMPLE_FILES, len(to_build) // 2)]
    sample = shorter[-_SAMPLE_FILES:]
    measured_s = spent_s = 0.0
    for n, (file, seconds) in enumerate(sample):
        began = time.monotonic()
        try:
            with one_blas_thread():
                for _ in preprocess(file.edf, recipe).blocks():
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
