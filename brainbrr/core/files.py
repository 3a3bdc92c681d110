"""How files reach the disk and come back: written once, complete and durable; opened and read with bounds.

The only place that calls fsync and link. Knows nothing of what the files contain.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from brainbrr.core.failpoints import reach
from brainbrr.errors import IntegrityError, SpaceError, UsageError

MAX_JSON_BYTES = 1 << 24
READ_ONLY = 0o444


def exists(path: Path) -> bool:
    """Say whether a path exists, even as a dangling link. Raises OSError where that cannot be known."""
    try:
        os.lstat(path)  # not exists(), which follows links, nor lexists(), for which all trouble is absence
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_folder(path: Path) -> bool:
    """Say whether a folder, not a link to one, is at a path. Raises UsageError where that may not be known."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)  # not is_dir(), for which all trouble is absence
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise unreadable(path, error) from error


def leads_to_folder(path: Path) -> bool:
    """Say whether a folder, or a link to one, is at a path. Raises OSError where that cannot be known."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)  # not is_dir(), for which all trouble is absence
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False


def unreadable(folder: Path, error: OSError) -> UsageError:
    """Return the error for a folder of a store that may not be read."""
    what = f"a folder of the store cannot be read: {error.strerror}"
    return UsageError(what, where=folder, fix="ask its owner for permission to read it")


def refuse_link(folder: Path | str) -> None:
    """Raise IntegrityError where a link is in a folder's place: what is behind it is not the store's."""
    if stat.S_ISLNK(os.lstat(folder).st_mode):
        raise IntegrityError("a link is where a folder belongs", where=folder, fix="put the folder itself there")


def open_plain(path: Path, *, folders: int = 1, follow: bool = False) -> int:
    """Return a descriptor of a regular file, opened for reading.

    Links are not followed: not the file, nor the `folders` folders above it, the nearest first. Raises
    FileNotFoundError, and IntegrityError for a link, a folder or a device.
    `follow` them for a file that is not the store's. Then all that is raised is an OSError, also for what is no file.
    """
    if not follow:
        _refuse_links(path, folders)
    # O_NONBLOCK: opening a planted FIFO must not wait for a writer
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        if not follow and error.errno in (errno.ELOOP, errno.ENXIO):
            raise IntegrityError("a link or a device is where a file belongs", where=path) from None
        if not follow and error.errno == errno.ENOTDIR:
            raise FileNotFoundError(errno.ENOENT, error.strerror, str(path)) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if not follow:
        raise IntegrityError("this is not a regular file", where=path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))


def _refuse_links(path: Path, folders: int) -> None:
    folder = os.fspath(path)
    try:
        for _ in range(folders):
            folder = os.path.dirname(folder)  # noqa: PTH120  # a third of the time of Path.parent
            refuse_link(folder)
    except NotADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, error.strerror, str(path)) from None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name into errors of calls on its descriptor, which name none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def read(path: Path, *, limit: int = MAX_JSON_BYTES, folders: int = 1) -> bytes:
    """Return a file's bytes. Raises FileNotFoundError, and IntegrityError above `limit` or for a link."""
    with naming(path), os.fdopen(open_plain(path, folders=folders), "rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if n_bytes > limit:
            raise IntegrityError(f"{n_bytes:,} bytes, where at most {limit:,} are expected", where=path)
        return file.read(n_bytes + 1)  # not of the limit: as much would be set aside


def write(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a new file, durable before this returns; its name is durable after its folder's fsync."""
    with path.open("xb", buffering=0) as file:
        write_all(file.fileno(), data)
        finish(file.fileno(), durable=durable)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of `path` at the end: a reader, or a crash, sees the old or the new one.

    `mode`: of the file, less the umask. Not `durable`: a power cut may leave an empty file. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with naming(path), open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def replace(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """Write a file, or replace its bytes, as `replacing` does."""
    with replacing(path, durable=durable, mode=mode) as file:
        file.write(data)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte; a short write (a signal, a nearly full disk) goes on until done or refused."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def finish(descriptor: int, *, durable: bool = True) -> None:
    """Make a written file read-only and durable."""
    os.fchmod(descriptor, READ_ONLY)
    if durable and not _later.takes():
        os.fsync(descriptor)


def make_folder(folder: Path, mode: int | None = None) -> None:
    """Make a folder and those above it that lack; `mode`: of each, whatever the umask says.

    One of ours that is there gets its mode: its maker may have died before that.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        if mode is not None:
            facts = folder.lstat()
            if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and stat.S_IMODE(facts.st_mode) != mode:
                folder.chmod(mode)
        return
    except FileNotFoundError:
        make_folder(folder.parent, mode)
        make_folder(folder, mode)
        return
    if mode is not None:
        folder.chmod(mode)
    reach("folder made")


def sync_folder(folder: Path) -> None:
    """Make a folder's names durable."""
    if _later.takes():
        return
    with opened_folder(folder) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def opened_folder(folder: Path) -> Iterator[int]:
    """Yield a descriptor of a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Later(threading.local):
    is_on = owes = False

    def takes(self) -> bool:
        self.owes |= self.is_on
        return self.is_on


_later = _Later()


def syncs_later() -> bool:
    """Say whether this thread is in `synced_later`."""
    return _later.is_on


@contextlib.contextmanager
def synced_later(folder: Path) -> Iterator[Callable[[], None]]:
    """Leave out each sync of this thread meanwhile; yield what makes up for them by one call. It raises OSError.

    That call makes everything durable that was written to the folder's file system, and named on it.
    """

    def sync() -> None:
        if _later.owes:
            with opened_folder(folder) as descriptor, naming(folder):
                syncfs(descriptor)
            _later.owes = False

    _later.is_on, _later.owes = True, False
    try:
        yield sync
    finally:
        _later.is_on = False


def syncfs(descriptor: int) -> None:
    """Call syncfs(2), which Python's `os` lacks. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(descriptor):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def link(temporary: Path, path: Path) -> bool:
    """Give a file a second name; return False when something else has it already."""
    try:
        os.link(temporary, path)
        reach("file linked")
    except FileExistsError:
        # NFS may repeat a request whose answer was lost: then what is there is ours
        return os.path.samestat(os.lstat(temporary), os.lstat(path))
    return True


OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
"""What the rename of a folder fails with where something has its place already."""


def rename_folder(folder: Path, place: Path) -> bool:
    """Give a folder its place, whole at once; return False when something that is not empty has it already."""
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno not in OCCUPIED:
            raise
        return False
    return True


def publish(temporary: Path, path: Path, data: bytes, *, durable: bool = True, is_written: bool = False) -> bool:
    """Make `data` appear under `path`, whole, durable and once; return False when something is there already.

    Not `durable`: a power cut may leave an empty file or none. For what can be made again. `is_written`: the temporary
    file has the data.
    """
    for last in (False, False, True):
        if not is_written:
            write(temporary, data, durable=durable)
        is_written = False
        reach("file written")
        try:
            ours = link(temporary, path)
            break
        except FileNotFoundError:
            if last or exists(temporary):
                raise  # else something else removed it: it is written again
        finally:
            temporary.unlink(missing_ok=True)
    reach("file unlinked")
    if durable:
        sync_folder(path.parent)  # also when it is another's: who finds it there may count on it
        reach("file durable")
    return ours


_SPACE = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


RESERVE_BYTES, RESERVE_INODES = 1 << 23, 8
"""What is left free for the catalog, that tells what was done; on a small disk a 64th of it."""


def check_space(location: Path, *, n_bytes: int, n_inodes: int) -> None:
    """Raise SpaceError unless so much is free, and a reserve for the catalog. Other writers and quotas are not seen."""
    disk = os.statvfs(location)
    n_bytes += min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize >> 6)
    needs = [(n_bytes, disk.f_bavail * disk.f_frsize, "bytes")]
    if disk.f_files:  # 0: a file system that does not count them
        needs.append((n_inodes + min(RESERVE_INODES, disk.f_files >> 6), disk.f_favail, "inodes"))
    for needed, free, what in needs:
        if needed > free:
            raise SpaceError(
                f"{needed:,} {what} are needed and {free:,} are free",
                where=location,
                fix=f"free at least {needed - free:,} {what} and run the same command again, or choose a smaller "
                "--profile, or another --store",
            )


SMALL_BYTES = 1 << 16
"""What a few folders and small files take on any disk, generously: no message asks to free less."""


@contextlib.contextmanager
def writing(location: Path, *, n_bytes: int, what: str = "the store", option: str = "--store") -> Iterator[None]:
    """Say SpaceError when the disk is full, and UsageError when it may not be written, with the option for another."""
    try:
        with naming(location):
            yield
    except OSError as error:
        if error.errno in _SPACE:
            disk, n_bytes = os.statvfs(location), max(n_bytes, SMALL_BYTES)
            raise SpaceError(
                f"{n_bytes:,} bytes were needed; "
                f"{disk.f_bavail * disk.f_frsize:,} bytes and {disk.f_favail:,} inodes are free ({error.strerror})",
                where=location,
                fix=f"free at least {n_bytes:,} bytes, or choose another {option}; then run the same command again",
            ) from error
        if error.errno in _DENIED:
            raise UsageError(
                f"{what} cannot be written: {error.strerror}",
                where=error.filename or location,
                fix=f"choose another {option}, or ask its owner; reading needs no permission to write",
            ) from error
        raise
