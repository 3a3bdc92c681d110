"""The paths of a store: the only module that knows them. Knows nothing of what the files contain.

Identifiers are checked as hex before they name a file, so no text from outside can leave the store.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from brainbrr.core import files
from brainbrr.core.digest import canonical_json, is_digest, xxh3_128
from brainbrr.core.failpoints import reach
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store.formats import ARRAY_FILE, SHARD_FILE, Codec


def own_name() -> str:
    """Return the name of this process: where it runs, its number, and when it began, as no later one has it."""
    return _name_of(os.getpid())


@cache
def _name_of(pid: int) -> str:
    """Return the name of this process, which has this number: read once, also after a fork."""
    return f"{_where()}-{pid}-{(_process(pid) or _UNKNOWN).began}"


def is_dead(name: str) -> bool:
    """Say whether the process whose name this text begins with has ended; False for one of another host or boot."""
    where, pid, began = (*name.split("-"), "", "")[:3]
    if where != _where() or not (pid.isdecimal() and began.isdecimal()):
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    process = _process(int(pid))
    if process is None:
        return False
    # Z, X: ended, and its parent has not collected it yet; begun at another time: another one has its number now
    return process.state in ("Z", "X") or began not in (process.began, _UNKNOWN.began)


class _Process(NamedTuple):
    state: str
    began: str
    """In clock ticks since the boot."""


_UNKNOWN = _Process("", "0")


def _process(pid: int) -> _Process | None:
    """Return what the system says of a process; None where it is not Linux, or hides it from us."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return _Process(fields[0], fields[19])
    except (OSError, IndexError):
        return None


def _where() -> str:
    """Return a digest of this boot of this host, and of how it numbers processes and time here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()  # hosts may share a name
    except OSError:  # not Linux
        boot = os.uname().nodename
    namespaces = []
    for kind in ("pid", "time"):  # containers of one host
        with contextlib.suppress(OSError):
            namespaces.append(str(Path(f"/proc/self/ns/{kind}").readlink()))
    return xxh3_128(" ".join((boot, *namespaces)).encode())[:16]


INODES_PER_OBJECT = 5
"""An object's folder, its two files, the record, and its findings."""
GROUP = canonical_json({"attributes": {}, "node_type": "group", "zarr_format": 3})

MARK_FILE = "format.json"
FOLDERS = ("objects.zarr", "records", "findings", "catalog", "views", "tmp", "quarantine", "trash")
LATER = ("pins", "retired", "receipts", "leases")
"""Made when something is first written there."""

_NAME_BYTES = 255
_OBJECT = re.compile(r"[0-9a-f]{64}\Z")
_RECORD = re.compile(r"[0-9a-f]{32}\.json\Z")
_FINDINGS = re.compile(r"[0-9a-f]{32}-[1-9][0-9]{0,5}\.json\Z")
_GENERATION = re.compile(r"([0-9]{8})\.jsonl\Z")
_ACKNOWLEDGED = re.compile(r"([0-9]{8})\.ack\.json\Z")
_COLUMNS = re.compile(r"([0-9]{8})\.columns\Z")
_CUT = re.compile(r"([0-9]{8})\.cut\.json\Z")
_RECEIPT = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}\.json\Z")
_FAN_OUT = re.compile(r"[0-9a-f]{2}\Z")
_CORPUS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


