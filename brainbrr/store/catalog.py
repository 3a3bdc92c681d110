"""The catalog of a corpus: which path is which source, with labels and refusals; one immutable generation per change.

Also which of a catalog's files are damaged, by themselves or against their neighbours. Annotations are opaque here.
Knows nothing of objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Literal

from brainbrr.core import files, models
from brainbrr.core.digest import sha256
from brainbrr.core.failpoints import reach
from brainbrr.errors import BrainbrrError, Fix, FormatError, IntegrityError, UsageError
from brainbrr.store import columns, sidecars
from brainbrr.store.generation import LEAST_SHARE, MOST_DELTAS, Rows, decode, decode_lazily, encode
from brainbrr.store.generation import Catalog as Catalog
from brainbrr.store.generation import Refusal as Refusal
from brainbrr.store.generation import Row as Row
from brainbrr.store.layout import Layout
from brainbrr.store.sidecars import MAX_CATALOG_BYTES


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
    decoded: Decoded = {}
    # generations before a cut are being deleted
    digests = {seq: _generation(layout, corpus, seq, decoded)[1] for seq in generations if seq >= first}
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
    """Return the SHA-256 of a generation as it was published, None where it was not written down.

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
    if catalog.base is not None:
        raise UsageError(f"generation {seq} of {corpus!r} needs those since {catalog.base}, which it continues")
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


def generation(layout: Layout, corpus: str, seq: int) -> tuple[Catalog, str]:
    """Return what a generation's file says, undamaged by itself, and the file's SHA-256: of a delta its own rows.

    Raises IntegrityError when it is missing or damaged.
    """
    data, digest = _read(layout, corpus, seq)
    return _of(layout, corpus, seq, decode(data, where=layout.generation(corpus, seq))), digest


def complete(layout: Layout, corpus: str, seq: int, decoded: Decoded | None = None) -> tuple[Catalog, str]:
    """Return a generation with all its rows, and the SHA-256 of its file; a delta over those that it continues.

    Raises IntegrityError when one of these is missing or damaged.
    """
    data, digest = _read(layout, corpus, seq)
    same, known = (decoded or {}).get(corpus, ("", None))
    if known is not None and same == digest:
        return _of(layout, corpus, seq, known), digest
    own = _of(layout, corpus, seq, _decoded(layout, corpus, seq, data, digest))
    if own.base is None:
        return own, digest
    before, parent = complete(layout, corpus, seq - 1, decoded)
    if own.parent != parent or own.base != (before.base or before.seq):
        raise _not_continued(layout, corpus, seq)
    return dataclasses.replace(own, rows=Rows.over(before.rows, own.rows, own.removed), removed=()), digest


def all_generations(layout: Layout, corpus: str) -> Iterator[tuple[int, Catalog | Exception]]:
    """Yield the number of each generation, ascending, with its catalog or the error that reading it gave."""
    decoded: Decoded = {}
    for seq in layout.generations(corpus):
        try:
            catalog, digest = complete(layout, corpus, seq, decoded)
        except (BrainbrrError, OSError) as error:
            yield seq, error
            continue
        yield seq, catalog
        decoded[corpus] = digest, catalog


def _of(layout: Layout, corpus: str, seq: int, catalog: Catalog) -> Catalog:
    if (catalog.corpus, catalog.seq) != (corpus, seq):
        where = layout.generation(corpus, seq)
        raise IntegrityError(f"this is generation {catalog.seq} of {catalog.corpus!r}", where=where)
    return catalog


def _decoded(layout: Layout, corpus: str, seq: int, data: bytes, digest: str) -> Catalog:
    """Return what a generation's file says; where it has columns, its rows are decoded when they are used."""
    where = layout.generation(corpus, seq)
    with suppress(IntegrityError):  # damaged ones: readers do without
        if (found := columns.read(layout, corpus, seq, digest)) is not None:
            return decode_lazily(data, found, where=where)
    return decode(data, where=where)


def _not_continued(layout: Layout, corpus: str, seq: int) -> IntegrityError:
    where = layout.generation(corpus, max(seq - 1, 1))
    what = "the generation before this one is not the one that it continues"
    return IntegrityError(what, where=where, fix=Fix(("repair",)))


