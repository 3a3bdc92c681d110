"""One generation's file of a catalog: all rows of a corpus (a base), or what changed since the one before (a delta).

Annotations are opaque here. Knows nothing of objects, and of other files.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from brainbrr.core import models
from brainbrr.core.arrays import Int64
from brainbrr.core.digest import canonical_json, sha256
from brainbrr.core.models import Count, Digest32, Digest64, Many, Stored
from brainbrr.errors import IntegrityError

MOST_DELTAS = 64
LEAST_SHARE = 10
"""A base is written again after so many deltas, or when more than one of so many of its rows changed."""

CATALOG_FORMAT = 2

_WITHOUT = frozenset({"", ".", ".."})
"""What no part of a path may be: it would not be the one text of its path, or would leave the corpus."""
_LAST_LINE = re.compile(rb'\{"sha256":"([0-9a-f]{64})"\}\n\Z')
_LAST_LINE_BYTES = 78
_PART = 1 << 22
"""Bytes that are searched for line ends at a time."""


class Refusal(Stored):
    """Why a recording could not be stored, and whether its omission is accepted."""

    error: str
    reason: str
    accepted: bool
    labels: Digest64 | None


class Quality(Stored):
    """A summary of a recording's findings: which version of them, the score, and in words what lowers it most."""

    version: Count
    score: Count
    reason: str


class Row(Stored):
    """One recording of a corpus. `source` is None until it is hashed.

    By recipe digest: `refusals`, `contents`, what the source became, and its `quality`.
    """

    omitted_when_empty = ("contents", "quality")

    path: str
    patient: str
    session: str | None
    split: str
    source: Digest64 | None
    n_bytes: Count
    signal_us: Count | None
    synthetic: bool
    labels: Digest64 | None
    annotations: dict[str, Any] | None
    refusals: dict[Digest32, Refusal]
    contents: dict[Digest32, Digest64] = Field(default_factory=dict)
    quality: dict[Digest32, Quality] = Field(default_factory=dict)

    @field_validator("path")
    @classmethod
    def _stays_in_its_corpus(cls, path: str) -> str:
        if not _WITHOUT.isdisjoint(path.split("/")) or "\0" in path:
            raise ValueError(f"{path[:80]!r} leaves its corpus")
        return path


class _Header(Stored):
    """The first line of a generation's file. `base`: the generation that has all rows, None where this one has.

    `removed`: paths that a delta takes away.
    """

    omitted_when_empty = ("removed", "settings")

    format: Literal[2] = 2
    kind: Literal["catalog"] = "catalog"
    base: Annotated[int, Field(ge=1)] | None
    corpus: str
    seq: int
    parent: str | None
    layout: str
    labelled: bool
    created: str
    n_rows: int
    removed: Many[str] = ()
    settings: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_base_or_delta(self) -> _Header:
        if self.base is None and self.removed:
            raise ValueError("a generation with all rows removes none")
        if self.base is not None and not self.seq - MOST_DELTAS <= self.base < self.seq:
            raise ValueError(f"base {self.base} is not one of the {MOST_DELTAS} generations before {self.seq}")
        if list(self.removed) != sorted(set(self.removed)):
            raise ValueError("removed paths are not sorted, each once")
        return self


class Rows(Mapping[str, Row]):
    """Rows by path: those of a base, and what changed since. Sorted by path."""

    def __init__(self, base: Mapping[str, Row], changed: Mapping[str, Row], removed: frozenset[str]) -> None:
        self.base, self.changed, self.removed = base, changed, removed
        self.columns: Any = None
        """Of these rows, once they were asked for: see columns.py."""

    @classmethod
    def over(cls, rows: Mapping[str, Row], changed: Mapping[str, Row], removed: Iterable[str] = ()) -> Rows:
        """Return rows with changes."""
        away = frozenset(removed)
        if not isinstance(rows, Rows):
            return cls(rows, changed, away)
        kept = {path: row for path, row in rows.changed.items() if path not in away}
        return cls(rows.base, {**kept, **changed}, (rows.removed - changed.keys()) | away)

    def __getitem__(self, path: str) -> Row:
        if (row := self.changed.get(path)) is not None:
            return row
        if path in self.removed:
            raise KeyError(path)
        return self.base[path]

    def __contains__(self, path: object) -> bool:
        return path in self.changed or (path in self.base and path not in self.removed)

    def __iter__(self) -> Iterator[str]:
        new = [path for path in self.changed if path not in self.base]
        kept = (path for path in self.base if path not in self.removed) if self.removed else iter(self.base)
        return merge(kept, sorted(new)) if new else kept

    def __len__(self) -> int:
        new = sum(path not in self.base for path in self.changed)
        return len(self.base) - sum(path in self.base for path in self.removed) + new


