"""The catalog of a corpus: which path is which source, with labels and refusals; one immutable generation per change.

Also which of a catalog's files are damaged, by themselves or against their neighbours. Annotations are opaque here.
Knows nothing of objects.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from brainbrr.core import files, models
from brainbrr.core.digest import canonical_json, sha256
from brainbrr.core.failpoints import reach
from brainbrr.core.models import Count, Digest32, Digest64, Stored
from brainbrr.errors import Fix, FormatError, IntegrityError, UsageError
from brainbrr.store import sidecars
from brainbrr.store.layout import Layout
from brainbrr.store.sidecars import MAX_CATALOG_BYTES

CATALOG_FORMAT = 1

_WITHOUT = frozenset({"", ".", ".."})
"""What no part of a path may be: it would not be the one text of its path, or would leave the corpus."""
_LAST_LINE = re.compile(rb'\{"sha256":"([0-9a-f]{64})"\}\n\Z')
_LAST_LINE_BYTES = 78


class Refusal(Stored):
    """Why a recording could not be stored, and whether its omission is accepted."""

    error: str
    reason: str
    accepted: bool
    labels: Digest64 | None


class Row(Stored):
    """One recording of a corpus. `source` is None while nobody has hashed it.

    By recipe digest: `refusals`, and `contents`, what the source became.
    """

    omitted_when_empty = ("contents",)

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

    @field_validator("path")
    @classmethod
    def _stays_in_its_corpus(cls, path: str) -> str:
        if not _WITHOUT.isdisjoint(path.split("/")) or "\0" in path:
            raise ValueError(f"{path[:80]!r} leaves its corpus")
        return path


class _Header(Stored):
    """The first line of a generation's file."""

    omitted_when_empty = ("settings",)

    format: Literal[1] = 1
    kind: Literal["catalog"] = "catalog"
    corpus: str
    seq: int
    parent: str | None
    layout: str
    labelled: bool
    created: str
    n_rows: int
    settings: dict[str, str] = Field(default_factory=dict)


class _Acknowledgement(sidecars.SmallFile):
    """That a generation was published, and the SHA-256 of its file."""

    kind: Literal["acknowledgement"] = "acknowledgement"
    corpus: str
    seq: int
    sha256_of: str


class _Cut(sidecars.SmallFile):
    """That a catalog begins with generation `seq`; `parent` is the SHA-256 of the one before it."""

    kind: Literal["cut"] = "cut"
    corpus: str
    seq: int
    parent: str
    created: str


@dataclass(frozen=True)
class Catalog:
    """One generation of a corpus's catalog; `parent` is the SHA-256 of the generation before it.

    `settings`: what an ingest chose for the corpus, and the next one keeps.
    """

    corpus: str
    seq: int
    parent: str | None
    layout: str
    labelled: bool
    created: str
    rows: Mapping[str, Row]
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)


def encode(catalog: Catalog) -> bytes:
    """Return a generation's file: a header, one row per line by path, and the SHA-256 of all that."""
    header = {name: value for name, value in vars(catalog).items() if name != "rows"}
    header["settings"] = dict(catalog.settings)
    rows = [canonical_json(catalog.rows[path].to_json()) for path in sorted(catalog.rows)]
    lines = [canonical_json(_Header(**header, n_rows=len(rows)).to_json()), *rows]
    text = b"\n".join(lines) + b"\n"
    return text + canonical_json({"sha256": sha256(text)}) + b"\n"


def _says(catalog: Catalog) -> tuple[str, bool, dict[str, Row], dict[str, str]]:
    """Return what makes a generation another one than the one before it."""
    return catalog.layout, catalog.labelled, dict(catalog.rows), dict(catalog.settings)


def decode(data: bytes, *, where: object) -> Catalog:
    """Return what was encoded. Raises IntegrityError when anything is damaged, missing or not ours."""
    text = data[:-_LAST_LINE_BYTES]
    last = _LAST_LINE.match(data[-_LAST_LINE_BYTES:])
    if last is None or sha256(text).encode() != last[1]:
        raise IntegrityError("the catalog generation is not what its own SHA-256 says", where=where)
    first, *lines = text.removesuffix(b"\n").split(b"\n")
    found = models.decode_json(first, where=where)
    models.check_format(found, CATALOG_FORMAT, kind="a catalog", where=where)
    header = models.parse(_Header, found, where=where).model_dump(exclude={"format", "kind", "n_rows"})
    if found["n_rows"] != len(lines):
        raise IntegrityError(f"{len(lines)} rows, but its header counts others", where=where)
    with models.many():
        rows = [models.parse(Row, line, where=where) for line in lines]
    paths = [row.path for row in rows]
    if paths != sorted(set(paths)):
        raise IntegrityError("rows are not sorted by path, each once", where=where)
    return Catalog(**header, rows=dict(zip(paths, rows, strict=True)))


Decoded = dict[str, tuple[str, Catalog]]
"""Each corpus's generation that was read last, with the SHA-256 of its file: the same bytes are not decoded twice."""


