"""What `check` learns of a store from listings and columns: which object each record names, and who is in two splits.

Opens records that no column knows, and decodes objects that no record names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from brainbrr.core.arrays import Int64
from brainbrr.core.digest import is_digest
from brainbrr.eeg.corpus.census import by_format
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.columns import NONE, Columns, digests, objects_of
from brainbrr.store.integrity import decode_object
from brainbrr.store.store import Store


@dataclass(frozen=True)
class Listed:
    """Catalogs with their columns, the objects that exist, and the origin and content of each record, by key.

    `decoded`: by folder, the content of objects that no record names, and of those that hold the same.
    """

    catalogs: Sequence[tuple[Catalog, Columns]]
    contents: frozenset[str]
    records: Mapping[str, tuple[str, str, str]]
    unnamed: frozenset[str]
    decoded: Mapping[str, str]

    @classmethod
    def of(cls, store: Store, corpora: Sequence[str]) -> Listed | None:
        """List a store; None where one of its catalogs is damaged or has no columns."""
        catalogs: list[tuple[Catalog, Columns]] = []
        records: dict[str, tuple[str, str, str]] = {}
        for corpus in store.corpora():
            catalog = None
            with suppress(BrainbrrError):
                catalog = store.catalog(corpus)
            columns = store.columns(catalog) if catalog else None
            if catalog is None or columns is None:
                return None
            if corpus in corpora:
                catalogs.append((catalog, columns))
            for stored, sources, keys, contents in objects_of(columns):
                recipes = [stored.recipe] * len(keys)
                records |= zip(keys, zip(sources, recipes, contents, strict=True), strict=True)
        if not catalogs:
            return None
        there, objects = store.existing()
        for key in there:
            if key not in records and is_digest(key, 32):
                with suppress(BrainbrrError):
                    if (record := store.record(key)) is not None:
                        records[key] = record.source, record.recipe, record.content
        records = {key: records[key] for key in there if key in records}
        objects.update(store.contents())
        unnamed = objects - {content for _, _, content in records.values()}
        decoded: dict[str, str] = {}
        for name in sorted(unnamed):
            with suppress(BrainbrrError, OSError):
                decoded[name] = content = decode_object(store, name)
                if content in objects:
                    decoded.setdefault(content, content)
        return cls(tuple(catalogs), frozenset(objects), records, frozenset(unnamed), decoded)

    @cached_property
    def content_of(self) -> Mapping[str, str]:
        """The content of each key."""
        return {key: content for key, (_, _, content) in self.records.items()}

    def twice(self) -> Iterator[dict[str, Any]]:
        """Yield sources with two objects under one recipe."""
        origins: dict[tuple[str, str], set[str]] = defaultdict(set)
        for source, recipe, content in self.records.values():
            origins[source, recipe].add(content)
        for (source, recipe), contents in origins.items():
            if len(contents) > 1:
                yield {"source": source, "recipe": recipe, "objects": sorted(contents)}


def in_two_splits(catalogs: Sequence[tuple[Catalog, Columns, Int64]], recipe: Recipe) -> list[tuple[str, Row]]:
    """Return the rows, of these places, whose patient, source or content is in two splits."""
    seen: dict[str, dict[str, str]] = {"patient": {}, "source": {}, "content": {}}
    both: dict[str, set[str]] = {kind: set() for kind in seen}
    named: list[tuple[Catalog, list[str], dict[str, list[str]]]] = []
    for catalog, columns, places in catalogs:
        arrays, words = columns.arrays, columns.words
        some = places[arrays["split"][places] != _code(words["split"], "none")]
        split = [words["split"][i] for i in arrays["split"][some].tolist()]
        patients = [f"{catalog.corpus}/{name}" for name in words["patient"]]
        stored = columns.stored.get(recipe.digest)
        contents = [*(digests(stored.arrays["content"]) if stored else []), ""]
        at = stored.at(len(columns))[some].tolist() if stored else [NONE] * len(some)
        has_source = arrays["has_source"][some].tolist()
        sources = digests(arrays["source"][some])
        identities = {
            "patient": [patients[i] for i in arrays["patient"][some].tolist()],
            "source": [name if there else "" for name, there in zip(sources, has_source, strict=True)],
            "content": [contents[i] for i in at],
        }
        named.append((catalog, [columns.paths[i] for i in some.tolist()], identities))
        for kind, values in identities.items():
            first = seen[kind]
            both[kind] |= {
                value for value, name in zip(values, split, strict=True) if first.setdefault(value, name) != name
            }
    both = {kind: values - {""} for kind, values in both.items()}
    return [
        (catalog.corpus, catalog.rows[path])
        for catalog, paths, identities in named
        if any(both.values())
        for path, *its in zip(paths, *identities.values(), strict=True)
        if any(value in both[kind] for kind, value in zip(identities, its, strict=True))
    ]


def _code(words: Sequence[str], word: str) -> int:
    return list(words).index(word) if word in words else len(words)


def unread_of(columns: Columns) -> dict[str, list[str]]:
    """Return the recordings that are not read, by format: they are in every profile."""
    return by_format(path for path in columns.paths if not path.endswith(".edf"))
