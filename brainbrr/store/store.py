"""The store: arrays by key, each stored once, with catalogs and frozen views. Knows nothing of EEG.

Format and promises: store/README.md.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainbrr.core import files, models
from brainbrr.core.access import OWNER_ONLY, Guard
from brainbrr.core.arrays import Int16
from brainbrr.core.digest import is_digest, key_of, recipe_digest
from brainbrr.core.display import counted, html_table
from brainbrr.core.failpoints import reach
from brainbrr.errors import BrainbrrError, IntegrityError, NotReproducibleError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import create as creation
from brainbrr.store import deletion, formats, reader, records, sidecars
from brainbrr.store.access import Access
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.columns import Columns, columns_of, derived
from brainbrr.store.formats import ARRAY_FILE, SAVES_AT_MOST, SHARD_FILE, ArrayMeta, Codec
from brainbrr.store.layout import INODES_PER_OBJECT, Layout
from brainbrr.store.reader import ShardReader
from brainbrr.store.records import RECORD_FORMAT, Record
from brainbrr.store.writer import Draft

if TYPE_CHECKING:
    import zarr


@dataclass(frozen=True)
class Put:
    """What a put did. `quarantined`: what was damaged and replaced."""

    record: Record
    new_object: bool
    new_record: bool
    n_bytes_written: int
    quarantined: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A draft that was read back, with the record that it gets; `expected`: the content that its key must have."""

    draft: Draft
    record: Record
    data: bytes
    n_bytes: int
    expected: str | None


class Deleted(Exception):  # noqa: N818  # no error: the same draft, made again, is kept
    """A deletion removed the object that was just stored, before its record referenced it."""


