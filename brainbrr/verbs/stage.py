"""`train --stage DIR`: a view's objects copied to a disk of this node, and the view that reads them there.

For Lustre and NFS. The copies are an ordinary store; running the same again copies only what is missing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainbrr.errors import IntegrityError, SpaceError, UsageError, ViewNotReadyError
from brainbrr.progress import Progress, Silent
from brainbrr.store import staged_copies as copies
from brainbrr.store.records import Record
from brainbrr.store.shard_files import MEND
from brainbrr.store.store import Store
from brainbrr.verbs.staging_folder import Lease, Sizes, StagingFolder, remove_tree
from brainbrr.views import View

Objects = Mapping[str, Sequence[Record]]
"""Contents with their records: what reading a view again from its frozen form needs beside the objects."""

_THREADS = 4  # two wait for the source while two prove what came
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
    """None while nobody asked for it."""
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
        """Say that nobody reads the copies any more. They stay, for the next one."""
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
            self.n_removed = sum(copies.take_out(self.store, content, away) for content in sorted(loose))
            for record in (record for content in loose for record in self._objects[content]):
                self.store.layout.record(record.key).unlink(missing_ok=True)
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

    Every copy is proven against its content before it appears; one that is there already has its checksums proven,
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
        target = Store.create(folder.store, codec=source.codec)
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
    """Return the bytes of each object; the source is asked only for what the target lacks."""
    sizes = {}
    for content in contents:
        sizes[content] = (target.object_bytes(content) if target else 0) or source.object_bytes(content)
        if not sizes[content]:
            raise IntegrityError("the object is not there", where=source.layout.object(content), fix=MEND)
    return sizes


def _check_room(
    wanted: Sizes, present: Sizes, others: Sequence[Sizes], limit_bytes: int | None, folder: StagingFolder
) -> None:
    """Raise SpaceError unless what is wanted fits, beside what lies there and what others are about to copy."""
    missing: dict[str, int] = {}
    for sizes in (*others, wanted):
        missing.update({content: n_bytes for content, n_bytes in sizes.items() if content not in present})
    to_copy, all_bytes = sum(missing.values()), sum(missing.values()) + sum(present.values())
    takes = f"staging needs {sum(wanted.values()):,} bytes; {to_copy:,} of this and other jobs are still to be copied"
    if limit_bytes is not None and all_bytes > limit_bytes:
        raise SpaceError(
            f"{takes}, and {all_bytes:,} would then lie there, where {limit_bytes:,} may",
            where=folder.path,
            fix=f"raise --stage-bytes to {all_bytes}, take a smaller profile, or remove what lies there unused",
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
            n_bytes = 0 if copies.is_copied(target, content) else copies.copy_object(source, target, content)
        for record in objects[content]:
            copies.copy_record(record, target)
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