@dataclass(frozen=True)
class Layout:
    """The paths of one store."""

    root: Path
    codec: Codec = "none"

    def refuse_links(self) -> None:
        """Refuse a store with a link for one of its own folders; folders in these are checked when a file is opened."""
        for name in (*FOLDERS, *LATER):
            path = self.root / name
            if not path.is_symlink():
                continue
            target = path.resolve()
            here, there = shlex.quote(str(path)), shlex.quote(str(target))
            then = f"mv {there} {here}" if target.is_dir() else "`brainbrr repair`"
            what = "a link is where a folder belongs"
            raise IntegrityError(what, where=path, fix=f"rm {here}, then {then}")

    @property
    def mark(self) -> Path:
        """The file that says which format this is."""
        return self.root / MARK_FILE

    @property
    def access(self) -> Path:
        """The file that keeps who may read the store, where `init` was asked for that."""
        return self.root / "access.json"

    @property
    def remotes(self) -> Path:
        """The file that names the store's remotes, where it has any."""
        return self.root / "remotes.json"

    @property
    def index(self) -> Path:
        """The file that a push writes for readers who cannot list."""
        return self.root / "index.json"

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

    def findings_named(self, name: str) -> Path:
        """Return the file of findings by their name KEY-VERSION. Raises UsageError for any other text."""
        key, _, version = name.partition("-")
        return self.findings_of(key, int(version) if version.isdecimal() else 0)

    def view(self, digest: str) -> Path:
        """Return the file of a frozen view. Raises UsageError for what is not a view's digest."""
        return self.root / "views" / f"{_checked(digest, 64)}.json"

    def views(self) -> list[str]:
        """Return the digests of the frozen views."""
        return self._digests("views", 64)

    def pin(self, digest: str) -> Path:
        """Return the file that keeps a frozen view for good. Raises UsageError for what is not a view's digest."""
        return self.root / "pins" / f"{_checked(digest, 64)}.json"

    def pins(self) -> list[str]:
        """Return the digests of the views that are pinned."""
        return self._digests("pins", 64)

    def retirement(self, recipe: str) -> Path:
        """Return the file that says that a recipe is retired. Raises UsageError for what is not a recipe's digest."""
        return self.root / "retired" / f"{_checked(recipe, 32)}.json"

    def retired(self) -> list[str]:
        """Return the digests of the recipes that are retired."""
        return self._digests("retired", 32)

    def lease(self, key: str) -> Path:
        """Return the file by which a process says that it builds a key. Raises UsageError for what is not a key."""
        return self.root / "leases" / _checked(key, 32)

    def leases(self) -> list[str]:
        """Return the keys that have a lease, of a living process or a dead one."""
        return self._digests("leases", 32)

    def receipt(self, name: str) -> Path:
        """Return the file that says what was deleted. Raises UsageError for a name that is not one."""
        if not _RECEIPT.match(f"{name}.json"):
            raise UsageError(f"{name[:80]!r} names no receipt")
        return self.root / "receipts" / f"{name}.json"

    def receipts(self) -> list[str]:
        """Return the names of the receipts, oldest first."""
        return [name[:-5] for name in _names(self.root / "receipts") if _RECEIPT.match(name)]

    @property
    def trash(self) -> Path:
        """The folder of running deletions, and of the lists of deletion candidates."""
        return self.root / "trash"

    def _digests(self, folder: str, n_digits: int) -> list[str]:
        names = _names(self.root / folder)
        return [digest for name in names if is_digest(digest := name.removesuffix(".json"), n_digits)]

    def generation(self, corpus: str, seq: int) -> Path:
        """Return the file of a catalog's generation. Raises UsageError for a name that is not one."""
        if not _CORPUS.match(corpus):
            raise UsageError(
                f"{corpus!r} cannot name a corpus", fix="1 to 64 letters, digits, dots, dashes and underscores"
            )
        return self.root / "catalog" / corpus / f"{seq:08d}.jsonl"

    def generations(self, corpus: str) -> list[int]:
        """Return the numbers of a catalog's generations, ascending."""
        return self._numbers(corpus, _GENERATION)

    def acknowledgement(self, corpus: str, seq: int) -> Path:
        """Return the file that says that a generation was published, and what its SHA-256 is."""
        return self.generation(corpus, seq).with_name(f"{seq:08d}.ack.json")

    def acknowledged(self, corpus: str) -> list[int]:
        """Return the numbers of the generations that were acknowledged, ascending."""
        return self._numbers(corpus, _ACKNOWLEDGED)

    def cut(self, corpus: str, seq: int) -> Path:
        """Return the file that says that the generations before this one were forgotten."""
        return self.generation(corpus, seq).with_name(f"{seq:08d}.cut.json")

    def cuts(self, corpus: str) -> list[int]:
        """Return the numbers of the generations that a catalog was cut at, ascending."""
        return self._numbers(corpus, _CUT)

    def columns(self, corpus: str, seq: int) -> Path:
        """Return the file of the columns of a catalog's base."""
        return self.generation(corpus, seq).with_name(f"{seq:08d}.columns")

    def with_columns(self, corpus: str) -> list[int]:
        """Return the numbers of the generations that have columns, ascending."""
        return self._numbers(corpus, _COLUMNS)

    @staticmethod
    def names_fan_out(name: str) -> bool:
        """Say whether a folder between a kind's own and its things can have this name."""
        return _FAN_OUT.match(name) is not None

    @staticmethod
    def names_corpus(name: str) -> bool:
        """Say whether a corpus can have this name."""
        return _CORPUS.match(name) is not None

    @staticmethod
    def names_catalog_file(name: str) -> bool:
        """Say whether a file of a catalog can have this name."""
        return any(kind.match(name) for kind in (_GENERATION, _ACKNOWLEDGED, _CUT, _COLUMNS))

    @staticmethod
    def names_receipt(name: str) -> bool:
        """Say whether a receipt's file can have this name."""
        return _RECEIPT.match(name) is not None

    def _numbers(self, corpus: str, kind: re.Pattern[str]) -> list[int]:
        names = _names(self.generation(corpus, 0).parent)
        return [int(match[1]) for name in names if (match := kind.match(name))]

    def corpora(self) -> tuple[str, ...]:
        """Return the corpora that have a catalog, or had one according to an acknowledgement or a cut."""
        names = filter(_CORPUS.match, _names(self.root / "catalog"))
        return tuple(n for n in names if self.generations(n) or self.acknowledged(n) or self.cuts(n))

    def lost_folders(self) -> Iterator[Path]:
        """Yield missing folders of records, catalogs and views: listing them would look as if they were empty."""
        for name in ("records", "catalog", "views"):
            if not files.is_folder(self.root / name):
                yield self.root / name
        for folder, has in ((self.records, self.names_fan_out), (self.root / "catalog", self.names_corpus)):
            for path in (folder / name for name in _names(folder) if has(name)):
                with contextlib.suppress(FileNotFoundError):  # forgotten just now
                    if not stat.S_ISDIR(path.lstat().st_mode):
                        yield path

    @staticmethod
    def fan_outs(folder: Path) -> Iterator[Path]:
        """Yield the folders in a folder, by name; links too, so that they are reported."""
        for name in () if folder.is_symlink() else _names(folder):
            path = folder / name
            if files.is_folder(path) or path.is_symlink():
                yield path

    def found_objects(self) -> Iterator[str]:
        """Yield the name of every folder in the place of objects.

        An object in its place is named by its content; any other folder by its path below `objects.zarr`.
        """
        for fan_out in self.fan_outs(self.objects):
            if fan_out.name == ARRAY_FILE:  # a group's file, whatever is in its place
                continue
            if fan_out.is_symlink() or (fan_out / SHARD_FILE).exists():
                yield fan_out.name
            for name in () if fan_out.is_symlink() else _folders(fan_out):
                if name != ARRAY_FILE:
                    yield _name_in(fan_out, name, name, _OBJECT)

    def found_records(self) -> Iterator[str]:
        """Yield every record's key; a misplaced file by its path below `records`."""
        return self._found_files(self.records, _RECORD)

    def listed(self, kind: Path, suffix: str = "") -> set[str]:
        """Return the names of what is in its place below `objects` or `records`, less their suffix. Stats nothing."""
        names: set[str] = set()
        for fan_out in filter(self.names_fan_out, _names(kind)):
            if not (kind / fan_out).is_symlink():
                names.update(name.removesuffix(suffix) for name in _names(kind / fan_out) if name.startswith(fan_out))
        return names

    def found_findings(self) -> Iterator[str]:
        """Yield the name (KEY-VERSION) of all findings; a misplaced file by its path below `findings`."""
        return self._found_files(self.findings, _FINDINGS)

    def _found_files(self, folder: Path, kind: re.Pattern[str]) -> Iterator[str]:
        for fan_out in self.fan_outs(folder):
            if fan_out.is_symlink():
                yield fan_out.name
                continue
            for name in _names(fan_out):
                if not name.startswith("."):  # .nfs000...: NFS's own
                    yield _name_in(fan_out, name, name.removesuffix(".json"), kind)

    def unlisted(self) -> Iterator[Path]:
        """Yield what is in fan-out folders, is not part of the format, and is not listed by found_*()."""
        for kind in (self.objects, self.records, self.findings):
            for fan_out in self.fan_outs(kind):
                if fan_out.is_symlink() or not self.names_fan_out(fan_out.name):
                    continue
                for path in map(fan_out.joinpath, _names(fan_out)):
                    if kind == self.objects:
                        extra = path.name != ARRAY_FILE and not (files.is_folder(path) or path.is_symlink())
                    else:
                        extra = path.name.startswith(".")
                    if extra:
                        yield path

    def path_of(self, kind: str, name: str) -> Path:
        """Return the path of a thing of a kind (see `damage.Kind`) by the name that found_*() or `verify` gives it.

        Raises UsageError for a text that names nothing.
        """
        match kind:
            case "object":
                return self.object(name) if is_digest(name, 64) else _below(self.objects, name)
            case "record":
                return self.record(name) if is_digest(name, 32) else _below(self.records, name)
            case "findings":
                in_place = is_digest(name.partition("-")[0], 32)
                return self.findings_named(name) if in_place else _below(self.findings, name)
            case "view":
                return self.view(name)
            case "pin":
                return self.pin(name)
            case "retired":
                return self.retirement(name)
            case "receipt":
                return self.receipt(name)
            case "group":
                return self.objects / name
            case "catalog":
                return self.root / "catalog" / name
            case _:
                return self.root / name

    def has(self, kind: str, name: str) -> bool:
        """Say whether a thing exists in its place; not behind a link in the place of its folder."""
        path = self.path_of(kind, name)
        return not path.parent.is_symlink() and files.exists(path)

    @property
    def folder_mode(self) -> int:
        """The mode of every folder in the store: that of the store's own, whatever the umask of a writer."""
        return stat.S_IMODE(self.root.stat().st_mode)

    def make_folder(self, folder: Path) -> None:
        """Make a folder of the store and its missing parents, but not the store's own."""
        files.make_folder(folder, self.folder_mode)

    def ensure_fan_out(self, folder: Path, *, group: bool = False, durable: bool = True) -> None:
        """Make a folder durable; with `group`, one that zarr lists. Raises UsageError where the store is gone."""
        if (files.syncs_later() or not durable) and self._seems_made(folder, group=group):
            return
        if not self.mark.exists():  # what is written below an empty mount point is not in the store
            fix = "is its disk mounted? then run the same command again"
            raise UsageError("the store is not there any more", where=self.root, fix=fix)
        self.make_folder(folder)
        files.refuse_link(folder)  # what is written must not land elsewhere either
        if durable:
            files.sync_folder(folder.parent)  # each time: another process may have made it, and died before its own
        if group:
            for each in (folder.parent, folder):
                self.ensure_group(each, durable=durable)

    def _seems_made(self, folder: Path, *, group: bool) -> bool:
        """Say by two calls whether a folder is as `ensure_fan_out` leaves it, but for what a sync makes durable."""
        try:
            facts = folder.lstat()
            is_ours = stat.S_ISDIR(facts.st_mode) and stat.S_IMODE(facts.st_mode) == self._mode_at_first
            return is_ours and (not group or (folder / ARRAY_FILE).lstat().st_size == len(GROUP))
        except OSError:
            return False

    @cached_property
    def _mode_at_first(self) -> int:
        return self.folder_mode

    def ensure_group(self, folder: Path, *, durable: bool = True) -> None:
        """Make a folder a zarr group; a damaged group file moves to quarantine."""
        path = folder / ARRAY_FILE
        while True:
            try:
                if files.read(path) == GROUP:
                    return
            except FileNotFoundError:
                with self.scratch() as temporary:
                    files.publish(temporary, path, GROUP, durable=durable)
                continue
            except IntegrityError:
                pass
            self.quarantine(path)

    def quarantine(self, path: Path, *, name: str | None = None) -> Path | None:
        """Move a damaged file or folder aside and return its new place; None when another process did.

        Raises IntegrityError where a folder above it is a link: what is behind it is not the store's.
        """
        kept = path.name
        while len(os.fsencode(kept)) > _NAME_BYTES - 13:
            kept = kept[:-1]
        target = self.root / "quarantine" / (name or f"{kept}.{uuid.uuid4().hex[:12]}")
        self.make_folder(target.parent)
        try:
            files.refuse_link(path.parent)
            path.rename(target)
        except FileNotFoundError:
            return None
        reach("moved aside")
        files.sync_folder(target.parent)
        files.sync_folder(path.parent)
        return target

    @cached_property
    def _tmp(self) -> Path:
        folder = self.root / "tmp"
        self.make_folder(folder)
        return folder

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a new path in `tmp/`; what is left there afterwards is removed."""
        path = self._tmp / f"{own_name()}-{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            try:
                if files.exists(path):  # else a file system that is only read says that it is
                    path.unlink(missing_ok=True)
            except (IsADirectoryError, PermissionError):  # the latter is what POSIX says of a folder
                shutil.rmtree(path)

    def clock_ns(self) -> int:
        """Return the time by the clock of the store's file system: the clocks of hosts differ."""
        with self.scratch() as path:
            files.write(path, b"", durable=False)
            return path.stat().st_mtime_ns

    def drafts(self) -> list[Path]:
        """Return what is in `tmp/`, of living writers and dead ones."""
        return [self.root / "tmp" / name for name in _names(self.root / "tmp")]

    def stale_tmp(self) -> list[Path]:
        """Return what dead writers of this host left in `tmp/`. Harmless: nothing reads it."""
        return [path for path in self.drafts() if is_dead(path.name)]


def _checked(text: str, n_digits: int) -> str:
    if not is_digest(text, n_digits):
        raise UsageError(f"{str(text)[:80]!r} is not a digest of {n_digits} hex digits")
    return text


def _name_in(fan_out: Path, file: str, name: str, kind: re.Pattern[str]) -> str:
    """Return a thing's own name if it is in its place, else its path below the folder of its kind."""
    return name if kind.match(file) and file[:2] == fan_out.name else f"{fan_out.name}/{file}"


def _below(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or not 1 <= len(path.parts) <= 2 or ".." in path.parts or "\0" in name:
        raise UsageError(f"{name!r} names nothing in a store")
    return folder / path


def _folders(folder: Path) -> list[str]:
    """Return the names of folders in a folder, sorted; of links too, so that they are reported."""
    try:
        with os.scandir(folder) as entries:
            return sorted(each.name for each in entries if each.is_symlink() or each.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise files.unreadable(folder, error) from error


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  # a tenth of the time of iterdir()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise files.unreadable(folder, error) from error
