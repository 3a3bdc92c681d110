"""Where a key came from: which recording under which recipe, and where its EDF lies on this host. Changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from brainbrr.digest import key_of, recipe_digest, source_digest
from brainbrr.eeg.recipe import PRESETS, Recipe
from brainbrr.errors import BrainbrrError, RecordingError
from brainbrr.host import Host
from brainbrr.store import catalog as catalogs
from brainbrr.store import proof
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.store import Store


@dataclass(frozen=True)
class Made:
    """What a key was made from."""

    source: str
    recipe_fields: Mapping[str, object]


@dataclass(frozen=True)
class Origin:
    """One EDF that hashes to its source, below a root, and the recipe that made the key of it."""

    root: Path
    edf: Path
    source: str
    n_bytes: int
    recipe: Recipe


class Origins:
    """Everything that a store's catalogs, records and frozen views know of where its keys came from."""

    def __init__(self, store: Store, host: Host | None, roots: Mapping[str, Path]) -> None:
        self._store, self._host, self._roots = store, host, roots

    def of(self, key: str) -> Origin:
        """Return the origin of a key. Raises RecordingError."""
        return self.locate(self.made_from(key))

    def locate(self, made: Made | RecordingError) -> Origin:
        """Return the origin of what made_from() said, after hashing the EDF. Raises RecordingError."""
        if isinstance(made, RecordingError):
            raise made
        recipe = self._recipe(made.recipe_fields)
        return Origin(*self._edf(made.source), recipe)

    def made_from(self, key: str) -> Made:
        """Return what a key was made from, as its record says, or what is known else. Raises RecordingError."""
        try:
            record = self._store.record(key)
        except (BrainbrrError, OSError):
            record = None
        if record is not None:
            return Made(record.source, record.recipe_fields)
        for recipe, fields in self._recipes.items():
            for source in self._rows:
                if key_of(source=source, recipe=recipe) == key:
                    return Made(source, fields)
        raise RecordingError(
            "no recording in a catalog gives this key under a known recipe",
            fix="brainbrr repair --from STORE; or brainbrr verify --accept-gone, where nobody wants it",
        )

    @staticmethod
    def _recipe(fields: Mapping[str, object]) -> Recipe:
        digest = recipe_digest(fields)
        preset = next((recipe.name for recipe in PRESETS.values() if recipe.digest == digest), "repaired")
        try:
            return Recipe.from_identity(fields, name=preset)
        except ValidationError:
            raise RecordingError(
                f"this brainbrr cannot build recipe {digest[:8]}",
                fix="brainbrr repair --from STORE, or with the version that built it",
            ) from None

    def _edf(self, source: str) -> tuple[Path, Path, str, int]:
        lost = RecordingError("no catalog names the EDF that it was made from", fix="brainbrr repair --from STORE")
        for corpus, row in self._rows.get(source, ()):
            fix = f"brainbrr repair --root {corpus}=DIR, or --from STORE"
            root = self._root(corpus)
            if root is None:
                lost = RecordingError(f"this host does not know where corpus {corpus} lies", fix=fix)
                continue
            edf = root / row.path
            try:
                if source_digest(edf) == source:
                    return root, edf, source, row.n_bytes
                lost = RecordingError(f"{edf} is another file now", fix=fix)
            except OSError as error:
                lost = RecordingError(f"{edf} cannot be read: {error.strerror}", fix=fix)
        raise lost

    def _root(self, corpus: str) -> Path | None:
        if corpus in self._roots:
            return self._roots[corpus]
        return self._host.root(self._store.location, corpus) if self._host else None

    @cached_property
    def _rows(self) -> dict[str, list[tuple[str, Row]]]:
        """By source: the recordings that hash to it."""
        rows: dict[str, list[tuple[str, Row]]] = defaultdict(list)
        for corpus in self._store.corpora():
            catalog = self._newest(corpus)
            for row in catalog.rows.values() if catalog else ():
                if row.source is not None:
                    rows[row.source].append((corpus, row))
        return rows

    def _newest(self, corpus: str) -> Catalog | None:
        for seq in reversed(self._store.layout.generations(corpus)):
            try:
                return catalogs.generation(self._store.layout, corpus, seq)[0]
            except (BrainbrrError, OSError):
                continue
        return None

    @cached_property
    def _recipes(self) -> dict[str, Mapping[str, object]]:
        """By digest: the fields of every recipe that is known."""
        return {recipe_digest(fields): fields for fields in self._said()}

    def _said(self) -> Iterator[Mapping[str, object]]:
        yield from (recipe.identity() for recipe in PRESETS.values())
        for key in self._store.keys():  # noqa: SIM118
            with suppress(BrainbrrError, OSError):
                yield proof.proven_record(self._store, key).recipe_fields
        for digest in self._store.frozen_views():
            with suppress(BrainbrrError, OSError, KeyError, TypeError):
                yield (self._store.frozen(digest) or {})["recipe"]["fields"]
