"""What is alive: what the latest catalogs, frozen views and pins name. Reads all of them, or says what cannot be read.

Knows nothing of how things are deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.digest import is_digest, key_of
from brainbrr.errors import BrainbrrError, Fix, IntegrityError
from brainbrr.store import catalog as catalogs
from brainbrr.store import sidecars
from brainbrr.store.layout import Layout
from brainbrr.store.records import Record

_MEND = Fix(("verify",), " lists all damage, ", ("repair",), " repairs it; then run this again")


@dataclass(frozen=True)
class Named:
    """What a record names, and what it was made from."""

    source: str
    recipe: str
    content: str


@dataclass(frozen=True)
class Roots:
    """What was alive at one moment, and every record that lay in its place then."""

    records: Mapping[str, Named]
    sources: frozenset[str]
    """Of the latest generation of every catalog."""
    retired: frozenset[str]
    keys: frozenset[str]
    """Named by frozen views, and by what catalogs say their sources became under a recipe that is not retired."""
    contents: frozenset[str]
    """Named by the same."""

    def keeps(self, key: str, named: Named) -> bool:
        """Say whether a record is alive."""
        return key in self.keys or (named.source in self.sources and named.recipe not in self.retired)

    def objects(self) -> set[str]:
        """Return the contents that are alive."""
        return {named.content for key, named in self.records.items() if self.keeps(key, named)} | self.contents


class Reader:
    """Reads the roots of a store, again and again: a file that has not moved since is not opened twice."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._decoded: catalogs.Decoded = {}
        self._known: dict[Path, tuple[tuple[int, ...], Any]] = {}

    def read(self, *, without_corpus: str | None = None, without_views: frozenset[str] = frozenset()) -> Roots:
        """Return what is alive now, or would be if this corpus and these views were gone.

        Raises IntegrityError where a record, catalog, view, pin or mark of retirement cannot be read, or a folder of
        these is not there.
        """
        lost = self.layout.lost_folders()
        damaged = [IntegrityError("a folder of the store is not there", where=folder) for folder in lost]
        retired = frozenset(self._retired(damaged))
        sources: set[str] = set()
        keys: set[str] = set()
        contents: set[str] = set()
        for catalog in self._catalogs(damaged, without_corpus):
            for row in catalog.rows.values():
                if row.source is not None:
                    sources.add(row.source)
                    for recipe in row.contents.keys() - retired:
                        keys.add(key_of(source=row.source, recipe=recipe))
                        contents.add(row.contents[recipe])
        for view in self._views(damaged, without_views):
            keys |= view.keys()
            contents |= set(view.values())
        records = dict(self._records(damaged))
        if damaged:
            more = f", and {len(damaged) - 1} more like it" if len(damaged) > 1 else ""
            what = f"nothing is deleted from a store that cannot be read wholly: {damaged[0].what}{more}"
            raise IntegrityError(what, where=damaged[0].where, fix=_MEND)
        return Roots(records, frozenset(sources), retired, frozenset(keys), frozenset(contents))

    def record(self, path: Path, key: str) -> Named | None:
        """Return what a record file names, None where it is gone. Raises IntegrityError when it is damaged."""

        def read(data: bytes) -> Named:
            record = Record.from_json(files.unseal(data, where=path), where=path)
            record.check_identity(where=path)
            if record.key != key:
                raise IntegrityError(f"this is the record of key {record.key[:12]}", where=path)
            return Named(record.source, record.recipe, record.content)

        found: Named | None = self._once(path, read)
        return found

    def named_in_trash(self) -> set[str]:
        """Return the contents that records name which other deletions have taken away, and may yet put back."""
        found = set()
        for path in self.layout.trash.glob("*/records/*.json"):
            named = self.record(path, path.stem) if is_digest(path.stem, 32) else None  # else nobody puts it back
            if named is not None:
                found.add(named.content)
        return found

    def view(self, digest: str) -> Mapping[str, str] | None:
        """Return the contents that a frozen view names, by key; None where it is gone."""
        path = self.layout.view(digest)
        found: Mapping[str, str] | None = self._once(path, lambda data: _named_by(files.unseal(data, where=path), path))
        return found

    def _once(self, path: Path, read: Any) -> Any:
        """Return what `read` makes of a file's bytes, as it was remembered while the file has not moved."""
        try:
            found = os.lstat(path)
            stat = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            known = self._known.get(path)
            if known is None or known[0] != stat:
                known = self._known[path] = stat, read(files.read(path, limit=sidecars.MAX_CATALOG_BYTES))
            return known[1]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise IntegrityError(f"it cannot be read: {error.strerror}", where=path) from error

    def _retired(self, damaged: list[IntegrityError]) -> Iterator[str]:
        for recipe in self.layout.retired():
            path = self.layout.retirement(recipe)
            try:
                said = sidecars.read_checksummed(path)
                if said is not None and said.get("recipe") != recipe:
                    raise IntegrityError("this is the mark of another recipe", where=path)
            except IntegrityError as error:
                damaged.append(error)
                continue
            if said is not None:
                yield recipe

    def _records(self, damaged: list[IntegrityError]) -> Iterator[tuple[str, Named]]:
        for key in self.layout.found_records():
            try:
                if not is_digest(key, 32):
                    where = self.layout.records / key
                    raise IntegrityError("a file that is not in a record's place", where=where)
                named = self.record(self.layout.record(key), key)
            except IntegrityError as error:
                damaged.append(error)
                continue
            if named is not None:
                yield key, named

    def _views(self, damaged: list[IntegrityError], without: frozenset[str]) -> Iterator[Mapping[str, str]]:
        for digest in sorted({*self.layout.views(), *self.layout.pins()} - without):
            try:
                found = self.view(digest)
                if found is None and files.lies(self.layout.pin(digest)):
                    raise IntegrityError("a pinned view is not there", where=self.layout.view(digest))
            except IntegrityError as error:
                damaged.append(error)
                continue
            if found is not None:
                yield found

    def _catalogs(self, damaged: list[IntegrityError], without: str | None) -> Iterator[catalogs.Catalog]:
        for corpus in self.layout.corpora():
            if corpus == without:
                continue
            try:
                found = self._latest(corpus)
            except IntegrityError as error:
                damaged.append(error)
                continue
            if found is not None:
                yield found

    def _latest(self, corpus: str) -> catalogs.Catalog | None:
        try:
            found = catalogs.latest(self.layout, corpus, self._decoded)
        except IntegrityError:  # unless another process has just forgotten it, or its older generations
            found = catalogs.latest(self.layout, corpus, self._decoded)
        return found[0] if found else None


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
    found = sidecars.read_checksummed(layout.view(digest), limit=sidecars.MAX_CATALOG_BYTES)
    return None if found is None or not isinstance(found.get("corpus"), str) else str(found["corpus"])


def generations(layout: Layout, corpus: str) -> Iterator[tuple[int, bytes, catalogs.Catalog]]:
    """Yield every generation of a corpus by number, with its bytes; each proven on its own, no chain between them.

    Raises IntegrityError for a damaged one.
    """
    for seq in layout.generations(corpus):
        path = layout.generation(corpus, seq)
        data = files.read(path, limit=sidecars.MAX_CATALOG_BYTES)
        try:
            yield seq, data, catalogs.decode(data, where=path)
        except BrainbrrError as error:
            raise IntegrityError(error.what, where=path, fix=_MEND) from None