def _generation(layout: Layout, corpus: str, seq: int, decoded: Decoded) -> tuple[Catalog, str]:
    catalog, digest = complete(layout, corpus, seq, decoded)
    if catalog.base is None:
        before = None if seq == 1 else cut_parent(layout, corpus, seq) or _read(layout, corpus, seq - 1)[1]
        if catalog.parent != before:
            raise _not_continued(layout, corpus, seq)
    decoded[corpus] = digest, catalog
    return catalog, digest


def _read(layout: Layout, corpus: str, seq: int) -> tuple[bytes, str]:
    """Return a generation's file and its SHA-256."""
    path = layout.generation(corpus, seq)
    try:
        data = files.read(path, limit=MAX_CATALOG_BYTES)
        return data, sha256(data)
    except FileNotFoundError:
        raise IntegrityError("a generation of the catalog is missing", where=path) from None


def publish(
    layout: Layout,
    corpus: str,
    merge: Callable[[Catalog | None], Catalog],
    decoded: Decoded,
    not_before: Callable[[Catalog], str] = lambda _: "",
    *,
    whole: bool = False,
) -> Catalog:
    """Write the next generation that `merge` makes of the latest one, and return it.

    Only rows that changed are written (a delta), unless these are many since the last base (see `_base_of`), something
    else changed than rows, or `whole`.
    When another process was faster, its generation is merged again. Nothing is written when rows, layout and labelled
    are what they were, unless they were written down before `not_before` says of them, or `whole`.
    Raises SpaceError when the disk is full.
    """
    while True:
        found = latest(layout, corpus, decoded)
        before, parent = found if found else (None, None)
        merged = merge(before)
        created = not_before(merged)
        changed, removed = ({}, ()) if before is None else _changes(before.rows, merged.rows)
        unchanged = before is not None and not changed and not removed and _says(merged) == _says(before)
        if before is not None and parent is not None and unchanged and not whole and before.created >= created:
            acknowledge(layout, corpus, before.seq, parent)  # its publisher may not have come so far
            ensure_columns(layout, before)
            return before
        created, seq = max(created, merged.created), before.seq + 1 if before else 1
        mine = dataclasses.replace(
            merged, corpus=corpus, seq=seq, parent=parent, created=created, base=None, removed=()
        )
        base = (
            None
            if before is None or whole or _says(mine) != _says(before)
            else _base_of(layout, before, mine, len(changed) + len(removed))
        )
        written = mine
        if base is not None and before is not None:
            mine = dataclasses.replace(mine, base=base, rows=Rows.over(before.rows, changed, removed))
            written = dataclasses.replace(mine, rows=changed, removed=removed)
        path, data = layout.generation(corpus, mine.seq), encode(written)
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
                if base is None:
                    columns.write(layout, corpus, mine.seq, sha256(data), mine.rows)
                return mine


def ensure_columns(layout: Layout, catalog: Catalog) -> None:
    """Write the columns of a catalog's base again where they are missing."""
    seq = catalog.base or catalog.seq
    if len(catalog.rows) >= columns.LEAST_ROWS and not layout.columns(catalog.corpus, seq).exists():
        base, digest = generation(layout, catalog.corpus, seq)
        columns.write(layout, catalog.corpus, seq, digest, base.rows)


def _says(catalog: Catalog) -> tuple[str, bool, dict[str, str]]:
    """Return what makes a generation another one than the one before it, beside its rows."""
    return catalog.layout, catalog.labelled, dict(catalog.settings)


def _changes(before: Mapping[str, Row], after: Mapping[str, Row]) -> tuple[dict[str, Row], tuple[str, ...]]:
    """Return the rows that are new or other ones, and the paths that are gone, sorted."""
    base, earlier = (before.base, before.changed.keys()) if isinstance(before, Rows) else (before, set())
    candidates: Iterable[str] = after
    removed: Iterable[str] = before.keys() - after.keys()
    if isinstance(after, Rows) and after.base is base:  # made from it: the rest is the same
        candidates = after.changed
        removed = [path for path in after.removed | earlier if path in before and path not in after]
    changed = {path: after[path] for path in sorted(candidates) if before.get(path) != after[path]}
    return changed, tuple(sorted(removed))


