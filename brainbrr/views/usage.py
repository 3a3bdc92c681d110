"""`status --usage`: the bytes of a store by corpus, recipe and profile, and what is shared. Reads no signal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.profiles import Profile
from brainbrr.store.catalog import Row
from brainbrr.store.store import Store
from brainbrr.views.recipes import recipe_fields
from brainbrr.views.select import members

_FOLDERS = {
    "records": "records",
    "findings": "findings",
    "catalogs": "catalog",
    "frozen views": "views",
    "trash": "trash",
    "quarantine": "quarantine",
    "being written": "tmp",
}


@dataclass(frozen=True)
class Share:
    """The objects of one corpus, recipe or profile. `shared_bytes`: of objects that another of its kind has too."""

    kind: str
    name: str
    recordings: int
    objects: int
    n_bytes: int
    shared_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**{name: value for name, value in vars(self).items() if name != "n_bytes"}, "bytes": self.n_bytes}


@dataclass(frozen=True)
class Usage:
    """Bytes by corpus, recipe and profile; `unreferenced` objects that no catalog has; `beside` them other files."""

    shares: tuple[Share, ...]
    unreferenced_objects: int
    unreferenced_bytes: int
    beside: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "shares": [each.to_json() for each in self.shares], "beside": dict(self.beside)}


def usage(store: Store, *, profiles: Callable[[str], Mapping[str, Profile]]) -> Usage:
    """Return who uses how many bytes of a store; `profiles` gives those of a corpus. Raises IntegrityError."""
    sizes = {content: store.object_bytes(content) for content in store.contents()}
    fields = recipe_fields(store)
    corpora: dict[str, list[Row]] = {}
    recipes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    taken: dict[str, list[Row]] = {}
    for corpus in store.corpora():
        catalog = store.catalog(corpus)
        if catalog is None:
            continue
        corpora[corpus] = list(catalog.rows.values())
        for row in catalog.rows.values():
            for digest, content in row.contents.items():
                recipes[digest][f"{corpus}/{row.path}"].append(content)
        for name, profile in profiles(corpus).items():
            taken[f"{corpus} {name}"] = list(members(catalog.rows, profile))
    named = {digest: f"{fields[digest]['name'] if digest in fields else ''} {digest[:8]}".strip() for digest in recipes}
    by_corpus = {corpus: _of_rows(rows) for corpus, rows in corpora.items()}
    shares = [
        *_shares("corpus", by_corpus, sizes),
        *_shares("recipe", {named[digest]: found for digest, found in recipes.items()}, sizes),
        *_shares("profile", {name: _of_rows(rows) for name, rows in taken.items()}, sizes),
    ]
    reachable = {content for found in by_corpus.values() for contents in found.values() for content in contents}
    unreferenced = sizes.keys() - reachable
    beside = {kind: _bytes_below(store.location / folder) for kind, folder in _FOLDERS.items()}
    return Usage(
        tuple(shares),
        len(unreferenced),
        sum(sizes[content] for content in unreferenced),
        {kind: n_bytes for kind, n_bytes in beside.items() if n_bytes},
    )


def _of_rows(rows: Iterable[Row]) -> dict[str, list[str]]:
    return {row.path: list(row.contents.values()) for row in rows if row.contents}


def _shares(kind: str, groups: Mapping[str, Mapping[str, list[str]]], sizes: Mapping[str, int]) -> Iterable[Share]:
    """Yield the share of each group, of the contents of its recordings. An object of several recordings counts once."""
    objects = {name: {content for contents in found.values() for content in contents} for name, found in groups.items()}
    users = Counter(content for contents in objects.values() for content in contents)
    for name, contents in objects.items():
        n_bytes = sum(sizes.get(content, 0) for content in contents)
        shared = sum(sizes.get(content, 0) for content in contents if users[content] > 1)
        yield Share(kind, name, len(groups[name]), len(contents), n_bytes, shared)


def _bytes_below(folder: Path) -> int:
    total = 0
    with suppress(OSError):  # files come and go
        for path in folder.rglob("*"):
            with suppress(OSError):
                total += path.lstat().st_size if path.is_file() else 0
    return total
