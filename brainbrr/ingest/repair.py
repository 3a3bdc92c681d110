"""`repair`: what is damaged moves to quarantine, and comes back from another store or from its EDF.

Nothing is deleted and nothing that differs is put in its stead. Running it again is the recovery from anything.

Mending catalogs: generations from another store where a digest proves them, else without them, and saying so.
"""

from __future__ import annotations

import errno
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.digest import is_digest, sha256
from brainbrr.core.failpoints import reach
from brainbrr.core.progress import Progress, Silent
from brainbrr.core.statcache import Host
from brainbrr.core.threads import one_blas_thread
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.errors import BrainbrrError, Fix, IntegrityError, RecordingError, UsageError
from brainbrr.ingest.build import keep_findings
from brainbrr.ingest.provenance import Origins, Wanted, rebuild
from brainbrr.store import catalog as catalogs
from brainbrr.store import create, deletion, sidecars
from brainbrr.store import damage as the_damage
from brainbrr.store.checks import Damage, Scope, damage
from brainbrr.store.copy import copy_file, copy_findings, place_file, place_object, replace_generation
from brainbrr.store.damage import REPAIR, Found, Mended, kind_and_name, place_of
from brainbrr.store.store import Depth, Store, decode_object, prove, verify_folder, verify_record
from brainbrr.store.verify import Memory
from brainbrr.views.select import resolve_corpus


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
            fix = Fix(("ingest", "ROOT", "--corpus", corpus), " reads its labels again")
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
        data = files.read(source.layout.generation(corpus, seq), limit=sidecars.MAX_CATALOG_BYTES)
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


_IMMOVABLE = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM)
"""How what is not ours refuses: a disk that is mounted there, another user's folder."""
_AGAIN = Fix(("repair",), " again, when its disk or network answers")
_FIX = {
    "view": Fix(("repair", "--from", "STORE"), ", or freeze the view again"),
    "pin": Fix(("pin", "VIEW"), ", once the view exists"),
    "retired": Fix("retire it again with ", ("recipe", "retire", "RECIPE")),
    "receipt": Fix(("repair", "--from", "STORE")),
}


@dataclass(frozen=True)
class RepairReport:
    """What became of each damage, and what a quick look afterwards still finds."""

    depth: Depth
    mended: tuple[Mended, ...]
    remaining: tuple[Found, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """4 when anything remains."""
        return IntegrityError.exit_code if self.remaining or not all(each.whole for each in self.mended) else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            "depth": self.depth,
            "mended": [each.to_json() for each in self.mended],
            "remaining": list(self.remaining),
            "seconds": round(self.seconds, 3),
        }


