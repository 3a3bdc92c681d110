"""What lies in a store and does not belong there. Looks at names only."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from brainbrr.digest import is_digest
from brainbrr.errors import UsageError
from brainbrr.store.founding import GUESTS
from brainbrr.store.layout import ARRAY_FILE, FOLDERS, LATER, Layout

_FAN_OUT = re.compile(r"[0-9a-f]{2}\Z")
_OURS_ELSEWHERE = ".nfs"  # NFS keeps a file that was deleted while open under such a name, and removes it itself


def strangers(layout: Layout) -> Iterator[str]:
    """Yield the path below the store of every file and folder that no store has.

    What lies where objects, records or findings lie under a wrong name is named by those who look there; `tmp`,
    `trash` and `quarantine` may hold anything.
    """
    root = layout.root
    folders = {*FOLDERS, *LATER}
    yield from _others(root, root, {layout.mark.name, *GUESTS, *folders}, folders={*folders, "lost+found"})
    for name, files in (("objects.zarr", {ARRAY_FILE}), ("records", set()), ("findings", set())):
        fan_outs = {each for each in _names(root / name) if _FAN_OUT.match(each)}
        yield from _others(root, root / name, {*files, *fan_outs}, folders=fan_outs)
    for fan_out in layout.fan_outs(layout.objects):
        if _FAN_OUT.match(fan_out.name) and not fan_out.is_symlink():
            for name in _names(fan_out):  # folders and links are named as objects
                path = fan_out / name
                if name != ARRAY_FILE and not path.is_dir() and not path.is_symlink():
                    yield _below(root, path)
    for folder in (layout.records, layout.findings):
        for fan_out in layout.fan_outs(folder):
            for name in _names(fan_out):
                if name.startswith("."):  # the others are named as records or findings that are not in their place
                    yield _below(root, fan_out / name)
    corpora = {name for name in _names(root / "catalog") if _names_corpus(layout, name)}
    yield from _others(root, root / "catalog", corpora, folders=corpora)
    for corpus in sorted(corpora - {name for name in corpora if (root / "catalog" / name).is_symlink()}):
        known = {layout.generation(corpus, seq).name for seq in layout.generations(corpus)}
        known |= {layout.acknowledgement(corpus, seq).name for seq in layout.acknowledged(corpus)}
        known |= {layout.cut(corpus, seq).name for seq in layout.cuts(corpus)}
        yield from _others(root, root / "catalog" / corpus, known)
    for name, digests in (("views", layout.views()), ("pins", layout.pins()), ("retired", layout.retired())):
        yield from _others(root, root / name, {f"{digest}.json" for digest in digests})
    yield from _others(root, root / "receipts", {f"{name}.json" for name in layout.receipts()})
    yield from _others(root, root / "leases", {name for name in _names(root / "leases") if is_digest(name, 32)})


def _names_corpus(layout: Layout, name: str) -> bool:
    try:
        layout.generation(name, 1)
    except UsageError:
        return False
    return True


def _others(root: Path, folder: Path, known: set[str], *, folders: Collection[str] = ()) -> Iterator[str]:
    """Yield what is not known by name, and what is a link or a folder where it has to be something else."""
    for name in _names(folder):
        path = folder / name
        if name not in known or (name in folders) != path.is_dir() or (name in folders and path.is_symlink()):
            yield _below(root, path)


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith(_OURS_ELSEWHERE))
    except (FileNotFoundError, NotADirectoryError):
        return []
