"""What became of a stored recording's file: compares header, samples and labels of today with what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from brainbrr.core.digest import key_of, source_digest
from brainbrr.core.files import leads_to_folder
from brainbrr.eeg.corpus.annotations import label_digest
from brainbrr.eeg.corpus.tree import RecordingFile, locate, scan
from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError
from brainbrr.store.catalog import Row
from brainbrr.store.records import Record
from brainbrr.store.store import Store


@dataclass(frozen=True)
class Today:
    """A recording's file as it is now, and what differs from what is stored.

    `header`: fields as [stored, now]. `samples`: whether the recipe makes the same samples of it; None where the file
    is the same, or `unreadable` says why it cannot be compared. `stored_key` was made at `since` from the old file.
    """

    file: Path
    state: Literal["same", "changed", "gone", "out of reach"]
    key: str | None = None
    stored_key: str | None = None
    since: str | None = None
    header: Mapping[str, list[Any]] | None = None
    samples: Literal["same", "changed"] | None = None
    labels: Literal["same", "changed", "none"] | None = None
    unreadable: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "file": str(self.file)}


def today(store: Store, root: Path, corpus: str, row: Row, recipe: Recipe) -> Today:
    """Return what became of the file of a catalog's row below the corpus's root."""
    edf = root / row.path
    if not leads_to_folder(root):
        return Today(edf, "out of reach")
    try:
        source = source_digest(edf)
    except FileNotFoundError:
        return Today(edf, "gone")
    except OSError as error:
        return Today(edf, "out of reach", unreadable=error.strerror)
    labels = _labels(root, corpus, row)
    record = store.record(key_of(source=row.source, recipe=recipe.digest)) if row.source else None
    common: dict[str, Any] = {
        "key": key_of(source=source, recipe=recipe.digest),
        "stored_key": record.key if record else None,
        "since": str(record.provenance.get("created", "")) if record else None,
        "labels": labels,
    }
    if source == row.source:
        return Today(edf, "changed" if labels == "changed" else "same", **common)
    if record is None:
        return Today(edf, "changed", **common)
    try:
        return Today(edf, "changed", **common, **_compared(edf, recipe, record))
    except (BrainbrrError, OSError) as error:
        return Today(edf, "changed", **common, unreadable=getattr(error, "what", str(error)))


def _compared(edf: Path, recipe: Recipe, record: Record) -> dict[str, Any]:
    made = preprocess(edf, recipe)
    made_statistics, facts = made.statistics, made.facts
    stored = {**_flat(record.signal.get("edf", {})), "absent": list(record.array.absent)}
    now = {**_flat(facts["edf"]), "absent": list(made.absent)}
    # sums, products and quartiles of every channel: other samples have others
    same = (made_statistics, list(made.k)) == (record.statistics, list(record.array.k))
    header = {name: [stored.get(name), now.get(name)] for name in {**stored, **now}}
    return {
        "header": {name: [a, b] for name, (a, b) in header.items() if a != b},
        "samples": "same" if same else "changed",
    }


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return header fields, those of each channel under its own name."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        parts = value.items() if isinstance(value, Mapping) else ()
        found |= {f"{name} {each}": text for each, text in parts} or {name: value}
    return found


def _labels(root: Path, corpus: str, row: Row) -> Literal["same", "changed", "none"] | None:
    """Compare the label files; None where they cannot be read."""
    try:
        files: dict[str, RecordingFile] = {file.path: file for file in scan(locate(root, name=corpus))}
        found = files.get(row.path)
        if found is None or not found.labels:
            return "none" if row.labels is None else "changed"
        return "same" if label_digest(found.labels) == row.labels else "changed"
    except (BrainbrrError, OSError):
        return None
