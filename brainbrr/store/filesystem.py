"""Check a file system: whether its files may be mapped, and whether it can hold a store.

A mapped file that a server takes away kills the process (SIGBUS), where read() raises an error; so only files of local
disks are mapped. Each operation that the write order relies on is tried once. Knows no store.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from brainbrr.core import files
from brainbrr.errors import UsageError

# fmt: off
_LOCAL = frozenset((
    "apfs", "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfsplus", "iso9660",
    "jfs", "nilfs2", "ntfs3", "overlay", "ramfs", "reiserfs", "squashfs", "tmpfs", "udf", "vfat", "xfs", "zfs",
))
# fmt: on
"""What is named here is mapped. All else (nfs, cifs, lustre, gpfs, beegfs, ceph, 9p, fuse.*, unheard-of) is read."""

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")

_known: dict[int, bool] = {}  # by device: a store has one, and this is asked for each of its shards


def is_local(device: int, path: Path) -> bool:
    """Say whether a file of this st_dev may be mapped: True on local file systems, and where Linux does not tell."""
    found = _known.get(device)
    if found is None:
        found = _known[device] = sys.platform != "linux" or kind_of(_mounts(), device, path.resolve()) in _LOCAL
    return found


def kind_at(path: Path) -> str | None:
    """Return the type of the file system that a path is on, None where Linux does not tell."""
    return kind_of(_mounts(), path.stat().st_dev, path.resolve())


def kind_of(mounts: str, device: int, path: Path) -> str | None:
    """Return the type of the file system of a device, as proc_pid_mountinfo(5) lists it; None when it is not there.

    btrfs and overlay give files a device of their own, which is not listed: then the deepest mount above `path` counts.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    deepest, kind = -1, None
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        words, name = mount.split(), source.split(" ", 1)[0]
        if len(words) < 5 or not name:
            continue
        if words[2] == number:
            return name
        point = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), words[4]))
        if len(point.parts) >= deepest and path.is_relative_to(point):  # as deep: the later mount hides the earlier
            deepest, kind = len(point.parts), name
    return kind


_SYNCED = frozenset(("btrfs", "ext2", "ext3", "ext4", "f2fs", "nfs", "nfs4", "overlay", "tmpfs", "xfs"))
"""Where syncfs(2) waits for all data and names. Others, such as FUSE, may not pass it on to what keeps the files."""


def syncs_together(folder: Path) -> bool:
    """Say whether one call makes everything on a folder's file system durable, and says what it could not write."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if sys.platform != "linux" or release is None or (int(release[1]), int(release[2])) < (5, 8):  # says no errors
        return False
    return kind_at(folder) in _SYNCED


def _mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


_LACKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV, errno.ENOTTY)
"""How a file system says that it cannot do something. All else (full, denied, gone) is another trouble."""
_FIX = "choose a --store on a POSIX file system (ext4, xfs, btrfs, NFS, Lustre, ...)"


def probe(folder: Path, *, folder_mode: int) -> None:
    """Try out what a store needs in a new folder, which is gone afterwards; `folder_mode`: of the store's folders.

    Raises UsageError naming the first thing that the file system cannot do, and OSError for other trouble.
    """
    steps: list[tuple[str, Callable[[Path], bool]]] = [
        ("it cannot write and flush small files", _writes),
        ("it does not keep the mode of files", _keeps_file_mode),
        (f"it does not keep the mode {folder_mode:04o} of folders", lambda at: _keeps_folder_mode(at, folder_mode)),
        ("it creates a file that is there already", _creates_exclusively),
        ("it has no hard links", _links),
        ("it links over a file that is there already", _links_exclusively),
        ("it cannot rename folders", _renames_folders),
        ("it renames a folder over one that is not empty", _keeps_full_folders),
        ("it cannot flush folders to the disk", _flushes_folders),
    ]
    folder.mkdir()
    try:
        for lack, works in steps:
            try:
                why = "" if works(folder) else "tried, and looked at what came of it"
            except OSError as error:
                if error.errno not in _LACKS:
                    raise
                why = error.strerror or type(error).__name__
            if why:
                raise UsageError(f"this file system cannot hold a store: {lack} ({why})", where=folder.parent, fix=_FIX)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _writes(at: Path) -> bool:
    files.write(at / "a", b"brainbrr")
    return files.read(at / "a") == b"brainbrr"


def _keeps_file_mode(at: Path) -> bool:
    return stat.S_IMODE((at / "a").stat().st_mode) == files.READ_ONLY


def _keeps_folder_mode(at: Path, mode: int) -> bool:
    files.make_folder(at / "folder", mode)
    return stat.S_IMODE((at / "folder").stat().st_mode) == mode


def _creates_exclusively(at: Path) -> bool:
    return not _can(lambda: os.close(os.open(at / "a", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)), errno.EEXIST)


def _links(at: Path) -> bool:
    os.link(at / "a", at / "b")
    facts = (at / "b").stat()
    return facts.st_nlink == 2 and os.path.samestat(facts, (at / "a").stat())


def _links_exclusively(at: Path) -> bool:
    files.write(at / "c", b"another", durable=False)
    return not _can(lambda: os.link(at / "c", at / "b"), errno.EEXIST) and files.read(at / "b") == b"brainbrr"


def _renames_folders(at: Path) -> bool:
    (at / "new").mkdir()
    (at / "new" / "inside").touch()
    (at / "new").rename(at / "folder" / "object")
    return (at / "folder" / "object" / "inside").exists() and not (at / "new").exists()


def _keeps_full_folders(at: Path) -> bool:
    (at / "late").mkdir()
    onto = at / "folder" / "object"
    return not _can(lambda: (at / "late").rename(onto), errno.ENOTEMPTY, errno.EEXIST) and (onto / "inside").exists()


def _flushes_folders(at: Path) -> bool:
    files.sync_folder(at / "folder")
    return True


def _can(action: Callable[[], object], *refusals: int) -> bool:
    try:
        action()
    except OSError as error:
        if error.errno not in refusals:
            raise
        return False
    return True
