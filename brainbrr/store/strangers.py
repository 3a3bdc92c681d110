"""What lies in a store and does not belong there. Looks at names only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from brainbrr.digest import is_digest
from brainbrr.store.files import lies
from brainbrr.store.founding import GUESTS
from brainbrr.store.layout import ARRAY_FILE, FOLDERS, LATER, Layout

_OURS_ELSEWHERE = ".nfs"  # NFS keeps a file that was deleted while open under such a name, and removes it itself


def strangers(layout: Layout) -> Iterator[str]:
    """Yield the path below the store of every file and folder that no store has.

    What lies where objects, records or findings lie under a wrong name is named by those who look there; `tmp`,
    `trash` and `quarantine` may hold anything.
    """
    root = layout.root
    folders = {*FOLDERS, *LATER}
    yield from _others(
        root, root, {layout.mark.name, *GUESTS, *folders}.__contains__, {*folders, "lost+found"}.__contains__
    )
    is_fan_out = layout.names_fan_out
    yield from _others(root, layout.objects, lambda name: name == ARRAY_FILE or is_fan_out(name), is_fan_out)
    for folder in (layout.records, layout.findings):
        yield from _others(root, folder, is_fan_out, is_fan_out)
    for fan_out in layout.fan_outs(layout.objects):
        if is_fan_out(fan_out.name) and not fan_out.is_symlink():
            for name in _names(fan_out):  # folders and links are named as objects
                path = fan_out / name
                if name != ARRAY_FILE and not path.is_dir() and not path.is_symlink() and lies(path):
                    yield _below(root, path)
    for folder in (layout.records, layout.findings):
        for fan_out in layout.fan_outs(folder):
            for name in _names(fan_out):
                if name.startswith("."):  # the others are named as records or findings that are not in their place
                    yield _below(root, fan_out / name)
    catalog = root / "catalog"
    yield from _others(root, catalog, layout.names_corpus, layout.names_corpus)
    for corpus in filter(layout.names_corpus, _names(catalog)):
        if not (catalog / corpus).is_symlink():
            yield from _others(root, catalog / corpus, layout.names_catalog_file)
    for name, n_digits in (("views", 64), ("pins", 64), ("retired", 32)):
        yield from _others(root, root / name, partial(_names_digest, n_digits))
    yield from _others(root, root / "receipts", layout.names_receipt)
    yield from _others(root, root / "leases", lambda name: is_digest(name, 32))


def _names_digest(n_digits: int, name: str) -> bool:
    return name.endswith(".json") and is_digest(name[:-5], n_digits)


def _others(
    root: Path, folder: Path, known: Callable[[str], bool], is_folder: Callable[[str], bool] = lambda _: False
) -> Iterator[str]:
    """Yield what is not known by name, and what is a link or a folder where it has to be something else.

    By what a name is, not by what was listed before: others write meanwhile.
    """
    for name in _names(folder):
        path, inner = folder / name, is_folder(name)
        odd = not known(name) or inner != path.is_dir() or (inner and path.is_symlink())
        if odd and lies(path):
            yield _below(root, path)


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith(_OURS_ELSEWHERE))
    except (FileNotFoundError, NotADirectoryError):
        return []
