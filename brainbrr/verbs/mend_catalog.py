"""Mending catalogs: generations from another store where a digest proves them, else without them, and saying so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from brainbrr.digest import sha256
from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.store import catalog as catalogs
from brainbrr.store import files
from brainbrr.store.mending import replace_generation
from brainbrr.store.store import Store
from brainbrr.verbs.found import Found
from brainbrr.verbs.mended import Mended


@dataclass(frozen=True)
class _File:
    """A file of a catalog, by its name: what it is, and of which generation."""

    seq: int
    kind: str
    found: Found


def mend_catalogs(store: Store, source: Store | None, damaged: Iterable[Found]) -> Iterator[Mended]:
    """Mend all that is wrong with catalogs; yield what became of each file. `damaged`: all of kind `catalog`."""
    corpora: dict[str, list[_File]] = defaultdict(list)
    for found in damaged:
        corpus, _, name = found["catalog"].partition("/")
        seq, _, kind = name.partition(".")
        corpora[corpus].append(_File(int(seq), kind, found))
    for corpus, bad in sorted(corpora.items()):
        yield from _mend(store, source, corpus, bad)


def _mend(store: Store, source: Store | None, corpus: str, bad: list[_File]) -> Iterator[Mended]:
    layout = store.layout
    lost = []
    for each in sorted((each for each in bad if each.kind == "jsonl"), key=lambda each: -each.seq):
        data = None if source is None else _theirs(store, source, corpus, each.seq, bad)
        if source is not None and data is not None:
            replace_generation(layout, corpus, each.seq, data)
            yield Mended.of(each.found, "restored", f"from {source.location}")
        else:
            lost.append(each)
    for each in bad:
        if each.kind == "ack.json":
            yield _small(store, corpus, each)
    gone = {each.seq for each in lost}
    whole = [seq for seq in layout.generations(corpus) if seq not in gone]
    newest = max((0, *whole))
    below = [each for each in lost if each.seq < newest]
    if below:
        first = min(seq for seq in whole if seq > max(each.seq for each in below))
        catalogs.cut(layout, corpus, first, datetime.now(UTC).isoformat(timespec="seconds"))
        for each in below:
            layout.quarantine(layout.generation(corpus, each.seq))
            yield Mended.of(each.found, "restored", f"cut off: the catalog begins with generation {first} now")
    for each in lost:
        if each.seq > newest:  # the newest first, so that what is left is a catalog at any moment
            for path_of in (layout.acknowledgement, layout.generation, layout.cut):
                layout.quarantine(path_of(corpus, each.seq))
            now = f"the catalog is at generation {newest} again" if newest else "the catalog is gone"
            fix = f"brainbrr ingest ROOT --corpus {corpus} reads its labels again"
            yield Mended.of(each.found, "not restored", f"moved aside: {now}", fix)
    for each in bad:
        if each.kind == "cut.json":
            yield _small(store, corpus, each)


def _theirs(store: Store, source: Store, corpus: str, seq: int, bad: Iterable[_File]) -> bytes | None:
    """Return a generation's bytes from another store, when a digest here proves that it is the one."""
    digest = None
    if not any(each.seq == seq and each.kind == "ack.json" for each in bad):
        digest = catalogs.acknowledged_digest(store.layout, corpus, seq)
    with suppress(BrainbrrError, OSError):
        digest = digest or catalogs.generation(store.layout, corpus, seq + 1)[0].parent
    try:
        data = files.read(source.layout.generation(corpus, seq), limit=catalogs.MAX_CATALOG_BYTES)
    except (IntegrityError, OSError):
        return None
    return data if sha256(data) == digest else None


def _small(store: Store, corpus: str, each: _File) -> Mended:
    """Write an acknowledgement or a cut anew, from its generation."""
    layout = store.layout
    path = (layout.acknowledgement if each.kind == "ack.json" else layout.cut)(corpus, each.seq)
    layout.quarantine(path)
    try:
        catalog, digest = catalogs.generation(layout, corpus, each.seq)
    except IntegrityError:
        return Mended.of(each.found, "moved aside", "its generation is not there")
    if each.kind == "ack.json":
        catalogs.acknowledge(layout, corpus, each.seq, digest)
    elif catalog.parent is not None:
        catalogs.cut(layout, corpus, each.seq, datetime.now(UTC).isoformat(timespec="seconds"))
    return Mended.of(each.found, "restored", "written anew from its generation")
