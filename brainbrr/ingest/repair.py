"""`repair`: what is damaged moves to quarantine, and is restored from another store or from its EDF.

Nothing is deleted, and nothing that differs replaces it. Running it again recovers from any interruption.
"""

from __future__ import annotations

import errno
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.digest import is_digest
from brainbrr.core.failpoints import reach
from brainbrr.core.progress import Progress, Silent
from brainbrr.core.statcache import Host
from brainbrr.core.threads import one_blas_thread
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.errors import BrainbrrError, Fix, IntegrityError, RecordingError, UsageError
from brainbrr.ingest.examine import keep_findings
from brainbrr.ingest.provenance import Provenance, Rebuild, Wanted
from brainbrr.store import create, deletion, frozen_views, reader
from brainbrr.store.checks import Inspection, Scope, inspect_store
from brainbrr.store.copy import copy_small_file
from brainbrr.store.damage import REPAIR, REPAIR_LATER, Damage, Kind, Outcome, RepairResult, Restored, succeeds
from brainbrr.store.integrity import Depth, decode_object, verify_folder, verify_record
from brainbrr.store.restore import (
    place_file,
    place_object,
    repair_catalogs,
    repair_small_files,
    restore_group,
    take_catalog,
)
from brainbrr.store.store import Store
from brainbrr.store.verify import Memory
from brainbrr.views.select import resolve_corpus

_IMMOVABLE = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM)
"""Errors of moving what is not ours: a disk that is mounted there, another user's folder."""
_SMALL: tuple[Kind, ...] = ("findings", "view", "pin", "retired", "receipt")
_GONE = Fix(("verify", "--accept", "gone"), " misses it no longer")
_FIX_FOLDER: dict[str, str] = {
    "catalog": Fix(("repair", "--from", "STORE"), ", or ", ("ingest", "ROOT"), " for each corpus that was in it"),
    "views": Fix(("repair", "--from", "STORE"), ", or ", ("pin", "VIEW.json"), " for each view that a run still has"),
}


