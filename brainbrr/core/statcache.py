"""What this host remembers: where each corpus's root is, which file had which bytes, what its stores hold.

Lives in the user's own folders, never in a store. Losing it costs time, not truth.

What was once read from files, kept by stat: the only place that knows when a stat may be believed.

A table lives in the user's own folders, never in a store or a corpus. Losing it costs time, not truth.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from brainbrr.core import files
from brainbrr.core.digest import is_digest, source_digest, xxh3_128

_SETTLED_NS = 2_000_000_000
"""A file whose times are younger than this when read may change again within the same clock tick."""

Fact = TypeVar("Fact")
Stat = Callable[[Path], os.stat_result]


class FileFacts:
    """Facts by name: what a file said, believed only while its size, both times and inode are as when it was read.

    A fact is whatever JSON holds; who asks checks that it is one. `stat` follows links, or not (os.lstat).
    """

    def __init__(self, table: Path, *, stat: Stat = os.stat) -> None:
        self._table = table
        self._stat = stat
        try:
            self._facts = read_table(table)
        except OSError:
            self._facts = {}  # as if lost: everything is read again
        self._changed = False

    def known(self, name: str, path: Path) -> Any:
        """Return what is known of a file after one stat of it; None when nothing is. Raises OSError."""
        status = self._stat(path)  # first: a file that is gone is an error, known or not
        entry = self._facts.get(name)
        return entry[-1] if isinstance(entry, list) and entry[:-1] == moves(status) else None

    def learn(self, name: str, path: Path, read: Callable[[], Fact]) -> Fact:
        """Return what `read` says of a file, and keep it if the file stood still meanwhile. Raises OSError."""
        fact, seen = at_rest(path, read, stat=self._stat)
        if seen:
            self._facts[name] = [*seen, fact]
            self._changed = True
        return fact

    def take_over(self, name: str, path: Path, seen: Sequence[int], fact: Any) -> None:
        """Keep what another process read of a file which was then as `seen` says, if it is so still. Raises OSError."""
        if list(seen) == moves(self._stat(path)):
            self._facts[name] = [*seen, fact]
            self._changed = True

    def forget(self, names: Iterable[str]) -> None:
        """Know nothing of some files any more."""
        for name in names:
            self._changed |= self._facts.pop(name, None) is not None

    def names(self) -> list[str]:
        """Return the names of all files of which anything is known."""
        return list(self._facts)

    def save(self) -> None:
        """Keep what was learnt for the next run. Raises OSError."""
        if self._changed:
            write_table(self._table, self._facts)
            self._changed = False


def at_rest(path: Path, read: Callable[[], Fact], *, stat: Stat = os.stat) -> tuple[Fact, list[int]]:
    """Return what `read` says of a file, and its `moves`: none unless it was at rest meanwhile. Raises OSError."""
    before, began_ns = moves(stat(path)), time.time_ns()
    fact = read()
    # began, not now: an edit in the tick of the last one, while a slow read was under way, shows in no stat.
    # An mtime that was put into the future is as far from the tick of any edit as one in the past.
    _, mtime_ns, ctime_ns, _ = before
    settled = began_ns - ctime_ns > _SETTLED_NS and abs(began_ns - mtime_ns) > _SETTLED_NS
    return fact, before if settled and before == moves(stat(path)) else []


def moves(status: os.stat_result) -> list[int]:
    """Return what moves when a file is changed or replaced; ctime also when its mtime is put back."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def read_table(file: Path) -> dict[str, Any]:
    """Return a remembered table; a lost or torn one is empty, since it can be had again. Raises OSError."""
    try:
        table = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def write_table(file: Path, table: Mapping[str, Any]) -> None:
    """Replace a remembered table. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(table, separators=(",", ":")).encode()  # dump() takes four times as long
    files.replace(file, data, durable=False, mode=0o600)


N_DEPTHS = 3
"""Of proof: see store/proof.py."""


@dataclass(frozen=True)
class Host:
    """This host's memory in one folder; nothing is written before something is remembered."""

    folder: Path

    def root(self, store: Path, corpus: str) -> Path | None:
        """Return where a corpus of a store was last ingested from on this host."""
        text = read_table(self.folder / "roots.json").get(f"{store.resolve()}::{corpus}")
        return Path(text) if isinstance(text, str) else None

    def knows(self, store: Path) -> bool:
        """Say whether something was ingested into a store of this place before. Raises OSError."""
        return any(name.startswith(f"{store.resolve()}::") for name in read_table(self.folder / "roots.json"))

    def remember_root(self, store: Path, corpus: str, root: Path) -> None:
        """Remember a corpus's root for the commands that brainbrr prints. Raises OSError."""
        roots = read_table(self.folder / "roots.json")
        entry = {f"{store.resolve()}::{corpus}": str(root.absolute())}
        if roots | entry != roots:
            write_table(self.folder / "roots.json", roots | entry)

    def sources(self, root: Path) -> Sources:
        """Return the remembered digests of the files below a root, recordings and labels."""
        return Sources(FileFacts(self._table("sources", root)), root)

    def records(self, store: Path) -> FileFacts:
        """Return what is remembered of a store's records, by key.

        Not by what the store is: one that was deleted and made again has other inodes and times.
        """
        return FileFacts(self._table("records", store), stat=os.lstat)

    def passes(self, store: Path) -> Passes:
        """Return what is remembered of the proofs of a store: when its objects passed, and what was there."""
        return Passes(FileFacts(self._table("passes", store), stat=os.lstat), self._table("seen", store), store)

    def _table(self, kind: str, place: Path) -> Path:
        return self.folder / kind / f"{xxh3_128(os.fsencode(place.resolve()))}.json"


