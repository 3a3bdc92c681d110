"""`verify`: verify a store as deep as requested, from memory where that was done lately, and report what is damaged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from brainbrr.core.progress import Progress, Silent
from brainbrr.core.statcache import Host, Pass, Passes, keep
from brainbrr.errors import IntegrityError
from brainbrr.store import deletion
from brainbrr.store.checks import Inspection, Scope, inspect_store
from brainbrr.store.damage import REPAIR, Damage, Kind
from brainbrr.store.formats import ARRAY_FILE, SHARD_FILE
from brainbrr.store.integrity import DEPTHS, Depth
from brainbrr.store.remote import RemoteStore
from brainbrr.store.store import Store
from brainbrr.store.verify_far import FarInspection, inspect_far


@dataclass(frozen=True)
class VerifyReport:
    """How many objects were verified now, how many count from memory (`remembered`), and what is damaged.

    `remaining` were neither: time was up. `oldest_pass` (ISO 8601) is when the object that waits longest last passed
    this depth; None where one never did, or nothing is remembered.
    """

    depth: Depth
    objects: int
    records: int
    verified: int
    remembered: int
    remaining: int
    oldest_pass: str | None
    corrupt: tuple[Damage, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """4 when anything is damaged."""
        return IntegrityError.exit_code if self.corrupt else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "corrupt": [each.to_json() for each in self.corrupt], "seconds": round(self.seconds, 3)}


def verify(
    store: Store,
    *,
    depth: Depth = "full",
    host: Host | None = None,
    max_age_s: float | None = None,
    max_seconds: float | None = None,
    accept_gone: bool = False,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> VerifyReport:
    """Verify a store: `quick` its structure, `checksums` also every tile, `full` every sample against its content.

    With a host, what passed and what existed is remembered: objects that passed this depth less than `max_age_s` ago,
    and were not touched since, are not read again; what existed and is gone without a receipt is damage, unless
    `accept_gone`. After `max_seconds` no further object is begun; those that passed longest ago go first.
    """
    began, now = time.monotonic(), datetime.now(UTC)
    if isinstance(store, RemoteStore):  # of which nothing is remembered
        until = None if max_seconds is None else began + max_seconds
        return _far(inspect_far(store, depth, until=until, progress=progress), depth, began)
    memory = Memory(store, host, depth, now)
    try:
        found = memory.inspect(max_age_s, None if max_seconds is None else began + max_seconds, progress)
    except KeyboardInterrupt:
        memory.save()  # what passed by then need not be read again
        raise
    gone = () if accept_gone else memory.gone(found)
    if trouble := memory.keep(found, gone):
        progress.say(trouble)
    return VerifyReport(
        depth=depth,
        objects=len(found.contents),
        records=found.n_records,
        verified=len(found.intact),
        remembered=len(memory.skipped),
        remaining=len(found.contents) - len(found.verified) - len(memory.skipped),
        oldest_pass=memory.oldest_pass(found),
        corrupt=tuple(sorted((*found.damage, *gone))),
        seconds=time.monotonic() - began,
    )


def _far(found: FarInspection, depth: Depth, began: float) -> VerifyReport:
    return VerifyReport(
        depth=depth,
        objects=len(found.contents),
        records=found.n_records,
        verified=found.n_verified - sum(each.kind == "object" for each in found.damage),
        remembered=0,
        remaining=found.n_remaining,
        oldest_pass=None,
        corrupt=tuple(sorted(found.damage)),
        seconds=time.monotonic() - began,
    )


class Memory:
    """What a host remembers of a store's verifications, used and written by one run; without a host nothing is."""

    def __init__(self, store: Store, host: Host | None, depth: Depth, now: datetime) -> None:
        self._store, self._depth, self._now = store, DEPTHS.index(depth), now
        self._passes: Passes | None = host.passes(store.location) if host else None
        self._last: dict[str, Pass] = {}
        self.skipped: dict[str, str | None] = {}
        seen = self._passes.seen if self._passes else {}
        self._before = {kind: frozenset(names) for kind, names in seen.items()}

    def inspect(self, max_age_s: float | None, until: float | None, progress: Progress) -> Inspection:
        """Inspect the store; skip objects that passed less than `max_age_s` ago."""
        if self._passes is not None:
            for name in self._store.contents():
                last = self._passes.last(name, *self._files(name))
                if last is not None:
                    self._last[name] = last
                    if max_age_s is not None and self._age_s(last) <= max_age_s:
                        self.skipped[name] = last.sums

        def verify_one(name: str, verification: Callable[[], str | None]) -> bool:
            if until is not None and time.monotonic() >= until:
                return False
            if self._passes is None:
                verification()
            else:
                self._passes.passed(name, *self._files(name), verification, depth=self._depth, now_s=self._now_s)
            return True

        def longest_ago_first(name: str) -> tuple[int, str]:
            if name in self._last:
                return self._last[name].at_s[self._depth], name
            # objects that never pass must not take every slice of time from the rest
            return self._passes.tried.get(name, 0) if self._passes else 0, name

        scope = Scope(DEPTHS[self._depth], self.skipped, verify_one, longest_ago_first)
        return inspect_store(self._store, scope, progress=progress)

    def gone(self, found: Inspection) -> tuple[Damage, ...]:
        """Return what existed before and does not now, and was not deleted later according to a receipt."""
        if self._passes is None:
            return ()
        reported = {each.subject for each in found.damage} | {("object", each.content) for each in found.without_object}
        deleted = deletion.deleted(self._store.layout)
        gone: list[Damage] = []
        for kind, names in self._passes.seen.items():
            for name, seen in names.items():
                if name in found.names.get(kind, ()) or (kind, name) in reported:
                    continue
                if self._store.layout.has(kind, name):  # a cancelled deletion put it back
                    continue
                when = self._deletion(kind, name, deleted)
                if when is None or when < seen:
                    gone.append(Damage(cast(Kind, kind), name, f"it was here on {seen}, and is gone", REPAIR))
        return tuple(gone)

    def _deletion(self, kind: str, name: str, deleted: deletion.Deleted) -> str | None:
        """Return when something was deleted on purpose, according to a receipt; None where none says so."""
        if kind == "catalog":
            corpus, _, file = name.partition("/")
            seq = int(file.partition(".")[0])
            if any(seq < cut for cut in self._store.layout.cuts(corpus)):
                return deletion.UNENDED  # generations that were cut off are not missed
            return deleted.get("generations", {}).get(f"{corpus}/{seq}")
        return deleted.get(deletion.RECEIPTS_OF.get(kind, ""), {}).get(name)

    def keep(self, found: Inspection, gone: tuple[Damage, ...]) -> str | None:
        """Remember what exists now, and what is missed; return why that was not possible."""
        if self._passes is None:
            return None
        missed = {each.subject for each in gone}
        for kind, names in self._passes.seen.items():
            there = found.names.get(kind, ())
            self._passes.forget(kind, [name for name in names if name not in there and (kind, name) not in missed])
        self._passes.see(found.names, now=self._now.isoformat(timespec="seconds"))
        return keep(self._passes.save)

    def expects(self, kind: str, name: str) -> bool:
        """Say whether something existed before this run."""
        return name in self._before.get(kind, ())

    def forget(self, kind: str, name: str) -> None:
        """Miss something no longer."""
        if self._passes is not None:
            self._passes.forget(kind, [name])

    def save(self) -> str | None:
        """Save what was forgotten; return why that was not possible."""
        return None if self._passes is None else keep(self._passes.save)

    def oldest_pass(self, found: Inspection) -> str | None:
        """Return when the object that waits longest last passed; None where one never did."""
        if self._passes is None:
            return None
        intact = found.intact
        at_s = [
            self._now_s if name in intact else self._last[name].at_s[self._depth] if name in self._last else 0
            for name in found.contents
        ]
        oldest = min(at_s, default=0)
        return datetime.fromtimestamp(oldest, UTC).isoformat(timespec="seconds") if oldest else None

    @property
    def _now_s(self) -> int:
        return int(self._now.timestamp())

    def _age_s(self, last: Pass) -> float:
        return self._now.timestamp() - last.at_s[self._depth]

    def _files(self, name: str) -> tuple[Path, Path]:
        folder = self._store.path_of("object", name)
        return folder / SHARD_FILE, folder / ARRAY_FILE
