"""`train --stage DIR`: a view's objects copied to a disk of this node, and the view that reads them there.

For Lustre and NFS. The copies are an ordinary store; running the same again copies only what is missing.

Whose copies lie on a node's scratch disk: a folder for each store and user, and a lease for each process that reads.

A lease is a file that its process holds locked: the kernel lets go of it when the process dies, however it dies, so
no process has to guess which others are alive. Knows nothing of views.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import random
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainbrr.core import files, models
from brainbrr.core.access import Guard
from brainbrr.core.digest import xxh3_128
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import IntegrityError, SpaceError, UsageError, ViewNotReadyError
from brainbrr.store import copy as copies
from brainbrr.store.reader import RESTORE
from brainbrr.store.records import Record
from brainbrr.store.send import send_object
from brainbrr.store.store import Store
from brainbrr.views.view import View

Sizes = Mapping[str, int]
"""Bytes of objects, by content."""

_MAX_LEASE_BYTES = 1 << 30


@dataclass(frozen=True)
class StagingFolder:
    """`store/` is an ordinary store; `leases/` says who reads what of it; `gate` is locked while that is decided."""

    path: Path

    @classmethod
    def of(cls, source: Store, into: Path) -> StagingFolder:
        """Return the folder below `into` for copies of a store; one that is there already is its own.

        Stores differ by where they are and by their format, and users by their number, since a scratch disk
        serves many of both. Raises UsageError when the store is gone.
        """
        into, location = into.resolve(), source.location.resolve()
        prefix = f"brainbrr-{os.geteuid()}-"
        if location.name == "store" and location.parent.parent == into and location.parent.name.startswith(prefix):
            return cls(location.parent)
        mark = Store.open(location).mark
        return cls(into / f"{prefix}{xxh3_128(os.fsencode(location) + mark)[:16]}")

    @property
    def store(self) -> Path:
        """Where the copies are."""
        return self.path / "store"

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """Hold everybody else back who begins or ends to use the folder; makes it where it is not there.

        Raises UsageError for a folder of another user, or on a disk without locks.
        """
        with _locked(self.path / "gate", self._make):
            yield

    @contextlib.contextmanager
    def claim(self, content: str) -> Iterator[None]:
        """Be the only one that copies an object; those that wait find it done."""
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
            raise UsageError("another user's folder, or a link, is where the copies should be", where=self.path)

    # The rest is for the holder of the gate

    def lease(self, objects: Sizes) -> Lease:
        """Say that this process uses these objects, until it lets go or ends."""
        name = f"{os.getpid()}-{uuid.uuid4().hex}"
        path = self.path / "leases" / name
        path.parent.mkdir(exist_ok=True)
        fields = {"pid": os.getpid(), "host": os.uname().nodename, "objects": dict(objects)}
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        files.write_all(descriptor, models.to_checksummed(fields))
        return Lease(path, descriptor)

    def in_use(self) -> list[dict[str, int]]:
        """Return what each living process uses, this one too; leases of the dead are removed."""
        return [found for path in self._below("leases") if (found := _objects_of(path)) is not None]

    def sweep(self) -> None:
        """Remove what dead processes left half done. Only while no process uses the folder."""
        for path in [*self._below("store/tmp"), *self._below("claims"), *self.path.glob("removed-*")]:
            _remove(path)

    def drafts(self) -> list[Path]:
        """Return what is being copied, or was when its process died."""
        return self._below("store/tmp")

    def put_away(self) -> Path:
        """Return a new folder for what shall not be seen any more; remove it when the gate is open again."""
        path = self.path / f"removed-{uuid.uuid4().hex}"
        path.mkdir()
        return path

    def dissolve(self, away: Path) -> None:
        """Let the whole folder go, its gate last; those that wait there make it again."""
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
    """Return the fields of a lease; None, and remove it, where no process holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # let go just now
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(FileNotFoundError):
            return dict(models.from_checksummed(files.read(path, limit=_MAX_LEASE_BYTES), where=path)["objects"])
        return None
    else:
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(descriptor)


Objects = Mapping[str, Sequence[Record]]
"""Contents with their records: what reading a view again from its frozen form needs beside the objects."""

_THREADS = 4  # two wait for the source while two verify what came
_SMALL_BYTES = 1 << 14
"""What an object takes beside its samples: folder, zarr.json and record, each a block or two."""


@dataclass(frozen=True)
class StageOptions:
    """Where to stage, how many bytes may lie there, and whether to remove the copies after use."""

    into: Path
    limit_bytes: int | None = None
    clean: bool = False


