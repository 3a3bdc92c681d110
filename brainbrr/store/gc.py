"""`gc`: delete what no catalog, frozen view or pin references, after a grace period. Safe beside all other commands.

What is reachable: reachability.py. How things are deleted beside writers that know nothing of it: deletion.py.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from brainbrr.core import files
from brainbrr.core.digest import is_digest
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import BrainbrrError, UsageError
from brainbrr.store import candidates, deletion, leases
from brainbrr.store.deletion import Deletion, n_bytes_of, place, remove
from brainbrr.store.layout import Layout
from brainbrr.store.reachability import LiveSet, Reachability
from brainbrr.store.sidecars import Receipt
from brainbrr.store.store import Store

DAY_S = 86_400
TMP_OF_OTHERS_S = 7 * DAY_S

_NS = 10**9

State = Literal["young", "candidate", "waiting", "deleted", "kept"]
_ORDER: tuple[State, ...] = ("young", "candidate", "waiting", "deleted")


@dataclass(frozen=True)
class Unneeded:
    """Something unreachable, and what a gc does with it.

    `young`: written within the grace period, left alone; `candidate`: put on a list of deletion candidates; `waiting`:
    on a list within the grace period; `deleted`; `kept`: reachable again when it was to be deleted. In a dry run, what
    `--yes` would do.
    """

    kind: str
    name: str
    n_bytes: int
    state: State


@dataclass(frozen=True)
class GcReport:
    """What a gc found and did. `leftovers`: files of dead writers in `tmp/`; `unfinished`: deletions that died.

    `unproven`: what is left and may be garbage, as files in `tmp/` of which nothing says whether their writers have
    ended, each with the reason.
    """

    store: Path
    dry_run: bool
    grace_s: int
    unneeded: tuple[Unneeded, ...]
    leftovers: int
    unfinished: int
    receipts: tuple[Receipt, ...]
    unproven: tuple[str, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """1 when something is left that may be garbage."""
        return BrainbrrError.exit_code if self.unproven and not self.dry_run else 0

    def bytes_of(self, state: State) -> int:
        """Return the bytes of what is in a state."""
        return sum(each.n_bytes for each in self.unneeded if each.state == state)

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("views", *candidates.KINDS)}
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
            "unproven": list(self.unproven),
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
    """List what is unreachable; with `yes`, mark it, and delete what was marked longer ago than the grace period.

    With `views_older_than_s` also frozen views that are not pinned and were not frozen again since. Raises
    IntegrityError, and deletes nothing, where a record, catalog, view or pin cannot be read; UsageError for a store
    that cannot be written.
    """
    began = time.monotonic()
    layout = store.layout
    unfinished, leftovers = len(deletion.folders(layout)), _leftovers(layout, _now_ns(layout, yes=yes))
    collection = _Collection(store, grace_s, views_older_than_s, progress, by_columns=not yes)
    receipts: list[Receipt] = []
    if yes:
        with files.writing(layout.root, n_bytes=1):
            for path in leftovers:
                remove(path)
        receipts = deletion.run(layout, "gc", collection.attempt, progress)
        found = _as_deleted(collection.found, receipts)
    else:
        found = collection.survey(_now_ns(layout, yes=False)).unneeded
    return GcReport(
        store=store.location,
        dry_run=not yes,
        grace_s=grace_s,
        unneeded=tuple(found[key] for key in sorted(found)),
        leftovers=len(leftovers),
        unfinished=unfinished,
        receipts=tuple(receipts),
        unproven=_unproven(layout, leftovers),
        seconds=time.monotonic() - began,
    )


def _now_ns(layout: Layout, *, yes: bool) -> int:
    """Return the time by the store's file system; in a dry run over one that cannot be written, this host's."""
    try:
        return candidates.clock_ns(layout)
    except UsageError:
        if yes:
            raise
        return time.time_ns()


def _leftovers(layout: Layout, now_ns: int) -> list[Path]:
    """Return what dead writers left in `tmp/`, and what was not touched there for a week."""
    dead = set(leases.writers(layout).dead)
    for path in (layout.root / "tmp").glob("*"):
        if now_ns - leases.written_ns(path) > TMP_OF_OTHERS_S * _NS:
            dead.add(path)
    return sorted(dead)


def _unproven(layout: Layout, leftovers: Collection[Path] = ()) -> tuple[str, ...]:
    """Return what writers left in `tmp/` that are neither known to run nor to have ended, each with the reason."""
    left = (path for path in leases.writers(layout).unknown if path not in leftovers)
    return tuple(f"tmp/{path.name}: {leases.UNKNOWN}" for path in left)


class _Survey:
    """What is unreachable at one moment, and what is to be done with each."""

    def __init__(self, store: Store, live: LiveSet, grace_s: int, now_ns: int) -> None:
        self.store, self.layout, self.live = store, store.layout, live
        self.grace_ns, self.now_ns = grace_s * _NS, now_ns
        self.lists, self.damaged_lists = candidates.read_all(self.layout)
        self.unneeded: dict[tuple[str, str], Unneeded] = {}
        self._look()

    def names(self, kind: str, state: State) -> list[str]:
        """Return the names of what is in a state."""
        return [each.name for each in self.unneeded.values() if (each.kind, each.state) == (kind, state)]

    def _look(self) -> None:
        records = {key: record for key, record in self.live.records.items() if not self.live.has(key, record)}
        naming: dict[str, list[str]] = {}
        for key, record in records.items():
            self._add("records", key, [])
            naming.setdefault(record.content, []).append(key)
        reachable = self.live.objects()
        for content in self.store.contents():
            if is_digest(content, 64) and content not in reachable:
                self._add("objects", content, naming.get(content, []))
        for name in self.store.found_findings():
            key = name.partition("-")[0]
            kept = key in self.live.keys or (key in self.live.records and key not in records)
            if is_digest(key, 32) and not kept:
                self._add("findings", name, [key])

    def _add(self, kind: str, name: str, keys: list[str]) -> None:
        """Note something unreachable; it goes no earlier than the records of these keys."""
        since = candidates.since_ns(self.layout, kind, name, self.now_ns)
        if since is None:
            return
        states = [self.unneeded["records", key].state for key in keys if ("records", key) in self.unneeded]
        state = min([self._state(kind, name, since), *states], key=_ORDER.index)
        self.unneeded[kind, name] = Unneeded(kind, name, n_bytes_of(place(self.layout, kind, name)), state)

    def _state(self, kind: str, name: str, since_ns: int) -> State:
        written = [each.written_ns for each in self.lists if name in each.names[kind] and since_ns <= each.written_ns]
        if written:
            return "deleted" if self.now_ns - min(written) >= self.grace_ns else "waiting"
        if self.now_ns - since_ns < self.grace_ns:
            return "young"
        return "candidate" if self.grace_ns else "deleted"


class _Collection:
    """One gc: it surveys the store and deletes, again after each time that a writer cancels it."""

    def __init__(
        self, store: Store, grace_s: int, views_older_than_s: int | None, progress: Progress, *, by_columns: bool
    ) -> None:
        self.found: dict[tuple[str, str], Unneeded] = {}
        self._store, self._layout, self._progress = store, store.layout, progress
        self._grace_s, self._views_older_than_s = grace_s, views_older_than_s
        self._reachability = Reachability(store.layout, by_columns=by_columns)

    def survey(self, now_ns: int) -> _Survey:
        """Return what is unreachable; old frozen views are deleted without a list of candidates."""
        views = [digest for digest in self._layout.views() if self._is_dropped(digest, now_ns)]
        live = self._reachability.read(without_views=frozenset(views))
        found = _Survey(self._store, live, self._grace_s, now_ns)
        for digest in views:
            n_bytes = n_bytes_of(self._layout.view(digest))
            found.unneeded["views", digest] = Unneeded("views", digest, n_bytes, "deleted")
        return found

    def attempt(self, receipts: list[Receipt]) -> bool:
        """Mark and delete once. Raises DeletionCancelled when a writer made something reachable."""
        layout, now_ns = self._layout, candidates.clock_ns(self._layout)
        survey = self.survey(now_ns)
        for path in survey.damaged_lists:
            layout.quarantine(path)
        now, later = (
            {kind: survey.names(kind, state) for kind in candidates.KINDS} for state in ("deleted", "candidate")
        )
        if any(later.values()):
            candidates.write(layout, later)
        views = survey.names("views", "deleted")
        if views or any(now.values()):
            self._progress.say(f"Deleting {', '.join(f'{len(names)} {kind}' for kind, names in now.items())}")
            self._delete(views, now, now_ns, receipts)
        for each in survey.lists:
            if survey.now_ns - each.written_ns >= survey.grace_ns:  # finished
                remove(each.path)
        self.found |= survey.unneeded
        return True

    def _delete(self, views: list[str], now: dict[str, list[str]], now_ns: int, receipts: list[Receipt]) -> None:
        running = Deletion(self._reachability, "gc", unproven=_unproven(self._layout))
        running.views(views, lambda path: self._is_old(path, now_ns))
        # what is unreachable since this deletion began: a process that publishes after that cancels it
        still = _Survey(self._store, self._reachability.read(), self._grace_s, now_ns)
        now = {kind: sorted(set(names) & set(still.names(kind, "deleted"))) for kind, names in now.items()}
        running.records(now["records"])
        running.objects(now["objects"])
        running.findings(now["findings"])
        receipts += filter(None, [running.finish()])

    def _is_dropped(self, digest: str, now_ns: int) -> bool:
        return self._is_old(self._layout.view(digest), now_ns) and not files.exists(self._layout.pin(digest))

    def _is_old(self, path: Path, now_ns: int) -> bool:
        """Say whether a view's file was frozen long enough ago."""
        age_s = self._views_older_than_s
        return age_s is not None and 0 < leases.written_ns(path) <= now_ns - age_s * _NS


def _as_deleted(found: Mapping[tuple[str, str], Unneeded], receipts: list[Receipt]) -> dict[tuple[str, str], Unneeded]:
    """Return what was really done: what no receipt names was reachable again."""
    gone = {(kind, name) for each in receipts for kind in ("views", *candidates.KINDS) for name in getattr(each, kind)}
    return {
        key: replace(each, state="kept") if each.state == "deleted" and key not in gone else each
        for key, each in found.items()
    }
