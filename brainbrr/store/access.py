"""Who may read and write a store: as its first corpus allows, or as `init --group` and `init --public` chose.

Owns access.json, which keeps that choice. Reasons: docs/decisions/0025-permissions.md.
"""

from __future__ import annotations

import grp
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from brainbrr.core import access, files, models
from brainbrr.core.access import Guard
from brainbrr.errors import AccessError, Fix, IntegrityError, UsageError
from brainbrr.store import sidecars
from brainbrr.store.layout import Layout
from brainbrr.store.sidecars import SmallFile

GROUP_MODE, GROUP_PUBLIC_MODE, PUBLIC_MODE = 0o2770, 0o2775, 0o755
"""Folders that a group writes, and others do not see or may read; folders of one's own that all others may read.

2: what is made in them has their group.
"""


class ChosenAccess(SmallFile):
    """What `init` was asked for, when and by whom."""

    kind: Literal["access"] = "access"
    mode: int
    group: int
    created: str
    by: str


@dataclass(frozen=True)
class Access:
    """Who may read and write a store, whatever the umask of those who write: the mode and group of its folders."""

    mode: int
    group: int | None
    """None: that which a new folder gets."""


def access_of(layout: Layout) -> Access:
    """Return a store's access: that of its own folder."""
    return Access(layout.folder_mode, layout.root.stat().st_gid)


def _group_of(layout: Layout) -> int:
    return layout.root.stat().st_gid


def give(root: Path, chosen: Access) -> None:
    """Give the folder of a new store its access. Raises UsageError where that is not ours to give."""
    try:
        if chosen.group is not None:
            os.chown(root, -1, chosen.group)
        root.chmod(chosen.mode)
    except PermissionError as error:
        raise UsageError(
            f"the store's folder cannot be given to group {chosen.group}: {error.strerror}",
            where=root,
            fix="it must be yours, and you must be in the group: `id` says in which ones you are",
        ) from None


def require(layout: Layout, asked: Access) -> None:
    """Raise UsageError unless an existing store has this access."""
    found, path = access_of(layout), shlex.quote(str(layout.root))
    group = found.group if asked.group is None else asked.group
    if found != Access(asked.mode, group):
        raise UsageError(
            f"this store's folders have mode {found.mode:04o} and group {found.group}, "
            f"not {asked.mode:04o} and {group}; what is in it belongs to those who wrote it",
            where=layout.root,
            fix=f"its owner, or root: chgrp -R {group} {path} && "
            f"find {path} -type d -exec chmod {asked.mode:04o} {{}} +",
        )


def choose(layout: Layout) -> None:
    """Keep the store's present access as chosen, in place of an earlier choice."""
    now = access_of(layout)
    try:
        if chosen(layout) == now:
            return
    except IntegrityError:
        pass
    content = ChosenAccess(mode=now.mode, group=_group_of(layout), created=sidecars.now(), by=sidecars.user_and_host())
    with files.writing(layout.root, n_bytes=files.SMALL_BYTES), layout.scratch() as temporary:
        files.write(temporary, models.to_checksummed(content.to_json()))
        temporary.replace(layout.access)
        files.sync_folder(layout.root)


def chosen(layout: Layout) -> Access | None:
    """Return the access that `init` was asked for, None where it was not. Raises IntegrityError for a damaged file."""
    try:
        data = files.read(layout.access, limit=1 << 12, folders=0)
    except FileNotFoundError:
        return None
    fields = models.from_checksummed(data, where=layout.access)
    models.check_format(fields, 1, kind="a file", where=layout.access)
    found = models.parse(ChosenAccess, fields, where=layout.access)
    return Access(found.mode, found.group)


def require_narrower(root: Path, folder: Path) -> str | None:
    """Raise AccessError where a store lets in more people than a corpus's folder, and `init` was not asked for that.

    Where it was, return a sentence that says who may read the corpus from now on; None where no new user may.
    """
    store, corpus = Guard.of(root), access.guards(folder)
    if not access.opens_more(store, corpus):
        return None
    if _was_chosen(Layout(root), store):
        return f"{_readers(store)} may read this store, so also what is stored of {folder}, which fewer may read"
    closed = store.mode & (access.allowed(store.group, corpus) | ~0o777)
    path = shlex.quote(str(root))
    drop_list = f"setfacl -b {path} && " if store.has_acl else ""
    raise AccessError(
        f"{_readers(store)} may read this store (mode {store.mode:04o}), but not all of them the corpus {folder}",
        where=root,
        fix=Fix(f"{drop_list}chmod {closed:04o} {path}", *_or_open(store)),
        code="store-too-open",
    )


def _was_chosen(layout: Layout, store: Guard) -> bool:
    try:
        choice = chosen(layout)
    except IntegrityError:  # `verify` reports it
        return False
    same_group = choice is not None and (choice.group == store.group or not store.mode & 0o070)
    return choice is not None and same_group and not store.mode & ~choice.mode and not store.has_acl


def _or_open(store: Guard) -> tuple[str | tuple[str, ...], ...]:
    """Return the rest of a fix: the `init` that chooses the mode which a store has, if there is one."""
    options = {PUBLIC_MODE: (), GROUP_MODE: ("--group", group_name(store.group))}
    options[GROUP_PUBLIC_MODE] = options[GROUP_MODE]
    if store.has_acl or store.mode not in options:
        return ()
    public = ("--public",) if store.mode & 0o007 else ()
    return "; or, to let them read it, ", ("init", *options[store.mode], *public)


def _readers(store: Guard) -> str:
    if store.has_acl:
        return "everybody whom its access control list names"
    return "everybody" if store.mode & 0o007 else f"group {group_name(store.group)}"


def group_name(number: int) -> str:
    """Return a group's name, or its number where it has none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