@dataclass
class Staged:
    """Objects copied to this node, and the view that reads them, if there was one.

    They are leased until release(), remove(), or the end of the process.
    """

    store: Store
    source: Path
    n_copied: int
    n_reused: int
    bytes_copied: int
    bytes_reused: int
    seconds: float
    n_removed: int | None = None
    """None until it is requested."""
    _objects: Objects = field(repr=False, kw_only=True)
    _folder: StagingFolder = field(repr=False, kw_only=True)
    _lease: Lease = field(repr=False, kw_only=True)
    _view: View | None = field(default=None, repr=False, kw_only=True)

    @property
    def view(self) -> View:
        """The view that was staged, over its copies. Raises UsageError where only objects were."""
        if self._view is None:
            raise UsageError("objects were staged, and no view", where=self.location)
        return self._view

    @property
    def location(self) -> Path:
        """The store of the copies."""
        return self.store.location

    @property
    def n_bytes(self) -> int:
        """Bytes of the objects, copied now or before."""
        return self.bytes_copied + self.bytes_reused

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        names = ("n_copied", "n_reused", "bytes_copied", "bytes_reused", "n_removed")
        return {
            "location": str(self.location),
            "source": str(self.source),
            **{name: getattr(self, name) for name in names},
            "seconds": round(self.seconds, 3),
        }

    def release(self) -> None:
        """Release the copies: this process reads them no more. They stay, for the next one."""
        self._lease.release()

    def remove(self) -> int:
        """Remove the copies but those that another living process uses; return how many objects that were.

        The folder goes too when nothing is left in it. Nothing can be read here afterwards.
        """
        folder = self._folder
        with folder.gate():
            self._lease.release()
            in_use = folder.in_use()
            away = folder.put_away()
            loose = self._objects.keys() - {content for sizes in in_use for content in sizes}
            self.n_removed = sum(
                copies.take_out(self.store, content, away, records=self._objects[content]) for content in sorted(loose)
            )
            if not in_use and next(self.store.contents(), None) is None:
                folder.dissolve(away)
        remove_tree(away)
        return self.n_removed


def stage(view: View, into: Path, **options: Any) -> Staged:
    """Copy what a view reads below `into`; `.view` of the result reads it there, and its digest is the same.

    Options and errors as of stage_objects(); raises ViewNotReadyError for a view without a digest.
    """
    if view.digest is None:
        raise ViewNotReadyError(f"the view is {view.state}: it cannot be staged", fix="ingest the corpus first")
    objects: dict[str, list[Record]] = {}
    for recording in view.recordings:  # two keys may share one content
        objects.setdefault(recording.content, []).append(recording.record)
    found = stage_objects(view.store, objects, into, **options)
    return replace(found, _view=view.over(found.store))


