"""The catalog of a corpus: which path is which source, with labels and refusals; one immutable generation per change.

Annotations are opaque here. Knows nothing of objects.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from brainbrr.digest import canonical_json, is_digest, sha256
from brainbrr.errors import IntegrityError
from brainbrr.store import files
from brainbrr.store.layout import Layout

CATALOG_FORMAT = 1
MAX_CATALOG_BYTES = 1 << 30

_HEADER: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "corpus": (str,),
    "seq": (int,),
    "parent": (str, NoneType),
    "layout": (str,),
    "labelled": (bool,),
    "created": (str,),
    "n_rows": (int,),
}
_ROW: dict[str, tuple[type, ...]] = {
    "path": (str,),
    "patient": (str,),
    "session": (str, NoneType),
    "split": (str,),
    "source": (str, NoneType),
    "n_bytes": (int,),
    "signal_us": (int, NoneType),
    "synthetic": (bool,),
    "labels": (str, NoneType),
    "annotations": (Mapping, NoneType),
    "refusals": (Mapping,),
}
_REFUSAL: dict[str, tuple[type, ...]] = {
    "error": (str,),
    "reason": (str,),
    "accepted": (bool,),
    "labels": (str, NoneType),
}
_WITHOUT = frozenset({"", ".", ".."})
"""What no part of a path may be: it would not be the one text of its path, or would leave the corpus."""
_LAST_LINE = re.compile(rb'\{"sha256":"([0-9a-f]{64})"\}\n\Z')
_LAST_LINE_BYTES = 78


@dataclass(frozen=True)
class Refusal:
    """Why a recording could not be stored, and whether its omission is accepted."""

    error: str
    reason: str
    accepted: bool
    labels: str | None


@dataclass(frozen=True)
class Row:
    """One recording of a corpus. `source` is None while nobody has hashed it; `refusals` go by recipe digest."""

    path: str
    patient: str
    session: str | None
    split: str
    source: str | None
    n_bytes: int
    signal_us: int | None
    synthetic: bool
    labels: str | None
    annotations: Mapping[str, Any] | None
    refusals: Mapping[str, Refusal]

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON without floats."""
        return {**vars(self), "refusals": {recipe: vars(refusal) for recipe, refusal in self.refusals.items()}}

    @classmethod
    def from_json(cls, value: object, *, where: object = None) -> Row:
        """Return what to_json gave. Strict: raises IntegrityError naming the field that differs."""
        found = dict(files.fields(value, _ROW, where=where))
        if not _WITHOUT.isdisjoint(found["path"].split("/")) or "\0" in found["path"]:
            raise IntegrityError(f"path {found['path'][:80]!r} leaves its corpus", where=where)
        if found["n_bytes"] < 0 or (found["signal_us"] or 0) < 0:
            raise IntegrityError(f"n_bytes or signal_us of {found['path'][:80]!r} is negative", where=where)
        refusals = {}
        for recipe, item in found["refusals"].items():
            refusals[recipe] = Refusal(**files.fields(item, _REFUSAL, where=where))
        digests = [found["source"], found["labels"], *refusals, *(refusal.labels for refusal in refusals.values())]
        if not all(digest is None or is_digest(digest, 32) for digest in digests):
            raise IntegrityError(f"a digest of {found['path'][:80]!r} is not 32 hex digits", where=where)
        return cls(**{**found, "refusals": refusals})


@dataclass(frozen=True)
class Catalog:
    """One generation of a corpus's catalog; `parent` is the SHA-256 of the generation before it."""

    corpus: str
    seq: int
    parent: str | None
    layout: str
    labelled: bool
    created: str
    rows: Mapping[str, Row]


def encode(catalog: Catalog) -> bytes:
    """Return a generation's file: a header, one row per line by path, and the SHA-256 of all that."""
    header = {name: value for name, value in vars(catalog).items() if name != "rows"}
    rows = [canonical_json(catalog.rows[path].to_json()) for path in sorted(catalog.rows)]
    lines = [canonical_json({"format": CATALOG_FORMAT, **header, "n_rows": len(rows)}), *rows]
    text = b"\n".join(lines) + b"\n"
    return text + canonical_json({"sha256": sha256(text)}) + b"\n"