def latest(layout: Layout, corpus: str, decoded: Decoded) -> tuple[Catalog, str] | None:
    """Return a corpus's latest generation and the SHA-256 of its file, proven against the one before it."""
    generations = _none_gone(layout, corpus)
    return _generation(layout, corpus, generations[-1], decoded) if generations else None


def verify(layout: Layout, corpus: str) -> None:
    """Prove every generation of a corpus, the chain between them, and what was acknowledged. Raises IntegrityError."""
    generations = _none_gone(layout, corpus)
    first = max((0, *layout.cuts(corpus)))
    # what lies before a cut is being deleted
    digests = {seq: _generation(layout, corpus, seq, {})[1] for seq in generations if seq >= first}
    for seq, digest in digests.items():
        _read_acknowledgement(layout, corpus, seq, digest)


def _none_gone(layout: Layout, corpus: str) -> list[int]:
    """Return the numbers of a catalog's generations. Raises IntegrityError when the latest one is gone."""
    # first: what these speak of was there before them, while others may publish at any time
    published = max((0, *layout.acknowledged(corpus), *layout.cuts(corpus)))
    generations = layout.generations(corpus)
    if published > max((0, *generations)):
        raise IntegrityError(
            f"generation {published} of the catalog was published, and it is not there",
            where=layout.generation(corpus, published),
            fix=Fix(("repair",)),
        )
    return generations


def acknowledged_digest(layout: Layout, corpus: str, seq: int) -> str | None:
    """Return the SHA-256 of a generation as it was published, None where nobody wrote it down.

    Raises IntegrityError for a damaged acknowledgement.
    """
    path = layout.acknowledgement(corpus, seq)
    found = sidecars.read_checksummed(path, _Acknowledgement)
    if found is None:
        return None
    if (found.corpus, found.seq) != (corpus, seq):
        raise IntegrityError(f"this acknowledges generation {found.seq} of {found.corpus[:80]!r}", where=path)
    return found.sha256_of


def _read_acknowledgement(layout: Layout, corpus: str, seq: int, digest: str) -> str | None:
    found = acknowledged_digest(layout, corpus, seq)
    if found not in (None, digest):
        where = layout.acknowledgement(corpus, seq)
        raise IntegrityError(f"generation {seq} of the catalog is not the one that was published", where=where)
    return found


def acknowledge(layout: Layout, corpus: str, seq: int, digest: str) -> None:
    """Write down that a generation is there: nothing else would tell that the latest one was deleted."""
    path = layout.acknowledgement(corpus, seq)
    if not path.exists():
        said = _Acknowledgement(corpus=corpus, seq=seq, sha256_of=digest)
        sidecars.publish_checksummed(layout, path, said, lambda: _read_acknowledgement(layout, corpus, seq, digest))


def cut(layout: Layout, corpus: str, seq: int, created: str) -> None:
    """Let a catalog begin with generation `seq`; the files of those before it can then be deleted.

    Raises IntegrityError when that generation is damaged, UsageError for the first one.
    """
    catalog, digest = generation(layout, corpus, seq)
    _read_acknowledgement(layout, corpus, seq, digest)
    if catalog.parent is None:
        raise UsageError(f"generation {seq} of {corpus!r} has none before it")
    said = _Cut(corpus=corpus, seq=seq, parent=catalog.parent, created=created)
    sidecars.publish_checksummed(layout, layout.cut(corpus, seq), said, lambda: cut_parent(layout, corpus, seq))


def cut_parent(layout: Layout, corpus: str, seq: int) -> str | None:
    """Return the SHA-256 of the generation that was cut off before this one; None where no cut is.

    Raises IntegrityError for a damaged cut.
    """
    path = layout.cut(corpus, seq)
    found = sidecars.read_checksummed(path, _Cut)
    if found is None:
        return None
    if (found.corpus, found.seq) != (corpus, seq):
        raise IntegrityError(f"this is the cut at {found.seq} of {found.corpus[:80]!r}", where=path)
    return found.parent


def generation(layout: Layout, corpus: str, seq: int, decoded: Decoded | None = None) -> tuple[Catalog, str]:
    """Return a generation that is whole by itself, and the SHA-256 of its file; nothing is said of its neighbours.

    Raises IntegrityError when it is missing or damaged.
    """
    path = layout.generation(corpus, seq)
    data = _read(layout, corpus, seq)
    digest = sha256(data)
    same, catalog = (decoded or {}).get(corpus, ("", None))
    if catalog is None or same != digest:
        catalog = decode(data, where=path)
    if (catalog.corpus, catalog.seq) != (corpus, seq):
        raise IntegrityError(f"this is generation {catalog.seq} of {catalog.corpus!r}", where=path)
    return catalog, digest


def _generation(layout: Layout, corpus: str, seq: int, decoded: Decoded) -> tuple[Catalog, str]:
    catalog, digest = generation(layout, corpus, seq, decoded)
    before = None if seq == 1 else cut_parent(layout, corpus, seq) or sha256(_read(layout, corpus, seq - 1))
    if catalog.parent != before:
        raise IntegrityError(
            "the generation before this one is not the one that it continues",
            where=layout.generation(corpus, max(seq - 1, 1)),
            fix=Fix(("repair",)),
        )
    decoded[corpus] = digest, catalog
    return catalog, digest


