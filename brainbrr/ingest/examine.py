"""Examine recordings for what a detector of artefacts finds: for what was stored before this version of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from brainbrr.core.progress import Progress
from brainbrr.core.threads import cores, one_blas_thread
from brainbrr.eeg.quality import detector
from brainbrr.eeg.quality.rules import reason_of
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import IntegrityError, RecordingError
from brainbrr.ingest.scan import CorpusScan, Outcome, ScannedRecording, Updates
from brainbrr.store.generation import Quality
from brainbrr.store.store import Store


def keep_findings(store: Store, key: str, edf: Path, recipe: Recipe, *, source: str | None) -> int:
    """Examine an EDF and store the findings under its key; return the bytes written, 0 where they existed.

    Raises RecordingError when the file does not hash to its source, or cannot be read; SpaceError.
    """
    if store.has_findings(key, detector.QUALITY_VERSION, prove=True):
        return 0
    # truncated or not: it is stored, so that was accepted
    findings = detector.examine(edf, recipe, accept_truncated=True, source=source)
    return store.put_findings(key, detector.QUALITY_VERSION, findings)


def examine(scan: CorpusScan, store: Store, chosen: Sequence[ScannedRecording], progress: Progress) -> Updates:
    """Yield each recording that is stored without findings of this version, after examining its EDF.

    Costs one stat for each recording that has them; to rehash, they are read, and damaged ones made again. Those whose
    quality the catalog does not have yet are yielded with it.
    """
    examined = {each.path: each for each in _examined(scan, store, chosen, progress)}
    for each in (examined.get(each.path, each) for each in chosen):
        if each.key is not None and each.is_here and (rated := _rated(scan, store, each)) is not None:
            yield rated
        elif each.path in examined:
            yield each


def _rated(scan: CorpusScan, store: Store, recording: ScannedRecording) -> ScannedRecording | None:
    """Return a stored recording with its quality, None where the catalog has that already, or there is none."""
    before = scan.base.rows.get(recording.path) if scan.base else None
    known = before.quality.get(scan.recipe_digest) if before and before.source == recording.source else None
    if known is not None and known.version == detector.QUALITY_VERSION and not scan.options.rehash:
        return None
    with suppress(IntegrityError):
        if (found := store.findings(str(recording.key), detector.QUALITY_VERSION)) is not None:
            score, reason = found["score"], reason_of(found)
            quality = Quality(version=detector.QUALITY_VERSION, score=score, reason=reason)
            return dataclasses.replace(recording, quality=quality)
    return None


def _examined(scan: CorpusScan, store: Store, chosen: Sequence[ScannedRecording], progress: Progress) -> Updates:
    waiting: dict[str, ScannedRecording] = {}
    for each in chosen:
        if (
            not each.is_here
            or each.key is None
            or each.key in waiting
            or each.outcome not in (Outcome.REUSED, Outcome.RELABELLED)
        ):
            continue
        if not store.has_findings(each.key, detector.QUALITY_VERSION, prove=scan.options.rehash):
            waiting[each.key] = each
    if not waiting:
        return
    progress.start("examining", sum(each.n_bytes for each in waiting.values()), "B")
    try:
        with one_blas_thread(), ThreadPoolExecutor(scan.options.workers or cores()) as pool:
            for examined in pool.map(partial(examine_one, store, scan.options.recipe), waiting.values()):
                yield examined
                progress.advance(examined.n_bytes)
    finally:
        progress.stop()


def examine_one(store: Store, recipe: Recipe, recording: ScannedRecording) -> ScannedRecording:
    """Return a stored recording with what its findings took, or with a note of why it could not be examined."""
    try:
        n_bytes = keep_findings(store, str(recording.key), recording.file.edf, recipe, source=recording.source)
    except RecordingError as error:
        return dataclasses.replace(recording, notes=(*recording.notes, f"not examined: {error.what}"))
    return dataclasses.replace(recording, was_read=True, bytes_written=recording.bytes_written + n_bytes)
