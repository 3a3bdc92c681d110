"""Build one object from one EDF file. Each build is idempotent and stands alone."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from threadpoolctl import ThreadpoolController

from brainbrr.eeg.preprocess import Preprocessed, preprocess
from brainbrr.eeg.quality import QUALITY_VERSION
from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import BrainbrrError, EdfError
from brainbrr.store.objects import ArrayMeta
from brainbrr.store.records import Record
from brainbrr.store.store import Put, Store, TakenAway


@dataclass(frozen=True)
class Task:
    """One recording to build: where it lies, what it must hash to, and the key it becomes.

    `expected`: the content that the key is known to have, though no record says so.
    """

    path: str
    edf: Path
    source: str
    n_bytes: int
    key: str
    accept_truncated: bool
    expected: str | None = None


@dataclass(frozen=True)
class Built:
    """One key that is now in the store; new unless another process was faster. `was_found`: nothing was computed."""

    is_new: bool
    record: Record
    n_bytes_written: int
    notes: tuple[str, ...]
    was_found: bool = False


@dataclass(frozen=True)
class Busy:
    """One key that another process builds just now."""


Done = Callable[[Task, Built | BrainbrrError], None]


def build(location: Path, task: Task, recipe: Recipe) -> Built:
    """Preprocess one EDF and put it into the store.

    Raises RecordingError when the recording is refused, SpaceError when the disk is full.
    """
    while True:
        with contextlib.suppress(TakenAway):
            return _built(location, task, recipe)


def _built(location: Path, task: Task, recipe: Recipe) -> Built:
    with one_blas_thread():
        made = preprocess(task.edf, recipe, accept_truncated=task.accept_truncated)
        if made.source != task.source:
            raise EdfError("the file changed while it was read", where=task.edf, fix="ingest again when it is at rest")
        store = Store.open(location)
        put = _put(store, task, recipe, made)
    n_bytes = store.put_findings(task.key, QUALITY_VERSION, made.findings)
    facts = made.facts
    notes = [*facts["notes"], *([f"flat channels: {', '.join(facts['flat'])}"] if facts["flat"] else [])]
    return Built(put.new_object or put.new_record, put.record, put.n_bytes_written + n_bytes, tuple(notes))


def _put(store: Store, task: Task, recipe: Recipe, made: Preprocessed) -> Put:
    meta = ArrayMeta(
        channels=made.channels,
        absent=made.absent,
        n_samples=made.n_samples,
        rate_hz=made.rate_hz,
        quantum_uv=made.quantum_uv,
        k=made.k,
    )
    with store.draft(meta) as draft:
        for block in made.blocks():
            draft.append(block)
        return store.keep(
            draft,
            key=task.key,
            source=task.source,
            recipe=recipe.digest,
            recipe_fields=recipe.identity(),
            statistics=made.statistics,
            signal=made.facts,
            provenance={
                "recipe_name": recipe.name,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "certificate": made.certificate,
                **_versions(),
            },
            expected=task.expected,
        )


def one_blas_thread() -> AbstractContextManager[object]:
    """Compute on one thread meanwhile: recordings are the unit of parallel work, threads inside only collide."""
    limiter: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limiter


@cache
def _blas() -> ThreadpoolController:
    """Find the BLAS libraries of this process, once: looking for them takes a millisecond."""
    return ThreadpoolController()


@cache
def _versions() -> dict[str, str]:
    names = ("brainbrr", "numpy", "scipy")
    own = {"python": platform.python_version(), "machine": platform.machine()}
    return {**own, **{name: version(name) for name in names}}
