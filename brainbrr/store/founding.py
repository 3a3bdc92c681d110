"""How a store is made and opened: the only module that knows the mark, which says what format a store has."""

from __future__ import annotations

import errno
from pathlib import Path

from brainbrr.digest import canonical_json
from brainbrr.errors import FormatError, IntegrityError, UsageError
from brainbrr.store import files
from brainbrr.store.layout import FOLDERS, LATER, Layout
from brainbrr.store.tiles import CODECS, Codec

FORMAT = 1

_MARK: dict[str, object] = {"format": FORMAT, "kind": "brainbrr store"}  # with "codec" too, unless that is "none"
_GUESTS = {"README.md", ".gitignore", ".gitkeep", "lost+found"}


def create(root: Path, *, codec: Codec | None = None) -> Layout:
    """Make a store, or open the one that is there; `codec` None: `none`, or whatever is there.

    Raises UsageError for a folder with foreign files, a store of another codec, or a file system that cannot
    hold a store.
    """
    layout = Layout(root.absolute())
    if codec is not None and codec not in CODECS:
        raise UsageError(f"no codec is called {codec!r}", fix=f"one of {', '.join(CODECS)}")
    if layout.mark.exists():
        return _open_with(root, codec)
    try:
        _refuse_foreign(layout)
    except UsageError:
        if not layout.mark.exists():  # unless another process has just made the store
            raise
    layout.refuse_links()
    with files.writing(_existing(layout.root), n_bytes=1 << 16):
        for name in FOLDERS:
            layout.make_folder(layout.root / name)
        try:
            layout.ensure_group(layout.objects)
            with layout.scratch() as temporary:
                files.publish(temporary, layout.mark, canonical_json(_mark(codec or "none")))
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise UsageError(
                    f"this file system cannot hold a store, it has no hard links: {error.strerror}",
                    where=root,
                    fix="choose a --store on a POSIX file system (ext4, xfs, NFS, ...)",
                ) from error
            raise
    return _open_with(root, codec)


def open_existing(root: Path) -> Layout:
    """Open a store; needs no permission to write.

    Raises UsageError where there is none, FormatError naming a format that this version does not know, IntegrityError
    for a link in the place of one of its folders.
    """
    layout = Layout(root.absolute())
    try:
        mark = files.parse(files.read(layout.mark, limit=1 << 12, folders=0), where=layout.mark)
    except FileNotFoundError:
        raise UsageError("there is no store here", where=root, fix="brainbrr ingest ROOT makes one") from None
    except IntegrityError as error:
        raise FormatError(f"the store's format cannot be read: {error.what}", where=layout.mark) from None
    for codec in CODECS:
        if mark == _mark(codec):
            layout.refuse_links()
            return Layout(layout.root, codec)
    with_codec = f" with codec {mark['codec']!r}" if "codec" in mark else ""
    raise FormatError(
        f"a store of format {mark.get('format')!r} ({mark.get('kind')!r}){with_codec}; "
        f"this brainbrr reads format {FORMAT} with codec {' or '.join(CODECS)}",
        where=layout.mark,
        fix="upgrade brainbrr",
    )


def _open_with(root: Path, codec: Codec | None) -> Layout:
    layout = open_existing(root)
    if codec is not None and layout.codec != codec:
        raise UsageError(
            f"this store has codec {layout.codec}, not {codec}, and a store's codec never changes",
            where=root,
            fix="brainbrr recompress --to OTHER copies a store into one of another codec",
        )
    return layout


def _refuse_foreign(layout: Layout) -> None:
    """Refuse a folder that holds anything but an unfinished, empty store."""
    root = layout.root
    if not root.exists():
        return
    if not root.is_dir():
        raise UsageError("a file lies where the store should be", where=root)
    foreign = sorted(path.name for path in root.iterdir() if path.name not in (*_GUESTS, *FOLDERS, *LATER))
    if foreign:
        raise UsageError(
            f"the folder is not empty and not a store: it holds {', '.join(foreign[:3])}",
            where=root,
            fix="choose an empty folder for the store",
        )
    if any(layout.fan_outs(layout.objects)) or any(layout.fan_outs(layout.records)) or layout.corpora():
        raise FormatError("this store has lost its format.json, so its format is not known", where=root)


def _mark(codec: Codec) -> dict[str, object]:
    return _MARK if codec == "none" else {**_MARK, "codec": codec}


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
