"""Who may read a folder, and folders and files that are no more readable than another one.

Knows modes, groups and whether there is an access control list. Leaves out owners and root, who may open anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

PRIVATE = 0o700
_GROUP, _OTHERS = 0o070, 0o007
_MASKS = (0o777, 0o770)
_ACL = "system.posix_acl_"
_MAX_GROUPS = 8  # more are not compared: each doubles the cases


@dataclass(frozen=True)
class Guard:
    """What one folder asks of those who pass it: its mode, its group, and whether it has an access control list."""

    mode: int
    group: int
    has_acl: bool = False

    @classmethod
    def of(cls, folder: Path) -> Guard:
        """Return what a folder asks; links are followed. Raises OSError."""
        facts = folder.stat()
        return cls(stat.S_IMODE(facts.st_mode), facts.st_gid, _has_acl(folder))

    def bits(self, groups: frozenset[int]) -> int:
        """Return the bits (rwx) of a user who is in these groups and not the owner."""
        return self.mode >> 3 & 7 if self.group in groups else self.mode & 7


OWNER_ONLY = (Guard(PRIVATE, -1),)
"""A path that only its owner may read."""


def guards(folder: Path) -> tuple[Guard, ...]:
    """Return what a folder and all its parents ask, the folder first. Raises OSError."""
    real = folder.resolve(strict=True)
    return tuple(Guard.of(each) for each in (real, *real.parents))


def opens_more(guard: Guard, than: Sequence[Guard]) -> bool:
    """Say whether a folder lets in a user whom a path (the folder first, then its parents) keeps out."""
    mode = guard.mode | (_GROUP | _OTHERS if guard.has_acl else 0)  # a list may name anybody
    if not mode & (_GROUP | _OTHERS):
        return False
    known = {guard.group, *(each.group for each in than)}
    if len(known) > _MAX_GROUPS or any(each.has_acl for each in than):
        return True
    opened = Guard(mode, guard.group)
    return any(opened.bits(groups) and not _may_read(than, groups) for groups in _subsets(known))


def allowed(group: int, within: Sequence[Guard]) -> int:
    """Return the widest mask of permissions for something of this group that opens no more than a path."""
    return next((mask for mask in _MASKS if not opens_more(Guard(mask, group), within)), PRIVATE)


def narrow(path: Path, within: Sequence[Guard]) -> None:
    """Take away from a file or folder of ours what opens more than a path. Raises OSError."""
    facts = path.stat()
    mode = stat.S_IMODE(facts.st_mode)
    narrowed = mode & (allowed(facts.st_gid, within) | ~0o777)
    if narrowed != mode or _has_acl(path):  # chmod narrows a list too
        path.chmod(narrowed)


def make_folder(folder: Path, within: Sequence[Guard]) -> None:
    """Make a folder and its missing parents as the umask says, but none that opens more than a path. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=PRIVATE | allowed(_group_in(each.parent), within), exist_ok=True)
        narrow(each, within)  # its group may be another one than foreseen


def file_mode(folder: Path, within: Sequence[Guard]) -> int:
    """Return the mode of a new file in a folder that opens no more than a path; the umask takes from it."""
    return 0o666 & (PRIVATE | allowed(_group_in(folder), within))


def write_file(path: Path, data: bytes, within: Sequence[Guard]) -> None:
    """Write a file, or replace its bytes; it opens no more than a path. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, file_mode(path.parent, within))
    with os.fdopen(descriptor, "wb") as file:
        narrow(path, within)  # it may have been there, readable for more
        file.truncate()
        file.write(data)


def owner_name(path: Path) -> str:
    """Return the user whom a file belongs to, by name where there is one. Raises OSError."""
    try:
        return path.owner()
    except (KeyError, NotImplementedError):  # a container's user without a name, or a system without names
        return str(path.stat().st_uid)


def _group_in(folder: Path) -> int:
    """Return the group that what is made in a folder gets."""
    facts = folder.stat()
    return facts.st_gid if facts.st_mode & stat.S_ISGID else os.getegid()


def _may_read(path: Sequence[Guard], groups: frozenset[int]) -> bool:
    return path[0].bits(groups) & 5 == 5 and all(each.bits(groups) & 1 for each in path[1:])


def _subsets(known: set[int]) -> Iterator[frozenset[int]]:
    for n in range(len(known) + 1):
        yield from map(frozenset, combinations(sorted(known), n))


def _has_acl(folder: Path) -> bool:
    try:
        return any(name.startswith(_ACL) for name in os.listxattr(folder))
    except (AttributeError, OSError):  # not Linux, or a file system without attributes
        return False
