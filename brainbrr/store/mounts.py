"""Whether a file lies on a disk of this machine or behind a network: what that decides is how it is read.

A mapped file that a server takes away kills the process (SIGBUS), where read() gives an error. Knows no store.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

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


def _mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
