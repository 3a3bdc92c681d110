"""Which files of a corpus's catalog are damaged: each for itself, and each against its neighbours. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from brainbrr.errors import FormatError, IntegrityError
from brainbrr.store import catalog as catalogs
from brainbrr.store.layout import Layout

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
            if (said := catalogs.acknowledged_digest(layout, corpus, seq)) is not None:
                told[seq] = said
        except (IntegrityError, FormatError, OSError) as error:
            yield name_of(layout.acknowledgement(corpus, seq)), error
        path = layout.generation(corpus, seq)
        try:
            catalog, digest = catalogs.generation(layout, corpus, seq)
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
            parent = catalogs.cut_parent(layout, corpus, seq)
            if seq in whole and parent != whole[seq][0]:
                raise IntegrityError("the cut names another generation than the one that was cut off")
        except (IntegrityError, FormatError, OSError) as error:
            yield name_of(layout.cut(corpus, seq)), error
