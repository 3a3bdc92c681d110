"""A store at a place: its objects stay there, its small files come into a local mirror when they are first read.

The mirror has the layout of a store, and what is in it is verified on every read as in one, so nothing trusts it; it
can be deleted at any time. Each write is put-if-absent, and what has the name already is compared: groups, shard,
zarr.json, record, generation, acknowledgement, view, in this order.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TypeVar

import numpy as np

from brainbrr.core import files, models
from brainbrr.core.arrays import Int64
from brainbrr.core.digest import is_digest, key_of, xxh3_128
from brainbrr.errors import BrainbrrError, Fix, IntegrityError, UsageError
from brainbrr.settings import only_read
from brainbrr.store import catalog as catalogs
from brainbrr.store import create as creation
from brainbrr.store import formats, reader, sidecars
from brainbrr.store.catalog import Catalog
from brainbrr.store.formats import ARRAY_FILE, SHARD_FILE, ArrayMeta, Codec
from brainbrr.store.layout import GROUP, MARK_FILE
from brainbrr.store.places import Blocks, Place, RemoteError
from brainbrr.store.reader import ShardReader
from brainbrr.store.records import Record
from brainbrr.store.sidecars import MAX_CATALOG_BYTES
from brainbrr.store.store import Store
from brainbrr.store.tile_cache import CACHE_BYTES, FarReader, FarShard, Pool, TileCache

INDEX_FILE = "index.json"
"""Names of catalogs' files and views, for places that cannot be listed. Only a hint: whatever it names is verified."""

THREADS = 32
_FEW = 16  # names that are asked for one by one, where a list takes as many requests
_PUBLISH_TRIES = 20
_MARK_BYTES = 1 << 12
_COLUMNS = ".columns"  # derived from a generation: made here, not taken from a place that could forge them

T = TypeVar("T")


