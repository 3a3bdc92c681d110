"""Put things back: what is whole into its place, catalogs from another store or without lost generations.

Deletes and overwrites nothing: what is damaged moves to quarantine. Knows nothing of EEG; `brainbrr.ingest.repair`
decides.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from brainbrr.core import files
from brainbrr.core.digest import sha256
from brainbrr.core.failpoints import reach
from brainbrr.errors import BrainbrrError, Fix, IntegrityError
from brainbrr.store import catalog as catalogs
from brainbrr.store import create, sidecars
from brainbrr.store.damage import Damage, RepairResult
from brainbrr.store.store import Store


def place_object(store: Store, folder: Path, content: str) -> bool:
    """Move a folder that holds a whole array to the place of its content; False when that is occupied."""
    place = store.path_of("object", content)
    store.layout.ensure_fan_out(place.parent, group=True)
    if os.path.lexists(place) or not files.rename_folder(folder, place):
        return False
    reach("put in place")
    for each in (place.parent, folder.parent):
        files.sync_folder(each)
    return True


def place_record(store: Store, file: Path, key: str) -> bool:
    """Move a whole record to the place of its key; False when that is occupied."""
    place = store.path_of("record", key)
    store.layout.ensure_fan_out(place.parent)
    if not files.link(file, place):
        return False
    reach("put in place")
    files.sync_folder(place.parent)
    file.unlink()
    files.sync_folder(file.parent)
    return True


def restore_group(store: Store, name: str) -> None:
    """Write a group's file again, by the name that `checks` gave it."""
    store.layout.ensure_group(store.path_of("group", name).parent)


def restore_mark(store: Store) -> None:
    """Write format.json again."""
    create.rewrite_mark(store.layout)


def replace_generation(store: Store, corpus: str, seq: int, data: bytes) -> None:
    """Write a generation's own bytes where it is damaged or missing; a damaged one moves to quarantine."""
    layout = store.layout
    path = layout.generation(corpus, seq)
    layout.quarantine(path)
    layout.ensure_fan_out(path.parent)
    with layout.scratch() as temporary:
        files.publish(temporary, path, data)
    catalogs.acknowledge(layout, corpus, seq, catalogs.generation(layout, corpus, seq)[1])


@dataclass(frozen=True)
class _File:
    """A damaged file of a catalog: what it is, and of which generation."""

    seq: int
    kind: str
    damage: Damage


def repair_catalogs(store: Store, source: Store | None, damaged: Iterable[Damage]) -> Iterator[RepairResult]:
    """Repair all damage of kind `catalog`; yield the result for each file.

    Generations come from `source` where a digest verifies them, else the catalog goes on without them.
    """
    corpora: dict[str, list[_File]] = defaultdict(list)
    for damage in damaged:
        corpus, _, name = damage.name.partition("/")
        seq, _, kind = name.partition(".")
        corpora[corpus].append(_File(int(seq), kind, damage))
    for corpus, bad in sorted(corpora.items()):
        yield from _Catalog(store, source, corpus, bad).repair()


class _Catalog:
    """The repair of one corpus's catalog."""

    def __init__(self, store: Store, source: Store | None, corpus: str, bad: list[_File]) -> None:
        self._store, self._layout, self._source, self._corpus = store, store.layout, source, corpus
        self._bad = {kind: [each for each in bad if each.kind == kind] for kind in ("jsonl", "ack.json", "cut.json")}

    def repair(self) -> Iterator[RepairResult]:
        """Repair generations, the newest first, so that the rest is a catalog at any moment; then what names them."""
        lost = []
        for each in sorted(self._bad["jsonl"], key=lambda each: -each.seq):
            if self._source is not None and (data := self._theirs(self._source, each.seq)) is not None:
                replace_generation(self._store, self._corpus, each.seq, data)
                yield RepairResult(each.damage, "restored", f"from {self._source.location}")
            else:
                lost.append(each)
        yield from map(self._rewritten, self._bad["ack.json"])
        gone = {each.seq for each in lost}
        complete = self._complete([seq for seq in self._layout.generations(self._corpus) if seq not in gone])
        newest = max((0, *complete))
        below = [each for each in lost if each.seq < newest]
        if below:
            first = min(seq for seq, base in complete.items() if seq == base > max(each.seq for each in below))
            catalogs.cut(self._layout, self._corpus, first, sidecars.now())
            for each in below:
                self._layout.quarantine(self._layout.generation(self._corpus, each.seq))
                how = f"cut off: the catalog begins with generation {first} now"
                yield RepairResult(each.damage, "restored", how)
        for seq in self._layout.generations(self._corpus):
            if seq > newest and seq not in gone:  # whole, but a delta over a lost one
                self._move_aside(seq)
        for each in lost:
            if each.seq > newest:
                yield self._given_up(each, newest)
        yield from map(self._rewritten, self._bad["cut.json"])

    def _theirs(self, source: Store, seq: int) -> bytes | None:
        """Return a generation's bytes from another store, if a digest here verifies that it is the same one."""
        digest = None
        if all(each.seq != seq for each in self._bad["ack.json"]):
            digest = catalogs.acknowledged_digest(self._layout, self._corpus, seq)
        with suppress(BrainbrrError, OSError):
            digest = digest or catalogs.generation(self._layout, self._corpus, seq + 1)[0].parent
        try:
            data = files.read(source.layout.generation(self._corpus, seq), limit=sidecars.MAX_CATALOG_BYTES)
        except (IntegrityError, OSError):
            return None
        return data if sha256(data) == digest else None

    def _acknowledge(self, seq: int) -> None:
        digest = catalogs.generation(self._layout, self._corpus, seq)[1]
        catalogs.acknowledge(self._layout, self._corpus, seq, digest)

    def _complete(self, seqs: list[int]) -> dict[int, int]:
        """Return those generations of which all rows can be read, and the base of each."""
        found: dict[int, int] = {}
        for seq in seqs:
            with suppress(BrainbrrError, OSError):
                base = catalogs.complete(self._layout, self._corpus, seq)[0].base or seq
                found[seq] = base
        return found

    def _move_aside(self, seq: int) -> None:
        for path_of in (self._layout.acknowledgement, self._layout.generation, self._layout.cut):
            self._layout.quarantine(path_of(self._corpus, seq))

    def _given_up(self, each: _File, newest: int) -> RepairResult:
        self._move_aside(each.seq)
        now = f"the catalog is at generation {newest} again" if newest else "the catalog is gone"
        fix = Fix(("ingest", "ROOT", "--corpus", self._corpus), " reads its labels again")
        return RepairResult(each.damage, "not restored", f"moved aside: {now}", fix)

    def _rewritten(self, each: _File) -> RepairResult:
        """Write an acknowledgement or a cut again, from its generation."""
        self._layout.quarantine(self._layout.path_of("catalog", each.damage.name))
        try:
            catalog, _ = catalogs.generation(self._layout, self._corpus, each.seq)
        except IntegrityError:
            return RepairResult(each.damage, "moved aside", "its generation is not there")
        if each.kind == "ack.json":
            self._acknowledge(each.seq)
        elif catalog.parent is not None:
            catalogs.cut(self._layout, self._corpus, each.seq, sidecars.now())
        return RepairResult(each.damage, "restored", "written again from its generation")
