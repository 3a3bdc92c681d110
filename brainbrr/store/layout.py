"""Where everything lies in a store: the only module that knows paths. Knows nothing of what the files say.

Identifiers are checked as hex before they name a file, so no text from outside can leave the store.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from brainbrr.digest import canonical_json, is_digest, xxh3_128
from brainbrr.errors import FormatError, IntegrityError, UsageError
from brainbrr.store import files
from brainbrr.store.tiles import CODECS, Codec

FORMAT = 1
INODES_PER_OBJECT = 5
"""An object's folder, its two files, the record, and its findings."""

ARRAY_FILE = "zarr.json"
SHARD_FILE = "c.0.0"
GROUP = canonical_json({"attributes": {}, "node_type": "group", "zarr_format": 3})

_MARK: dict[str, object] = {"format": FORMAT, "kind": "brainbrr store"}  # with "codec" too, unless that is "none"
_FOLDERS = ("objects.zarr", "records", "findings", "catalog", "views", "tmp", "quarantine", "trash")
_GUESTS = {"README.md", ".gitignore", ".gitkeep", "lost+found"}
_FINDINGS = re.compile(r"[0-9a-f]{32}-[1-9][0-9]{0,5}\.json\Z")
_GENERATION = re.compile(r"([0-9]{8})\.jsonl\Z")
_CORPUS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


