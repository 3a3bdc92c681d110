"""Put things back: what is whole into its place, catalogs and small files from another store, or without what is lost.

Deletes and overwrites nothing: what is damaged moves to quarantine. Knows nothing of EEG; `brainbrr.ingest.repair`
decides.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from brainbrr.core import files
from brainbrr.core.digest import sha256
from brainbrr.core.failpoints import reach
from brainbrr.errors import BrainbrrError, Fix, IntegrityError
from brainbrr.store import catalog as catalogs
from brainbrr.store import copy, generation, sidecars
from brainbrr.store.damage import Damage, Kind, RepairResult, Restored, succeeds
from brainbrr.store.deletion import remove
from brainbrr.store.layout import Layout
from brainbrr.store.references import verify_small_file
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


def place_file(store: Store, file: Path, kind: Kind, name: str) -> bool:
    """Move a whole record or small file to the place of its name; False when that is occupied."""
    place = store.path_of(kind, name)
    store.layout.ensure_fan_out(place.parent)
    try:
        if not files.link(file, place):
            return False
    except FileNotFoundError:  # moved aside with its folder
        return False
    reach("put in place")
    files.sync_folder(place.parent)
    file.unlink()
    files.sync_folder(file.parent)
    return True


def restore_group(store: Store, name: str) -> None:
    """Write a group's file again, by the name that `checks` gave it."""
    folder = store.path_of("group", name).parent
    store.layout.make_folder(folder)
    files.refuse_link(folder)
    store.layout.ensure_group(folder)


def replace_generation(store: Store, corpus: str, seq: int, data: bytes) -> None:
    """Write a generation's own bytes where it is damaged or missing; a damaged one moves to quarantine."""
    layout = store.layout
    path = layout.generation(corpus, seq)
    layout.quarantine(path)
    layout.ensure_fan_out(path.parent)
    with layout.scratch() as temporary:
        files.publish(temporary, path, data)
    catalogs.acknowledge(layout, corpus, seq, catalogs.generation(layout, corpus, seq)[1])


def take_catalog(store: Store, source: Store, corpus: str) -> bool:
    """Replace a corpus's whole catalog by that of another store; False where that has none which is whole.

    The newest generation first: it proves those before it to the next run after a kill.
    """
    layout = source.layout
    first = max((0, *layout.cuts(corpus)))
    seqs = [seq for seq in layout.generations(corpus) if seq >= first]
    try:
        catalogs.verify(layout, corpus)
        theirs = {seq: files.read(layout.generation(corpus, seq), limit=sidecars.MAX_CATALOG_BYTES) for seq in seqs}
    except (BrainbrrError, OSError):
        return False
    for seq in reversed(seqs):
        replace_generation(store, corpus, seq, theirs[seq])
    if first:
        store.layout.quarantine(store.layout.cut(corpus, first))
        catalogs.cut(store.layout, corpus, first, sidecars.now())
    return bool(seqs)


def repair_small_files(
    store: Store,
    source: Store | None,
    kind: Kind,
    damaged: Iterable[Damage],
    *,
    expected: Callable[[str], bool],
    rebuild: Callable[[Damage], Restored],
) -> Iterator[RepairResult]:
    """Repair all damage of a kind of small files; yield the result for each.

    A whole file under another's name goes to its own place. What is missing then comes from `source`, else from
    `rebuild`; a name that nothing else knows is moved aside. `expected`: whether the host knows that a name existed.
    """
    bad = list(damaged)
    own: dict[str, str] = {}
    moved: list[tuple[Path, str]] = []
    for each in bad:
        path = store.path_of(*each.subject)
        if succeeds(partial(verify_small_file, store, *each.subject)):  # a pin whose view is not there, or restored
            continue
        name = sidecars.name_inside(kind, path)
        aside = store.quarantine(*each.subject)
        if name is not None and aside is not None:
            own[each.name] = name
            moved.append((aside, name))
    for aside, name in moved:
        if place_file(store, aside, kind, name) and not _is_whole(store, kind, name):
            store.quarantine(kind, name)
    for each in bad:
        if kind == "pin" and source is not None:
            succeeds(partial(copy.copy_small_file, source, store, "view", each.name))
        if _is_whole(store, *each.subject):
            yield RepairResult(each, "restored", "what belongs there is there again")
        elif source is not None and succeeds(partial(copy.copy_small_file, source, store, *each.subject)):
            yield RepairResult(each, "restored", f"from {source.location}")
        elif each.name in own and not expected(each.name):
            yield RepairResult(each, "moved aside", f"it is {own[each.name][:12]}, which has a place of its own")
        else:
            yield RepairResult(each, *rebuild(each))


