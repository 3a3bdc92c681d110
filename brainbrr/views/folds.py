"""`split`: folds of a corpus's patients, balanced by seizures and hours, and the file that names them.

Reads the catalog, and the records of what has gaps. The same corpus gives the same folds with any Python: exact
arithmetic, ties by digest.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

from brainbrr.core.access import Guard, write_file
from brainbrr.core.digest import canonical_json, key_of, sha256
from brainbrr.eeg.corpus.annotations import Annotations
from brainbrr.eeg.corpus.census import format_of
from brainbrr.errors import UsageError
from brainbrr.loading.recordings import clip
from brainbrr.loading.windows import joined, outside
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.integrity import read_record
from brainbrr.store.store import Store
from brainbrr.views.select import resolve_corpus
from brainbrr.views.splits import FORMAT, Aliases

Stratify = Literal["seizures", "hours"]
MIN_FOLDS = 3
"""One for each of train, dev and eval."""
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Fold:
    """The patients of one fold, and what their recordings hold, without gaps and unknown or unlabelled time.

    Recordings without labels count with all that was recorded.
    """

    number: int
    patients: tuple[str, ...]
    recordings: int
    seizures: int
    seizure_us: int
    signal_us: int

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            "fold": self.number,
            "patients": list(self.patients),
            "recordings": self.recordings,
            "seizures": self.seizures,
            "seizure_seconds": round(self.seizure_us / 1e6, 3),
            "hours": round(self.signal_us / _HOUR_US, 4),
        }


@dataclass(frozen=True)
class SplitReport:
    """The folds of a corpus; `choices` says for each N which folds are train, dev and eval."""

    corpus: str
    by: str
    stratify: str
    folds: tuple[Fold, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    out: Path | None = None

    @property
    def choices(self) -> dict[int, dict[str, list[int]]]:
        """Fold N for eval, the next one for dev, the others for train."""
        numbers = [fold.number for fold in self.folds]
        found = {}
        for held_out in numbers:
            dev = held_out % len(numbers) + 1
            train = [number for number in numbers if number not in (held_out, dev)]
            found[held_out] = {"train": train, "dev": [dev], "eval": [held_out]}
        return found

    @property
    def without_seizures(self) -> tuple[int, ...]:
        """Folds that nothing can be scored on."""
        return tuple(fold.number for fold in self.folds if not fold.seizures)

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            "corpus": self.corpus,
            "by": self.by,
            "stratify": self.stratify,
            "folds": [fold.to_json() for fold in self.folds],
            "splits": {str(number): choice for number, choice in self.choices.items()},
            "aliases": dict(self.aliases),
            "without_seizures": list(self.without_seizures),
            "out": str(self.out) if self.out else None,
        }

    def to_toml(self) -> str:
        """Return the file that `--splits` reads."""
        lines = [
            f"# Made by `brainbrr split`: {len(self.folds)} folds of patients, balanced by {self.stratify}.",
            "# `--splits FILE:N` takes fold N for eval; FILE alone is FILE:1.",
            f"format = {FORMAT}",
            f"corpus = {_quoted(self.corpus)}",
            f"by = {_quoted(self.by)}",
            f"stratify = {_quoted(self.stratify)}",
            "",
            *(f"[split.{number}]\n{_choice(choice)}\n" for number, choice in self.choices.items()),
        ]
        if self.aliases:
            lines += ["# Other names of a patient.", "[aliases]"]
            lines += [f"{_quoted(name)} = {_quoted(other)}" for name, other in sorted(self.aliases.items())]
            lines += [""]
        lines += ["# The fold of each patient.", "[patients]"]
        for fold in self.folds:
            minutes = fold.signal_us * 60 // _HOUR_US
            lines += [f"# fold {fold.number}: {fold.seizures} seizures, {minutes // 60} h {minutes % 60:02d} min"]
            lines += [f"{_quoted(patient)} = {fold.number}" for patient in fold.patients]
        return "\n".join(lines) + "\n"


def split(
    store: Store,
    *,
    corpus: str | None = None,
    folds: int = 5,
    by: str = "patient",
    stratify: str = "seizures",
    aliases: Aliases = Aliases(),  # noqa: B008  # frozen
    out: Path | None = None,
) -> SplitReport:
    """Return folds of a corpus's patients, and write them to `out`.

    All recordings of a patient, under all its names, are in one fold. Raises UsageError for a corpus without
    recordings, more folds than patients, and an `out` that holds something else.
    """
    if by != "patient" or stratify not in get_args(Stratify):
        fix = f'by = "patient"; stratify = {" or ".join(get_args(Stratify))}'
        raise UsageError(f"by = {by!r}, stratify = {stratify!r}", fix=fix)
    name = resolve_corpus(store, corpus)
    catalog = store.catalog(name) if name else None
    if name is None or catalog is None or not catalog.rows:
        raise UsageError("there is no recording to split", where=store.location, fix="ingest the corpus first")
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in catalog.rows.values():
        if format_of(row.path) is None:
            rows[aliases.person(name, row.patient)].append(row)
    if not MIN_FOLDS <= folds <= len(rows):
        raise UsageError(
            f"{folds} folds of {len(rows)} patients",
            where=f"corpus {name}",
            fix=f"from {MIN_FOLDS} (train, dev and eval) to as many folds as there are patients",
        )
    amount_of = {row.path: _amount(row, gaps) for row, gaps in _with_gaps(store, catalog)}
    amounts = {person: _total([amount_of[row.path] for row in those]) for person, those in rows.items()}
    measures = (0, 1, 2, 3) if stratify == "seizures" else (2, 3)
    placed = balanced({person: [held[i] for i in measures] for person, held in amounts.items()}, folds)
    report = SplitReport(
        corpus=name,
        by=by,
        stratify=stratify,
        folds=tuple(
            _fold(number, [row for person in people for row in rows[person]], amount_of)
            for number, people in enumerate(placed, 1)
        ),
        aliases=dict(aliases.names),
        out=out,
    )
    if out is not None:
        _write(out, report.to_toml(), store)
    return report


_Amount = tuple[int, int, int, int]
"""Seizures, their microseconds, the microseconds of known time, and 1 for each patient."""
_Spans = list[tuple[int, int]]


def _total(amounts: Sequence[_Amount]) -> _Amount:
    n, seizure_us, known_us, _ = (sum(column) for column in zip(*amounts, strict=True))
    return n, seizure_us, known_us, 1


def _amount(row: Row, gaps: _Spans) -> _Amount:
    """Return what one recording holds: as `Scored` counts it, without gaps, unknown time and time past its labels."""
    end_us = row.signal_us or 0
    labels = None if row.annotations is None else Annotations.from_json(row.annotations)
    if labels is None or not labels.labelled:
        return 0, 0, _length(outside([(0, end_us)], gaps)), 0
    known = outside([(0, min(end_us, labels.duration_us or end_us))], joined([*labels.unknown, *gaps]))
    spans = outside(clip(labels.seizures, end_us) if row.signal_us else [], gaps)
    return len(spans), _length(spans), _length(known), 0


def _length(spans: _Spans) -> int:
    return sum(stop - start for start, stop in spans)


def _with_gaps(store: Store, catalog: Catalog) -> list[tuple[Row, _Spans]]:
    """Return the rows of a catalog, each with its gaps in microseconds; those in columns have none."""
    columns = store.columns(catalog)
    without: set[str] = set()
    if columns is not None:
        paths = columns.paths
        without = {paths[i] for each in columns.stored.values() for i in each.arrays["row"].tolist()}
    return [(row, [] if row.path in without else _gaps(store, row)) for row in catalog.rows.values()]


def _gaps(store: Store, row: Row) -> _Spans:
    for recipe in sorted(row.contents):
        record = read_record(store, key_of(source=str(row.source), recipe=recipe))
        if record is not None:
            return list(record.array.gaps_us)
    return []


def balanced(amounts: Mapping[str, Sequence[int]], n_folds: int) -> list[list[str]]:
    """Return the people of each fold: the largest first, each to the fold that this leaves most even."""
    totals = [sum(column) or 1 for column in zip(*amounts.values(), strict=True)]
    shares = {
        person: [Fraction(amount, total) for amount, total in zip(held, totals, strict=True)]
        for person, held in amounts.items()
    }
    loads = [[Fraction(0)] * len(totals) for _ in range(n_folds)]
    people: list[list[str]] = [[] for _ in range(n_folds)]
    for person in sorted(shares, key=lambda name: (-sum(shares[name]), sha256(canonical_json(name)))):
        # what the squares of all loads grow by, and an empty fold before all others
        growth = [
            (bool(people[i]), sum((2 * load + share) * share for load, share in zip(held, shares[person], strict=True)))
            for i, held in enumerate(loads)
        ]
        place = growth.index(min(growth))
        people[place].append(person)
        loads[place] = [load + share for load, share in zip(loads[place], shares[person], strict=True)]
    return people


def _fold(number: int, rows: Sequence[Row], amount_of: Mapping[str, _Amount]) -> Fold:
    seizures, seizure_us, signal_us, _ = _total([amount_of[row.path] for row in rows])
    patients = tuple(sorted({row.patient for row in rows}))
    return Fold(number, patients, len(rows), seizures, seizure_us, signal_us)


def _choice(choice: Mapping[str, Sequence[int]]) -> str:
    return "\n".join(f"{name} = [{', '.join(map(str, folds))}]" for name, folds in choice.items())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write(path: Path, text: str, store: Store) -> None:
    """Write the file; the same text again is nothing to do. Names of patients: no more readable than the store."""
    data = text.encode()
    if path.exists():
        if path.is_file() and path.read_bytes() == data:
            return
        raise UsageError("this file holds something else", where=path, fix="choose another name, or delete the file")
    write_file(path, data, (Guard.of(store.location),))