class RemoteStore(Store):
    """A store at a place. Reading is as of any store; of what writes, only what a push needs exists."""

    def __init__(self, place: Place, mirror: Store, *, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(mirror.layout)
        self.place, self._mirror = place, mirror
        self._listed: dict[str, dict[str, int]] = {}
        self._absent: set[Path] = set()
        self._tiles, self._pool = TileCache(mirror.location.parent.parent / "tiles", cache_bytes), Pool()
        self._arrays: dict[str, ArrayMeta] = {}
        self._added: set[str] = set()

    def __repr__(self) -> str:
        return f"<RemoteStore {self.place.url}: codec {self.codec}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_remote, (self.place, self.location.parent, self._tiles.n_bytes)

    @property
    def where(self) -> str:
        """The URL of the place."""
        return self.place.url

    def refresh(self) -> None:
        """Forget what was listed: the next read sees what others have written since."""
        self._listed.clear()
        self._absent.clear()
        self._added.clear()

    def name_of(self, path: Path) -> str:
        """Return the name that a path of the mirror has at the place."""
        return path.relative_to(self.location).as_posix()

    def at(self, path: Path) -> str:
        """Return the URL of a path of the mirror."""
        return self.place.at(self.name_of(path))

    # Lists

    def _names(self, prefix: str) -> dict[str, int]:
        """Return the names below a folder; of a web site those that its index names."""
        found = self._listed.get(prefix)
        if found is None:
            if self.place.lists:
                found = self.place.names(prefix)
            else:
                names = read_index(self.place)
                found = {name: 0 for name in names if name.startswith(f"{prefix}/")}
            self._listed[prefix] = found
        return found

    def _catalog_files(self) -> dict[str, set[str]]:
        """Return the names of each corpus's files."""
        found: dict[str, set[str]] = {}
        for name in self._names("catalog"):
            parts = PurePosixPath(name).parts
            if len(parts) != 3 or parts[2].endswith(_COLUMNS):
                continue
            if self.layout.names_corpus(parts[1]) and self.layout.names_catalog_file(parts[2]):
                found.setdefault(parts[1], set()).add(parts[2])
        return found

    def corpora(self) -> tuple[str, ...]:
        """Return the corpora that have a catalog."""
        return tuple(sorted(self._catalog_files()))

    def keys(self) -> Iterator[str]:
        """Yield the key of every record; of a web site those that catalogs name."""
        if self.place.lists:
            yield from sorted(self._known())
            return
        for corpus in self.corpora():
            catalog = self.catalog(corpus)
            for row in catalog.rows.values() if catalog else ():
                yield from (key_of(source=row.source, recipe=recipe) for recipe in row.contents if row.source)

    def contents(self) -> Iterator[str]:
        """Yield the content of every record."""
        keys = list(self.keys())
        self.prefetch(keys)
        yield from sorted({record.content for record in map(self.record, keys) if record})

    def _known(self) -> set[str]:
        stems = (PurePosixPath(name).stem for name in self._names("records"))
        return {stem for stem in stems if is_digest(stem, 32)} | self._added

    def which(self, keys: Collection[str]) -> set[str]:
        """Return which of some keys have a record here: a few are asked for, more are looked up in one list."""
        if self.place.lists and (len(keys) > _FEW or "records" in self._listed):
            return self._known() & set(keys)
        paths = {key: self.layout.record(key) for key in keys}
        with ThreadPoolExecutor(THREADS) as pool:
            sizes = pool.map(lambda path: self.place.size(self.name_of(path)), paths.values())
            return {key for key, size in zip(paths, sizes, strict=True) if size is not None}

    # Small files

    def _read(self, path: Path, parse: Callable[[], T], *, limit: int = files.MAX_JSON_BYTES) -> T | None:
        """Return what `parse` makes of a file of the mirror; one that is damaged is fetched again, once."""
        for _ in range(2):
            if not path.exists() and not self._bring(path, limit):
                return None
            try:
                return parse()
            except IntegrityError as error:
                path.unlink(missing_ok=True)
                error.where, damage = self.at(path), error
        raise damage

    def _bring(self, path: Path, limit: int) -> bool:
        data = self.place.read(self.name_of(path), limit=limit)
        if data is None:
            self._absent.add(path)
        else:
            self._keep_file(path, data)
        return data is not None

    def _keep_file(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.replace(path, data, durable=False, mode=0o600)

    def record(self, key: str) -> Record | None:
        """Return the record of a key, None when there is none."""
        found = self._read(self.layout.record(key), lambda: self._mirror.record(key))
        if found is not None:
            self._arrays[found.content] = found.array
        return found

    def prefetch(self, keys: Iterable[str], *, findings: int | None = None) -> None:
        """Fetch records that will be read, many at once. What is damaged shows when it is read."""
        wanted = set(keys)
        self._bring_all("records", [self.layout.record(key) for key in wanted])
        if findings is not None:
            self._bring_all("findings", [self.layout.findings_of(key, findings) for key in wanted])

    def _bring_all(self, kind: str, paths: Iterable[Path]) -> None:
        missing = [path for path in paths if path not in self._absent and not path.exists()]
        if self.place.lists and len(missing) > _FEW:
            known = self._names(kind)
            missing = [path for path in missing if self.name_of(path) in known]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda path: self._bring(path, files.MAX_JSON_BYTES), missing))

    def frozen(self, digest: str) -> dict[str, Any] | None:
        """Return a frozen view, None when there is none."""
        return self._read(self.layout.view(digest), lambda: self._mirror.frozen(digest), limit=MAX_CATALOG_BYTES)

    def has_view(self, digest: str) -> bool:
        """Say whether a view is frozen here: then all that it references was here before it."""
        return self.place.size(self.name_of(self.layout.view(digest))) is not None

    def frozen_views(self) -> tuple[str, ...]:
        """Return the digests of the frozen views."""
        stems = (PurePosixPath(name).stem for name in self._names("views"))
        return tuple(sorted(stem for stem in stems if is_digest(stem, 64)))

    def findings(self, key: str, version: int) -> dict[str, Any] | None:
        """Return what a detector of this version noticed about a key, None where it never ran."""
        path = self.layout.findings_of(key, version)
        if path in self._absent:
            return None
        return self._read(path, lambda: self._mirror.findings(key, version))

    def has_findings(self, key: str, version: int, *, prove: bool = False) -> bool:
        """Say whether findings exist."""
        return self.findings(key, version) is not None

    def catalog(self, corpus: str) -> Catalog | None:
        """Return a corpus's latest catalog, None where the corpus has none."""
        for again in (False, True):
            try:
                if not self._sync(self._mirror, corpus):
                    return None
                return self._mirror.catalog(corpus)
            except IntegrityError as error:
                shutil.rmtree(self.layout.generation(corpus, 0).parent, ignore_errors=True)
                if again:
                    error.where = self.place.at(f"catalog/{corpus}")
                    raise
                self.refresh()
        return None

    def newest_readable_catalog(self, corpus: str) -> Catalog | None:
        """Return the latest catalog of a corpus if it is not damaged."""
        with contextlib.suppress(BrainbrrError, OSError):
            return self.catalog(corpus)
        return None

    def _sync(self, into: Store, corpus: str, *, more: Collection[str] = ()) -> bool:
        """Let a store hold what reading a catalog needs of its files, and no later ones; say whether there are any."""
        folder = into.layout.generation(corpus, 0).parent
        names = self._catalog_files().get(corpus, set()) | set(more)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in names:  # the corpus was forgotten there, or the place holds another store now
                path.unlink(missing_ok=True)
        numbers = sorted({int(name[:8]) for name in names if name.endswith(".jsonl")})
        if not numbers:
            return bool(names)
        self._bring_catalog(into, corpus, [name for name in names if name.startswith(f"{numbers[-1]:08d}.")])
        first = catalogs.first_needed(into.layout, corpus, numbers[-1])
        self._bring_catalog(into, corpus, [name for name in names if int(name[:8]) >= first and ".ack." not in name])
        return True

    def _bring_catalog(self, into: Store, corpus: str, names: Iterable[str]) -> None:
        """Let a store have files of a catalog, from the mirror where it has them."""
        for name in names:
            path, copy = (each.layout.generation(corpus, 0).with_name(name) for each in (into, self._mirror))
            if path.exists():
                continue
            own = copy.read_bytes() if copy.exists() else None
            data = own or self.place.read(f"catalog/{corpus}/{name}", limit=MAX_CATALOG_BYTES)
            if data is not None:
                self._keep_file(path, data)

    # Objects

    def has_object(self, record: Record) -> bool:
        """Say whether a record's object exists: it was there before the record. Asks nothing."""
        return True

    def has_files(self, content: str, shard_bytes: int) -> bool:
        """Say whether both files of an object exist, the shard with a possible size."""
        folder = self.layout.object(content)
        n_bytes = self._size(folder / SHARD_FILE)
        sizes = range(shard_bytes, shard_bytes + 1) if self.codec == "none" else range(1, 2 * shard_bytes)
        return n_bytes in sizes and self._size(folder / ARRAY_FILE) is not None

    def list_objects(self) -> None:
        """List all objects at once, so that looking at each asks nothing; where that is possible."""
        if self.place.lists:
            self._names("objects.zarr")

    def _size(self, path: Path) -> int | None:
        listed, name = self._listed.get("objects.zarr"), self.name_of(path)
        return self.place.size(name) if listed is None else listed.get(name)

    def file_bytes(self, path: Path) -> bytes | None:
        """Return the bytes of a small file as they are there; None where it is missing, or larger than any."""
        return self._bytes_of(self.name_of(path), files.MAX_JSON_BYTES)

    def object_bytes(self, name: str) -> int:
        """Return the bytes of an object's files; without a codec they follow from its record, and nothing is asked."""
        meta = self._arrays.get(name)
        if meta is not None and self.codec == "none":
            return meta.shard_bytes + len(formats.zarr_json(meta, self.codec))
        paths = (self.layout.object(name) / each for each in (SHARD_FILE, ARRAY_FILE))
        return sum(self.place.size(self.name_of(path)) or 0 for path in paths)

    def shard_size(self, content: str, meta: ArrayMeta) -> int:
        """Return the size of an array's shard here. Raises IntegrityError for one that is gone, or impossible."""
        if self.codec == "none":
            return meta.shard_bytes
        path = self.layout.object(content) / SHARD_FILE
        n_bytes = self.place.size(self.name_of(path))
        if n_bytes is None or n_bytes not in meta.tiling(self.codec).shard_sizes:
            raise IntegrityError("the shard is missing, or has an impossible size", where=self.at(path))
        return n_bytes

    def shard_blocks(self, content: str, n_bytes: int) -> Iterator[bytes]:
        """Yield the bytes of an object's shard. Raises IntegrityError where there are fewer; verifies nothing else."""
        yield from self.place.blocks(self.name_of(self.layout.object(content) / SHARD_FILE), n_bytes)

    def shard(self, content: str, meta: ArrayMeta) -> bytes:
        """Return the bytes of an object's shard, of which only the size is verified."""
        return b"".join(self.shard_blocks(content, self.shard_size(content, meta)))

    def reader(
        self, content: str, meta: ArrayMeta | None = None, *, mapped: bool | None = None, checks: bytes = b""
    ) -> ShardReader:
        """Return a reader of an object, of which tiles are fetched when they are read first.

        Raises IntegrityError where it is missing or damaged.
        """
        meta = meta or self._meta(content)
        name = self.name_of(self.layout.object(content) / SHARD_FILE)
        copy = f"{self.location.name}-{content}-{self.codec}"

        def make() -> FarShard:
            edges = self._edges(content, name, meta)
            return FarShard(self._tiles, copy, partial(self.place.span, name), edges, checks, self._pool)

        return FarReader(self.place.at(name), meta, self.codec, checks, self._tiles.shard(copy, make))

    def _edges(self, content: str, name: str, meta: ArrayMeta) -> Int64:
        """Return where tiles begin: without a codec that follows from their number."""
        tiling = meta.tiling(self.codec)
        if self.codec == "none":
            return np.arange(tiling.n_tiles + 1, dtype=np.int64) * tiling.lengths[0]
        n_bytes = self.shard_size(content, meta)
        end = n_bytes - tiling.index_length
        return tiling.edges(self.place.span(name, end, n_bytes), end=end, where=self.place.at(name))

    def _meta(self, content: str) -> ArrayMeta:
        """Return the array of a content: as a record has it, else as its zarr.json does."""
        if content in self._arrays:
            return self._arrays[content]
        path = self.layout.object(content) / ARRAY_FILE
        found = self._read(path, lambda: formats.read_array(path.parent))
        if found is None or found[1] != self.codec:
            raise IntegrityError("the object is not there, or of another codec", where=self.at(path))
        return found[0]

    # Writing: what a push needs

    def add_object(self, content: str, meta: ArrayMeta, shard: bytes | Blocks, n_bytes: int) -> int:
        """Ensure that an object exists whose shard, in this store's codec, is verified; return the bytes written.

        What has its name already is verified too, and replaced where it is not this content.
        """
        folder = self.layout.object(content)
        for group in (folder.parent.parent, folder.parent):
            self._put_exactly(group / ARRAY_FILE, GROUP)
        written = 0
        if self.place.put(self.name_of(folder / SHARD_FILE), shard):
            written = n_bytes
        elif not self._is_object(content, meta):
            self.place.replace(self.name_of(folder / SHARD_FILE), shard)
            written = n_bytes
        self._put_exactly(folder / ARRAY_FILE, formats.zarr_json(meta, self.codec))
        return written

    def _is_object(self, content: str, meta: ArrayMeta) -> bool:
        try:
            data = self.shard(content, meta)
            with reader.over_bytes(data, meta, self.codec, folder=self.layout.object(content)) as opened:
                return reader.content_of(opened) == content
        except IntegrityError:
            return False

    def _put_exactly(self, path: Path, data: bytes) -> None:
        """Ensure that a file has these bytes, the only ones that its name can have."""
        name = self.name_of(path)
        if name in self._added:
            return
        if not self.place.put(name, data) and self._bytes_of(name, len(data)) != data:
            self.place.replace(name, data)
        self._added.add(name)

    def _bytes_of(self, name: str, limit: int) -> bytes | None:
        try:
            return self.place.read(name, limit=limit)
        except IntegrityError:  # longer
            return None

    def add_record(self, record: Record) -> int:
        """Ensure that a record exists whose object does; return the bytes written. A damaged one is replaced.

        Raises UsageError when its key has another content here.
        """
        path, data = self.layout.record(record.key), models.to_checksummed(record.to_json())
        if not self.place.put(self.name_of(path), data):
            path.unlink(missing_ok=True)  # what the mirror has may be older
            try:
                existing = self.record(record.key)
            except IntegrityError:
                existing = None
            if existing is not None and existing.content != record.content:
                what = f"its key has another content there, {existing.content[:12]}"
                raise UsageError(what, where=self.at(path))
            if existing is not None:
                self._added.add(record.key)
                return 0
            self.place.replace(self.name_of(path), data)
        self._keep_file(path, data)
        self._added.add(record.key)
        return len(data)

    def existing(self) -> tuple[set[str], set[str]]:
        """Return the keys of all records, and the contents that catalogs name: each was there before its record."""
        rows = [row for corpus in self.corpora() if (found := self.catalog(corpus)) for row in found.rows.values()]
        return set(self.keys()), {content for row in rows for content in row.contents.values()}

    def put_findings(self, key: str, version: int, findings: Mapping[str, Any]) -> int:
        """Store findings unless some exist; return the bytes written."""
        said = sidecars.Findings(key=key, version=version, findings=dict(findings))
        data = models.to_checksummed(said.to_json())
        path = self.layout.findings_of(key, version)
        self._absent.discard(path)
        return len(data) if self.place.put(self.name_of(path), data) else 0

    def freeze(self, digest: str, view: Mapping[str, Any]) -> Path:
        """Store a view under its digest, once; a damaged one is replaced."""
        data = models.to_checksummed(sidecars.named_view(digest, view))
        path = self.layout.view(digest)
        if not self.place.put(self.name_of(path), data):
            path.unlink(missing_ok=True)
            try:
                if self.frozen(digest) is not None:
                    return path
            except IntegrityError:
                self.place.replace(self.name_of(path), data)
        self._keep_file(path, data)
        return path

    def publish(
        self,
        corpus: str,
        merge: Callable[[Catalog | None], Catalog],
        *,
        not_before: Callable[[Catalog], str] = lambda _: "",
        whole: bool = False,
    ) -> Catalog:
        """Publish the next generation of a catalog, merged again whenever another writer was faster."""
        if not whole and (unchanged := self._unchanged(corpus, merge, not_before)) is not None:
            return unchanged
        taken: set[str] = set()  # which a stale list may lack
        for _ in range(_PUBLISH_TRIES):
            self._listed.pop("catalog", None)
            with self._shadow() as shadow:
                self._sync(shadow, corpus, more=taken)
                folder = shadow.layout.generation(corpus, 0).parent
                before = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
                found = shadow.publish(corpus, merge, not_before=not_before, whole=whole)
                new = {path.name for path in folder.iterdir()} - before
                mine = sorted(name for name in new if not name.endswith(_COLUMNS))
                # an acknowledgement speaks of what exists
                mine.sort(key=lambda name: name.endswith(".ack.json"))
                lost = next((name for name in mine if not self._send(corpus, folder / name)), None)
            self._listed.pop("catalog", None)
            if lost is None:
                return found
            taken.add(lost)
        raise RemoteError("other writers were faster each time", where=self.place.url, fix="run the same command again")

    def _unchanged(
        self, corpus: str, merge: Callable[[Catalog | None], Catalog], not_before: Callable[[Catalog], str]
    ) -> Catalog | None:
        """Return the latest catalog where merging changes nothing, and nothing of it lacks."""
        self._listed.pop("catalog", None)
        latest = self.catalog(corpus)
        if latest is None or catalogs.changes(merged := merge(latest), latest) or not_before(merged) > latest.created:
            return None
        acknowledged = f"{latest.seq:08d}.ack.json" in self._catalog_files()[corpus]
        return latest if acknowledged else None

    def _send(self, corpus: str, path: Path) -> bool:
        """Put a file of a catalog; say whether it is there with these bytes."""
        name, data = f"catalog/{corpus}/{path.name}", path.read_bytes()
        return self.place.put(name, data) or self._bytes_of(name, len(data)) == data

    @contextlib.contextmanager
    def _shadow(self) -> Iterator[Store]:
        """Yield a store of our own in which a file is made as any store makes it, before it is put to the place."""
        with tempfile.TemporaryDirectory(prefix="brainbrr-") as folder:
            (Path(folder) / "format.json").write_bytes(self.mark)
            yield Store.open(Path(folder))

    def write_index(self) -> None:
        """Write the hint that a reader needs who cannot list; what is newer is never lost by it."""
        self.refresh()
        names = [f"catalog/{corpus}/{name}" for corpus, all_of in self._catalog_files().items() for name in all_of]
        names += [f"views/{digest}.json" for digest in self.frozen_views()]
        self.place.replace(INDEX_FILE, catalogs.index_bytes(names))

    def _read_only(self, *_: Any, **__: Any) -> NoReturn:
        raise only_read(self.where)

    put = draft = keep = ensure_object = quarantine = _read_only

    def cancel_deletions(self) -> None:
        """Do nothing: here, what is deleted is listed first and looked at again after the grace."""

    def deleted_records(self) -> Callable[[str], bool] | None:
        """Return None: nothing is known of deletions."""
        return None

    def stale_tmp(self) -> list[Path]:
        """Return nothing: no writer leaves a part of anything at a place."""
        return []

    def stored_again(self, keys: Iterable[str]) -> str:
        """Return "": nothing is known of deletions."""
        return ""