def _is_whole(store: Store, kind: Kind, name: str) -> bool:
    """Say whether a small file exists and is whole; a pin, whether its view exists too."""
    if not succeeds(lambda: verify_small_file(store, kind, name)):
        return False
    return kind != "pin" or succeeds(lambda: verify_small_file(store, "view", name))


@dataclass(frozen=True)
class _File:
    """A damaged file of a catalog: what it is, and of which generation."""

    seq: int
    kind: str
    damage: Damage


def repair_catalogs(store: Store, source: Store | None, damaged: Iterable[Damage]) -> Iterator[RepairResult]:
    """Repair all damage of kind `catalog`; yield the result for each file.

    Generations come from `source` where a digest verifies them, or where nothing is left here that could contradict;
    else the catalog goes on without them.
    """
    corpora: dict[str, list[_File]] = defaultdict(list)
    for damage in damaged:
        corpus, _, name = damage.name.partition("/")
        seq, _, kind = name.partition(".")
        corpora[corpus].append(_File(int(seq), kind, damage))
    for corpus in sorted(corpora):
        if own := _corpus_inside(store.layout, corpus):
            yield from _rename_catalog(store.layout, own, corpora.pop(corpus), corpora)
    for corpus, bad in sorted(corpora.items()):
        yield from _Catalog(store, source, corpus, bad).repair()


def _corpus_inside(layout: Layout, corpus: str) -> str | None:
    """Return the corpus that a catalog's newest generation says it is of, if its folder has another name."""
    for seq in layout.generations(corpus)[-1:]:
        path = layout.generation(corpus, seq)
        with suppress(BrainbrrError, OSError):
            found = generation.decode(files.read(path, limit=sidecars.MAX_CATALOG_BYTES), where=path)
            return found.corpus if found.corpus != corpus and layout.names_corpus(found.corpus) else None
    return None


def _rename_catalog(
    layout: Layout, own: str, bad: list[_File], corpora: dict[str, list[_File]]
) -> Iterator[RepairResult]:
    """Give a catalog's folder the name of its corpus, or move it aside where that one has a folder."""
    folder, place = (layout.generation(name, 0).parent for name in (bad[0].damage.name.partition("/")[0], own))
    if files.exists(place):
        layout.quarantine(folder)
        yield from (RepairResult(each.damage, "moved aside", f"it is a copy of corpus {own}") for each in bad)
        return
    files.rename_folder(folder, place)
    files.sync_folder(place.parent)
    for each in (*bad, *corpora.pop(own, ())):
        yield RepairResult(each.damage, "restored", f"its folder has the name of corpus {own} again")


class _Catalog:
    """The repair of one corpus's catalog."""

    def __init__(self, store: Store, source: Store | None, corpus: str, bad: list[_File]) -> None:
        self._store, self._layout, self._source, self._corpus = store, store.layout, source, corpus
        self._bad = {
            kind: [each for each in bad if each.kind == kind] for kind in ("jsonl", "ack.json", "cut.json", "columns")
        }

    def repair(self) -> Iterator[RepairResult]:
        """Repair generations, the newest first, so that the rest is a catalog at any moment; then what names them."""
        if (
            self._source is not None
            and not self._has_anything_whole()
            and take_catalog(self._store, self._source, self._corpus)
        ):
            for each in (damaged for those in self._bad.values() for damaged in those):
                yield RepairResult(each.damage, "restored", f"from {self._source.location}")
            return
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
        yield from map(self._derived_again, self._bad["columns"])

    def _derived_again(self, each: _File) -> RepairResult:
        """Delete damaged columns, and write those of the catalog's base."""
        remove(self._layout.columns(self._corpus, each.seq))
        with suppress(BrainbrrError, OSError):
            if (catalog := self._store.catalog(self._corpus)) is not None:
                catalogs.ensure_columns(self._layout, catalog)
        return RepairResult(each.damage, "restored", "made again from the catalog and its records")

    def _has_anything_whole(self) -> bool:
        """Say whether a generation is whole, or a digest says which one another store should have."""
        layout, corpus = self._layout, self._corpus
        bad = {(kind, each.seq) for kind, those in self._bad.items() for each in those}
        return any(("jsonl", seq) not in bad for seq in layout.generations(corpus)) or any(
            ("ack.json", seq) not in bad for seq in layout.acknowledged(corpus)
        )

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
            catalog, digest = catalogs.generation(self._layout, self._corpus, each.seq)
        except IntegrityError:
            return RepairResult(each.damage, "moved aside", "its generation is not there")
        if each.kind == "ack.json":
            catalogs.acknowledge(self._layout, self._corpus, each.seq, digest)
        elif catalog.parent is not None:
            catalogs.cut(self._layout, self._corpus, each.seq, sidecars.now())
        return RepairResult(each.damage, "restored", "written again from its generation")