@dataclass(frozen=True)
class RepairReport:
    """The result for each damage, and what a quick verification afterwards still finds."""

    depth: Depth
    results: tuple[RepairResult, ...]
    remaining: tuple[Damage, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """4 when anything remains."""
        return IntegrityError.exit_code if self.remaining or not all(each.repaired for each in self.results) else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            "depth": self.depth,
            "results": [each.to_json() for each in self.results],
            "remaining": [each.to_json() for each in self.remaining],
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
    """Verify a store as deep as requested, and repair what is damaged: from `source`, another store, else from its EDF.

    `roots`: the folders of corpora; by default, where this host last ingested them from. What cannot be read is left
    where it is. Raises UsageError for a store that cannot be written and for roots that do not exist, SpaceError.
    """
    began = time.monotonic()
    for corpus, root in (roots or {}).items():
        if source is None:  # which may bring a catalog back
            resolve_corpus(store, corpus)
        if not files.leads_to_folder(root):
            raise UsageError("there is no such folder", where=root, fix=f"--root {corpus}=DIR, or --from STORE")
    if source is not None and source.location.resolve() == store.location.resolve():
        raise UsageError("this is the store itself", where=source.location, fix="--from names another store")
    memory = Memory(store, host, depth, datetime.now(UTC))
    found = memory.inspect(None, None, progress)
    gone = memory.gone(found)
    # before anything is moved: the run after a kill looks for what existed now
    trouble = memory.keep(found, gone)
    reach("damage noted")
    running = _Repair(store, source, Provenance(store, host, roots or {}), found, memory)
    with files.writing(store.location, n_bytes=0):
        running.repair([*found.damage, *gone], workers, progress)
        store.cancel_deletions()  # what was restored made things reachable
    trouble = memory.save() or trouble
    if trouble:
        progress.say(trouble)
    after = inspect_store(store, Scope("quick")) if running.results else None
    return RepairReport(depth, tuple(running.results), after.damage if after else (), time.monotonic() - began)


class _Repair:
    """One repair of one store, kind after kind: what others reference comes before what references it."""

    def __init__(
        self, store: Store, source: Store | None, provenance: Provenance, found: Inspection, memory: Memory
    ) -> None:
        self.results: list[RepairResult] = []
        self._store, self._source, self._provenance = store, source, provenance
        self._found, self._memory = found, memory
        self._unreadable = {each.subject for each in found.damage if each.unreadable}
        self._wanted: dict[str, Wanted] = {}
        self._waiting: list[tuple[Damage, tuple[str, ...]]] = []
        """Damage that is repaired when one of these keys is restored."""
        self._unnamed: list[tuple[Damage, str]] = []
        """Objects that no whole record names, and why that is."""

    def repair(self, damaged: Iterable[Damage], workers: int | None, progress: Progress) -> None:
        """Repair all of it."""
        kinds = self._by_kind(damaged)
        for each in kinds["stranger"]:
            self._remove_unexpected(each)
        for each in kinds["folder"]:
            self._clear_folder(each)
        self._objects(kinds["object"])
        for each in kinds["group"]:
            restore_group(self._store, each.name)
            self._report(each, "restored", "written again")
        for each in kinds["format"]:
            create.rewrite_mark(self._store.layout)
            self._report(each, "restored", "written again")
        behind = [each for each in kinds["catalog"] if self._store.path_of(*each.subject).parent.is_symlink()]
        for each in behind:
            self._report(each, "left", "it is behind a link", "put the folder itself in the place of the link")
        damaged_catalogs = [each for each in kinds["catalog"] if each not in behind]
        for result in repair_catalogs(self._store, self._source, damaged_catalogs):
            self._add(result)
        self._records(kinds["record"])
        self._rebuild(workers, progress)
        for kind in _SMALL:
            expected, rebuild = partial(self._memory.expects, kind), self._rebuild_small_file
            for result in repair_small_files(
                self._store, self._source, kind, kinds[kind], expected=expected, rebuild=rebuild
            ):
                self._add(result)
        for each in kinds["folder"]:
            self._report(each, *self._folder(each))
        for each in kinds["recording"]:
            self._report(each, "not restored", "only its EDF says which length is right", each.fix)

    def _by_kind(self, damaged: Iterable[Damage]) -> Mapping[Kind, list[Damage]]:
        """Return what can be repaired; what cannot be read now is left, and with it the other files of its catalog."""
        kinds: dict[Kind, list[Damage]] = defaultdict(list)
        unreadable = {name.partition("/")[0] for kind, name in self._unreadable if kind == "catalog"}
        for each in damaged:
            if each.subject in self._unreadable:
                fix = each.fix if each.fix != REPAIR else REPAIR_LATER
                self._report(each, "left", "it cannot be read now, so nothing is known of what it says", fix)
            elif each.kind == "catalog" and each.name.partition("/")[0] in unreadable:
                self._report(each, "left", "another file of this catalog cannot be read now", REPAIR_LATER)
            else:
                kinds[each.kind].append(each)
        return kinds

    def _report(self, damage: Damage, outcome: Outcome, how: str, fix: str | None = None) -> None:
        self._add(RepairResult(damage, outcome, how, fix))

    def _add(self, result: RepairResult) -> None:
        self.results.append(result)
        # what is in quarantine or elsewhere now is missed no longer; a generation that was given up is reported once
        left = result.repaired and not self._store.has(result.kind, result.name)
        if left or (result.kind == "catalog" and result.outcome == "not restored"):
            self._memory.forget(result.kind, result.name)
            for other in (".ack.json", ".cut.json"):
                self._memory.forget(result.kind, result.name.replace(".jsonl", other))
        reach("damage repaired")

    def _aside(self, each: Damage) -> None:
        self._store.quarantine(*each.subject)
        self._report(each, "moved aside", "nothing reads it")

    def _remove_unexpected(self, each: Damage) -> None:
        try:
            self._aside(each)
        except OSError as error:
            if error.errno not in _IMMOVABLE:
                raise
            how = f"it cannot be moved aside: {error.strerror}"
            self._report(each, "left", how, "move it out of the store by hand")

    # Objects and records

    def _objects(self, damaged: list[Damage]) -> None:
        """Move damaged objects aside, and whole ones to where they belong; want what is missing then."""
        store = self._store
        keys: dict[str, list[str]] = defaultdict(list)
        for record in (*self._found.records, *self._found.without_object):
            keys[record.content].append(record.key)
        aside: list[tuple[Damage, Path | None, str | None]] = []
        for each in damaged:
            folder = store.path_of(*each.subject)
            if succeeds(partial(reader.verify, folder, each.name, codec=store.codec)):
                self._report(each, "restored", "another process put it right meanwhile")
                continue
            content = self._content_of(each.name)
            placed = content is not None and place_object(store, folder, content)
            aside.append((each, None if placed else store.quarantine(*each.subject), content))
        for each, moved, content in aside:
            why = "no record names it"
            if content is not None:  # the place of what was moved may have become free
                placed = moved is None or place_object(store, moved, content)
                why = f"{'it is' if placed else 'another one is'} where content {content[:12]} belongs"
            if each.name in keys:
                self._waiting.append((each, tuple(keys[each.name])))
            else:
                self._unnamed.append((each, why))
        for content, those in keys.items():
            if ("object", content) not in self._unreadable and not os.path.lexists(store.path_of("object", content)):
                self._wanted |= {key: Wanted(key, content) for key in those}

    def _content_of(self, name: str) -> str | None:
        """Return the content of a folder of which nothing but the name is wrong."""
        if name in self._found.decoded or is_digest(name, 64):
            return self._found.decoded.get(name)
        try:
            verify_folder(self._store, name)
            return decode_object(self._store, name)
        except (BrainbrrError, OSError):
            return None

    def _records(self, damaged: list[Damage]) -> None:
        """Move whole records to where they belong, and want what is damaged, wrong or gone."""
        wanted, foreign = self._found.wanted, self._found.foreign_records
        without_object = {record.key for record in self._found.without_object}
        whole = {record.key: record.content for record in (*self._found.without_object, *self._found.records)}
        back = self._place_records()
        for key, content in back.items():
            if not self._is_bound(key):
                self._wanted[key] = Wanted(key, content)
        for each in damaged:
            name = each.name
            if name in back:
                self._report(each, "restored", "put in its place")
            elif name in without_object and self._is_bound(name):
                self._report(each, "restored", "its object was put in its place")
            elif name in foreign and name not in wanted:
                which = "another one" if foreign[name].key not in back else "it"
                self._report(each, "moved aside", f"{which} is where key {foreign[name].key[:12]} belongs")
            elif not is_digest(name, 32):
                self._aside(each)
            else:
                if name not in self._wanted:  # else its object alone is missing
                    known = wanted.get(name, whole.get(name))
                    self._wanted[name] = Wanted(name, known, record=True, whole=name in whole)
                self._waiting.append((each, (name,)))

    def _place_records(self) -> dict[str, str]:
        """Move misplaced records to their keys' places, others aside; return the contents of those placed, by key."""
        store, back = self._store, dict[str, str]()
        aside: list[tuple[Path | None, str]] = []
        for name, record in self._found.foreign_records.items():
            if place_file(store, store.path_of("record", name), "record", record.key):
                back[record.key] = record.content
            else:
                aside.append((store.quarantine("record", name), name))
        for moved, name in aside:  # the place of what was moved may have become free
            record = self._found.foreign_records[name]
            if moved is not None and place_file(store, moved, "record", record.key):
                back[record.key] = record.content
        return back

    def _is_bound(self, key: str) -> bool:
        return succeeds(lambda: verify_record(self._store, key))

    def _rebuild(self, workers: int | None, progress: Progress) -> None:
        rebuilding = Rebuild(self._store, self._source, self._provenance)
        results = rebuilding.run(self._wanted.values(), workers, progress)
        for each, keys in self._waiting:
            found = [results[key] for key in keys if key in results]
            best = next((result for result in found if result.outcome == "restored"), found[0] if found else None)
            if best is None:  # a whole one was put in its place
                self._report(each, "restored", "put in its place")
            else:
                self._report(each, *best)
        for each, why in self._unnamed:
            if is_digest(each.name, 64) and self._store.has("object", each.name):
                self._report(each, "restored", "with a record that names it")
            else:
                self._report(each, "moved aside", why)

    # Folders and small files

    def _clear_folder(self, each: Damage) -> None:
        """Move aside what is in the place of a folder, and bring back what the other store had in it."""
        store, source, layout = self._store, self._source, self._store.layout
        top, _, corpus = each.name.partition("/")
        known = top == "records" or (source is not None and (not corpus or corpus in source.corpora()))
        # else it stays: a gc would take a catalog that is not there for one that names nothing
        if known and os.path.lexists(path := store.path_of(*each.subject)) and not files.is_folder(path):
            store.quarantine(*each.subject)
        if source is None:
            return
        deleted = deletion.deleted(layout)
        if each.name == "views":
            for digest in set(source.frozen_views()) - deleted["views"].keys():
                succeeds(partial(copy_small_file, source, store, "view", digest))
        if each.name == "catalog":
            for corpus in set(source.corpora()) - set(store.corpora()):
                if f"{corpus}/{max(source.layout.generations(corpus), default=0)}" not in deleted["generations"]:
                    take_catalog(store, source, corpus)

    def _folder(self, each: Damage) -> Restored:
        top, _, corpus = each.name.partition("/")
        path = self._store.path_of(*each.subject)
        if path.is_symlink():
            fix = f"put the folder itself there, or move the link away if corpus {corpus} is not needed"
            return Restored("not restored", "a link is in its place, and what is behind it is not the store's", fix)
        if self._source is not None or top == "records" or files.is_folder(path):
            self._store.layout.make_folder(path)
            return Restored("restored", "made again; what is missing in it is reported by itself")
        if corpus:
            fix = Fix(("repair", "--from", "STORE"), ", or ", ("ingest", "ROOT", "--corpus", corpus))
            return Restored("not restored", "nothing says what was in it", fix)
        return Restored("not restored", "nothing says what was in it", _FIX_FOLDER.get(top, each.fix))

    def _rebuild_small_file(self, each: Damage) -> Restored:
        """Make a small file again that no other store has: findings from the EDF, a pin from its name."""
        if each.kind == "findings":
            return self._findings(each)
        if each.kind == "pin" and succeeds(lambda: frozen_views.pin(self._store, each.name) or True):
            return Restored("restored", "pinned again, by its name")
        copies = "" if self._source else Fix(("repair", "--from", "STORE"), ", ")
        fixes = {
            "view": Fix(copies, ("pin", "VIEW.json"), " with a run's view.json, or "),
            "pin": Fix("once its view exists, ", ("pin", each.name), "; or "),
            "retired": Fix(("recipe", "retire", each.name), ", or "),
            "receipt": Fix("no command makes a receipt again: ", copies),
        }
        return Restored("not restored", "nothing else says what it said", Fix(fixes[each.kind], _GONE))

    def _findings(self, each: Damage) -> Restored:
        key, _, version = each.name.partition("-")
        if not is_digest(key, 32):
            return Restored("moved aside", "nothing reads it")
        if int(version) != QUALITY_VERSION:
            return Restored("moved aside", f"no detector of version {version} is there to look again")
        try:
            origin = self._provenance.of(key)
            with one_blas_thread():
                keep_findings(self._store, key, origin.edf, origin.recipe, source=origin.source)
        except RecordingError as error:
            return Restored("not restored", error.what, error.fix)
        return Restored("restored", f"made again from {origin.edf}")