def _base_of(layout: Layout, before: Catalog, after: Catalog, n_changes: int) -> int | None:
    """Return the base that a delta of so many changes has, None where all rows are to be written again."""
    base = before.base or before.seq
    if after.seq - base > MOST_DELTAS:
        return None
    for seq in range(base + 1, before.seq + 1):
        delta = generation(layout, after.corpus, seq)[0]
        n_changes += len(delta.rows) + len(delta.removed)
    return base if n_changes * LEAST_SHARE <= len(after.rows) else None


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


def write_index(layout: Layout) -> None:
    """Write index.json: the names that a reader needs who cannot list the store, as at a web site."""
    listed = [f"catalog/{name}" for corpus in layout.corpora() for name in names(layout, corpus)]
    listed += [layout.view(digest).relative_to(layout.root).as_posix() for digest in layout.views()]
    with files.writing(layout.root, n_bytes=files.SMALL_BYTES), layout.scratch() as temporary:
        files.write(temporary, index_bytes(listed))
        temporary.replace(layout.index)


def renew_index(layout: Layout) -> None:
    """Write index.json again where there is one."""
    if files.exists(layout.index):
        write_index(layout)


def index_bytes(listed: Iterable[str]) -> bytes:
    """Return the index of a store: the names of its catalogs' files and frozen views."""
    return models.to_checksummed({"format": 1, "kind": "index", "names": sorted(listed)})


def damage(layout: Layout, corpus: str) -> Iterator[Bad]:
    """Yield each damaged or missing file once: of two neighbours that disagree, the one that others speak against.

    Generations before the last cut are being deleted: they are no loss.
    """
    cuts = layout.cuts(corpus)
    first = max((1, *cuts))
    known = {*layout.generations(corpus), *layout.acknowledged(corpus), *cuts}
    there = sorted(seq for seq in known if seq >= first)
    published: dict[int, str] = {}
    whole: dict[int, tuple[str | None, str]] = {}  # what it continues, and its own SHA-256
    bases: dict[int, int] = {}
    for seq in there:
        try:
            if (said := acknowledged_digest(layout, corpus, seq)) is not None:
                published[seq] = said
        except (IntegrityError, FormatError, OSError) as error:
            yield name_of(layout.acknowledgement(corpus, seq)), error
        path = layout.generation(corpus, seq)
        try:
            catalog, digest = generation(layout, corpus, seq)
            if published.get(seq, digest) != digest:
                raise IntegrityError(f"generation {seq} of the catalog is not the one that was published", where=path)
            if catalog.base is not None and catalog.base < first:
                raise IntegrityError(f"it continues generation {catalog.base}, before which the catalog was cut")
            whole[seq], bases[seq] = (catalog.parent, digest), catalog.base or seq
        except (IntegrityError, FormatError, OSError) as error:
            yield name_of(path), error
    for before, seq in pairwise([first - 1, *there]):
        if before != seq - 1:  # a gap is reported once, however wide
            yield name_of(layout.generation(corpus, seq - 1)), IntegrityError("a generation of the catalog is missing")
        elif (
            before in whole
            and seq in whole
            and not (whole[seq][0] == whole[before][1] and bases[seq] in (seq, bases[before]))
        ):
            # acknowledged is what was published; where neither is, the child is believed, as readers do
            wrong = seq if before in published and seq not in published else before
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
    for seq in layout.with_columns(corpus):
        try:
            if seq >= first and seq in whole:
                columns.read(layout, corpus, seq, whole[seq][1])
            elif seq >= first and seq not in there:
                raise IntegrityError("columns of a generation that does not exist")
        except (IntegrityError, OSError) as error:
            yield name_of(layout.columns(corpus, seq)), error


def changes(merged: Catalog, latest: Catalog) -> bool:
    """Say whether a catalog says anything else than the latest generation."""
    changed, removed = _changes(latest.rows, merged.rows)
    return bool(changed or removed) or _says(merged) != _says(latest)


def first_needed(layout: Layout, corpus: str, seq: int) -> int:
    """Return the number of the first generation that reading this one needs, by its own file. Raises IntegrityError."""
    base = generation(layout, corpus, seq)[0].base
    return max(seq - 1, 1) if base is None else base