@dataclass(frozen=True)
class Layout:
    """The paths of one store."""

    root: Path
    codec: Codec = "none"

    @classmethod
    def create(cls, root: Path, *, codec: Codec | None = None) -> Layout:
        """Make a store, or open the one that is there; `codec` None: `none`, or whatever is there.

        Raises UsageError for a folder with foreign files, a store of another codec, or a file system that cannot
        hold a store.
        """
        layout = cls(root.absolute())
        if codec is not None and codec not in CODECS:
            raise UsageError(f"no codec is called {codec!r}", fix=f"one of {', '.join(CODECS)}")
        if layout.mark.exists():
            return cls._open_with(root, codec)
        try:
            layout._refuse_foreign()
        except UsageError:
            if not layout.mark.exists():  # unless another process has just made the store
                raise
        with files.writing(_existing(layout.root), n_bytes=1 << 16):
            for name in _FOLDERS:
                (layout.root / name).mkdir(parents=True, exist_ok=True)
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
        return cls._open_with(root, codec)

    @classmethod
    def _open_with(cls, root: Path, codec: Codec | None) -> Layout:
        layout = cls.open(root)
        if codec is not None and layout.codec != codec:
            raise UsageError(
                f"this store has codec {layout.codec}, not {codec}, and a store's codec never changes",
                where=root,
                fix="brainbrr recompress --to OTHER copies a store into one of another codec",
            )
        return layout

    @classmethod
    def open(cls, root: Path) -> Layout:
        """Open a store; needs no permission to write.

        Raises UsageError where there is none, FormatError naming a format that this version does not know.
        """
        layout = cls(root.absolute())
        try:
            mark = files.parse(files.read(layout.mark, limit=1 << 12), where=layout.mark)
        except FileNotFoundError:
            raise UsageError("there is no store here", where=root, fix="brainbrr ingest ROOT makes one") from None
        except IntegrityError as error:
            raise FormatError(f"the store's format cannot be read: {error.what}", where=layout.mark) from None
        for codec in CODECS:
            if mark == _mark(codec):
                return cls(layout.root, codec)
        with_codec = f" with codec {mark['codec']!r}" if "codec" in mark else ""
        raise FormatError(
            f"a store of format {mark.get('format')!r} ({mark.get('kind')!r}){with_codec}; "
            f"this brainbrr reads format {FORMAT} with codec {' or '.join(CODECS)}",
            where=layout.mark,
            fix="upgrade brainbrr",
        )

    def _refuse_foreign(self) -> None:
        """Refuse a folder that holds anything but an unfinished, empty store."""
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise UsageError("a file lies where the store should be", where=self.root)
        foreign = sorted(path.name for path in self.root.iterdir() if path.name not in (*_GUESTS, *_FOLDERS))
        if foreign:
            raise UsageError(
                f"the folder is not empty and not a store: it holds {', '.join(foreign[:3])}",
                where=self.root,
                fix="choose an empty folder for the store",
            )
        if any(self.fan_outs(self.objects)) or any(self.fan_outs(self.records)) or self.corpora():
            raise FormatError("this store has lost its format.json, so its format is not known", where=self.root)

    @property
    def mark(self) -> Path:
        """The file that says which format this is."""
        return self.root / "format.json"

    @property
    def objects(self) -> Path:
        """The zarr hierarchy."""
        return self.root / "objects.zarr"

    @property
    def records(self) -> Path:
        """The records, fanned out by key."""
        return self.root / "records"

    def object(self, content: str) -> Path:
        """Return the folder of an object. Raises UsageError for what is not a content."""
        return self.objects / f"{_checked(content, 64)[:2]}/{content}"

    def record(self, key: str) -> Path:
        """Return the file of a record. Raises UsageError for what is not a key."""
        return self.records / f"{_checked(key, 32)[:2]}/{key}.json"

    @property
    def findings(self) -> Path:
        """The findings, fanned out by key; a store that an older version made has none until something writes them."""
        return self.root / "findings"

    def findings_of(self, key: str, version: int) -> Path:
        """Return the file of a key's findings. Raises UsageError for what is not a key or a version."""
        name = f"{_checked(key, 32)}-{version}.json"
        if not _FINDINGS.match(name):
            raise UsageError(f"{version!r} is not a version of findings", fix="an integer from 1 to 999999")
        return self.findings / key[:2] / name

    def found_findings(self) -> Iterator[str]:
        """Yield the name (KEY-VERSION) of all findings; a file that is not in their place by its path in `findings`."""
        for fan_out in self.fan_outs(self.findings):
            for name in (name for name in _names(fan_out) if not name.startswith(".")):
                in_place = _FINDINGS.match(name) and name[:2] == fan_out.name
                yield name.removesuffix(".json") if in_place else f"{fan_out.name}/{name}"

    def view(self, digest: str) -> Path:
        """Return the file of a frozen view. Raises UsageError for what is not a view's digest."""
        return self.root / "views" / f"{_checked(digest, 64)}.json"

    def views(self) -> list[str]:
        """Return the digests of the frozen views."""
        return [name.removesuffix(".json") for name in _names(self.root / "views") if is_digest(name[:-5], 64)]

    def generation(self, corpus: str, seq: int) -> Path:
        """Return the file of a catalog's generation. Raises UsageError for a name that is not one."""
        if not _CORPUS.match(corpus):
            raise UsageError(
                f"{corpus!r} cannot name a corpus", fix="1 to 64 letters, digits, dots, dashes and underscores"
            )
        return self.root / "catalog" / corpus / f"{seq:08d}.jsonl"

    def generations(self, corpus: str) -> list[int]:
        """Return the numbers of a catalog's generations, ascending."""
        names = _names(self.generation(corpus, 0).parent)
        return [int(match[1]) for name in names if (match := _GENERATION.match(name))]

    def corpora(self) -> tuple[str, ...]:
        """Return the corpora that have a catalog."""
        return tuple(n for n in _names(self.root / "catalog") if _CORPUS.match(n) and self.generations(n))

    @staticmethod
    def fan_outs(folder: Path) -> Iterator[Path]:
        """Yield the folders inside a folder, by name; links too, since somebody must report them."""
        for name in _names(folder):
            path = folder / name
            if path.is_symlink() or path.is_dir():
                yield path

    def found_objects(self) -> Iterator[str]:
        """Yield the name of every folder that lies where objects lie.

        An object in its place is named by its content; any other folder by its path below `objects.zarr`.
        """
        for fan_out in self.fan_outs(self.objects):
            if fan_out.is_symlink() or (fan_out / SHARD_FILE).exists():
                yield fan_out.name
            for folder in () if fan_out.is_symlink() else self.fan_outs(fan_out):
                name = folder.name
                yield name if is_digest(name, 64) and name[:2] == fan_out.name else f"{fan_out.name}/{name}"

    def found_records(self) -> Iterator[str]:
        """Yield every record's key; a file that is not in a record's place by its path below `records`."""
        for fan_out in self.fan_outs(self.records):
            for name in (name for name in _names(fan_out) if not name.startswith(".")):  # .nfs000...: NFS's own
                key = name.removesuffix(".json")
                yield (
                    key if is_digest(key, 32) and key[:2] == fan_out.name and name != key else f"{fan_out.name}/{name}"
                )

    def found(self, kind: Path, name: str) -> Path:
        """Return the path of what found_objects or found_records named. Raises UsageError for other texts."""
        if kind == self.objects and is_digest(name, 64):
            return self.object(name)
        if kind == self.records and is_digest(name, 32):
            return self.record(name)
        path = PurePosixPath(name)
        if path.is_absolute() or not 1 <= len(path.parts) <= 2 or ".." in path.parts or "\0" in name:
            raise UsageError(f"{name!r} names nothing in a store")
        return kind / path

    def ensure_fan_out(self, folder: Path, *, group: bool = False) -> None:
        """Make a folder durable; with `group`, one that zarr lists."""
        folder.mkdir(parents=True, exist_ok=True)
        files.sync_folder(folder.parent)  # each time: another process may have made it, and died before its own
        if group:
            for each in (folder.parent, folder):
                self.ensure_group(each)

    def ensure_group(self, folder: Path) -> None:
        """Make a folder a zarr group; a damaged group file moves to quarantine."""
        path = folder / ARRAY_FILE
        while True:
            try:
                if files.read(path) == GROUP:
                    return
            except FileNotFoundError:
                with self.scratch() as temporary:
                    files.publish(temporary, path, GROUP)
                continue
            except IntegrityError:
                pass
            self.quarantine(path)

    def quarantine(self, path: Path, *, name: str | None = None) -> Path | None:
        """Move a damaged file or folder aside and return its new place; None when another process did."""
        target = self.root / "quarantine" / (name or f"{path.name}.{uuid.uuid4().hex[:12]}")
        target.parent.mkdir(exist_ok=True)
        try:
            path.rename(target)
        except FileNotFoundError:
            return None
        files.sync_folder(target.parent)
        files.sync_folder(path.parent)
        return target

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a fresh name in `tmp/`; whatever is left under it afterwards is removed."""
        folder = self.root / "tmp"
        folder.mkdir(exist_ok=True)
        path = folder / f"{_host()}-{os.getpid()}-{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def stale_tmp(self) -> list[Path]:
        """Return what dead writers of this host left in `tmp/`. Harmless: nothing ever reads it."""
        return [path for path in map((self.root / "tmp").joinpath, _names(self.root / "tmp")) if _is_stale(path.name)]


def _mark(codec: Codec) -> dict[str, object]:
    return _MARK if codec == "none" else {**_MARK, "codec": codec}


def _checked(text: str, n_digits: int) -> str:
    if not is_digest(text, n_digits):
        raise UsageError(f"{str(text)[:80]!r} is not a digest of {n_digits} hex digits")
    return text


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _host() -> str:
    return xxh3_128(os.uname().nodename.encode())[:8]


def _is_stale(name: str) -> bool:
    host, _, rest = name.partition("-")
    pid = rest.partition("-")[0]
    if host != _host() or not pid.isdecimal():
        return False  # another host's writer may well be alive
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False
