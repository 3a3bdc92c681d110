"""Whose copies lie on a node's scratch disk: a folder for each store and user, and a lease for each process that reads.

A lease is a file that its process holds locked: the kernel lets go of it when the process dies, however it dies, so
nobody has to guess who is alive. Knows nothing of views.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from brainbrr.digest import xxh3_128
from brainbrr.errors import UsageError
from brainbrr.store import files
from brainbrr.store.store import Store

Sizes = Mapping[str, int]
"""Bytes of objects, by content."""

_MAX_LEASE_BYTES = 1 << 30


@dataclass(frozen=True)
class StagingFolder:
    """`store/` is an ordinary store; `leases/` says who reads what of it; `gate` is locked while that is decided."""

    path: Path

    @classmethod
    def of(cls, source: Store, into: Path) -> StagingFolder:
        """Return the folder below `into` for copies of a store; one that lies there already is its own.

        Stores are told apart by where they are and by their format, and users by their number, since a scratch disk
        serves many of both. Raises UsageError when the store is gone.
        """
        into, location = into.resolve(), source.location.resolve()
        prefix = f"brainbrr-{os.geteuid()}-"
        if location.name == "store" and location.parent.parent == into and location.parent.name.startswith(prefix):
            return cls(location.parent)
        mark = files.read(Store.open(location).layout.mark, folders=0)
        return cls(into / f"{prefix}{xxh3_128(os.fsencode(location) + mark)[:16]}")

    @property
    def store(self) -> Path:
        """Where the copies are."""
        return self.path / "store"

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """Hold everybody else back who begins or ends to use the folder; makes it where it is not there.

        Raises UsageError for a folder of somebody else, or on a disk without locks.
        """
        with _locked(self.path / "gate", self._make):
            yield

    @contextlib.contextmanager
    def claim(self, content: str) -> Iterator[None]:
        """Be the only one that copies an object; whoever waits finds it done."""
        path = self.path / "claims" / content
        with _locked(path, lambda: path.parent.mkdir(exist_ok=True)):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def _make(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # private: what a data-use agreement protects is as protected here as where it came from
            self.path.mkdir(mode=0o700, exist_ok=True)
            found = self.path.lstat()
        except OSError as error:
            fix = "choose another folder for the copies"
            raise UsageError(
                f"nothing can be staged here: {error.strerror}", where=self.path.parent, fix=fix
            ) from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise UsageError("another user's folder, or a link, lies where the copies should", where=self.path)

    # The rest is for whoever holds the gate

    def lease(self, objects: Sizes) -> Lease:
        """Say that this process uses these objects, until it lets go or ends."""
        name = f"{os.getpid()}-{uuid.uuid4().hex}"
        path = self.path / "leases" / name
        path.parent.mkdir(exist_ok=True)
        said = {"pid": os.getpid(), "host": os.uname().nodename, "objects": dict(objects)}
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        files.write_all(descriptor, files.seal(said))
        return Lease(path, descriptor)

    def in_use(self) -> list[dict[str, int]]:
        """Return what each living process uses, this one too; leases of the dead are removed."""
        return [found for path in self._below("leases") if (found := _objects_of(path)) is not None]

    def sweep(self) -> None:
        """Remove what dead processes left half done. Only when nobody uses the folder."""
        for path in [*self._below("store/tmp"), *self._below("claims"), *self.path.glob("removed-*")]:
            _remove(path)

    def put_away(self) -> Path:
        """Return a new folder for what nobody shall see any more; remove it when the gate is open again."""
        path = self.path / f"removed-{uuid.uuid4().hex}"
        path.mkdir()
        return path

    def dissolve(self, away: Path) -> None:
        """Let the whole folder go, its gate last; whoever waits there makes it anew."""
        for path in (self.store, self.path / "leases", self.path / "claims"):
            with contextlib.suppress(FileNotFoundError):
                path.rename(away / path.name)
        (self.path / "gate").unlink()

    def _below(self, name: str) -> list[Path]:
        try:
            return list((self.path / name).iterdir())
        except FileNotFoundError:
            return []


class Lease:
    """What one process uses. Ends with release(), with the process, or with its death."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor, self._pid = path, descriptor, os.getpid()
        atexit.register(self.release)

    def release(self) -> None:
        """Let go; again does nothing, and nor does a forked child."""
        if self._descriptor < 0 or os.getpid() != self._pid:
            return
        atexit.unregister(self.release)
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


def remove_tree(path: Path) -> None:
    """Remove what was put away, and the folder around it where that has become empty."""
    _remove(path)
    with contextlib.suppress(OSError):  # others use it
        path.parent.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # another process may be at it too
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path, make: Callable[[], object]) -> Iterator[None]:
    """Hold the lock of a file that its holder may remove."""
    while True:
        make()
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:  # the folder was let go in between
            continue
        try:
            _lock(descriptor, path)
            if not _is_at(descriptor, path):
                continue
            try:
                yield
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone would not do where a forked child has it open
            return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise UsageError(
            f"this file system has no locks ({error.strerror})",
            where=path.parent,
            fix="choose a folder on a disk of this machine",
        ) from error


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _objects_of(path: Path) -> dict[str, int] | None:
    """Return what a lease says; None, and remove it, when nobody holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # let go just now
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(FileNotFoundError):
            return dict(files.unseal(files.read(path, limit=_MAX_LEASE_BYTES), where=path)["objects"])
        return None
    else:
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(descriptor)
