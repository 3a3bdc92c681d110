"""Leases: small files that say which process builds a key, so that two processes do not compute the same.

Advisory: two holders of the same lease both compute, and the store keeps one result. So if anything is wrong with a
lease, or with its file system, the work goes on without it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from brainbrr.core import files, models
from brainbrr.core.digest import canonical_json
from brainbrr.errors import BrainbrrError
from brainbrr.store.layout import Layout, is_dead, own_name

TTL_S = 60.0
"""A lease that was not touched for so long has expired. Its holder touches it twelve times as often."""
_TOUCHES = 12

UNKNOWN = "nothing says that its writer has ended"
RUNNING = "its writer runs, or has just ended"
"""Why a file in `tmp/` is left."""

HELD_AT_MOST = 60
"""So many TTLs a lease is touched. A build that takes longer hangs, as far as others can tell, and they begin."""

_MAX_BYTES = 1 << 12


@contextlib.contextmanager
def hold(layout: Layout, key: str, *, ttl_s: float = TTL_S) -> Iterator[bool]:
    """Hold a key's lease meanwhile; gives False, and holds nothing, where a living process has it."""
    with holding(layout, ttl_s=ttl_s) as take:
        yield take(key)


@contextlib.contextmanager
def holding(layout: Layout, *, ttl_s: float = TTL_S) -> Iterator[Callable[[str], bool]]:
    """Yield what takes the lease of a key until this ends; it returns False where a living process has it.

    All leases that are held together are names of one file.
    """
    with contextlib.ExitStack() as held:
        try:
            layout.make_folder(layout.lease("0" * 32).parent)
            temporary = held.enter_context(layout.scratch())
            files.write(temporary, canonical_json({"host": os.uname().nodename, "process": own_name()}), durable=False)
            # by descriptor from here on: the name may be another process's lease later
            descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, BrainbrrError):  # no room, no permission, a link in its place, a network that is gone
            yield lambda key: True
            return
        held.callback(os.close, descriptor)
        facts, over = os.fstat(descriptor), threading.Event()
        toucher = threading.Thread(target=_touch, args=(descriptor, over, ttl_s / _TOUCHES), daemon=True)
        held.callback(toucher.join)
        held.callback(over.set)
        toucher.start()

        taken: set[str] = set()

        def take(key: str) -> bool:
            path = layout.lease(key)
            if key in taken:
                return False
            try:
                if not _take(temporary, path, descriptor, ttl_s):
                    return False
                held.callback(_remove, path, facts)
            except (OSError, BrainbrrError):
                pass
            taken.add(key)
            return True

        yield take


def living(layout: Layout, keys: Collection[str], *, ttl_s: float = TTL_S) -> set[str]:
    """Return those of some keys that a living process builds; none where the store cannot be written."""
    try:
        now_ns = layout.clock_ns()
    except OSError:
        return set()
    return {key for key in keys if (lease := _read(layout.lease(key))) and lease.lives(now_ns, ttl_s)}


class Writers(NamedTuple):
    """What writers have in `tmp/`: of dead ones, of running ones, and of those of which neither is known."""

    dead: tuple[Path, ...]
    running: tuple[Path, ...]
    unknown: tuple[Path, ...]
    building: bool
    """Whether a living process holds a lease."""


def writers(layout: Layout, *, ttl_s: float = TTL_S) -> Writers:
    """Return which writers of `tmp/` are dead, and which run.

    Dead is a process of this boot and container that has ended, and one whose lease was left and has expired; running
    is one of this boot and container that has not ended, and one whose lease lives.
    """
    now_ns = _clock_ns(layout)
    left = [lease for name in layout.leases() if (lease := _read(layout.lease(name)))]
    living = {lease.process for lease in left if lease.lives(now_ns, ttl_s)}
    ended = {lease.process for lease in left} - living
    dead: list[Path] = []
    running: list[Path] = []
    unknown: list[Path] = []
    for path in layout.drafts():
        process = path.name.rpartition("-")[0]
        if is_dead(path.name) or (process in ended and now_ns - written_ns(path) >= ttl_s * 1e9):
            dead.append(path)
        elif process != own_name():
            here = process.partition("-")[0] == own_name().partition("-")[0]
            (running if here or process in living else unknown).append(path)
    return Writers(tuple(dead), tuple(running), tuple(unknown), bool(living))


def _clock_ns(layout: Layout) -> int:
    """Return the time by the clock of the store's file system, by this host's where the store cannot be written."""
    try:
        return layout.clock_ns()
    except OSError:
        return time.time_ns()


def written_ns(path: Path) -> int:
    """Return when a file, or the newest file of a folder, was last written; 0 when it is gone."""
    newest = 0
    for each in (path, *path.glob("*")):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            newest = max(newest, each.lstat().st_mtime_ns)
    return newest


@dataclass(frozen=True)
class _Lease:
    """A lease as it was found."""

    facts: os.stat_result
    process: str

    def lives(self, now_ns: int, ttl_s: float) -> bool:
        """Say whether it counts. `now_ns` is by the clock of the store's file system: hosts' clocks differ."""
        # abs: a clock that was set back must not keep a dead process's lease alive for as long
        return abs(now_ns - self.facts.st_mtime_ns) < ttl_s * 1e9 and not is_dead(self.process)


def _take(temporary: Path, path: Path, descriptor: int, ttl_s: float) -> bool:
    """Give our file the name of a lease; return False where a living process has it."""
    for _ in range(2):
        try:
            if os.fstat(descriptor).st_nlink and files.link(temporary, path):
                return True
            os.utime(descriptor)
            found = _opened(path)
        except FileNotFoundError:  # its holder has just let it go
            continue
        if found.lives(os.fstat(descriptor).st_mtime_ns, ttl_s):
            return False
        _remove(path, found.facts)
    return False


def _read(path: Path) -> _Lease | None:
    """Return the lease at a path; None where there is none, or something else."""
    try:
        return _opened(path)
    except (OSError, BrainbrrError):
        return None


def _opened(path: Path) -> _Lease:
    """Return the lease at a path. Raises FileNotFoundError where there is none, IntegrityError for something else."""
    descriptor = files.open_plain(path)  # opened, not only looked at: NFS would answer from memory
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        try:
            process = models.decode_json(file.read(_MAX_BYTES), where=path).get("process")
        except (OSError, BrainbrrError):
            process = None
    return _Lease(facts, str(process))


def _remove(path: Path, facts: os.stat_result) -> None:
    """Remove a lease unless another one has come into its place."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.lstat(), facts):
            path.unlink()


def _touch(descriptor: int, over: threading.Event, every_s: float) -> None:
    for _ in range(_TOUCHES * HELD_AT_MOST):
        if over.wait(every_s):
            return
        with contextlib.suppress(OSError):  # a network that is gone for a while
            os.utime(descriptor)
