"""Build one object from one EDF file. Each build is idempotent and stands alone."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from threadpoolctl import threadpool_limits

from brainbrr.digest import source_digest
from brainbrr.eeg.preprocess import Preprocessed, preprocess
from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import BrainbrrError, EdfError, RecordingError
from brainbrr.store.objects import ArrayMeta
from brainbrr.store.records import Record
from brainbrr.store.store import Store


@dataclass(frozen=True)
class Task:
    """One recording to build: where it lies, what it must hash to, and the key it becomes."""

    path: str
    edf: Path
    source: str
    n_bytes: int
    key: str
    accept_truncated: bool


@dataclass(frozen=True)
class Built:
    """One key that is now in the store; new unless another process was faster."""

    is_new: bool
    record: Record
    n_bytes_written: int
    notes: tuple[str, ...]


Done = Callable[[Task, Built | BrainbrrError], None]


def preprocess_alone(edf: Path, recipe: Recipe, *, accept_truncated: bool = False) -> Preprocessed:
    """Preprocess on one thread: recordings are the unit of parallel work, and threads of BLAS inside only collide."""
    with threadpool_limits(limits=1, user_api="blas"):
        return preprocess(edf, recipe, accept_truncated=accept_truncated)


def build(location: Path, task: Task, recipe: Recipe) -> Built:
    """Preprocess one EDF and put it into the store.

    Raises RecordingError when the recording is refused, SpaceError when the disk is full.
    """
    try:
        made = preprocess_alone(task.edf, recipe, accept_truncated=task.accept_truncated)
        if source_digest(task.edf) != task.source:
            raise EdfError("the file changed while it was read", where=task.edf, fix="ingest again when it is at rest")
    except OSError as error:
        raise RecordingError(f"the EDF cannot be read: {error.strerror}", where=task.edf) from error
    put = Store.open(location).put(
        made.samples,
        meta=ArrayMeta(
            channels=made.channels,
            absent=made.absent,
            n_samples=made.samples.shape[1],
            rate_hz=made.rate_hz,
            quantum_uv=made.quantum_uv,
            k=made.k,
        ),
        key=task.key,
        source=task.source,
        recipe=recipe.digest,
        recipe_fields=recipe.identity(),
        statistics=made.statistics,
        signal=made.facts,
        provenance={
            "recipe_name": recipe.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: version(name) for name in ("brainbrr", "numpy")},
        },
    )
    flat = made.facts["flat"]
    notes = [*made.facts["notes"], *([f"flat channels: {', '.join(flat)}"] if flat else [])]
    return Built(put.new_object or put.new_record, put.record, put.n_bytes_written, tuple(notes))