def stage_objects(
    source: Store,
    objects: Objects,
    into: Path,
    *,
    limit_bytes: int | None = None,
    n_threads: int = _THREADS,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> Staged:
    """Copy objects of a store, by content, with those of their records that are given, into a store below `into`.

    Every copy is verified against its content before it appears; one that is there already has its checksums verified,
    and is copied again when it is damaged. `limit_bytes`: how many bytes of this store's objects may lie there.
    Raises SpaceError before anything is copied, IntegrityError for an original that is damaged or gone, UsageError
    for a folder that cannot be used. What was copied until then stays, and the next time goes on.
    """
    began = time.monotonic()
    folder = StagingFolder.of(source, into)
    if not folder.path.exists():  # before the first folder is made
        _check_room(_sizes(source, None, objects), {}, [], limit_bytes, folder)
    with folder.gate():
        others = folder.in_use()
        if not others:
            folder.sweep()
        target = Store.create(folder.store, codec=source.codec, within=(Guard.of(source.location),))
        sizes = _sizes(source, target, objects)
        _check_room(sizes, {c: target.object_bytes(c) for c in target.contents()}, others, limit_bytes, folder)
        lease = folder.lease(sizes)
    try:
        copied = _copy_all(source, target, folder, objects, sizes, n_threads, progress)
    except BaseException as error:
        lease.release()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(folder, f"the disk became full ({error.strerror})", sum(sizes.values())) from error
        raise
    return Staged(
        store=target,
        source=source.location,
        n_copied=len(copied),
        n_reused=len(sizes) - len(copied),
        bytes_copied=sum(copied.values()),
        bytes_reused=sum(n_bytes for content, n_bytes in sizes.items() if content not in copied),
        seconds=time.monotonic() - began,
        _objects=objects,
        _folder=folder,
        _lease=lease,
    )


def remove_deleted(source: Store, into: Path) -> tuple[str, ...]:
    """Remove the copies below `into` of what a store has no more; return those that stay, each with the reason.

    On this node only. Raises UsageError for a folder of another user.
    """
    folder = StagingFolder.of(source, into)
    if not folder.path.exists():
        return ()
    with folder.gate():
        in_use = folder.in_use()
        if not in_use:
            folder.sweep()
        target = Store.open_if_there(folder.store)
        here = set(target.contents()) if target else set()
        gone = {content for content in here if not source.has("object", content)}
        used = gone & {content for sizes in in_use for content in sizes}
        away = folder.put_away()
        if target is not None:
            records = list(target.records())
            for content in gone - used:
                copies.take_out(target, content, away, records=[r for r in records if r.content == content])
        if not in_use and here == gone:
            folder.dissolve(away)
    remove_tree(away)
    unproven = {f"{folder.store}: a running process reads the copy of {content[:12]}" for content in used}
    if in_use and folder.path.exists():
        unproven |= {f"{path}: a running process stages copies" for path in folder.drafts()}
    return tuple(sorted(unproven))


@contextlib.contextmanager
def staged(view: View, options: StageOptions, progress: Progress) -> Iterator[Staged]:
    """Stage a view for as long as the block runs, and clean up as the options say, also after an error.

    A copy that turns out damaged while it is read is an IntegrityError whose fix is to run the same again.
    """
    found = stage(view, options.into, limit_bytes=options.limit_bytes, progress=progress)
    try:
        yield found
    except IntegrityError as error:
        if str(found.location) not in (error.where or ""):
            raise
        fix = "run the same again: the copy is replaced; if that happens often, this disk cannot be trusted"
        raise IntegrityError(f"a staged copy: {error.what}", where=error.where, fix=fix) from error
    finally:
        if options.clean:
            found.remove()
        else:
            found.release()


def _sizes(source: Store, target: Store | None, contents: Iterable[str]) -> dict[str, int]:
    """Return the bytes of each object; the source is read only for what the target lacks."""
    sizes = {}
    for content in contents:
        sizes[content] = (target.object_bytes(content) if target else 0) or source.object_bytes(content)
        if not sizes[content]:
            raise IntegrityError("the object is not there", where=source.path_of("object", content), fix=RESTORE)
    return sizes


def _check_room(
    wanted: Sizes, present: Sizes, others: Sequence[Sizes], limit_bytes: int | None, folder: StagingFolder
) -> None:
    """Raise SpaceError unless what is wanted fits, beside what is there and what others are about to copy."""
    missing: dict[str, int] = {}
    for sizes in (*others, wanted):
        missing.update({content: n_bytes for content, n_bytes in sizes.items() if content not in present})
    to_copy, all_bytes = sum(missing.values()), sum(missing.values()) + sum(present.values())
    takes = f"staging needs {sum(wanted.values()):,} bytes; {to_copy:,} of this and other jobs are still to be copied"
    if limit_bytes is not None and all_bytes > limit_bytes:
        raise SpaceError(
            f"{takes}, and {all_bytes:,} would then lie there, where {limit_bytes:,} may",
            where=folder.path,
            fix=f"raise --stage-bytes to {all_bytes}, take a smaller profile, or remove what is there unused",
        )
    disk = os.statvfs(next(path for path in (folder.path, *folder.path.parents) if path.exists()))
    n_bytes = to_copy + _SMALL_BYTES * len(missing)
    if missing and n_bytes > disk.f_bavail * disk.f_frsize:
        raise _full(folder, takes, n_bytes)
    n_inodes = 4 * len(missing)
    if disk.f_files and n_inodes > disk.f_favail:  # btrfs counts none
        raise SpaceError(
            f"staging needs {n_inodes:,} inodes, where {disk.f_favail:,} are free",
            where=folder.path,
            fix="remove files there, or choose another --stage",
        )


def _full(folder: StagingFolder, what: str, n_bytes: int) -> SpaceError:
    disk = os.statvfs(next(path for path in (folder.path, *folder.path.parents) if path.exists()))
    return SpaceError(
        f"{what}, where {disk.f_bavail * disk.f_frsize:,} bytes are free",
        where=folder.path,
        fix=f"free at least {n_bytes:,} bytes there, or choose another --stage; then run the same again",
    )


def _copy_all(
    source: Store,
    target: Store,
    folder: StagingFolder,
    objects: Objects,
    sizes: Sizes,
    n_threads: int,
    progress: Progress,
) -> dict[str, int]:
    """Make every object be there, and return the bytes of those that were copied. The first failure ends it."""
    contents = list(objects)
    random.shuffle(contents)  # jobs that begin together then share the work instead of waiting for each other

    def one(content: str) -> int:
        with folder.claim(content):
            if records := objects[content]:
                n_bytes = send_object(source, target, records[0], durable=False)
            else:
                n_bytes = copies.copy_object(source, target, content, durable=False)
        for record in records:
            copies.stage_record(record, target)
        return n_bytes

    copied = {}
    progress.start("staging", sum(sizes.values()), "B")
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="brainbrr-stage")
    try:
        waiting = {pool.submit(one, content): content for content in contents}
        for done in as_completed(waiting):
            content = waiting[done]
            if n_bytes := done.result():
                copied[content] = n_bytes
            progress.advance(sizes[content])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        progress.stop()
    return copied
