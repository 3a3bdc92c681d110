"""`verify`: prove a store as deep as asked, from memory where that was done lately, and say what is damaged."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from brainbrr.core.progress import Progress, Silent
from brainbrr.core.statcache import Host, Pass, Passes, keep
from brainbrr.errors import IntegrityError
from brainbrr.store import deletion
from brainbrr.store.checks import Damage, Scope, damage
from brainbrr.store.damage import RECEIPTS_OF, REPAIR, Found, kind_and_name, place_of
from brainbrr.store.formats import ARRAY_FILE, SHARD_FILE
from brainbrr.store.store import DEPTHS, Depth, Store


@dataclass(frozen=True)
class VerifyReport:
    """How many objects were proven now (`verified`), how many count from memory, and what is damaged.

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
    corrupt: tuple[Found, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """4 when anything is damaged."""
        return IntegrityError.exit_code if self.corrupt else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "corrupt": list(self.corrupt), "seconds": round(self.seconds, 3)}


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
    """Prove a store: `quick` its structure, `checksums` also every tile, `full` every sample against its content.

    With a host, it is remembered what passed and what was there: objects that passed this depth less than `max_age_s`
    ago, and were not touched since, are not read again; what was there and is gone without a receipt is damage,
    unless `accept_gone`. After `max_seconds` no further object is begun; those that passed longest ago go first.
    """
    began, now = time.monotonic(), datetime.now(UTC)
    memory = Memory(store, host, depth, now)
    try:
        found = memory.damage(max_age_s, None if max_seconds is None else began + max_seconds, progress)
    except KeyboardInterrupt:
        memory.save()  # what passed by then need not be read again
        raise
    gone = () if accept_gone else memory.gone(found)
    if trouble := memory.keep(found, gone):
        progress.say(trouble)
    corrupt = tuple(sorted((*found.all, *gone), key=lambda each: list(each.items())))
    bad = {each["object"] for each in found.all if "object" in each}
    return VerifyReport(
        depth=depth,
        objects=len(found.contents),
        records=found.n_records,
        verified=len(found.proven - bad),
        remembered=len(memory.skipped),
        remaining=len(found.contents) - len(found.proven) - len(memory.skipped),
        oldest_pass=memory.oldest_pass(found),
        corrupt=corrupt,
        seconds=time.monotonic() - began,
    )


class Memory:
    """What a host remembers of a store's proofs, used and written by one run; without a host nothing is."""

    def __init__(self, store: Store, host: Host | None, depth: Depth, now: datetime) -> None:
        self._store, self._depth, self._now = store, DEPTHS.index(depth), now
        self._passes: Passes | None = host.passes(store.location) if host else None
        self._last: dict[str, Pass] = {}
        self.skipped: dict[str, str | None] = {}

    def damage(self, max_age_s: float | None, until: float | None, progress: Progress) -> Damage:
        """Return what is damaged, by looking at what has to be looked at again."""
        if self._passes is not None:
            for name in self._store.contents():
                last = self._passes.last(name, *self._files(name))
                if last is not None:
                    self._last[name] = last
                    if max_age_s is not None and self._age_s(last) <= max_age_s:
                        self.skipped[name] = last.sums

        def prove(name: str, proof: Callable[[], str | None]) -> bool:
            if until is not None and time.monotonic() >= until:
                return False
            if self._passes is None:
                proof()
            else:
                self._passes.passed(name, *self._files(name), proof, depth=self._depth, now_s=self._now_s)
            return True

        def longest_ago_first(name: str) -> tuple[int, str]:
            if name in self._last:
                return self._last[name].at_s[self._depth], name
            # what never passes must not take every slice of time from the rest
            return self._passes.tried.get(name, 0) if self._passes else 0, name

        scope = Scope(DEPTHS[self._depth], self.skipped, prove, longest_ago_first)
        return damage(self._store, scope, progress=progress)

    def gone(self, found: Damage) -> tuple[Found, ...]:
        """Return what was there before and is not now, and of which no receipt says that it was deleted later."""
        if self._passes is None:
            return ()
        told = {kind_and_name(each) for each in found.all}
        told |= {("object", record.content) for record in found.lonely}
        deleted = deletion.deleted(self._store.layout)
        gone: list[Found] = []
        for kind, names in self._passes.seen.items():
            for name, seen in names.items():
                if name in found.names.get(kind, ()) or (kind, name) in told:
                    continue
                if os.path.lexists(place_of(self._store, kind, name)):  # a deletion that was called off put it back
                    continue
                when = _deletion(self._store, kind, name, deleted)
                if when is None or when < seen:
                    gone.append({kind: name, "reason": f"it was here on {seen}, and is gone", "fix": REPAIR})
        return tuple(gone)

    def keep(self, found: Damage, gone: tuple[Found, ...]) -> str | None:
        """Remember what is there now, and what is missed; return why that cannot be."""
        if self._passes is None:
            return None
        missed = {kind_and_name(each) for each in gone}
        for kind, names in self._passes.seen.items():
            lost = [n for n in names if n not in found.names.get(kind, ()) and (kind, n) not in missed]
            self._passes.forget(kind, lost)
        self._passes.see(found.names, now=self._now.isoformat(timespec="seconds"))
        return keep(self._passes.save)

    def forget(self, kind: str, name: str) -> None:
        """Let something be gone from now on."""
        if self._passes is not None:
            self._passes.forget(kind, [name])

    def save(self) -> str | None:
        """Write down what was forgotten; return why that cannot be."""
        return None if self._passes is None else keep(self._passes.save)

    def oldest_pass(self, found: Damage) -> str | None:
        """Return when the object that waits longest last passed; None where one never did."""
        if self._passes is None:
            return None
        bad = {each["object"] for each in found.all if "object" in each}
        at_s = [
            self._now_s
            if name in found.proven - bad
            else self._last[name].at_s[self._depth]
            if name in self._last
            else 0
            for name in found.contents
        ]
        oldest = min(at_s, default=0)
        return datetime.fromtimestamp(oldest, UTC).isoformat(timespec="seconds") if oldest else None

    @property
    def _now_s(self) -> int:
        return int(self._now.timestamp())

    def _age_s(self, last: Pass) -> float:
        return self._now.timestamp() - last.at_s[self._depth]

    def _files(self, name: str) -> tuple[Any, Any]:
        folder = self._store.layout.found(self._store.layout.objects, name)
        return folder / SHARD_FILE, folder / ARRAY_FILE


def _deletion(store: Store, kind: str, name: str, deleted: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return when something was deleted on purpose, as a receipt says; None where none does."""
    if kind == "catalog":
        corpus, _, file = name.partition("/")
        seq = int(file.partition(".")[0])
        if any(seq < cut for cut in store.layout.cuts(corpus)):
            return deletion.UNENDED  # whenever it was: nobody misses what was cut off
        return deleted.get("generations", {}).get(f"{corpus}/{seq}")
    return deleted.get(RECEIPTS_OF.get(kind, ""), {}).get(name)
