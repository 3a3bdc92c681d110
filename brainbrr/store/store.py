"""The store: arrays by key, each kept once, catalogs and frozen views beside them. Knows nothing of EEG.

Format and promises: store/README.md.

Proving what lies in a store: objects against their names, records against their objects, the rest against seals.

Reads, and changes nothing. Every proof raises IntegrityError.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from brainbrr.core import files
from brainbrr.core.arrays import Int16
from brainbrr.core.digest import is_digest
from brainbrr.core.failpoints import reach
from brainbrr.errors import Fix, IntegrityError, NotReproducibleError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import create as the_create
from brainbrr.store import formats, reader, records, sidecars
from brainbrr.store import sidecars as findings_files
from brainbrr.store.catalog import Catalog
from brainbrr.store.create import Access
from brainbrr.store.formats import ARRAY_FILE, SAVES_AT_MOST, SHARD_FILE, ArrayMeta, Codec
from brainbrr.store.layout import GROUP, INODES_PER_OBJECT, Layout
from brainbrr.store.reader import MEND, ShardReader, decode, inspect
from brainbrr.store.records import Record
from brainbrr.store.writer import Draft

if TYPE_CHECKING:
    import zarr


Depth = Literal["quick", "checksums", "full"]
"""How much of an object is read: no tile; every tile against its crc32c; every sample against the content."""
DEPTHS: tuple[Depth, ...] = get_args(Depth)


def decode_object(store: Store, name: str, *, look: reader.Look | None = None) -> str:
    """Return the content of what a folder that contents() named really holds, whatever its name."""
    return reader.decode(_folder(store, name), look=look)


def verify_object(store: Store, name: str, *, depth: Depth = "full") -> None:
    """Prove a folder that contents() named, its place and its groups."""
    verify_place(store, name)
    for fan_out in ("", name[:2]):
        verify_group(store, fan_out)
    verify_folder(store, name, checksums=depth == "checksums")
    if depth == "full":
        verify_place(store, name, decoded=decode_object(store, name))


def verify_folder(store: Store, name: str, *, checksums: bool = False) -> None:
    """Prove the structure of a folder, whatever its name; also the crc32c of every tile."""
    reader.inspect(_folder(store, name), codec=store.codec, checksums=checksums)


def verify_place(store: Store, name: str, *, decoded: str | None = None) -> None:
    """Prove that a folder lies where its content belongs; `decoded`: what decode() gave."""
    if not is_digest(name, 64):
        fix = Fix("no reader ever opens it: ", ("repair",), " moves it to its place, or to quarantine")
        raise IntegrityError("an object does not lie in its place", where=_folder(store, name), fix=fix)
    if decoded is not None:
        _match(_folder(store, name), name, decoded)


def prove(folder: Path, content: str, *, codec: Codec) -> None:
    """Prove that a folder is the object of a content, as a store of this codec keeps it."""
    reader.inspect(folder, codec=codec)
    _match(folder, content, reader.decode(folder))


def _match(folder: Path, content: str, found: str) -> None:
    if found != content:
        raise IntegrityError(f"its decoded array has content {found[:12]}", where=folder, fix=MEND)


def _folder(store: Store, name: str) -> Path:
    return store.layout.found(store.layout.objects, name)


def verify_group(store: Store, fan_out: str) -> None:
    """Prove the zarr group of a fan-out, or of the whole hierarchy ("")."""
    path = store.layout.objects / fan_out / ARRAY_FILE
    try:
        damaged = files.read(path) != GROUP
    except FileNotFoundError:
        damaged = True
    if damaged:
        raise IntegrityError("the zarr group file is damaged or missing", where=path, fix=MEND)


def unproven_record(store: Store, name: str) -> Record | None:
    """Return what a record file says, whether or not it belongs under its name; None when it is damaged or gone."""
    try:
        return records.read(store.layout.found(store.layout.records, name))
    except IntegrityError:
        return None


def proven_record(store: Store, name: str) -> Record:
    """Return a record proven against its name; what lies there has to be one."""
    path = store.layout.found(store.layout.records, name)
    if not is_digest(name, 32):
        fix = Fix("no reader ever opens it: ", ("repair",), " moves it to its place, or to quarantine")
        raise IntegrityError("a file that is not in a record's place", where=path, fix=fix)
    record = store.record(name)
    if record is None:
        raise IntegrityError("there is no record of this key", where=path, fix=MEND)
    return record


def verify_record(store: Store, name: str) -> Record:
    """Return a record proven against its name, its recipe and its object's metadata."""
    record = proven_record(store, name)
    verify_binding(store, record)
    return record


