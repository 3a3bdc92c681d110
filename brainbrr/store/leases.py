"""Leases: small files that say which process builds a key, so that two processes do not compute the same.

Advisory: two holders of the same lease both compute, and the store keeps one result. So if anything is wrong with a
lease, or with its file system, the work goes on without it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Collection, Iterator
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
    try:
        descriptor = _take(layout, key, ttl_s)
    except (OSError, BrainbrrError):  # no room, no permission, a link in its place, a network that is gone
        yield True
        return
    if descriptor is None:
        yield False
        return
    over = threading.Event()
    toucher = threading.Thread(target=_touch, args=(descriptor, over, ttl_s / _TOUCHES), daemon=True)
    toucher.start()
    try:
        yield True
    finally:
        over.set()
        toucher.join()
        with contextlib.suppress(OSError):
            _remove(layout.lease(key), os.fstat(descriptor))
        os.close(descriptor)


def living(layout: Layout, keys: Collection[str], *, ttl_s: float = TTL_S) -> set[str]:
    """Return those of some keys that a living process builds; none where the store cannot be written."""
    try:
        with layout.scratch() as temporary:
            files.write(temporary, b"", durable=False)
            now_ns = temporary.stat().st_mtime_ns
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
        if is_dead(path.name) or (process in ended and now_ns - _written_ns(path) >= ttl_s * 1e9):
            dead.append(path)
        elif process != own_name():
            here = process.partition("-")[0] == own_name().partition("-")[0]
            (running if here or process in living else unknown).append(path)
    return Writers(tuple(dead), tuple(running), tuple(unknown), bool(living))


def _clock_ns(layout: Layout) -> int:
    """Return the time by the clock of the store's file system, by this host's where the store cannot be written."""
    try:
        with layout.scratch() as temporary:
            files.write(temporary, b"", durable=False)
            return temporary.stat().st_mtime_ns
    except OSError:
        return time.time_ns()


def _written_ns(path: Path) -> int:
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


def _take(layout: Layout, key: str, ttl_s: float) -> int | None:
    """Take a key's lease and return a descriptor of its file; None where a living process has it."""
    path = layout.lease(key)
    layout.make_folder(path.parent)
    own = {"host": os.uname().nodename, "process": own_name()}
    with layout.scratch() as temporary, contextlib.ExitStack() as unless_taken:
        files.write(temporary, canonical_json(own), durable=False)
        # by descriptor from here on: the name may be another process's lease later
        descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        unless_taken.callback(os.close, descriptor)
        now_ns = os.fstat(descriptor).st_mtime_ns
        if standing := _read(path):
            if standing.lives(now_ns, ttl_s):
                return None
            _remove(path, standing.facts)
        if not files.link(temporary, path):
            faster = _read(path)
            if faster and faster.lives(now_ns, ttl_s):
                return None
            raise FileExistsError(errno.EEXIST, "something else is in the place of a lease", str(path))
        unless_taken.pop_all()
    return descriptor


def _read(path: Path) -> _Lease | None:
    """Return the lease at a path; None where there is none, or something else."""
    try:
        descriptor = files.open_plain(path)  # opened, not only looked at: NFS would answer from memory
    except (OSError, BrainbrrError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        try:
            process = models.decode_json(file.read(_MAX_BYTES), where=path).get("process")
        except (OSError, BrainbrrError):
            process = None
    return _Lease(facts, str(process))


def _remove(path: Path, facts: os.stat_result) -> None:
    """Remove a lease unless another one has come into its place."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(path.lstat(), facts):
            path.unlink()


def _touch(descriptor: int, over: threading.Event, every_s: float) -> None:
    for _ in range(_TOUCHES * HELD_AT_MOST):
        if over.wait(every_s):
            return
        with contextlib.suppress(OSError):  # a network that is gone for a while
            os.utime(descriptor)