class Store:
    """A store of int16 arrays by key, at one location, with catalogs and frozen views.

    Opening and reading need no permission to write; any number of processes may put. `brainbrr.open_store` opens one.

    Parameters
    ----------
    layout : Layout
        Where everything is.

    Attributes
    ----------
    location : Path
        The store's folder.
    codec : {"none", "zstd"}
        How it keeps its tiles.

    Examples
    --------
    >>> store = brainbrr.open_store("store")
    >>> store.codec, store.corpora()
    ('none', ('demo',))
    >>> record = next(store.records())
    >>> store.open_array(record.content).shape == (19, record.array.n_samples)
    True
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._decoded: catalogs.Decoded = {}

    def __repr__(self) -> str:
        corpora = ", ".join(self.corpora()) or "none"
        return f"<Store {self.location}: codec {self.codec}, corpora {corpora}>"

    def _repr_html_(self) -> str:
        facts = [("location", self.location), ("codec", self.codec), ("frozen views", len(self.frozen_views()))]
        catalogs_of = ((corpus, self.newest_readable_catalog(corpus)) for corpus in self.corpora())
        held = [(f"corpus {corpus}", counted(len(found.rows), "recording")) for corpus, found in catalogs_of if found]
        return html_table([*facts, *held], caption="brainbrr store")

    @classmethod
    def create(
        cls,
        location: Path,
        *,
        codec: Codec | None = None,
        access: Access | None = None,
        within: Sequence[Guard] = OWNER_ONLY,
    ) -> Store:
        """Create a store, or open the existing one.

        An existing one must have the codec and the access that are given.

        Parameters
        ----------
        location : Path
            The store's folder.
        codec : {"none", "zstd"}, optional
            How a new store keeps its tiles. Default: "none".
        access : Access, optional
            Mode and group of its folders. Default: as the umask says, within `within`.
        within : sequence of Guard
            Permissions of the corpus's folders: a new store is no more readable than they are.

        Returns
        -------
        Store
            The store.

        Raises
        ------
        UsageError
            The folder holds other files, or a store with another codec or access.
        """
        return cls(creation.create(location, codec=codec, access=access, within=within))

    @classmethod
    def open(cls, location: Path) -> Store:
        """Open a store.

        Parameters
        ----------
        location : Path
            The store's folder.

        Returns
        -------
        Store
            The store.

        Raises
        ------
        UsageError
            The folder holds no store.
        FormatError
            The store's format is unknown or newer.
        """
        return cls(creation.open_existing(location))

    @classmethod
    def open_if_there(cls, location: Path) -> Store | None:
        """Open a store, or return None where one could be created.

        Parameters
        ----------
        location : Path
            The store's folder.

        Returns
        -------
        Store or None
            None where there is none yet.

        Raises
        ------
        UsageError
            The folder holds other files.
        FormatError
            The store's format is unknown or newer.
        """
        return cls.open(location) if creation.find(location) else None

    @property
    def location(self) -> Path:
        """The store's folder."""
        return self.layout.root

    @property
    def where(self) -> str:
        """Where it is, for a message: its folder, or the URL of a store that is read there."""
        return str(self.location)

    @property
    def mark(self) -> bytes:
        """The text of its format.json, which tells stores of different formats apart."""
        return creation.mark_bytes(self.layout)

    @property
    def codec(self) -> Codec:
        """How the store keeps its tiles; no content, key or view depends on it."""
        return self.layout.codec

    def path_of(self, kind: str, name: str) -> Path:
        """Return the path of a thing by its kind (see `damage.Kind`) and name, whether or not it exists.

        Parameters
        ----------
        kind : str
            A `damage.Kind`.
        name : str
            The name of a thing of that kind.

        Returns
        -------
        Path
            Where it is, or would be.
        """
        return self.layout.path_of(kind, name)

    def has(self, kind: str, name: str) -> bool:
        """Say whether a thing exists in its place; not behind a link in the place of its folder.

        Parameters
        ----------
        kind : str
            A `damage.Kind`.
        name : str
            The name of a thing of that kind.

        Returns
        -------
        bool
            Whether it exists; nothing is said of what is in it.
        """
        return self.layout.has(kind, name)

    def quarantine(self, kind: str, name: str) -> Path | None:
        """Move a damaged thing aside and return its new path; None when another process did.

        Parameters
        ----------
        kind : str
            A `damage.Kind`.
        name : str
            The name of a thing of that kind.

        Returns
        -------
        Path or None
            Where it is now.
        """
        return self.layout.quarantine(self.path_of(kind, name))

    # Objects and records

    def put(
        self,
        samples: Int16,
        *,
        meta: ArrayMeta,
        source: str,
        recipe_fields: Mapping[str, Any],
        statistics: Mapping[str, Any],
        signal: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> Put:
        """Store an array as `keep` does.

        Parameters
        ----------
        samples : ndarray of int16, shape (channels, n_samples)
            The array.
        meta : ArrayMeta
            Its channels, rate and steps.
        source : str
            Digest of the EDF's bytes.
        recipe_fields : mapping
            The recipe's identity.
        statistics, signal, provenance : mapping
            What the record keeps beside the array; JSON without floats.

        Returns
        -------
        Put
            The record, and what was new.

        Raises
        ------
        NotReproducibleError, UsageError, SpaceError
            As for `keep`.
        """
        while True:
            with self.draft(meta) as draft, contextlib.suppress(Deleted):
                draft.append(samples)
                return self.keep(
                    draft,
                    source=source,
                    recipe_fields=recipe_fields,
                    statistics=statistics,
                    signal=signal,
                    provenance=provenance,
                )

    @contextlib.contextmanager
    def draft(self, meta: ArrayMeta) -> Iterator[Draft]:
        """Begin an object whose samples are written block by block; unless it is kept, nothing of it remains.

        Parameters
        ----------
        meta : ArrayMeta
            Its channels, rate and steps.

        Yields
        ------
        Draft
            To append blocks to, and to `keep`.

        Raises
        ------
        SpaceError
            The disk is full: before anything is written, where that can be foreseen.
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
        source: str,
        recipe_fields: Mapping[str, Any],
        statistics: Mapping[str, Any],
        signal: Mapping[str, Any],
        provenance: Mapping[str, Any],
        expected: str | None = None,
    ) -> Put:
        """Store a draft under the key of its source and recipe; it is durable when this returns.

        An existing object is verified and the draft dropped; a damaged one moves to quarantine and is replaced.

        Parameters
        ----------
        draft : Draft
            A draft of this store that has all of its samples.
        source : str
            Digest of the EDF's bytes.
        recipe_fields : mapping
            The recipe's identity.
        statistics, signal, provenance : mapping
            What the record keeps beside the array; JSON without floats.
        expected : str, optional
            The content that the key must have.

        Returns
        -------
        Put
            The record, and what was new.

        Raises
        ------
        Deleted
            A deletion was faster: draft it again.
        NotReproducibleError
            The key has, or was `expected` to have, another content.
        RecordingError
            Something else removed the draft.
        IntegrityError
            Samples that are not legal.
        UsageError
            What no record can hold.
        SpaceError
            The disk is full; no partial result is visible.
        """
        finished = self.finish(
            draft,
            source=source,
            recipe_fields=recipe_fields,
            statistics=statistics,
            signal=signal,
            provenance=provenance,
            expected=expected,
        )
        return self.keep_finished(finished)

    def finish(
        self,
        draft: Draft,
        *,
        source: str,
        recipe_fields: Mapping[str, Any],
        statistics: Mapping[str, Any],
        signal: Mapping[str, Any],
        provenance: Mapping[str, Any],
        expected: str | None = None,
    ) -> Finished:
        """Write the end of a draft, read all of it back and make its record; `keep` says what may be raised.

        Parameters
        ----------
        draft : Draft
            A draft of this store that has all of its samples.
        source, recipe_fields, statistics, signal, provenance, expected
            As for `keep`.

        Returns
        -------
        Finished
            What `keep_together` stores.
        """
        n_bytes = draft.finish()
        with draft.expected():
            content = reader.decode(draft.folder, sums=draft.sums)
        try:
            recipe = recipe_digest(recipe_fields)
            fields: dict[str, Any] = {"format": RECORD_FORMAT, "kind": "record"}
            fields["key"] = key_of(source=source, recipe=recipe)
            fields |= {"source": source, "recipe": recipe, "content": content, "recipe_fields": recipe_fields}
            fields |= {"array": draft.meta.attributes(), "statistics": statistics, "signal": signal}
            record = models.parse(Record, {**fields, "provenance": provenance, "checks": draft.checks}, where=None)
            data = models.to_checksummed(record.to_json())
            Record.from_json(models.from_checksummed(data, where=self.location))
        except (IntegrityError, TypeError, ValueError, RecursionError) as error:
            what = error.what if isinstance(error, IntegrityError) else str(error)
            raise UsageError(f"this cannot be a record: {what}", where=self.location) from None
        return Finished(draft, record, data, n_bytes, expected)

    def keep_finished(self, finished: Finished) -> Put:
        """Store a finished draft as `keep` does.

        Parameters
        ----------
        finished : Finished
            What `finish` returned.

        Returns
        -------
        Put
            The record, and what was new.
        """
        keeping = self.keeping(finished)
        while True:
            try:
                next(keeping)
            except StopIteration as ended:
                put: Put = ended.value
                return put

    def keeping(self, finished: Finished, temporary: Path | None = None) -> Generator[None, None, Put]:
        """Store a finished draft, in three steps; each needs what the one before it wrote to be durable.

        Parameters
        ----------
        finished : Finished
            A draft of this store.
        temporary : Path, optional
            A durable file of its record.

        Yields
        ------
        None
            After each step.

        Returns
        -------
        Put
            The record, and what was new.
        """
        draft, record, expected, n_bytes = finished.draft, finished.record, finished.expected, finished.n_bytes
        key, content = record.key, record.content
        quarantined: list[Path] = []
        before = self._existing_record(record, quarantined)
        known = expected if before is None else before.content
        if known is not None and known != content:
            raise self._not_reproducible(key, known, content, self._set_aside(draft, content))
        new_object = self.ensure_object(draft, content, quarantined)
        yield
        if before is None:
            new_record = self._link_record(record, finished.data, temporary)
        else:
            new_record = False
            files.sync_folder(self.layout.record(key).parent)  # the process that linked it may not have come so far
        reach("record linked")
        yield
        # a deletion looks for records after it took an object away, we for the object after the record exists:
        # one of the two sees the other
        while not self.has_object(record):
            if not draft.folder.exists():
                raise Deleted
            new_object = self.ensure_object(draft, content, quarantined) or new_object
        n_bytes = n_bytes if new_object else 0
        if new_record:
            return Put(record, new_object, True, n_bytes + len(finished.data), tuple(quarantined))
        existing = self.made_from(source=record.source, recipe=record.recipe)
        if existing is None or existing.content != content:  # a faster process got something else for the key
            theirs = (existing or record).content
            raise self._not_reproducible(key, theirs, content, self.layout.object(content))
        return Put(existing, new_object, False, n_bytes, tuple(quarantined))

    def made_from(self, *, source: str, recipe: str) -> Record | None:
        """Return the record of what a source becomes under a recipe's digest, None when there is none.

        Parameters
        ----------
        source : str
            SHA-256 of the EDF's bytes, 64 hex digits.
        recipe : str
            Digest of the recipe's identity, 32 hex digits.

        Returns
        -------
        Record or None
            The record of the key that both give.

        Raises
        ------
        CollisionError
            The key's record was made from anything else.
        IntegrityError
            It is damaged.
        """
        key = key_of(source=source, recipe=recipe)
        record = self.record(key)
        if record is not None:
            record.check_made_from(source=source, recipe=recipe, where=self.layout.record(key))
        return record

    def _existing_record(self, ours: Record, quarantined: list[Path]) -> Record | None:
        key = ours.key
        try:
            return self.made_from(source=ours.source, recipe=ours.recipe)
        except IntegrityError:
            quarantined += filter(None, [self.layout.quarantine(self.layout.record(key))])
            return None

    def ensure_object(self, draft: Draft, content: str, quarantined: list[Path]) -> bool:
        """Ensure that the object of a finished draft exists, verified and durable; say whether it is ours.

        Parameters
        ----------
        draft : Draft
            A finished draft of this store.
        content : str
            Its content digest.
        quarantined : list of Path
            Gets the path of a damaged object that was replaced.

        Returns
        -------
        bool
            Whether the object is the draft's.
        """
        folder = self.layout.object(content)
        self.layout.ensure_fan_out(folder.parent, group=True)
        if self._exists(folder, content, quarantined):
            return False
        with draft.expected():
            draft.sync()
            while not files.rename_folder(draft.folder, folder):  # not copied: a reader must never see half an object
                if self._exists(folder, content, quarantined):
                    return False  # a faster process wrote the same
        reach("object renamed")
        files.sync_folder(folder.parent)
        reach("object durable")
        return True

    def _exists(self, folder: Path, content: str, quarantined: list[Path]) -> bool:
        """Say whether a verified object exists; a damaged one moves to quarantine."""
        if not files.exists(folder):
            return False
        try:
            reader.verify(folder, content, codec=self.codec)
        except IntegrityError:
            quarantined += filter(None, [self.layout.quarantine(folder)])
            return False
        files.sync_folder(folder.parent)  # the process that renamed it may not have come so far
        return True

    def _link_record(self, record: Record, data: bytes, temporary: Path | None) -> bool:
        path = self.layout.record(record.key)
        self.layout.ensure_fan_out(path.parent)
        with contextlib.nullcontext(temporary) if temporary is not None else self.layout.scratch() as name:
            return files.publish(name, path, data, is_written=temporary is not None)

    def _set_aside(self, draft: Draft, content: str) -> Path:
        """Move a draft into quarantine under its content, once however often it is built."""
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

        Parameters
        ----------
        key : str
            32 hex digits.

        Returns
        -------
        Record or None
            What is stored under the key.

        Raises
        ------
        IntegrityError
            It is damaged, or is another key's.

        Examples
        --------
        >>> store = brainbrr.open_store("store")
        >>> key = next(store.keys())
        >>> store.record(key).key == key, store.record("0" * 32)
        (True, None)
        """
        path = self.layout.record(key)
        record = records.read(path)
        if record is not None:
            record.check_identity(where=path)
            if record.key != key:
                raise IntegrityError(f"this is the record of key {record.key[:12]}", where=path)
        return record

    def records(self) -> Iterator[Record]:
        """Yield every undamaged record, by key; `verify` lists the damaged ones, and `keys` yields them too.

        Yields
        ------
        Record
            In the order of `keys`.
        """
        for key in self.keys():
            with contextlib.suppress(IntegrityError):
                if is_digest(key, 32) and (record := self.record(key)) is not None:
                    yield record

    def keys(self) -> Iterator[str]:
        """Yield the key of every record; a misplaced file by its path below `records`.

        Yields
        ------
        str
            32 hex digits, or a path.
        """
        return self.layout.found_records()

    def prefetch(self, keys: Iterable[str], *, findings: int | None = None) -> None:
        """Announce that the records of some keys will be read: at a remote they are fetched now, many at once.

        Parameters
        ----------
        keys : iterable of str
            32 hex digits each.
        findings : int, optional
            Also their findings, of the detector of this version.
        """

    def contents(self) -> Iterator[str]:
        """Yield the content of every object; a misplaced folder by its path below `objects.zarr`.

        Yields
        ------
        str
            64 hex digits, or a path.
        """
        return self.layout.found_objects()

    def existing(self) -> tuple[set[str], set[str]]:
        """Return the keys of all records and the contents of all objects, by listing both.

        Returns
        -------
        keys, contents : set of str
            What is in its place; nothing is verified.
        """
        return self.layout.listed(self.layout.records, ".json"), self.layout.listed(self.layout.objects)

    def has_object(self, record: Record) -> bool:
        """Say whether a record's object exists, as `has_files` does.

        Parameters
        ----------
        record : Record
            Any record of this store.

        Returns
        -------
        bool
            Whether its files exist with the right sizes.
        """
        return self.has_files(record.content, record.array.shard_bytes)

    def has_files(self, content: str, shard_bytes: int) -> bool:
        """Say whether both files of an object exist, the shard with its size.

        Two stats; verifies nothing. With a codec, any size that the shard's frames may have will do.

        Parameters
        ----------
        content : str
            64 hex digits.
        shard_bytes : int
            The shard's size without a codec.

        Returns
        -------
        bool
            Whether they exist.
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
        """Return the bytes of the files in a folder that `contents` named; 0 when it is gone.

        Parameters
        ----------
        name : str
            As `contents` yields it.

        Returns
        -------
        int
            Bytes of its files.
        """
        return formats.folder_bytes(self.path_of("object", name))

    def reader(
        self,
        content: str,
        meta: ArrayMeta | None = None,
        *,
        mapped: bool | None = None,
        checks: bytes = b"",
    ) -> ShardReader:
        """Return a reader of an object.

        With `meta`, which the object's record has, no zarr.json is read.

        Parameters
        ----------
        content : str
            64 hex digits.
        meta : ArrayMeta, optional
            As the object's record has it.
        mapped : bool, optional
            Whether the shard is mapped into memory. Default: where that is faster.
        checks : bytes
            The record's checksums of the samples of each tile.

        Returns
        -------
        ShardReader
            Reads int16 samples of any channels and seconds.

        Raises
        ------
        IntegrityError
            The object is missing or damaged.

        Examples
        --------
        >>> store = brainbrr.open_store("store")
        >>> record = next(store.records())
        >>> with store.reader(record.content, record.array) as reader:
        ...     reader.read(0, 512).shape, reader.read(0, 512).dtype
        ((19, 512), dtype('int16'))
        """
        folder = self.layout.object(content)
        return ShardReader(folder, meta, codec=self.codec, mapped=mapped, checks=checks)

    def open_array(self, content: str) -> zarr.Array[Any]:
        """Return an object as a read-only zarr array, after its structure is verified.

        Parameters
        ----------
        content : str
            64 hex digits.

        Returns
        -------
        zarr.Array
            int16, shape (channels, n_samples); row i is in steps of quantum_uv * 2**k[i] µV.

        Raises
        ------
        IntegrityError
            The object is missing, or its structure is damaged.
        """
        import zarr
        from zarr.storage import LocalStore

        folder = self.layout.object(content)
        reader.inspect(folder, codec=self.codec)
        return zarr.open_array(LocalStore(folder, read_only=True), mode="r", zarr_format=3)

    # Catalogs

    def corpora(self) -> tuple[str, ...]:
        """Return the corpora that have a catalog.

        Returns
        -------
        tuple of str
            In alphabetical order.

        Examples
        --------
        >>> brainbrr.open_store("store").corpora()
        ('demo',)
        """
        return self.layout.corpora()

    def catalog(self, corpus: str) -> Catalog | None:
        """Return a corpus's latest catalog.

        Parameters
        ----------
        corpus : str
            Its name.

        Returns
        -------
        Catalog or None
            None where the corpus has none.

        Raises
        ------
        IntegrityError
            It, or the one before it, is damaged.

        Examples
        --------
        >>> len(brainbrr.open_store("store").catalog("demo").rows)
        18
        """
        found = catalogs.latest(self.layout, corpus, self._decoded)
        return found[0] if found else None

    def generations(self, corpus: str) -> Iterator[tuple[int, Catalog | Exception]]:
        """Yield all generations of a corpus's catalog, from the oldest on.

        Parameters
        ----------
        corpus : str
            Its name.

        Yields
        ------
        tuple of int and Catalog or Exception
            Its number, and the catalog or why it cannot be read.
        """
        return catalogs.all_generations(self.layout, corpus)

    def columns(self, catalog: Catalog) -> Columns | None:
        """Return the rows of a catalog as arrays, with what their records state; made once for a catalog.

        Parameters
        ----------
        catalog : Catalog
            As `catalog` returns it.

        Returns
        -------
        Columns or None
            None where the catalog is small enough to have none.
        """
        return columns_of(self.layout, catalog.rows)

    def derive_columns(self, rows: Iterable[Row]) -> Columns:
        """Return rows of a catalog as arrays, with what their records state.

        Parameters
        ----------
        rows : iterable of Row
            Rows whose records exist.

        Returns
        -------
        Columns
            As `columns` returns them for a catalog.

        Raises
        ------
        ValueError, TypeError, LookupError
            A record holds what no ingest writes.
        """
        return derived(self.layout, rows)

    def newest_readable_catalog(self, corpus: str) -> Catalog | None:
        """Return the newest generation of a corpus's catalog that is not damaged; None where all are.

        Parameters
        ----------
        corpus : str
            Its name.

        Returns
        -------
        Catalog or None
            The newest one.
        """
        for seq in reversed(self.layout.generations(corpus)):
            with contextlib.suppress(BrainbrrError, OSError):
                return catalogs.complete(self.layout, corpus, seq)[0]
        return None

    def publish(
        self,
        corpus: str,
        merge: Callable[[Catalog | None], Catalog],
        *,
        not_before: Callable[[Catalog], str] = lambda _: "",
        whole: bool = False,
    ) -> Catalog:
        """Publish the next generation of a catalog: `merge` makes it of the latest, again when another was faster.

        An unchanged catalog is published again only if it is older than `not_before` says.

        Parameters
        ----------
        corpus : str
            Its name.
        merge : callable
            Gets the latest catalog, or None, and returns the next one.
        not_before : callable
            Gets the latest catalog and returns the time (ISO 8601) from which on an unchanged one counts.
        whole : bool
            Write all rows, not only those that changed.

        Returns
        -------
        Catalog
            The latest one.
        """
        return catalogs.publish(self.layout, corpus, merge, self._decoded, not_before, whole=whole)

    # Findings

    def findings(self, key: str, version: int) -> dict[str, Any] | None:
        """Return what a detector of this version noticed about a key, None where it never ran.

        Parameters
        ----------
        key : str
            32 hex digits.
        version : int
            Of the detector.

        Returns
        -------
        dict or None
            Score and findings.

        Raises
        ------
        IntegrityError
            The file is damaged or another key's.
        """
        return sidecars.read_findings(self.layout, key, version)

    def has_findings(self, key: str, version: int, *, prove: bool = False) -> bool:
        """Say whether findings exist: one stat, which verifies nothing.

        With `prove`, damaged ones count as missing.

        Parameters
        ----------
        key : str
            32 hex digits.
        version : int
            Of the detector.
        prove : bool
            Read and verify them.

        Returns
        -------
        bool
            Whether they exist.
        """
        return sidecars.findings_exist(self.layout, key, version, prove=prove)

    def put_findings(self, key: str, version: int, findings: Mapping[str, Any]) -> int:
        """Store findings (JSON without floats), complete but not flushed to the disk; return the bytes written.

        Undamaged ones that exist stay, and 0 is returned; damaged ones move to quarantine.

        Parameters
        ----------
        key : str
            32 hex digits.
        version : int
            Of the detector.
        findings : mapping
            JSON without floats.

        Returns
        -------
        int
            Bytes written.

        Raises
        ------
        UsageError
            They cannot be kept as JSON.
        SpaceError
            The disk is full.
        """
        return sidecars.publish_findings(self.layout, key, version, findings)

    def found_findings(self) -> Iterator[str]:
        """Yield the name of all findings; a misplaced file by its path below `findings`.

        Yields
        ------
        str
            KEY-VERSION, or a path.
        """
        return self.layout.found_findings()

    # Frozen views

    def freeze(self, digest: str, view: Mapping[str, Any]) -> Path:
        """Store a view under its digest, once; an existing one stays, since the digest says that they are the same.

        Parameters
        ----------
        digest : str
            The view's, 64 hex digits.
        view : mapping
            What `View.to_json` returned.

        Returns
        -------
        Path
            The file.
        """
        sidecars.publish_view(self.layout, digest, view)
        return self.layout.view(digest)

    def frozen(self, digest: str) -> dict[str, Any] | None:
        """Return a frozen view, None when there is none.

        Parameters
        ----------
        digest : str
            64 hex digits.

        Returns
        -------
        dict or None
            What `View.from_json` opens.

        Raises
        ------
        IntegrityError
            It is damaged.
        """
        return sidecars.read_view(self.layout, digest)

    def frozen_views(self) -> tuple[str, ...]:
        """Return the digests of the frozen views.

        Returns
        -------
        tuple of str
            64 hex digits each.
        """
        return tuple(self.layout.views())

    def pinned_views(self) -> tuple[str, ...]:
        """Return the digests of the pinned views.

        Returns
        -------
        tuple of str
            64 hex digits each.
        """
        return tuple(self.layout.pins())

    def retired_recipes(self) -> tuple[str, ...]:
        """Return the digests of the retired recipes.

        Returns
        -------
        tuple of str
            32 hex digits each.
        """
        return tuple(self.layout.retired())

    # Beside deletions

    def cancel_deletions(self) -> None:
        """Cancel running deletions, after publishing what references their candidates: what they took comes back.

        Raises
        ------
        OSError
            The deletions' files cannot be changed.
        """
        deletion.cancel(self.layout)

    def deleted_records(self) -> Callable[[str], bool] | None:
        """Return a test whether a key's record was deleted on purpose and not stored again.

        Returns
        -------
        callable or None
            Gets a key and returns whether its record was deleted. None if none ever was.
        """
        return deletion.deleted_records(self.layout)

    def stored_again(self, keys: Iterable[str]) -> str:
        """Return when the latest of some keys was deleted whose record exists again; "" if none was.

        Parameters
        ----------
        keys : iterable of str
            32 hex digits each.

        Returns
        -------
        str
            A time (ISO 8601), or "".
        """
        return deletion.stored_again(self.layout, keys)

    def stale_tmp(self) -> list[Path]:
        """Return what dead writers of this host left in `tmp/`.

        Harmless: nothing reads it.

        Returns
        -------
        list of Path
            Files and folders.
        """
        return self.layout.stale_tmp()