def _read(layout: Layout, corpus: str, seq: int) -> bytes:
    path = layout.generation(corpus, seq)
    try:
        return files.read(path, limit=MAX_CATALOG_BYTES)
    except FileNotFoundError:
        raise IntegrityError("a generation of the catalog is missing", where=path) from None


def publish(
    layout: Layout,
    corpus: str,
    merge: Callable[[Catalog | None], Catalog],
    decoded: Decoded,
    not_before: Callable[[Catalog], str] = lambda _: "",
) -> Catalog:
    """Write the next generation that `merge` makes of the latest one, and return it.

    When another process was faster, its generation is merged again. Nothing is written when rows,
    layout and labelled are what they were, unless they were written down before `not_before` says of them.
    Raises SpaceError when the disk is full.
    """
    while True:
        found = latest(layout, corpus, decoded)
        before, parent = found if found else (None, None)
        merged = merge(before)
        created = not_before(merged)
        unchanged = before is not None and before.created >= created and _says(merged) == _says(before)
        if before is not None and parent is not None and unchanged:
            acknowledge(layout, corpus, before.seq, parent)  # whoever published it may not have come so far
            return before
        created, seq = max(created, merged.created), before.seq + 1 if before else 1
        mine = dataclasses.replace(merged, corpus=corpus, seq=seq, parent=parent, created=created)
        path, data = layout.generation(corpus, mine.seq), encode(mine)
        decode(data, where=path)  # what cannot be read again is never written
        if len(data) > MAX_CATALOG_BYTES:
            what = f"a catalog of {len(data):,} bytes, where at most {MAX_CATALOG_BYTES:,} are read again"
            raise UsageError(what, where=path, fix="ingest it as several corpora, each with its own --corpus")
        with files.writing(layout.root, n_bytes=len(data)):
            layout.ensure_fan_out(path.parent)
            with layout.scratch() as temporary:
                published = files.publish(temporary, path, data)
            if published:
                reach("generation linked")
                acknowledge(layout, corpus, mine.seq, sha256(data))
                return mine


Bad = tuple[str, IntegrityError | FormatError | OSError]
"""A file's path below `catalog`, and what is wrong with it."""


def names(layout: Layout, corpus: str) -> list[str]:
    """Return every file of a corpus's catalog that counts, by its path below `catalog`."""
    first = max((0, *layout.cuts(corpus)))
    paths = [layout.generation(corpus, seq) for seq in layout.generations(corpus) if seq >= first]
    paths += [layout.acknowledgement(corpus, seq) for seq in layout.acknowledged(corpus) if seq >= first]
    paths += [layout.cut(corpus, seq) for seq in layout.cuts(corpus)]
    return [name_of(path) for path in paths]


def name_of(path: Path) -> str:
    """Return a file's path below `catalog`."""
    return f"{path.parent.name}/{path.name}"


def damage(layout: Layout, corpus: str) -> Iterator[Bad]:
    """Yield each damaged or missing file once: of two neighbours that disagree, the one that others speak against.

    What lies before the last cut is being deleted, and nobody's loss.
    """
    cuts = layout.cuts(corpus)
    first = max((1, *cuts))
    known = {*layout.generations(corpus), *layout.acknowledged(corpus), *cuts}
    there = sorted(seq for seq in known if seq >= first)
    told: dict[int, str] = {}
    whole: dict[int, tuple[str | None, str]] = {}  # what it continues, and its own SHA-256
    for seq in there:
        try:
            if (said := acknowledged_digest(layout, corpus, seq)) is not None:
                told[seq] = said
        except (IntegrityError, FormatError, OSError) as error:
            yield name_of(layout.acknowledgement(corpus, seq)), error
        path = layout.generation(corpus, seq)
        try:
            catalog, digest = generation(layout, corpus, seq)
            if told.get(seq, digest) != digest:
                raise IntegrityError(f"generation {seq} of the catalog is not the one that was published", where=path)
            whole[seq] = catalog.parent, digest
        except (IntegrityError, FormatError, OSError) as error:
            yield name_of(path), error
    for before, seq in pairwise([first - 1, *there]):
        if before != seq - 1:  # a gap is told once, however wide
            yield name_of(layout.generation(corpus, seq - 1)), IntegrityError("a generation of the catalog is missing")
        elif before in whole and seq in whole and whole[seq][0] != whole[before][1]:
            # acknowledged is what was published; where neither is, the child is believed, as readers do
            wrong = seq if before in told and seq not in told else before
            what = f"generations {before} and {seq} of the catalog do not continue each other"
            yield name_of(layout.generation(corpus, wrong)), IntegrityError(what)
    if 1 in whole and whole[1][0] is not None:
        yield name_of(layout.generation(corpus, 1)), IntegrityError("the first generation continues another one")
    for seq in cuts:
        try:
            parent = cut_parent(layout, corpus, seq)
            if seq in whole and parent != whole[seq][0]:
                raise IntegrityError("the cut names another generation than the one that was cut off")
        except (IntegrityError, FormatError, OSError) as error:
            yield name_of(layout.cut(corpus, seq)), error