def _says(catalog: Catalog) -> tuple[str, bool, dict[str, Row]]:
    """Return what makes a generation another one than the one before it."""
    return catalog.layout, catalog.labelled, dict(catalog.rows)


def decode(data: bytes, *, where: object) -> Catalog:
    """Return what was encoded. Raises IntegrityError when anything is damaged, missing or not ours."""
    text = data[:-_LAST_LINE_BYTES]
    last = _LAST_LINE.match(data[-_LAST_LINE_BYTES:])
    if last is None or sha256(text).encode() != last[1]:
        raise IntegrityError("the catalog generation is not what its own SHA-256 says", where=where)
    first, *lines = text.removesuffix(b"\n").split(b"\n")
    header = dict(files.fields(files.parse(first, where=where), _HEADER, where=where))
    if header.pop("format") != CATALOG_FORMAT:
        raise IntegrityError(f"not a catalog of format {CATALOG_FORMAT}", where=where)
    if header.pop("n_rows") != len(lines):
        raise IntegrityError(f"{len(lines)} rows, but its header counts others", where=where)
    rows = [Row.from_json(files.parse(line, where=where), where=where) for line in lines]
    paths = [row.path for row in rows]
    if paths != sorted(set(paths)):
        raise IntegrityError("rows are not sorted by path, each once", where=where)
    return Catalog(**header, rows=dict(zip(paths, rows, strict=True)))


Decoded = dict[str, tuple[str, Catalog]]
"""Each corpus's generation that was read last, with the SHA-256 of its file: the same bytes are not decoded twice."""


def latest(layout: Layout, corpus: str, decoded: Decoded) -> tuple[Catalog, str] | None:
    """Return a corpus's latest generation and the SHA-256 of its file, proven against the one before it."""
    generations = layout.generations(corpus)
    return _generation(layout, corpus, generations[-1], decoded) if generations else None


def verify(layout: Layout, corpus: str) -> None:
    """Prove every generation of a corpus and the chain between them. Raises IntegrityError."""
    for seq in layout.generations(corpus):
        _generation(layout, corpus, seq, {})


def _generation(layout: Layout, corpus: str, seq: int, decoded: Decoded) -> tuple[Catalog, str]:
    path = layout.generation(corpus, seq)
    data = _read(layout, corpus, seq)
    digest = sha256(data)
    same, catalog = decoded.get(corpus, ("", None))
    if catalog is None or same != digest:
        catalog = decode(data, where=path)
    if (catalog.corpus, catalog.seq) != (corpus, seq):
        raise IntegrityError(f"this is generation {catalog.seq} of {catalog.corpus!r}", where=path)
    before = None if seq == 1 else sha256(_read(layout, corpus, seq - 1))
    if catalog.parent != before:
        raise IntegrityError(
            "the generation before this one is not the one that it continues",
            where=layout.generation(corpus, max(seq - 1, 1)),
            fix="move this generation and the later ones out of the catalog, then ingest the corpus again",
        )
    decoded[corpus] = digest, catalog
    return catalog, digest


def _read(layout: Layout, corpus: str, seq: int) -> bytes:
    path = layout.generation(corpus, seq)
    try:
        return files.read(path, limit=MAX_CATALOG_BYTES)
    except FileNotFoundError:
        raise IntegrityError("a generation of the catalog is missing", where=path) from None


def publish(layout: Layout, corpus: str, merge: Callable[[Catalog | None], Catalog], decoded: Decoded) -> Catalog:
    """Write the next generation that `merge` makes of the latest one, and return it.

    When another process was faster, its generation is merged again. Nothing is written when rows,
    layout and labelled are what they were. Raises SpaceError when the disk is full.
    """
    while True:
        found = latest(layout, corpus, decoded)
        before, parent = found if found else (None, None)
        merged = merge(before)
        if before is not None and _says(merged) == _says(before):
            return before
        mine = dataclasses.replace(merged, corpus=corpus, seq=before.seq + 1 if before else 1, parent=parent)
        path, data = layout.generation(corpus, mine.seq), encode(mine)
        decode(data, where=path)  # what cannot be read again is never written
        with files.writing(layout.root, n_bytes=len(data)):
            layout.ensure_fan_out(path.parent)
            with layout.scratch() as temporary:
                if files.publish(temporary, path, data):
                    return mine
