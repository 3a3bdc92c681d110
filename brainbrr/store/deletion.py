"""How things leave a store, beside writers that know nothing of it: taken away, looked for again, then let go.

A deletion makes a folder in `trash/` first and reads the roots afterwards. Whoever makes something alive publishes
that first and calls deletions off afterwards, by renaming their folders. So of the two one always sees the other, and
nothing that is alive lies in `trash/` when call_off() has returned, whoever was killed when.

In a deletion's folder: `records/`, `objects/`, ... hold what was taken away, and may be put back by anyone;
`gone/` what is decided, and has a receipt before it is removed; `spare/` what lies in its place a second time.

The lists of what a gc found unneeded: one that is older than the grace may be worked off.

Ages are by the clock of the store's own file system: hosts need not agree about the time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.digest import is_digest, sha256
from brainbrr.core.failpoints import reach
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import sidecars
from brainbrr.store.layout import Layout
from brainbrr.store.reachability import Reader
from brainbrr.store.sidecars import MAX_CATALOG_BYTES, Receipt

KINDS = ("views", "pins", "records", "objects", "findings")
_DECIDED = (*KINDS, "catalog", "quarantine")
_FOLDER = re.compile(r"[0-9a-f]{32}\Z")
UNENDED = "9999-01-01T00:00:00+00:00"
"""When a deletion was that is not over, or whose time does not matter: later than all else."""


class CalledOff(Exception):  # noqa: N818  # no error: what was to be deleted is looked at anew
    """A writer has called this deletion off."""


def place(layout: Layout, kind: str, name: str) -> Path:
    """Return where something of a kind lies. Raises UsageError for what is no name of one."""
    if kind == "findings":
        key, _, version = name.partition("-")
        return layout.findings_of(key, int(version) if version.isdecimal() else 0)
    of = {"views": layout.view, "pins": layout.pin, "records": layout.record, "objects": layout.object}
    return of[kind](name)


def call_off(layout: Layout) -> None:
    """Put back what running or dead deletions have taken away; what they take from now on, they look at anew."""
    for folder in folders(layout):
        ours = layout.trash / uuid.uuid4().hex
        try:
            folder.rename(ours)
        except FileNotFoundError:  # finished, or called off by another
            continue
        reach("deletion called off")
        for kind in KINDS:
            for path in _listed(ours / kind):
                _put_back(layout, ours, kind, path)


def folders(layout: Layout) -> list[Path]:
    """Return the folders of deletions that are running, or died; no links, which would lead out of the store."""
    named = [path for path in _listed(layout.trash) if _FOLDER.match(path.name)]
    return [path for path in named if path.is_dir() and not path.is_symlink()]


def deleted(layout: Layout) -> Mapping[str, Mapping[str, str]]:
    """Return what receipts say (see there), and what deletions that run or died have taken away, as of UNENDED.

    Of the latter some may come back, all without having been missed.
    """
    taken = list(_taken(layout))  # first: what has left `gone/` by now has a receipt
    when = {kind: dict(names) for kind, names in sidecars.deleted(layout).items()}
    for kind, name in taken:
        when[kind][name] = UNENDED
    return when


def is_gone(layout: Layout) -> Callable[[str], bool] | None:
    """Return what tells whether the record of a key was deleted on purpose, and was not stored again since.

    None where no record ever was.
    """
    records = deleted(layout)["records"]
    return (lambda key: key in records and not files.lies(layout.record(key))) if records else None


def stored_again(layout: Layout, keys: Iterable[str]) -> str:
    """Return when the last of some keys was deleted whose record is there again; "" where none was.

    A receipt excuses what was named before it, so that what is there since has to be named anew to be missed.
    """
    records = sidecars.deleted(layout)["records"]
    again = (key for key in keys if key in records and files.lies(layout.record(key))) if records else ()
    return max((records[key] for key in again), default="")


def _taken(layout: Layout) -> Iterator[tuple[str, str]]:
    for folder in folders(layout):
        for kind in KINDS:
            for path in (*_listed(folder / kind), *_listed(folder / "gone" / kind)):
                yield kind, path.name.removesuffix(".json")
        for corpus in _listed(folder / "gone" / "catalog"):
            yield from (("generations", f"{corpus.name}/{int(path.stem)}") for path in _generation_files(corpus))


def sweep(layout: Layout, verb: str) -> list[Receipt]:
    """End what dead deletions left: what is decided goes, with its receipt; all else is put back."""
    call_off(layout)
    return [receipt for folder in folders(layout) if (receipt := _finish(layout, folder, verb, None)) is not None]


class Deletion:
    """One folder in `trash/`. Every step may raise CalledOff: then begin another one, and look again."""

    def __init__(self, reader: Reader, verb: str, corpus: str | None = None) -> None:
        self.reader, self.layout = reader, reader.layout
        self.verb, self.corpus = verb, corpus
        self.folder = self.layout.trash / uuid.uuid4().hex
        self.layout.make_folder(self.layout.trash)
        with self.layout.scratch() as made:
            for name in (*KINDS, *(f"gone/{kind}" for kind in _DECIDED), "spare/objects"):
                self.layout.make_folder(made / name)
            files.sync_folder(made)
            made.rename(self.folder)  # whole from its first moment: it may be called off at once
        files.sync_folder(self.layout.trash)
        reach("deletion begun")

    def views(self, digests: Collection[str], is_old: Callable[[Path], bool]) -> None:
        """Delete frozen views unless somebody has pinned them, or frozen them again."""

        def stays(digest: str, path: Path) -> bool:
            return files.lies(self.layout.pin(digest)) or not is_old(path)

        self._delete("views", digests, stays)

    def records(self, keys: Collection[str]) -> None:
        """Delete records that no root keeps."""
        roots = None

        def stays(key: str, path: Path) -> bool:
            nonlocal roots
            roots = roots or self.reader.read()
            named = self.reader.record(path, key)
            return named is not None and roots.keeps(key, named)

        self._delete("records", keys, stays)

    def objects(self, contents: Collection[str]) -> None:
        """Delete objects that neither a root names nor a record, alive or not."""
        named: set[str] | None = None

        def stays(content: str, path: Path) -> bool:
            nonlocal named
            if named is None:
                taken = self.reader.named_in_trash()
                roots = self.reader.read()
                # twice: what another deletion took between the two, it may put back
                taken |= self.reader.named_in_trash()
                named = {each.content for each in roots.records.values()} | roots.contents | taken
            return content in named

        self._delete("objects", contents, stays)

    def findings(self, names: Collection[str]) -> None:
        """Delete findings whose record is not there."""
        self._delete("findings", names, lambda name, _: files.lies(self.layout.record(name.partition("-")[0])))

    def decide(self, kind: str, path: Path, *, of: str = "") -> None:
        """Delete something without a second look; `of`: the corpus that a catalog's file is of."""
        into = self.folder / "gone" / kind / of
        with self._unless_called_off():
            into.mkdir(exist_ok=True)
            _move(path, into)
            files.sync_folder(into)
        files.sync_folder(path.parent)
        reach("decided")

    def finish(self) -> Receipt | None:
        """Write the receipt, then remove what was decided; None where that is nothing."""
        if not (self.folder / "gone").is_dir():
            raise CalledOff
        return _finish(self.layout, self.folder, self.verb, self.corpus)

    def _delete(self, kind: str, names: Collection[str], stays: Callable[[str, Path], bool]) -> None:
        """Take away what is named, look at each again, put it back or decide that it goes."""
        into, parents = self.folder / kind, set()
        with self._unless_called_off():
            for name in sorted(names):
                path = place(self.layout, kind, name)
                if _move(path, into):
                    parents.add(path.parent)
            # a power cut must not bring back a record without its object, or an object without its samples
            for folder in (*sorted(parents), into):
                files.sync_folder(folder)
        reach("taken away")
        for path in _listed(into):
            if stays(path.name.removesuffix(".json"), path):
                _put_back(self.layout, self.folder, kind, path)
            else:
                with self._unless_called_off():
                    _move(path, self.folder / "gone" / kind)
        reach("decided")

    @contextlib.contextmanager
    def _unless_called_off(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            if (self.folder / "gone").is_dir():
                raise
            raise CalledOff from None


def _finish(layout: Layout, folder: Path, verb: str, corpus: str | None) -> Receipt | None:
    gone = folder / "gone"
    receipt = None
    if not gone.is_symlink() and any(_listed(gone / kind) for kind in _DECIDED):
        with contextlib.suppress(FileNotFoundError):  # another process ends the same: its receipt is there already
            receipt = _receipt(gone, verb, corpus)
    if receipt is not None:
        sidecars.write_receipt(layout, receipt)
        reach("receipt written")
    for each in (gone, folder / "spare"):
        remove(each)
    with contextlib.suppress(OSError):  # called off: whoever did that has the folder now
        for kind in KINDS:
            (folder / kind).rmdir()
        folder.rmdir()
    return receipt


def _receipt(gone: Path, verb: str, corpus: str | None) -> Receipt:
    names = {kind: tuple(path.name.removesuffix(".json") for path in _listed(gone / kind)) for kind in KINDS}
    return Receipt(
        verb=verb,
        created=sidecars.now(),
        by=sidecars.whoever(),
        corpus=corpus,
        generations=tuple(_generations(gone / "catalog")),
        quarantine=tuple(path.name for path in _listed(gone / "quarantine")),
        out_of_reach=sidecars.OUT_OF_REACH if verb == "forget" else (),
        **names,
    )


def _generations(folder: Path) -> Iterator[dict[str, object]]:
    for corpus in _listed(folder):
        for path in _generation_files(corpus):
            digest = sha256(files.read(path, limit=sidecars.MAX_CATALOG_BYTES))
            yield {"corpus": corpus.name, "seq": int(path.stem), "sha256_of": digest}


def _generation_files(corpus: Path) -> list[Path]:
    return [path for path in _listed(corpus) if path.suffix == ".jsonl" and path.stem.isdecimal()]


def _put_back(layout: Layout, folder: Path, kind: str, path: Path) -> None:
    """Put something where it came from; where that place is occupied, what lies there is as good."""
    try:
        home = place(layout, kind, path.name.removesuffix(".json"))
    except UsageError:  # .nfs000..., or whatever else came here from nowhere
        return
    with contextlib.suppress(FileNotFoundError):
        if kind == "objects":
            if not files.rename_folder(path, home):
                _move(path, folder / "spare" / kind)  # not removed here: half of it could be put back
        else:
            with contextlib.suppress(FileExistsError):
                os.link(path, home)  # rename would replace what lies there
            reach("put back")
            path.unlink()
        files.sync_folder(home.parent)
    reach("put back")


def _move(path: Path, into: Path) -> bool:
    """Move something into a folder, and say whether it was there. Raises FileNotFoundError where the folder is not."""
    try:
        path.rename(into / path.name)
    except (FileNotFoundError, NotADirectoryError):
        if not into.is_dir():
            raise
        return False
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; others may be at it too."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            for each in _listed(path):
                remove(each)
            try:
                path.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # .nfs000...: a reader has it open still
                    raise
        else:
            path.unlink()
            reach("removed")


def _listed(folder: Path) -> list[Path]:
    """Return what lies in a folder; nothing where it is gone, or a link."""
    try:
        return [] if folder.is_symlink() else sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


CONDEMNED_FORMAT = 1
CONDEMNED = ("records", "objects", "findings")

_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{32}\.json\Z")
_FINDINGS = re.compile(r"([0-9a-f]{32})-[1-9][0-9]{0,5}\Z")
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "created": (str,),
    **dict.fromkeys(CONDEMNED, (list,)),
}


