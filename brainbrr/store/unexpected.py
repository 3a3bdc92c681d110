"""Find files that are not part of a store's format. Checks names; opens nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from brainbrr.core import files
from brainbrr.core.digest import is_digest
from brainbrr.store.create import GUESTS
from brainbrr.store.formats import ARRAY_FILE
from brainbrr.store.layout import FOLDERS, LATER, Layout

_NFS_LEFTOVER = ".nfs"  # NFS renames a file that was deleted while open to such a name, and removes it itself
_LOST_FOUND = "lost+found"

Names = Callable[[str], bool]


def unexpected_files(layout: Layout) -> Iterator[str]:
    """Yield the path below the store of every file and folder that is not part of the format.

    Misplaced objects, records and findings are listed by `Layout.found_*`; `tmp`, `trash` and `quarantine` may hold
    anything.
    """
    for folder, is_file, is_folder in _expected(layout):
        for name in _names(folder):
            path = folder / name
            # decided by the name's kind, not by an earlier listing: other processes write meanwhile
            expected = is_folder(name) if files.is_folder(path) else is_file(name)
            if not expected and files.exists(path):
                yield path.relative_to(layout.root).as_posix()
    for path in layout.unlisted():
        if not path.name.startswith(_NFS_LEFTOVER) and files.exists(path):
            yield path.relative_to(layout.root).as_posix()


def _expected(layout: Layout) -> Iterator[tuple[Path, Names, Names]]:
    """Yield the folders of a store, with the names that files and folders in them can have."""
    root, is_fan_out, catalog = layout.root, layout.names_fan_out, layout.root / "catalog"
    marks = (layout.mark, layout.access, layout.remotes, layout.index)
    own_files = {*(each.name for each in marks), *GUESTS} - {_LOST_FOUND}
    yield root, own_files.__contains__, {*FOLDERS, *LATER, _LOST_FOUND}.__contains__
    yield layout.objects, ARRAY_FILE.__eq__, is_fan_out
    yield layout.records, _none, is_fan_out
    yield layout.findings, _none, is_fan_out
    yield catalog, _none, layout.names_corpus
    for corpus in filter(layout.names_corpus, _names(catalog)):
        if not (catalog / corpus).is_symlink():
            yield catalog / corpus, layout.names_catalog_file, _none
    for name, n_digits in (("views", 64), ("pins", 64), ("retired", 32)):
        yield root / name, partial(_names_digest, n_digits), _none
    yield root / "receipts", layout.names_receipt, _none
    yield root / "leases", lambda name: is_digest(name, 32), _none


def _none(_: str) -> bool:
    return False


def _names_digest(n_digits: int, name: str) -> bool:
    return name.endswith(".json") and is_digest(name[:-5], n_digits)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith(_NFS_LEFTOVER))
    except (FileNotFoundError, NotADirectoryError):
        return []
