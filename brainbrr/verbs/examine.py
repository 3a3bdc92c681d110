"""Findings of recordings, as `ingest` writes them: with a build, and later for what an older detector looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from brainbrr.digest import key_of
from brainbrr.eeg import quality
from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import RecordingError
from brainbrr.progress import Progress
from brainbrr.store.store import Store
from brainbrr.verbs.build import one_blas_thread
from brainbrr.verbs.generation import Entry


def keep_findings(store: Store, key: str, edf: Path, recipe: Recipe, *, source: str | None) -> int:
    """Examine an EDF and keep what was found under its key; return the bytes written, 0 where it was there.

    Raises RecordingError when the file does not hash to its source, or cannot be read; SpaceError.
    """
    if store.has_findings(key, quality.QUALITY_VERSION, prove=True):
        return 0
    # truncated or not: whoever stored it has accepted that
    found = quality.examine(edf, recipe, accept_truncated=True, source=source)
    return store.put_findings(key, quality.QUALITY_VERSION, found)


def examine_stored(
    store: Store, entries: Sequence[Entry], recipe: Recipe, *, workers: int | None, prove: bool, progress: Progress
) -> tuple[int, dict[str, str]]:
    """Examine what is stored without findings of this version; return the bytes written, and by path what failed.

    Costs one stat for each recording that has them; with `prove` they are read, and damaged ones made anew.
    """
    digest = recipe.digest
    waiting: dict[str, Entry] = {}
    for entry in entries:
        if entry.outcome == "reused" and entry.source is not None:
            key = key_of(source=entry.source, recipe=digest)
            if key not in waiting and not store.has_findings(key, quality.QUALITY_VERSION, prove=prove):
                waiting[key] = entry
    if not waiting:
        return 0, {}

    def one(key: str, entry: Entry) -> int | str:
        try:
            return keep_findings(store, key, entry.file.edf, recipe, source=entry.source)
        except RecordingError as error:
            return f"not examined: {error.what}"

    n_bytes, failed = 0, {}
    progress.start("examining", sum(entry.n_bytes for entry in waiting.values()), "B")
    try:
        with one_blas_thread(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            for entry, done in zip(waiting.values(), pool.map(one, *zip(*waiting.items(), strict=True)), strict=True):
                if isinstance(done, str):
                    failed[entry.file.path] = done
                else:
                    n_bytes += done
                    entry.was_read = True
                progress.advance(entry.n_bytes)
    finally:
        progress.stop()
    return n_bytes, failed