def repair(
    store: Store,
    *,
    depth: Depth = "full",
    source: Store | None = None,
    roots: Mapping[str, Path] | None = None,
    host: Host | None = None,
    workers: int | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> RepairReport:
    """Prove a store as deep as asked, and mend what is damaged: from `source`, another store, else from its EDF.

    `roots`: where corpora lie; for others, where this host last ingested them from. What a disk does not give is left
    where it is. Raises UsageError for a store that cannot be written and for roots that are none, SpaceError.
    """
    began = time.monotonic()
    for corpus, root in (roots or {}).items():
        if source is None:  # which may bring a catalog back
            resolve_corpus(store, corpus)
        if not root.is_dir():
            raise UsageError("there is no such folder", where=root, fix=f"--root {corpus}=DIR, or --from STORE")
    if source is not None and source.location.resolve() == store.location.resolve():
        raise UsageError("this is the store itself", where=source.location, fix="--from names another store")
    memory = Memory(store, host, depth, datetime.now(UTC))
    found = memory.damage(None, None, progress)
    gone = memory.gone(found)
    # before anything is moved: whoever comes after a kill looks for what was here
    trouble = memory.keep(found, gone)
    reach("damage noted")
    mender = _Mender(store, source, Origins(store, host, roots or {}), found, memory)
    with files.writing(store.location, n_bytes=0):
        mender.mend([*found.all, *gone], workers, progress)
        deletion.call_off(store.layout)  # what came back made things alive
    trouble = memory.save() or trouble
    if trouble:
        progress.say(trouble)
    after = damage(store, Scope("quick")) if mender.mended else None
    return RepairReport(depth, tuple(mender.mended), after.all if after else (), time.monotonic() - began)


class _Mender:
    """One repair of one store, kind after kind: what others speak of comes before what speaks of it."""

    def __init__(self, store: Store, source: Store | None, origins: Origins, found: Damage, memory: Memory) -> None:
        self.mended: list[Mended] = []
        self._store, self._source, self._origins, self._found, self._memory = store, source, origins, found, memory
        self._wanted: dict[str, Wanted] = {}
        self._waiting: list[tuple[Found, tuple[str, ...]]] = []
        """Damage that is mended when one of these keys is brought back."""

    def mend(self, damaged: Iterable[Found], workers: int | None, progress: Progress) -> None:
        """Mend all of it."""
        kinds: dict[str, list[Found]] = defaultdict(list)
        hidden = {name.partition("/")[0] for kind, name in self._found.unreadable if kind == "catalog"}
        for each in damaged:
            kind, name = kind_and_name(each)
            if (kind, name) in self._found.unreadable:
                fix = each["fix"] if each["fix"] != REPAIR else _AGAIN
                self._note(Mended.of(each, "left", "it cannot be read now, so nothing is known of what it says", fix))
            elif kind == "catalog" and name.partition("/")[0] in hidden:
                self._note(Mended.of(each, "left", "another file of this catalog cannot be read now", _AGAIN))
            else:
                kinds[kind].append(each)
        for each in kinds["stranger"]:
            try:
                self._aside(each, "nothing reads it")
            except OSError as error:
                if error.errno not in _IMMOVABLE:
                    raise
                how = f"it cannot be moved aside: {error.strerror}"
                self._note(Mended.of(each, "left", how, "move it out of the store by hand"))
        self._objects(kinds["object"])
        for each in kinds["group"]:
            self._store.layout.ensure_group(place_of(self._store, *kind_and_name(each)).parent)
            self._note(Mended.of(each, "restored", "written anew"))
        for each in kinds["format"]:
            create.mend_mark(self._store.layout)
            self._note(Mended.of(each, "restored", "written anew"))
        for mended in mend_catalogs(self._store, self._source, kinds["catalog"]):
            self._note(mended)
        self._records(kinds["record"])
        self._bring_back(workers, progress)
        for each in kinds["findings"]:
            self._note(self._findings(each))
        for kind in ("view", "pin", "retired", "receipt"):
            for each in kinds[kind]:
                self._note(self._small(kind, each))
        for each in kinds["folder"]:
            self._note(Mended.of(each, "not restored", "nothing says what was in it", each["fix"]))
        for each in kinds["recording"]:
            self._note(Mended.of(each, "not restored", "only its EDF says which length is right", each["fix"]))

    def _note(self, mended: Mended) -> None:
        self.mended.append(mended)
        # what lies in quarantine for good is nobody's loss; a generation that was given up is told once
        if mended.outcome == "moved aside" or (mended.kind == "catalog" and mended.outcome == "not restored"):
            self._memory.forget(mended.kind, mended.name)
            for other in (".ack.json", ".cut.json"):
                self._memory.forget(mended.kind, mended.name.replace(".jsonl", other))
        reach("damage mended")

    def _aside(self, each: Found, why: str) -> None:
        self._store.layout.quarantine(place_of(self._store, *kind_and_name(each)))
        self._note(Mended.of(each, "moved aside", why))

    # Objects and records

    def _objects(self, damaged: list[Found]) -> None:
        """Move damaged objects aside, and those that are whole to where they belong; want what is missing then."""
        layout = self._store.layout
        keys: dict[str, list[str]] = defaultdict(list)
        for record in (*self._found.records, *self._found.lonely):
            keys[record.content].append(record.key)
        aside: list[tuple[Found, Path | None, str | None]] = []
        for each in damaged:
            if self._is_whole(each["object"]):
                self._note(Mended.of(each, "restored", "another process put it right meanwhile"))
                continue
            folder, content = place_of(self._store, "object", each["object"]), self._holds(each["object"])
            if content is not None and place_object(layout, folder, content):
                aside.append((each, None, content))
            else:
                aside.append((each, layout.quarantine(folder), content))
        for each, moved, content in aside:
            why = "no record names it"
            if content is not None:  # the place of what was moved may have become free
                placed = moved is None or place_object(layout, moved, content)
                why = f"{'it lies' if placed else 'another one lies'} where content {content[:12]} belongs"
            if each["object"] in keys:
                self._waiting.append((each, tuple(keys[each["object"]])))
            else:
                self._note(Mended.of(each, "moved aside", why))
        unreadable = self._found.unreadable
        for content, those in keys.items():
            if not os.path.lexists(layout.object(content)) and ("object", content) not in unreadable:
                self._wanted |= {key: Wanted(key, content) for key in those}

    def _is_whole(self, name: str) -> bool:
        """Say whether an object that was damaged or gone is whole now: others write meanwhile."""
        try:
            prove(self._store.layout.object(name), name, codec=self._store.codec)
        except (BrainbrrError, OSError):
            return False
        return True

    def _holds(self, name: str) -> str | None:
        """Return the content of a folder of which nothing but the name is wrong."""
        if name in self._found.decoded or is_digest(name, 64):
            return self._found.decoded.get(name)
        try:
            verify_folder(self._store, name)
            return decode_object(self._store, name)
        except (BrainbrrError, OSError):
            return None

    def _records(self, damaged: list[Found]) -> None:
        """Move records that are whole to where they belong, and want what is damaged, wrong or gone."""
        layout, said = self._store.layout, self._found.wanted
        lonely = {record.key for record in self._found.lonely}
        stand = {record.key: record.content for record in (*self._found.lonely, *self._found.records)}
        foreign = self._found.foreign_records
        aside: dict[str, Path | None] = {}
        back: dict[str, str] = {}
        for name, record in foreign.items():
            path = place_of(self._store, "record", name)
            if place_file(layout, path, layout.record(record.key)):
                back[record.key] = record.content
            else:
                aside[name] = layout.quarantine(path)
        for name, moved in aside.items():  # the place of what was moved may have become free
            if moved is not None and place_file(layout, moved, layout.record(foreign[name].key)):
                back[foreign[name].key] = foreign[name].content
        for key, content in back.items():
            if not self._is_bound(key):
                self._wanted[key] = Wanted(key, content)
        for each in damaged:
            name = each["record"]
            if name in back:
                self._note(Mended.of(each, "restored", "put in its place"))
            elif name in lonely and self._is_bound(name):
                self._note(Mended.of(each, "restored", "its object was put in its place"))
            elif name in foreign and name not in said:
                which = "another one" if foreign[name].key not in back else "it"
                self._note(Mended.of(each, "moved aside", f"{which} lies where key {foreign[name].key[:12]} belongs"))
            elif not is_digest(name, 32):
                self._aside(each, "nothing reads it")
            else:
                if name not in self._wanted:  # else its object alone is missing
                    self._wanted[name] = Wanted(name, said.get(name, stand.get(name)), record=True, whole=name in stand)
                self._waiting.append((each, (name,)))

    def _is_bound(self, key: str) -> bool:
        try:
            verify_record(self._store, key)
        except (BrainbrrError, OSError):
            return False
        return True

    def _bring_back(self, workers: int | None, progress: Progress) -> None:
        wanted = self._wanted.values()
        results = rebuild(self._store, self._source, self._origins, wanted, workers, progress)
        for each, keys in self._waiting:
            there = [results[key] for key in keys if key in results]
            best = next((result for result in there if result.outcome == "restored"), there[0] if there else None)
            if best is None:  # a whole one came back into its place
                self._note(Mended.of(each, "restored", "put in its place"))
            else:
                self._note(Mended.of(each, best.outcome, best.how, best.fix))

    # The small files

    def _findings(self, each: Found) -> Mended:
        """Restore findings from the other store, or by looking at the EDF again."""
        store, name = self._store, each["findings"]
        key, _, version = name.partition("-")
        if not is_digest(key, 32):
            store.layout.quarantine(place_of(store, "findings", name))
            return Mended.of(each, "moved aside", "nothing reads it")
        if store.has_findings(key, int(version), prove=True):
            return Mended.of(each, "restored", "made again with its record")
        store.layout.quarantine(place_of(store, "findings", name))
        if self._source is not None and _copies(lambda other: copy_findings(other, store, name), self._source):
            return Mended.of(each, "restored", f"from {self._source.location}")
        if int(version) != QUALITY_VERSION:
            return Mended.of(each, "moved aside", f"no detector of version {version} is there to look again")
        try:
            origin = self._origins.of(key)
            with one_blas_thread():
                keep_findings(store, key, origin.edf, origin.recipe, source=origin.source)
        except RecordingError as error:
            return Mended.of(each, "not restored", error.what, error.fix)
        return Mended.of(each, "restored", f"made again from {origin.edf}")

    def _small(self, kind: str, each: Found) -> Mended:
        """Restore a sealed file from the other store; what is whole, and only speaks of what is not, stays."""
        store, name = self._store, each[kind]
        path = place_of(store, kind, name)
        if _stands(store, kind, name):
            other = self._source if kind == "pin" else None
            if other is not None and _copies(lambda source: _copy(source, store, "view", name), other):
                return Mended.of(each, "restored", f"its view came from {other.location}")
            if kind == "pin" and os.path.lexists(store.layout.view(name)):
                return Mended.of(each, "restored", "its view came back")
            return Mended.of(each, "not restored", "it is whole, but what it speaks of is not", _FIX[kind])
        store.layout.quarantine(path)
        if self._source is not None and _copies(lambda other: _copy(other, store, kind, name), self._source):
            return Mended.of(each, "restored", f"from {self._source.location}")
        return Mended.of(each, "not restored", "nothing else says what it said", _FIX[kind])


def _stands(store: Store, kind: str, name: str) -> bool:
    try:
        return the_damage.said(store, kind, name)
    except (BrainbrrError, OSError):
        return False


def _copy(source: Store, store: Store, kind: str, name: str) -> bool:
    """Copy a sealed file that is whole there."""
    if not the_damage.said(source, kind, name):
        return False
    return copy_file(store.layout, place_of(source, kind, name), place_of(store, kind, name)) > 0


def _copies(copy: Callable[[Store], object], source: Store) -> bool:
    """Say whether something could be had from the other store."""
    try:
        return bool(copy(source))
    except (BrainbrrError, OSError):
        return False