def open_remote(place: Place, mirrors: Path, cache_bytes: int = CACHE_BYTES) -> RemoteStore:
    """Open the store at a place; `mirrors` is the folder for mirrors of this user, `tiles` beside it for their tiles.

    Raises UsageError where there is none, FormatError for another format.
    """
    mark = place.read(MARK_FILE, limit=_MARK_BYTES)
    if mark is None:
        raise no_store_at(place.url)
    mirror = mirrors / xxh3_128(place.url.encode())[:16]
    marked = mirror / MARK_FILE
    if not marked.exists() or marked.read_bytes() != mark:
        shutil.rmtree(mirror, ignore_errors=True)  # another store than the last time
        mirror.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.replace(marked, mark, durable=False, mode=0o600)
    return RemoteStore(place, Store.open(mirror), cache_bytes=cache_bytes)


def no_store_at(url: str) -> UsageError:
    """Return the error for a remote, at a path or URL, where nothing was pushed yet."""
    fix = Fix(("push", url, "--store", "FOLDER"), " creates one")
    return UsageError("there is no store at this remote", where=url, fix=fix, code="no-store")


def create_remote(place: Place, mirrors: Path, *, codec: Codec) -> RemoteStore:
    """Open the store at a place, or create one there. Raises UsageError where the place holds other files."""
    place.require_writable()
    if place.read(MARK_FILE, limit=_MARK_BYTES) is None:
        if foreign := next(iter(sorted(place.names(""))), None):
            fix = "choose an empty prefix for the store"
            raise UsageError(f"the place is not empty and not a store: it holds {foreign}", where=place.url, fix=fix)
        mark = creation.mark_of(codec)
        if not place.put(MARK_FILE, mark) and place.read(MARK_FILE, limit=_MARK_BYTES) is None:
            place.replace(MARK_FILE, mark)  # a server that is busy says that the name is taken
    return open_remote(place, mirrors)


def read_index(place: Place) -> list[str]:
    """Return the names in a place's index. Raises UsageError where it has none."""
    data = place.read(INDEX_FILE, limit=MAX_CATALOG_BYTES)
    if data is None:
        fix = "ask its publisher: `brainbrr push` writes one"
        raise UsageError(f"this site cannot be listed, and has no {INDEX_FILE}", where=place.url, fix=fix)
    names = models.decode_json(data, where=place.at(INDEX_FILE)).get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise IntegrityError("the index has no names", where=place.at(INDEX_FILE))
    return names
