"""How things are deleted from a store, beside writers that know nothing of it: taken away, checked again, then deleted.

A deletion makes a folder in `trash/` first and reads the live set afterwards. Writers publish what makes something
reachable first and cancel deletions afterwards, by renaming their folders. So one of the two always sees the other,
and nothing reachable is left in `trash/` when cancel() has returned, whichever process was killed when.

In a deletion's folder, `records/`, `objects/`, ... hold what was taken away, and what any process may put back;
`gone/` what is decided, and has a receipt before it is removed; `spare/` second copies of what is in its place again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.digest import sha256
from brainbrr.core.failpoints import reach
from brainbrr.core.progress import Progress
from brainbrr.errors import BrainbrrError, UsageError
from brainbrr.store import sidecars
from brainbrr.store.layout import Layout
from brainbrr.store.reachability import LiveSet, Reachability
from brainbrr.store.sidecars import Receipt

KINDS = ("views", "pins", "records", "objects", "findings")
_DECIDED = (*KINDS, "catalog", "quarantine")
_PATHS = {
    "views": Layout.view,
    "pins": Layout.pin,
    "records": Layout.record,
    "objects": Layout.object,
    "findings": Layout.findings_named,
}
RECEIPTS_OF = {
    "object": "objects",
    "record": "records",
    "findings": "findings",
    "view": "views",
    "pin": "pins",
    "retired": "retired",
}
"""The names of `damage.Kind` in receipts."""
UNENDED = "9999-01-01T00:00:00+00:00"
"""The time of a deletion that is not over, or whose time does not matter: later than all others."""

_FOLDER = re.compile(r"[0-9a-f]{32}\Z")
_ATTEMPTS = 20

Deleted = Mapping[str, Mapping[str, str]]
"""When something was last deleted, by kind (as receipts have it) and name."""


class DeletionCancelled(Exception):  # noqa: N818  # no error: the candidates are looked at again
    """A writer has cancelled this deletion."""


def place(layout: Layout, kind: str, name: str) -> Path:
    """Return the path of something by its kind (one of KINDS). Raises UsageError for a text that names none."""
    return _PATHS[kind](layout, name)


def run(layout: Layout, verb: str, attempt: Callable[[list[Receipt]], bool], progress: Progress) -> list[Receipt]:
    """Call `attempt` until it says that nothing is left to delete; return all receipts, which it is given to extend.

    An attempt that a writer cancels is repeated. Deletions that died are finished before each and after the last.
    """
    receipts: list[Receipt] = []
    with files.writing(layout.root, n_bytes=1):
        for _ in range(_ATTEMPTS):
            receipts += sweep(layout, verb)
            try:
                if attempt(receipts):
                    return receipts + sweep(layout, verb)
            except DeletionCancelled:
                progress.say("an ingest or a training made something reachable meanwhile: looking again")
    raise BrainbrrError("writers cancelled this each time", where=layout.root, fix="stop them, and run it again")


def cancel(layout: Layout) -> None:
    """Put back what running or dead deletions have taken away; what they take from now on, they check again."""
    for folder in folders(layout):
        ours = layout.trash / uuid.uuid4().hex
        try:
            folder.rename(ours)
        except FileNotFoundError:  # finished, or cancelled by another process
            continue
        reach("deletion called off")
        for kind in KINDS:
            for path in _listed(ours / kind):
                _put_back(layout, ours, kind, path)


def folders(layout: Layout) -> list[Path]:
    """Return the folders of deletions that are running, or died; no links, which would lead out of the store."""
    named = [path for path in _listed(layout.trash) if _FOLDER.match(path.name)]
    return [path for path in named if files.is_folder(path)]


def deleted(layout: Layout) -> Deleted:
    """Return what receipts say was deleted, and as of UNENDED what running or dead deletions have taken away.

    Of the latter some may come back without having been missed.
    """
    taken = list(_taken(layout))  # first: what has left `gone/` by now has a receipt
    when = {kind: dict(names) for kind, names in sidecars.deleted(layout).items()}
    for kind, name in taken:
        when[kind][name] = UNENDED
    return when


def deleted_meanwhile(layout: Layout, kind: str, name: str, before: Deleted, now: Deleted) -> bool:
    """Say whether something missing, of a kind of `damage.Kind`, was deleted between two calls of deleted()."""
    list_of = RECEIPTS_OF.get(kind)
    if list_of is None:
        return False
    then, when = before[list_of].get(name), now[list_of].get(name)
    meanwhile = when is not None and (when == UNENDED or when != then)
    return meanwhile and not os.path.lexists(layout.path_of(kind, name))


def deleted_records(layout: Layout) -> Callable[[str], bool] | None:
    """Return a test whether the record of a key was deleted on purpose and not stored again; None if none ever was."""
    records = deleted(layout)["records"]
    return (lambda key: key in records and not files.exists(layout.record(key))) if records else None


def stored_again(layout: Layout, keys: Iterable[str]) -> str:
    """Return when the latest of some keys was deleted whose record exists again; "" if none was.

    A receipt excuses catalogs from before it, so what was stored since must be named by a later one to be missed.
    """
    records = sidecars.deleted(layout)["records"]
    again = (key for key in keys if key in records and files.exists(layout.record(key))) if records else ()
    return max((records[key] for key in again), default="")


def _taken(layout: Layout) -> Iterator[tuple[str, str]]:
    for folder in folders(layout):
        for kind in KINDS:
            for path in (*_listed(folder / kind), *_listed(folder / "gone" / kind)):
                yield kind, path.name.removesuffix(".json")
        for corpus in _listed(folder / "gone" / "catalog"):
            yield from (("generations", f"{corpus.name}/{int(path.stem)}") for path in _generation_files(corpus))


def sweep(layout: Layout, verb: str) -> list[Receipt]:
    """End dead deletions: delete what is decided, with a receipt, and put back the rest."""
    cancel(layout)
    return [receipt for folder in folders(layout) if (receipt := _finish(layout, folder, verb, None)) is not None]


class Deletion:
    """One folder in `trash/`. Every step may raise DeletionCancelled: then begin another one, and check again."""

    def __init__(
        self, reachability: Reachability, verb: str, corpus: str | None = None, unproven: Collection[str] = ()
    ) -> None:
        self.reachability, self.layout = reachability, reachability.layout
        self.verb, self.corpus, self.unproven = verb, corpus, tuple(unproven)
        self.folder = self.layout.trash / uuid.uuid4().hex
        self.layout.make_folder(self.layout.trash)
        with self.layout.scratch() as made:
            for name in (*KINDS, *(f"gone/{kind}" for kind in _DECIDED), "spare/objects"):
                self.layout.make_folder(made / name)
            files.sync_folder(made)
            made.rename(self.folder)  # complete from its first moment: it may be cancelled at once
        files.sync_folder(self.layout.trash)
        reach("deletion begun")

    def views(self, digests: Collection[str], is_old: Callable[[Path], bool]) -> None:
        """Delete frozen views unless they were pinned, or frozen again."""

        def needed(digest: str, path: Path) -> bool:
            return files.exists(self.layout.pin(digest)) or not is_old(path)

        self._delete("views", digests, needed)

    def records(self, keys: Collection[str]) -> None:
        """Delete records that are not reachable."""
        live: LiveSet | None = None

        def needed(key: str, path: Path) -> bool:
            nonlocal live
            live = live or self.reachability.read()
            record = self.reachability.record(path, key)
            return record is not None and live.has(key, record)

        self._delete("records", keys, needed)

    def objects(self, contents: Collection[str]) -> None:
        """Delete objects that neither a catalog or view references nor a record, reachable or not."""
        referenced: set[str] | None = None

        def needed(content: str, path: Path) -> bool:
            nonlocal referenced
            if referenced is None:
                taken = self.reachability.referenced_in_trash()
                live = self.reachability.read()
                # twice: what another deletion took between the two, it may put back
                taken |= self.reachability.referenced_in_trash()
                referenced = {each.content for each in live.records.values()} | live.contents | taken
            return content in referenced

        self._delete("objects", contents, needed)

    def findings(self, names: Collection[str]) -> None:
        """Delete findings whose record does not exist."""
        self._delete("findings", names, lambda name, _: files.exists(self.layout.record(name.partition("-")[0])))

    def decide(self, kind: str, path: Path, *, of: str = "") -> None:
        """Delete something without a second check; `of`: the corpus of a catalog's file."""
        into = self.folder / "gone" / kind / of
        with self._unless_cancelled():
            into.mkdir(exist_ok=True)
            _move(path, into)
            files.sync_folder(into)
        files.sync_folder(path.parent)
        reach("decided")

    def finish(self) -> Receipt | None:
        """Write the receipt, then remove what was decided; None if that is nothing."""
        if not files.is_folder(self.folder / "gone"):
            raise DeletionCancelled
        return _finish(self.layout, self.folder, self.verb, self.corpus, self.unproven)

    def _delete(self, kind: str, names: Collection[str], needed: Callable[[str, Path], bool]) -> None:
        """Take things away, check each again, and put it back or decide that it goes."""
        into, parents = self.folder / kind, set()
        with self._unless_cancelled():
            for name in sorted(names):
                path = place(self.layout, kind, name)
                if _move(path, into):
                    parents.add(path.parent)
            # a power cut must not bring back a record without its object, or an object without its samples
            for folder in (*sorted(parents), into):
                files.sync_folder(folder)
        reach("taken away")
        for path in _listed(into):
            if needed(path.name.removesuffix(".json"), path):
                _put_back(self.layout, self.folder, kind, path)
            else:
                with self._unless_cancelled():
                    _move(path, self.folder / "gone" / kind)
        reach("decided")

    @contextlib.contextmanager
    def _unless_cancelled(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            if files.is_folder(self.folder / "gone"):
                raise
            raise DeletionCancelled from None


def _finish(
    layout: Layout, folder: Path, verb: str, corpus: str | None, unproven: tuple[str, ...] = ()
) -> Receipt | None:
    gone = folder / "gone"
    receipt = None
    if not gone.is_symlink() and any(_listed(gone / kind) for kind in _DECIDED):
        with contextlib.suppress(FileNotFoundError):  # another process ends the same: its receipt is there already
            receipt = _receipt(gone, verb, corpus, unproven)
    if receipt is not None:
        sidecars.write_receipt(layout, receipt)
        reach("receipt written")
    for each in (gone, folder / "spare"):
        remove(each)
    with contextlib.suppress(OSError):  # cancelled: the folder is now that process's
        for kind in KINDS:
            (folder / kind).rmdir()
        folder.rmdir()
    return receipt


def _receipt(gone: Path, verb: str, corpus: str | None, unproven: tuple[str, ...]) -> Receipt:
    names: dict[str, Any] = {
        kind: tuple(path.name.removesuffix(".json") for path in _listed(gone / kind)) for kind in KINDS
    }
    return Receipt(
        verb=verb,
        created=sidecars.now(),
        by=sidecars.user_and_host(),
        corpus=corpus,
        generations=tuple(_generations(gone / "catalog")),
        quarantine=tuple(path.name for path in _listed(gone / "quarantine")),
        out_of_reach=(*unproven, *(sidecars.OUT_OF_REACH if verb == "forget" else ())),
        **names,
    )


def _generations(folder: Path) -> Iterator[sidecars.Generation]:
    for corpus in _listed(folder):
        for path in _generation_files(corpus):
            digest = sha256(files.read(path, limit=sidecars.MAX_CATALOG_BYTES))
            yield sidecars.Generation(corpus=corpus.name, seq=int(path.stem), sha256_of=digest)


def _generation_files(corpus: Path) -> list[Path]:
    return [path for path in _listed(corpus) if path.suffix == ".jsonl" and path.stem.isdecimal()]


def _put_back(layout: Layout, folder: Path, kind: str, path: Path) -> None:
    """Put something back in its place; if that is occupied, what is there is as good."""
    try:
        home = place(layout, kind, path.name.removesuffix(".json"))
    except UsageError:  # .nfs000..., or another file that no deletion put here
        return
    with contextlib.suppress(FileNotFoundError):
        if kind == "objects":
            if not files.rename_folder(path, home):
                _move(path, folder / "spare" / kind)  # not removed here: half of it could be put back
        else:
            with contextlib.suppress(FileExistsError):
                os.link(path, home)  # rename would replace what is there
            reach("put back")
            path.unlink()
        files.sync_folder(home.parent)
    reach("put back")


def _move(path: Path, into: Path) -> bool:
    """Move something into a folder, and say whether it existed. Raises FileNotFoundError where the folder does not."""
    try:
        path.rename(into / path.name)
    except (FileNotFoundError, NotADirectoryError):
        if not files.is_folder(into):
            raise
        return False
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder with its contents; other processes may be doing the same."""
    with contextlib.suppress(FileNotFoundError):
        if files.is_folder(path):
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
    """Return what is in a folder; nothing if it is gone, or a link."""
    try:
        return [] if folder.is_symlink() else sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def n_bytes_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 when it is gone."""
    with contextlib.suppress(OSError):
        if files.is_folder(path):
            return sum(map(n_bytes_of, path.iterdir()))
        return path.lstat().st_size
    return 0