def verify_binding(store: Store, record: Record) -> None:
    """Prove that a record's object is there and is the array that it describes."""
    where = store.layout.record(record.key)
    if not store.has_object(record):
        what = f"its object {record.content[:12]} is not there, or has the wrong size"
        raise IntegrityError(what, where=where, fix=MEND)
    if formats.read_array(store.layout.object(record.content)) != (record.array, store.codec):
        raise IntegrityError("record and object disagree about the array", where=where, fix=MEND)


def verify_catalog(store: Store, corpus: str) -> None:
    """Prove every generation of a corpus's catalog."""
    catalogs.verify(store.layout, corpus)


def verify_findings(store: Store, name: str) -> None:
    """Prove what found_findings() named against its seal and its place."""
    findings_files.verify_findings(store.layout, name)


@dataclass(frozen=True)
class Put:
    """What a put did. `quarantined` names what was found damaged and replaced."""

    record: Record
    new_object: bool
    new_record: bool
    n_bytes_written: int
    quarantined: tuple[Path, ...] = ()


class TakenAway(Exception):  # noqa: N818  # no error: the same draft, made again, is kept
    """A deletion took away what was just stored, before its record told of it."""


class Store:
    """A store at one location. Opening and reading need no permission to write; any number of processes may put."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._decoded: catalogs.Decoded = {}

    @classmethod
    def create(cls, location: Path, *, codec: Codec | None = None, access: Access | None = None) -> Store:
        """Make a store, or open the one that is there. Raises UsageError for a folder with foreign files.

        `codec`: how a new store keeps its tiles, `none` by default; `access`: who may do what in it, by default what
        the umask says. A store that is there must have the same.
        """
        return cls(the_create.create(location, codec=codec, access=access))

    @classmethod
    def open(cls, location: Path) -> Store:
        """Open a store. Raises UsageError where there is none, FormatError for an unknown or newer format."""
        return cls(the_create.open_existing(location))

    @classmethod
    def open_if_there(cls, location: Path) -> Store | None:
        """Open a store, or return None where one could be made. Raises UsageError where none could."""
        return cls.open(location) if the_create.is_there(location) else None

    @property
    def location(self) -> Path:
        """The store's folder."""
        return self.layout.root

    @property
    def codec(self) -> Codec:
        """How the store keeps its tiles; no content, key or view depends on it."""
        return self.layout.codec

    # Objects and records

    def put(self, samples: Int16, *, meta: ArrayMeta, **record: Any) -> Put:
        """Store a whole array, int16 (channels, n_samples); `record`: all that keep() takes beside a draft."""
        while True:
            with self.draft(meta) as draft, contextlib.suppress(TakenAway):
                draft.append(samples)
                return self.keep(draft, **record)

    @contextlib.contextmanager
    def draft(self, meta: ArrayMeta) -> Iterator[Draft]:
        """Begin an object whose samples come block by block; unless it is kept, nothing of it remains.

        Raises SpaceError when the disk is full: before anything is written, where that can be foreseen.
        """
        at_least = meta.shard_bytes // SAVES_AT_MOST[self.codec]
        files.check_space(self.location, n_bytes=at_least, n_inodes=INODES_PER_OBJECT)
        with (
            files.writing(self.location, n_bytes=meta.shard_bytes),
            self.layout.scratch() as temporary,
            Draft(temporary, meta, self.codec, mode=self.layout.folder_mode) as draft,
        ):
            yield draft

    def keep(
        self,
        draft: Draft,
        *,
        key: str,
        source: str,
        recipe: str,
        recipe_fields: Mapping[str, Any],
        statistics: Mapping[str, Any],
        signal: Mapping[str, Any],
        provenance: Mapping[str, Any],
        expected: str | None = None,
    ) -> Put:
        """Store a draft under its key; it is durable when this returns.

        What is there already is proven and ours dropped; what is damaged moves to quarantine and is replaced.
        Raises TakenAway when a deletion was faster: draft it again. Raises NotReproducibleError when the key has, or
        was `expected` to have, another content, IntegrityError for samples that are not legal, SpaceError when the
        disk is full; then nothing half done can be seen.
        """
        n_bytes = draft.finish()
        content = decode(draft.folder, sums=draft.sums)
        said = (recipe_fields, draft.meta, statistics, signal, provenance)
        record = Record(key, source, recipe, content, *said, checks=draft.checks)
        data = files.seal(record.to_json())
        path = self.layout.record(key)
        try:
            Record.from_json(files.unseal(data, where=path), where=path).check_identity(where=path)
        except IntegrityError as error:
            raise UsageError(f"this cannot be a record: {error.what}", where=path) from None
        quarantined: list[Path] = []
        before = self._standing_record(key, quarantined)
        known = expected if before is None else before.content
        if known is not None and known != content:
            raise self._not_reproducible(key, known, content, self._set_aside(draft, content))
        new_object = self.ensure_object(draft, content, quarantined)
        if before is None:
            new_record = self._link_record(record, data)
        else:
            new_record = False
            files.sync_folder(path.parent)  # whoever linked it may not have come so far
        reach("record linked")
        # a deletion looks for records after it took an object away, we for the object after the record is there:
        # one of the two sees the other
        while not self.has_object(record):
            if not draft.folder.exists():
                raise TakenAway
            new_object = self.ensure_object(draft, content, quarantined) or new_object
        n_bytes = n_bytes if new_object else 0
        if new_record:
            return Put(record, new_object, True, n_bytes + len(data), tuple(quarantined))
        standing = self.record(key)
        if standing is None or standing.content != content:  # a faster process made something else of the key
            theirs = (standing or record).content
            raise self._not_reproducible(key, theirs, content, self.layout.object(content))
        return Put(standing, new_object, False, n_bytes, tuple(quarantined))

    def _standing_record(self, key: str, quarantined: list[Path]) -> Record | None:
        try:
            return self.record(key)
        except IntegrityError:
            quarantined += filter(None, [self.layout.quarantine(self.layout.record(key))])
            return None

    def ensure_object(self, draft: Draft, content: str, quarantined: list[Path]) -> bool:
        """Make the object of a finished draft be there, proven and durable; say whether it is ours."""
        folder = self.layout.object(content)
        self.layout.ensure_fan_out(folder.parent, group=True)
        if self._stands(folder, content, quarantined):
            return False
        draft.sync()
        while not files.rename_folder(draft.folder, folder):  # not copied: a reader must never see half an object
            if self._stands(folder, content, quarantined):
                return False  # a faster process wrote the same
        reach("object renamed")
        files.sync_folder(folder.parent)
        reach("object durable")
        return True

    def _stands(self, folder: Path, content: str, quarantined: list[Path]) -> bool:
        """Say whether a proven object lies there; a damaged one moves to quarantine."""
        if not folder.exists() and not folder.is_symlink():
            return False
        try:
            prove(folder, content, codec=self.codec)
        except IntegrityError:
            quarantined += filter(None, [self.layout.quarantine(folder)])
            return False
        files.sync_folder(folder.parent)  # whoever renamed it may not have come so far
        return True

    def _link_record(self, record: Record, data: bytes) -> bool:
        path = self.layout.record(record.key)
        self.layout.ensure_fan_out(path.parent)
        with self.layout.scratch() as temporary:
            return files.publish(temporary, path, data)

    def _set_aside(self, draft: Draft, content: str) -> Path:
        """Move a draft into quarantine, under its content: there once, however often it is tried."""
        target = self.layout.root / "quarantine" / content
        if not target.exists():
            draft.sync()
            try:
                self.layout.quarantine(draft.folder, name=content)
            except OSError as error:
                if error.errno not in files.OCCUPIED:
                    raise
        return target

    def _not_reproducible(self, key: str, known: str, content: str, ours: Path) -> NotReproducibleError:
        return NotReproducibleError(
            f"key {key[:12]} has content {known[:12]}, but this build gave {content[:12]}",
            where=ours,
            fix="the first stays; compare both, and raise the recipe's revision if the code's output changed",
        )

    def record(self, key: str) -> Record | None:
        """Return the record of a key, None when there is none.

        Raises IntegrityError when it is damaged or is another key's.
        """
        path = self.layout.record(key)
        record = records.read(path)
        if record is not None:
            record.check_identity(where=path)
            if record.key != key:
                raise IntegrityError(f"this is the record of key {record.key[:12]}", where=path)
        return record

    def records(self) -> Iterator[Record]:
        """Yield every record that is whole, by key; `verify` names the damaged ones, keys() counts them too."""
        for key in self.keys():
            try:
                yield proven_record(self, key)
            except IntegrityError:
                continue

    def keys(self) -> Iterator[str]:
        """Yield the key of every record; a file that is not in a record's place by its path below `records`."""
        return self.layout.found_records()

    def contents(self) -> Iterator[str]:
        """Yield the content of every object; a folder that is not in its place by its path below `objects.zarr`."""
        return self.layout.found_objects()

    def has_object(self, record: Record) -> bool:
        """Say whether a record's object is there, as has_files() does."""
        return self.has_files(record.content, record.array.shard_bytes)

    def has_files(self, content: str, shard_bytes: int) -> bool:
        """Say whether both files of an object are there, the shard with its size. Two stats; proves nothing.

        `shard_bytes`: its size without a codec. With one, any size that its frames may have will do.
        """
        folder = os.fspath(self.layout.object(content))
        # frames of nothing but random samples are longer than the samples, but never twice as long
        sizes = range(shard_bytes, shard_bytes + 1) if self.codec == "none" else range(1, 2 * shard_bytes)
        try:
            n_bytes = os.stat(f"{folder}/{SHARD_FILE}").st_size  # noqa: PTH116  # asked thousands of times
            # not isfile(): it takes a store that does not answer for one that lacks the file
            return n_bytes in sizes and stat.S_ISREG(os.stat(f"{folder}/{ARRAY_FILE}").st_mode)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return False

    def object_bytes(self, name: str) -> int:
        """Return the bytes of the files in a folder that contents() named; 0 when it is gone."""
        return formats.folder_bytes(self._folder(name))

    def reader(self, content: str, meta: ArrayMeta | None = None, **choices: Any) -> ShardReader:
        """Return a reader of an object (see there). Raises IntegrityError when it is gone or damaged.

        With `meta`, which the object's record has, no zarr.json is read. Choices are the reader's own.
        """
        return ShardReader(self.layout.object(content), meta, codec=self.codec, **choices)

    def open_array(self, content: str) -> zarr.Array[Any]:
        """Return an object as a read-only zarr array, after its structure is proven. Raises IntegrityError."""
        import zarr
        from zarr.storage import LocalStore

        folder = self.layout.object(content)
        inspect(folder, codec=self.codec)
        return zarr.open_array(LocalStore(folder, read_only=True), mode="r", zarr_format=3)

    def _folder(self, name: str) -> Path:
        return self.layout.found(self.layout.objects, name)

    # Catalogs

    def corpora(self) -> tuple[str, ...]:
        """Return the corpora that have a catalog."""
        return self.layout.corpora()

    def catalog(self, corpus: str) -> Catalog | None:
        """Return a corpus's latest catalog. Raises IntegrityError when it, or the one before it, is damaged."""
        found = catalogs.latest(self.layout, corpus, self._decoded)
        return found[0] if found else None

    def publish(self, corpus: str, merge: Callable[[Catalog | None], Catalog], **choices: Any) -> Catalog:
        """Write the next generation of a catalog: `merge` makes it of the latest, again when another was faster."""
        return catalogs.publish(self.layout, corpus, merge, self._decoded, **choices)

    # Findings

    def findings(self, key: str, version: int) -> dict[str, Any] | None:
        """Return what a detector of this version noticed about a key, None where it never looked.

        Raises IntegrityError when the file is damaged or another key's.
        """
        return findings_files.read_findings(self.layout, key, version)

    def has_findings(self, key: str, version: int, *, prove: bool = False) -> bool:
        """Say whether findings are there: one stat, that proves nothing. With `prove`, damaged ones count as absent."""
        return findings_files.findings_exist(self.layout, key, version, prove=prove)

    def put_findings(self, key: str, version: int, findings: Mapping[str, Any]) -> int:
        """Keep findings (JSON without floats), whole but not flushed to the disk; return the bytes written.

        Whole ones that are there stay, and 0 is returned; damaged ones move to quarantine.
        Raises UsageError for what cannot be kept, SpaceError when the disk is full.
        """
        return findings_files.publish_findings(self.layout, key, version, findings)

    def found_findings(self) -> Iterator[str]:
        """Yield the name of all findings; a file that is not in their place by its path below `findings`."""
        return self.layout.found_findings()

    # Frozen views

    def freeze(self, digest: str, view: Mapping[str, Any]) -> Path:
        """Keep a view under its digest, once; the first one stays, since the digest says that they are the same."""
        path = self.layout.view(digest)
        sidecars.publish_checksummed(self.layout, path, view, lambda: self.frozen(digest))
        return path

    def frozen(self, digest: str) -> dict[str, Any] | None:
        """Return a frozen view, None when there is none. Raises IntegrityError when it is damaged."""
        return sidecars.read_checksummed(self.layout.view(digest), limit=sidecars.MAX_CATALOG_BYTES)

    def frozen_views(self) -> tuple[str, ...]:
        """Return the digests of the frozen views."""
        return tuple(self.layout.views())

    def stale_tmp(self) -> list[Path]:
        """Return what dead writers of this host left behind. Harmless: nothing ever reads it."""
        return self.layout.stale_tmp()