@dataclass(frozen=True)
class Condemned:
    """One list, and when it was written by its file system's clock."""

    path: Path
    written_ns: int
    names: Mapping[str, frozenset[str]]


def clock_ns(layout: Layout) -> int:
    """Return the time by the clock of the store's file system."""
    with files.writing(layout.root, n_bytes=1), layout.scratch() as path:
        files.write(path, b"", durable=False)
        return path.stat().st_mtime_ns


def since_ns(layout: Layout, kind: str, name: str, now_ns: int) -> int | None:
    """Return since when something lies in its place, by its file system's clock; None where it is gone.

    An mtime in the future, as copies bring it along, says nothing: it would keep garbage for ever.
    """
    try:
        found = os.lstat(place(layout, kind, name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return max(found.st_ctime_ns, found.st_mtime_ns if found.st_mtime_ns <= now_ns else 0)


def condemn(layout: Layout, names: Mapping[str, list[str]]) -> Condemned:
    """Write a list, durable, and return it. Raises SpaceError when the disk is full."""
    path = layout.trash / f"{sidecars.stamp()}-{uuid.uuid4().hex}.json"
    said = {"format": CONDEMNED_FORMAT, "created": sidecars.now(), **{kind: sorted(names[kind]) for kind in CONDEMNED}}
    sidecars.publish_checksummed(layout, path, said, lambda: None)
    reach("list written")
    return _read(path)


def lists(layout: Layout) -> tuple[list[Condemned], list[Path]]:
    """Return every list that can be read, oldest first, and the files of those that cannot."""
    found, damaged = [], []
    names = sorted(path.name for path in layout.trash.glob("*.json"))
    for path in (layout.trash / name for name in names if _NAME.match(name)):
        try:
            found.append(_read(path))
        except IntegrityError:
            damaged.append(path)
        except FileNotFoundError:  # another gc has worked it off
            continue
    return found, damaged


def _read(path: Path) -> Condemned:
    written_ns = path.stat().st_mtime_ns
    found: dict[str, Any] | None = sidecars.read_checksummed(path, _FIELDS, limit=MAX_CATALOG_BYTES)
    if found is None:
        raise FileNotFoundError(path)
    names = {kind: frozenset(map(str, found[kind])) for kind in CONDEMNED}
    whole = (
        all(is_digest(name, 32) for name in names["records"])
        and all(is_digest(name, 64) for name in names["objects"])
        and all(_FINDINGS.match(name) for name in names["findings"])
    )
    if not whole:
        raise IntegrityError("this is no list of what is condemned", where=path)
    return Condemned(path, written_ns, names)
