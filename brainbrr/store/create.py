"""Create and open stores: the only module that knows format.json, the mark that says which format a store has."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Sequence
from pathlib import Path

from brainbrr.core import files, models
from brainbrr.core.access import OWNER_ONLY, Guard, make_folder, narrow
from brainbrr.core.digest import canonical_json
from brainbrr.errors import Fix, FormatError, IntegrityError, UsageError
from brainbrr.store.access import Access, choose, give, require
from brainbrr.store.filesystem import probe
from brainbrr.store.formats import CODECS, Codec
from brainbrr.store.layout import FOLDERS, LATER, Layout

FORMAT = 2

_MARK: dict[str, object] = {"format": FORMAT, "kind": "brainbrr store"}  # with "codec" too, unless that is "none"
_FROM_FORMAT_1 = "its keys prove nothing: move it away, and ingest again into a new store; arrays come out the same"
_PUT_BACK = (
    f"write {canonical_json(_MARK).decode()} into it, without a line break, "
    'or with "codec":"zstd" before "format" if the zarr.json files of its objects name zstd'
)
GUESTS = {"README.md", ".gitignore", ".gitkeep", "lost+found"}


def create(
    root: Path, *, codec: Codec | None = None, access: Access | None = None, within: Sequence[Guard] = OWNER_ONLY
) -> Layout:
    """Create a store, or open the existing one; `codec` None: `none`, or that of the existing one.

    `access` is kept as chosen. Without it the store's own folder gets the mode that the umask gives, and is no more
    readable than the path `within`, by default its owner's; all other folders have that mode. Raises UsageError for a
    folder with foreign files, a store of another codec or access, or a file system that cannot hold a store.
    """
    layout = Layout(root.absolute())
    if codec is not None and codec not in CODECS:
        raise UsageError(f"no codec is called {codec!r}", fix=f"one of {', '.join(CODECS)}")
    if find(layout.root):
        return _open_as(root, codec, access)
    layout.refuse_links()
    with files.writing(_existing(layout.root), n_bytes=files.SMALL_BYTES):
        _make_root(layout, access, within)
        for name in FOLDERS:
            layout.make_folder(layout.root / name)
        layout.ensure_group(layout.objects)
        with layout.scratch() as temporary:
            files.publish(temporary, layout.mark, canonical_json(_mark(codec or "none")))
    return _open_as(root, codec, access)


def _make_root(layout: Layout, access: Access | None, within: Sequence[Guard]) -> None:
    """Make a store's own folder, durable, if the file system can hold a store; else leave nothing."""
    root = layout.root
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.parent.mkdir(parents=True, exist_ok=True)
    make_folder(root, within)
    try:
        if access is not None:
            give(root, access)
        else:
            narrow(root, within)  # it may have been there, empty
        with layout.scratch() as temporary:
            probe(temporary, folder_mode=access.mode if access else layout.folder_mode)
        for folder in made or [root]:  # all else that is durable would be lost with it
            with contextlib.suppress(PermissionError):  # a folder in which one may make files, but not look
                files.sync_folder(folder.parent)
    except UsageError:
        for folder in (root / "tmp", *made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def exists(root: Path) -> bool:
    """Say whether a store exists, of whatever format. Raises UsageError where that cannot be known."""
    try:
        return Layout(root.absolute()).mark.exists()
    except PermissionError as error:
        raise _unreadable(root, error) from None


def find(root: Path) -> bool:
    """Return True where a store exists, False where one can be created.

    Raises UsageError for neither, FormatError for a store without its mark.
    """
    if exists(root):
        return True
    try:
        _refuse_foreign(Layout(root.absolute()))
    except UsageError:
        if not exists(root):  # unless another process has just made it
            raise
        return True
    return False


def open_existing(root: Path) -> Layout:
    """Open a store; needs no permission to write.

    Raises UsageError where there is none, FormatError naming a format that this version does not know, IntegrityError
    for a link in the place of one of its folders.
    """
    layout = Layout(root.absolute())
    try:
        mark = models.decode_json(files.read(layout.mark, limit=1 << 12, folders=0), where=layout.mark)
    except FileNotFoundError:
        _refuse_unmarked(layout)
        raise UsageError(
            "there is no store here", where=root, fix=Fix(("ingest", "ROOT"), " creates one"), code="no-store"
        ) from None
    except PermissionError as error:
        raise _unreadable(root, error) from None
    except IntegrityError as error:
        what = f"the store's format cannot be read: {error.what}"
        raise FormatError(what, where=layout.mark, fix=_PUT_BACK) from None
    for codec in CODECS:
        if mark == _mark(codec):
            layout.refuse_links()
            return Layout(layout.root, codec)
    with_codec = f" with codec {mark['codec']!r}" if "codec" in mark else ""
    raise FormatError(
        f"a store of format {mark.get('format')!r} ({mark.get('kind')!r}){with_codec}; "
        f"this brainbrr reads format {FORMAT} with codec {' or '.join(CODECS)}",
        where=layout.mark,
        fix=_FROM_FORMAT_1 if mark.get("format") == 1 else "upgrade brainbrr",
    )


def _unreadable(root: Path, error: PermissionError) -> UsageError:
    fix = "ask its owner: `ls -ld` shows its group, and `id` whether you are in it"
    return UsageError(f"the store may not be read: {error.strerror}", where=root, fix=fix)


def _open_as(root: Path, codec: Codec | None, access: Access | None) -> Layout:
    layout = open_existing(root)
    if codec is not None and layout.codec != codec:
        raise UsageError(
            f"this store has codec {layout.codec}, not {codec}, and a store's codec never changes",
            where=root,
            fix=Fix(("recompress", "--to", "OTHER"), " copies a store into one with another codec"),
        )
    if access is not None:
        require(layout, access)
        choose(layout)
    return layout


def _refuse_foreign(layout: Layout) -> None:
    """Refuse a folder that holds anything but an unfinished, empty store."""
    root = layout.root
    if not root.exists():
        return
    if not stat.S_ISDIR(root.stat().st_mode):  # not is_dir(), for which all trouble is absence
        raise UsageError("a file is where the store should be", where=root)
    foreign = sorted(path.name for path in root.iterdir() if path.name not in (*GUESTS, *FOLDERS, *LATER))
    if foreign:
        raise UsageError(
            f"the folder is not empty and not a store: it holds {', '.join(foreign[:3])}",
            where=root,
            fix="choose an empty folder for the store",
        )
    _refuse_unmarked(layout)


def _refuse_unmarked(layout: Layout) -> None:
    if any(layout.fan_outs(layout.objects)) or any(layout.fan_outs(layout.records)) or layout.corpora():
        what = "this store has lost its format.json, so its format is not known"
        raise FormatError(what, where=layout.root, fix=_PUT_BACK)


def verify_mark(layout: Layout) -> None:
    """Verify the mark of an open store to the last byte. Raises IntegrityError."""
    if files.read(layout.mark, limit=1 << 12, folders=0) != mark_bytes(layout):
        raise IntegrityError("format.json says what it should, in other bytes", where=layout.mark)


def rewrite_mark(layout: Layout) -> None:
    """Write the mark of an open store again, in one step."""
    with files.writing(layout.root, n_bytes=1 << 12), layout.scratch() as temporary:
        files.write(temporary, mark_bytes(layout))
        temporary.replace(layout.mark)
        files.sync_folder(layout.root)


def mark_bytes(layout: Layout) -> bytes:
    """Return the text of a store's mark."""
    return mark_of(layout.codec)


def mark_of(codec: Codec) -> bytes:
    """Return the text of the mark of a store with a codec."""
    return canonical_json(_mark(codec))


def _mark(codec: Codec) -> dict[str, object]:
    return _MARK if codec == "none" else {**_MARK, "codec": codec}


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