class Sources:
    """SHA-256 of files by their path below a root; a hash is believed only while nothing about a file moved."""

    def __init__(self, facts: FileFacts, root: Path) -> None:
        self._facts = facts
        self._root = root
        self._prefix = f"{root}{os.sep}"

    def known(self, path: Path) -> str | None:
        """Return a file's digest when its stat is as it was when hashed, else None. Raises OSError."""
        digest = self._facts.known(self._name(path), path)
        return str(digest) if is_digest(digest, 64) else None

    def hash(self, path: Path) -> str:
        """Hash a file and remember it if it stood still meanwhile. Raises OSError."""
        return self._facts.learn(self._name(path), path, lambda: source_digest(path))

    def take_over(self, path: Path, seen: Sequence[int], source: str) -> None:
        """Remember what another process hashed: see `FileFacts.take_over`."""
        self._facts.take_over(self._name(path), path, seen, source)

    def digest(self, path: Path) -> str:
        """Return a file's digest, known or hashed. Raises OSError."""
        return self.known(path) or self.hash(path)

    def _name(self, path: Path) -> str:
        """Return the path below the root, which may be reached through a link now and then."""
        text = str(path)
        if text.startswith(self._prefix):
            return text[len(self._prefix) :]
        return os.path.relpath(path, self._root)

    def save(self) -> None:
        """Keep what was hashed for the next run. Raises OSError."""
        self._facts.save()


@dataclass(frozen=True)
class Pass:
    """When an object last passed each depth of proof or a deeper one, shallow first (s since 1970; 0: never).

    `sums`: the digests of what its samples add up to, once they were decoded.
    """

    at_s: tuple[int, ...]
    sums: str | None

    @classmethod
    def from_fact(cls, fact: Any) -> Pass | None:
        """Return what was remembered; entries that cannot be ours are dropped."""
        if not isinstance(fact, list) or len(fact) < 3 or not all(type(at_s) is int for at_s in fact[2:]):
            return None
        sums = fact[1]
        known = isinstance(sums, str) and is_digest(sums[:64], 64) and is_digest(sums[64:], 64)
        return cls(tuple(fact[2:]), sums) if sums is None or known else None


class Passes:
    """When each object of a store last passed which depth of proof, and which names were there.

    A pass counts only while nothing about the object's two files moved. A store that was deleted and made again in
    the same place is another one, of which nothing is known. Safe under threads.
    """

    def __init__(self, facts: FileFacts, table: Path, store: Path) -> None:
        self._facts, self._table = facts, table
        self._made = (store / "format.json").stat().st_mtime_ns
        try:
            said = read_table(table)
        except OSError:
            said = {}
        names = said.get("names")
        self.seen: dict[str, dict[str, str]] = {}
        """By kind and name: when (ISO 8601) it was last there."""
        self.tried: dict[str, int] = {}
        """When (s since 1970) an object was last looked at of which no pass is remembered: damaged, or just written."""
        if said.get("made") == self._made and isinstance(names, dict):
            self.seen = {kind: dict(found) for kind, found in names.items() if isinstance(found, dict)}
            tried = said.get("tried")
            self.tried = {n: at_s for n, at_s in tried.items() if type(at_s) is int} if isinstance(tried, dict) else {}

    def last(self, content: str, shard: Path, metadata: Path) -> Pass | None:
        """Return an object's last passes; None where there are none, or a file of it moved since."""
        try:
            fact = self._facts.known(content, shard)
            return Pass.from_fact(fact) if fact and fact[0] == moves(os.lstat(metadata)) else None
        except OSError:
            return None

    def passed(
        self, content: str, shard: Path, metadata: Path, prove: Callable[[], str | None], *, depth: int, now_s: int
    ) -> str | None:
        """Prove an object and remember that it passed; what `prove` raises comes out, and nothing is known then.

        `prove` returns the digests of what its samples add up to, None where it did not decode them.
        """
        before = self.last(content, shard, metadata)
        self._facts.forget([content])
        self.tried[content] = now_s
        sums: str | None = None

        def read() -> list[Any]:
            nonlocal sums
            still, sums = moves(os.lstat(metadata)), prove()
            at_s = [now_s if i <= depth else before.at_s[i] if before else 0 for i in range(N_DEPTHS)]
            return [still, sums or (before.sums if before else None), *at_s]

        try:
            self._facts.learn(content, shard, read)
        except FileNotFoundError:  # where a stat is missing, the proof says what is wrong
            sums = prove()
        return sums

    def see(self, names: Mapping[str, Iterable[str]], *, now: str) -> None:
        """Remember that names are there now."""
        for kind, found in names.items():
            self.seen.setdefault(kind, {}).update(dict.fromkeys(found, now))

    def forget(self, kind: str, names: Iterable[str]) -> None:
        """Know nothing of names any more."""
        for name in names:
            self.seen.get(kind, {}).pop(name, None)
            if kind == "object":
                self.tried.pop(name, None)
        if kind == "object":
            self._facts.forget(names)

    def save(self) -> None:
        """Keep it all for the next run. Raises OSError."""
        self._facts.save()
        for name in self._facts.names():
            self.tried.pop(name, None)
        write_table(self._table, {"made": self._made, "names": self.seen, "tried": self.tried})


def keep(remember: Callable[[], None]) -> str | None:
    """Remember something, or return why it cannot be: that costs the next run time and nothing else."""
    try:
        remember()
    except OSError as error:
        return f"this host remembers nothing of it for the next time: {error.strerror}: {error.filename}"
    return None
