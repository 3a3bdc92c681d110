"""What is reachable: all that the latest catalogs, frozen views and pins reference. Reads all of them, or refuses.

Knows nothing of how things are deleted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from brainbrr.core import files, models
from brainbrr.core.digest import is_digest, key_of
from brainbrr.errors import BrainbrrError, Fix, IntegrityError
from brainbrr.store import catalog as catalogs
from brainbrr.store import sidecars
from brainbrr.store.columns import columns_of, digests, incomplete, objects_of
from brainbrr.store.generation import decode
from brainbrr.store.layout import Layout
from brainbrr.store.records import Record

_FIX = Fix(("verify",), " lists all damage, ", ("repair",), " repairs it; then run this again")

T = TypeVar("T")


@dataclass(frozen=True)
class RecordSummary:
    """What a record references, and what it was made from."""

    source: str
    recipe: str
    content: str


@dataclass(frozen=True)
class LiveSet:
    """What was reachable at one moment, and every record that was in its place then.

    `sources`: of the latest generation of every catalog. `keys`, `contents`: named by frozen views, and by catalogs
    for recipes that are not `retired`.
    """

    records: Mapping[str, RecordSummary]
    sources: frozenset[str]
    retired: frozenset[str]
    keys: frozenset[str]
    contents: frozenset[str]

    def has(self, key: str, record: RecordSummary) -> bool:
        """Say whether a record is reachable."""
        return key in self.keys or (record.source in self.sources and record.recipe not in self.retired)

    def objects(self) -> set[str]:
        """Return the contents that are reachable."""
        return {record.content for key, record in self.records.items() if self.has(key, record)} | self.contents


class Reachability:
    """Reads the live set of a store repeatedly: an unchanged file is opened once.

    `by_columns`: a record that a catalog's columns know is not opened, which is enough to list, not to delete.
    """

    def __init__(self, layout: Layout, *, by_columns: bool = False) -> None:
        self.layout, self._by_columns = layout, by_columns
        self._decoded: catalogs.Decoded = {}
        self._known: dict[Path, tuple[tuple[int, ...], Any]] = {}

    def read(self, *, without_corpus: str | None = None, without_views: frozenset[str] = frozenset()) -> LiveSet:
        """Return what is reachable now, or would be without this corpus and these views.

        Raises IntegrityError where a record, catalog, view, pin or mark of retirement cannot be read, or a folder of
        these is missing.
        """
        layout = self.layout
        damaged = [IntegrityError("a folder of the store is not there", where=path) for path in layout.lost_folders()]
        retired = frozenset(recipe for recipe, _ in _read_each(layout.retired(), self._retirement, damaged))
        sources: set[str] = set()
        keys: set[str] = set()
        contents: set[str] = set()
        corpora = [corpus for corpus in layout.corpora() if corpus != without_corpus]
        summaries: dict[str, RecordSummary] = {}
        for _, catalog in _read_each(corpora, self._latest, damaged):
            columns = columns_of(layout, catalog.rows) if self._by_columns else None
            rows: Iterable[catalogs.Row] = catalog.rows.values()
            if columns is not None:
                sources.update(digests(columns.arrays["source"][columns.arrays["has_source"]]))
                for stored, *named in objects_of(columns):
                    for source, key, content in zip(*named, strict=True):
                        summaries[key] = RecordSummary(source, stored.recipe, content)
                    if stored.recipe not in retired:
                        keys.update(named[1])
                        contents.update(named[2])
                rows = (catalog.rows[path] for path in incomplete(columns))
            for row in rows:
                if row.source is not None:
                    sources.add(row.source)
                    for recipe in row.contents.keys() - retired:
                        keys.add(key_of(source=row.source, recipe=recipe))
                        contents.add(row.contents[recipe])
        views = sorted({*layout.views(), *layout.pins()} - without_views)
        for _, view in _read_each(views, self._needed_view, damaged):
            keys |= view.keys()
            contents |= set(view.values())
        there = list(layout.found_records())
        records = {key: summaries[key] for key in there if key in summaries}
        unknown = (key for key in there if key not in summaries)
        records.update(_read_each(unknown, self._record_in_place, damaged))
        if damaged:
            more = f", and {len(damaged) - 1} more like it" if len(damaged) > 1 else ""
            what = f"nothing is deleted from a store that cannot be read wholly: {damaged[0].what}{more}"
            raise IntegrityError(what, where=damaged[0].where, fix=_FIX)
        return LiveSet(records, frozenset(sources), retired, frozenset(keys), frozenset(contents))

    def record(self, path: Path, key: str) -> RecordSummary | None:
        """Return what a record file references, None where it is gone. Raises IntegrityError when it is damaged."""

        def read(data: bytes) -> RecordSummary:
            record = Record.from_json(models.from_checksummed(data, where=path), where=path)
            record.check_identity(where=path)
            if record.key != key:
                raise IntegrityError(f"this is the record of key {record.key[:12]}", where=path)
            return RecordSummary(record.source, record.recipe, record.content)

        return self._once(path, read)

    def referenced_in_trash(self) -> set[str]:
        """Return the contents referenced by records that other deletions took, and may yet put back."""
        found = set()
        for path in self.layout.trash.glob("*/records/*.json"):
            record = self.record(path, path.stem) if is_digest(path.stem, 32) else None  # others are never put back
            if record is not None:
                found.add(record.content)
        return found

    def view(self, digest: str) -> Mapping[str, str] | None:
        """Return the contents that a frozen view references, by key; None where it is gone."""
        path = self.layout.view(digest)
        return self._once(path, lambda data: _named_by(sidecars.view_fields(data, digest, where=path), path))

    def _once(self, path: Path, read: Callable[[bytes], T]) -> T | None:
        """Return read(bytes of a file), remembered until the file changes; None where there is none."""
        try:
            found = os.lstat(path)
            stat = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            known = self._known.get(path)
            if known is None or known[0] != stat:
                known = self._known[path] = stat, read(files.read(path, limit=sidecars.MAX_CATALOG_BYTES))
            result: T = known[1]
            return result
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise IntegrityError(f"it cannot be read: {error.strerror}", where=path) from error

    def _retirement(self, recipe: str) -> sidecars.RetiredRecipe | None:
        return sidecars.read_retired(self.layout, recipe)

    def _record_in_place(self, key: str) -> RecordSummary | None:
        if not is_digest(key, 32):
            raise IntegrityError("a file that is not in a record's place", where=self.layout.records / key)
        return self.record(self.layout.record(key), key)

    def _needed_view(self, digest: str) -> Mapping[str, str] | None:
        found = self.view(digest)
        if found is None and files.exists(self.layout.pin(digest)):
            raise IntegrityError("a pinned view is not there", where=self.layout.view(digest))
        return found

    def _latest(self, corpus: str) -> catalogs.Catalog | None:
        try:
            found = catalogs.latest(self.layout, corpus, self._decoded)
        except IntegrityError:  # unless another process has just forgotten it, or its older generations
            found = catalogs.latest(self.layout, corpus, self._decoded)
        return found[0] if found else None


def _read_each(
    names: Iterable[str], read: Callable[[str], T | None], damaged: list[IntegrityError]
) -> Iterator[tuple[str, T]]:
    """Yield what can be read, by name; add the errors of the others to `damaged`."""
    for name in names:
        try:
            found = read(name)
        except IntegrityError as error:
            damaged.append(error)
            continue
        if found is not None:
            yield name, found


def _named_by(view: Mapping[str, Any], where: Path) -> dict[str, str]:
    recordings = view.get("recordings")
    if not isinstance(recordings, list) or not all(isinstance(each, Mapping) for each in recordings):
        raise IntegrityError("this is no frozen view that this version knows: it lists no recordings", where=where)
    named = {str(each.get("key")): str(each.get("content")) for each in recordings}
    if not all(is_digest(key, 32) and is_digest(content, 64) for key, content in named.items()):
        raise IntegrityError("a recording of the frozen view has no key or content", where=where)
    return named


def frozen_corpus(layout: Layout, digest: str) -> str | None:
    """Return the corpus that a frozen view says it is of; None where it is gone, or names none."""
    found = sidecars.read_view(layout, digest)
    return None if found is None or not isinstance(found.get("corpus"), str) else str(found["corpus"])


def generations(layout: Layout, corpus: str) -> Iterator[tuple[int, bytes, catalogs.Catalog]]:
    """Yield every generation of a corpus by number, with its bytes; each verified alone, without the chain; of
    a delta its own rows.

    Raises IntegrityError for a damaged one.
    """
    for seq in layout.generations(corpus):
        path = layout.generation(corpus, seq)
        data = files.read(path, limit=sidecars.MAX_CATALOG_BYTES)
        try:
            yield seq, data, decode(data, where=path)
        except BrainbrrError as error:
            raise IntegrityError(error.what, where=path, fix=_FIX) from None
