"""`gc`: what no catalog, frozen view or pin names, condemned first, deleted after a grace. Safe beside all else.

What is alive: store/roots.py. How things are deleted beside writers that know nothing of it: store/trash.py.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from brainbrr.core import files
from brainbrr.core.digest import is_digest
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import BrainbrrError, UsageError
from brainbrr.store import deletion as the_deletion
from brainbrr.store.deletion import CONDEMNED, CalledOff, Deletion, folders, place, remove, sweep
from brainbrr.store.layout import Layout
from brainbrr.store.reachability import Reader, Roots
from brainbrr.store.sidecars import Receipt
from brainbrr.store.store import Store

DAY_S = 86_400
TMP_OF_OTHERS_S = 7 * DAY_S

_ATTEMPTS = 20
_NS = 10**9

State = Literal["young", "condemned", "waiting", "deleted", "kept"]
_ORDER: tuple[State, ...] = ("young", "condemned", "waiting", "deleted")


@dataclass(frozen=True)
class Unneeded:
    """Something that nothing names, and what a gc does with it.

    `young`: written within the grace, left alone; `condemned`: put on a list; `waiting`: on a list within the grace;
    `deleted`; `kept`: needed again when it was to be deleted. In a dry run, what `--yes` would do.
    """

    kind: str
    name: str
    n_bytes: int
    state: State


@dataclass(frozen=True)
class GcReport:
    """What a gc found and did. `leftovers`: files of dead writers in `tmp/`; `unfinished`: deletions that died."""

    store: Path
    dry_run: bool
    grace_s: int
    unneeded: tuple[Unneeded, ...]
    leftovers: int
    unfinished: int
    receipts: tuple[Receipt, ...]
    seconds: float

    def bytes_of(self, state: State) -> int:
        """Return the bytes of what is in a state."""
        return sum(each.n_bytes for each in self.unneeded if each.state == state)

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("views", *CONDEMNED)}
        for each in self.unneeded:
            counts[each.kind][each.state] += 1
        return {
            "store": str(self.store),
            "dry_run": self.dry_run,
            "grace_s": self.grace_s,
            "counts": {kind: dict(found) for kind, found in counts.items()},
            "bytes": {state: self.bytes_of(state) for state in _ORDER},
            "unneeded": [vars(each) for each in self.unneeded],
            "leftovers": self.leftovers,
            "unfinished": self.unfinished,
            "receipts": [receipt.to_json() for receipt in self.receipts],
            "seconds": round(self.seconds, 3),
        }


def gc(
    store: Store,
    *,
    yes: bool = False,
    grace_s: int = DAY_S,
    views_older_than_s: int | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> GcReport:
    """List what nothing names; with `yes`, condemn it, and delete what was condemned longer ago than the grace.

    With `views_older_than_s` also frozen views that nobody pinned and nobody froze since. Raises IntegrityError, and
    deletes nothing, where a record, catalog, view or pin cannot be read; UsageError for a store that cannot be written.
    """
    began = time.monotonic()
    layout, reader = store.layout, Reader(store.layout)
    receipts: list[Receipt] = []
    found: dict[tuple[str, str], Unneeded] = {}
    unfinished, leftovers = len(folders(layout)), _leftovers(layout, _now_ns(layout, yes=yes))
    if not yes:
        found = _Survey(store, reader, grace_s, views_older_than_s, _now_ns(layout, yes=False)).unneeded
    else:
        with files.writing(layout.root, n_bytes=1):
            for path in leftovers:
                remove(path)
            for _ in range(_ATTEMPTS):
                receipts += sweep(layout, "gc")
                try:
                    found |= _collect(store, reader, grace_s, views_older_than_s, receipts, progress)
                    break
                except CalledOff:
                    progress.say("an ingest or a training made something alive meanwhile: looking again")
            else:
                raise BrainbrrError("writers called this off each time", where=layout.root, fix="run it again later")
            receipts += sweep(layout, "gc")
        found = _as_deleted(found, receipts)
    return GcReport(
        store=store.location,
        dry_run=not yes,
        grace_s=grace_s,
        unneeded=tuple(found[key] for key in sorted(found)),
        leftovers=len(leftovers),
        unfinished=unfinished,
        receipts=tuple(receipts),
        seconds=time.monotonic() - began,
    )


def _now_ns(layout: Layout, *, yes: bool) -> int:
    """Return the time by the store's file system; in a dry run over one that cannot be written, this host's."""
    try:
        return the_deletion.clock_ns(layout)
    except UsageError:
        if yes:
            raise
        return time.time_ns()


def _leftovers(layout: Layout, now_ns: int) -> list[Path]:
    """Return what dead writers of this host left in `tmp/`, and what nobody has touched there for a week."""
    dead = set(layout.stale_tmp())
    for path in (layout.root / "tmp").glob("*"):
        newest = max((_touched_ns(each) for each in (path, *path.glob("*"))), default=now_ns)
        if now_ns - newest > TMP_OF_OTHERS_S * _NS:
            dead.add(path)
    return sorted(dead)


def _touched_ns(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return 0


class _Survey:
    """What nothing names at one moment, and what is to be done with each."""

    def __init__(self, store: Store, reader: Reader, grace_s: int, views_older_than_s: int | None, now_ns: int) -> None:
        self.store, self.layout = store, store.layout
        self.grace_ns, self.now_ns = grace_s * _NS, now_ns
        self.lists, self.damaged_lists = the_deletion.lists(self.layout)
        self.before_ns = None if views_older_than_s is None else now_ns - views_older_than_s * _NS
        views = [digest for digest in self.layout.views() if self._let_go(digest)]
        self.unneeded = {("views", digest): self._view(digest) for digest in views}
        self._look(reader.read(without_views=frozenset(views)))

    def names(self, kind: str, state: State) -> list[str]:
        """Return the names of what is in a state."""
        return [each.name for each in self.unneeded.values() if (each.kind, each.state) == (kind, state)]

    def is_old(self, path: Path) -> bool:
        """Say whether a view's file was frozen long enough ago."""
        return self.before_ns is not None and 0 < _touched_ns(path) <= self.before_ns

    def _let_go(self, digest: str) -> bool:
        return self.is_old(self.layout.view(digest)) and not files.lies(self.layout.pin(digest))

    def _view(self, digest: str) -> Unneeded:
        return Unneeded("views", digest, _size(self.layout.view(digest)), "deleted")

    def _look(self, roots: Roots) -> None:
        records = {key: named for key, named in roots.records.items() if not roots.keeps(key, named)}
        naming: dict[str, list[str]] = {}
        for key, named in records.items():
            self._add("records", key, _size(self.layout.record(key)), [])
            naming.setdefault(named.content, []).append(key)
        alive = roots.objects()
        for content in self.store.contents():
            if is_digest(content, 64) and content not in alive:
                self._add("objects", content, self.store.object_bytes(content), naming.get(content, []))
        for name in self.store.found_findings():
            key = name.partition("-")[0]
            if is_digest(key, 32) and key not in roots.keys and (key in records or key not in roots.records):
                path = place(self.layout, "findings", name)
                self._add("findings", name, _size(path), [key] if key in records else [])

    def _add(self, kind: str, name: str, n_bytes: int, keys: list[str]) -> None:
        """Note something that nothing alive names; it goes no earlier than the records of these keys."""
        since = the_deletion.since_ns(self.layout, kind, name, self.now_ns)
        if since is None:
            return
        states = [self.unneeded["records", key].state for key in keys if ("records", key) in self.unneeded]
        state = min([self._state(kind, name, since), *states], key=_ORDER.index)
        self.unneeded[kind, name] = Unneeded(kind, name, n_bytes, state)

    def _state(self, kind: str, name: str, since_ns: int) -> State:
        written = [each.written_ns for each in self.lists if name in each.names[kind] and since_ns <= each.written_ns]
        if written:
            return "deleted" if self.now_ns - min(written) >= self.grace_ns else "waiting"
        if self.now_ns - since_ns < self.grace_ns:
            return "young"
        return "condemned" if self.grace_ns else "deleted"


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _collect(
    store: Store,
    reader: Reader,
    grace_s: int,
    views_older_than_s: int | None,
    receipts: list[Receipt],
    progress: Progress,
) -> dict[tuple[str, str], Unneeded]:
    """Condemn and delete once; return what was to be done. Raises CalledOff when a writer made something alive."""
    layout = store.layout
    survey = _Survey(store, reader, grace_s, views_older_than_s, the_deletion.clock_ns(layout))
    for path in survey.damaged_lists:
        layout.quarantine(path)
    now, later = ({kind: survey.names(kind, state) for kind in CONDEMNED} for state in ("deleted", "condemned"))
    if any(later.values()):
        the_deletion.condemn(layout, later)
    views = survey.names("views", "deleted")
    if views or any(now.values()):
        progress.say(f"Deleting {', '.join(f'{len(names)} {kind}' for kind, names in now.items())}")
        deletion = Deletion(reader, "gc")
        deletion.views(views, survey.is_old)
        # what nothing names since this deletion began: whoever publishes after that calls it off
        still = _Survey(store, reader, grace_s, None, survey.now_ns)
        now = {kind: sorted(set(names) & set(still.names(kind, "deleted"))) for kind, names in now.items()}
        deletion.records(now["records"])
        deletion.objects(now["objects"])
        deletion.findings(now["findings"])
        receipts += filter(None, [deletion.finish()])
    for each in survey.lists:
        if survey.now_ns - each.written_ns >= survey.grace_ns:  # worked off
            remove(each.path)
    return survey.unneeded


def _as_deleted(found: Mapping[tuple[str, str], Unneeded], receipts: list[Receipt]) -> dict[tuple[str, str], Unneeded]:
    """Return what was really done: what no receipt names was needed again."""
    gone = {(kind, name) for each in receipts for kind in ("views", *CONDEMNED) for name in getattr(each, kind)}
    return {
        key: Unneeded(each.kind, each.name, each.n_bytes, "kept")
        if each.state == "deleted" and key not in gone
        else each
        for key, each in found.items()
    }