@dataclass(frozen=True)
class Catalog:
    """One generation of a corpus's catalog; `parent` is the SHA-256 of the generation before it.

    `settings`: what an ingest chose for the corpus, and the next one keeps. `base`: the generation whose file has all
    rows, None where this one's has. `removed`: paths that this generation took away, of a delta alone.
    """

    corpus: str
    seq: int
    parent: str | None
    layout: str
    labelled: bool
    created: str
    rows: Mapping[str, Row]
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    base: int | None = None
    removed: tuple[str, ...] = ()


def encode(catalog: Catalog) -> bytes:
    """Return a generation's file: a header, one row per line by path, and the SHA-256 of all that."""
    header = {name: value for name, value in vars(catalog).items() if name != "rows"}
    header["settings"] = dict(catalog.settings)
    rows = [canonical_json(catalog.rows[path].to_json()) for path in sorted(catalog.rows)]
    lines = [canonical_json(_Header(**header, n_rows=len(rows)).to_json()), *rows]
    text = b"\n".join(lines) + b"\n"
    return text + canonical_json({"sha256": sha256(text)}) + b"\n"


def decode(data: bytes, *, where: object) -> Catalog:
    """Return what was encoded: of a delta its own rows. Raises IntegrityError for damage, and for what is not ours."""
    text = bytes(_verified(data, where=where))
    first, *lines = text.removesuffix(b"\n").split(b"\n")
    catalog = _opened(first, n_rows=len(lines), where=where)
    with models.many():
        rows = [models.parse(Row, line, where=where) for line in lines]
    paths = [row.path for row in rows]
    if paths != sorted(set(paths)):
        raise IntegrityError("rows are not sorted by path, each once", where=where)
    return dataclasses.replace(catalog, rows=dict(zip(paths, rows, strict=True)))


def decode_lazily(data: bytes, columns: Any, *, where: object) -> Catalog:
    """Return what was encoded, of rows that have columns: each is decoded when it is used.

    Raises IntegrityError as `decode`, for a row when it is used.
    """
    _verified(data, where=where)
    text = np.frombuffer(data, dtype=np.uint8)
    parts = [np.flatnonzero(text[at : at + _PART] == ord("\n")) + at for at in range(0, len(text), _PART)]
    ends = np.concatenate(parts)
    catalog = _opened(data[: ends[0]], n_rows=len(ends) - 2, where=where)
    if len(columns) != len(ends) - 2:
        raise IntegrityError(f"{len(ends) - 2} rows, where {len(columns)} belong", where=where)
    return dataclasses.replace(catalog, rows=_Lines(data, ends, columns, where))


class _Lines(Mapping[str, Row]):
    """Rows by path, each decoded from its line when it is used."""

    def __init__(self, data: bytes, ends: Int64, columns: Any, where: object) -> None:
        self._data, self._ends, self._where, self.columns = data, ends, where, columns
        self._parsed: dict[str, Row] = {}
        self._places = {path: i for i, path in enumerate(columns.paths)}

    def __getitem__(self, path: str) -> Row:
        if (known := self._parsed.get(path)) is not None:
            return known
        i = self._places[path]
        row = models.parse(Row, self._data[self._ends[i] + 1 : self._ends[i + 1]], where=self._where)
        if row.path != path:
            raise IntegrityError(f"row {i + 1} is of {row.path[:80]!r}, not of {path[:80]!r}", where=self._where)
        self._parsed[path] = row
        return row

    def __contains__(self, path: object) -> bool:
        return path in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _verified(data: bytes, *, where: object) -> memoryview:
    """Return a generation's text. Raises IntegrityError unless it is what its last line says."""
    text = memoryview(data)[:-_LAST_LINE_BYTES]
    last = _LAST_LINE.match(data[-_LAST_LINE_BYTES:])
    if last is None or sha256(text).encode() != last[1]:
        raise IntegrityError("the catalog generation is not what its own SHA-256 says", where=where)
    return text


def _opened(first: bytes, *, n_rows: int, where: object) -> Catalog:
    """Return a catalog without its rows, from the first line."""
    found = models.decode_json(first, where=where)
    models.check_format(found, CATALOG_FORMAT, kind="a catalog", where=where)
    header = models.parse(_Header, found, where=where)
    if header.n_rows != n_rows:
        raise IntegrityError(f"{n_rows} rows, but its header counts others", where=where)
    fields = header.model_dump(exclude={"format", "kind", "n_rows"})
    return Catalog(**fields, rows={})
