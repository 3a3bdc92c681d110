"""`status`: what a store holds, where it is and why there. Reads no signal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from brainbrr.core.digest import is_digest, key_of
from brainbrr.eeg.signal.recipe import PRESETS, Recipe
from brainbrr.errors import IntegrityError
from brainbrr.loading.columnar import Assembled, contradicting
from brainbrr.loading.recordings import assemble, contradictions
from brainbrr.profiles import Profile
from brainbrr.settings import Settings
from brainbrr.store.catalog import Catalog
from brainbrr.store.columns import Columns, objects_of
from brainbrr.store.layers import Layers
from brainbrr.store.remotes import remotes_of
from brainbrr.store.store import Store
from brainbrr.views.select import member_places, members


@dataclass(frozen=True)
class StatusReport:
    """The store, its recipes, and each corpus's profiles with their readiness."""

    location: Path | str
    origin: str
    exists: bool
    objects: int = 0
    n_bytes: int = 0
    records: int = 0
    corpora: tuple[dict[str, Any], ...] = ()
    profiles: tuple[dict[str, Any], ...] = ()
    recipes: tuple[dict[str, Any], ...] = ()
    damaged_records: int = 0
    damaged_catalogs: tuple[str, ...] = ()
    leftovers: int = 0
    remotes: tuple[dict[str, Any], ...] = ()
    silent_remotes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            "store": {"location": str(self.location), "origin": self.origin, "exists": self.exists},
            "objects": self.objects,
            "bytes": self.n_bytes,
            "records": self.records,
            "corpora": list(self.corpora),
            "profiles": list(self.profiles),
            "recipes": list(self.recipes),
            "damaged_records": self.damaged_records,
            "damaged_catalogs": list(self.damaged_catalogs),
            "leftovers": self.leftovers,
            "remotes": list(self.remotes),
            "silent_remotes": list(self.silent_remotes),
        }


def status(store: Store | None, settings: Settings) -> StatusReport:
    """Return what the store holds, and how ready each corpus's profiles are."""
    location, origin = settings.store.location, settings.store.origin
    if store is None:
        return StatusReport(location, origin, exists=False)
    catalogs, damaged = _catalogs(store)
    columns = {name: store.columns(catalog) for name, catalog in catalogs.items()}
    contents, keys = list(store.contents()), list(store.keys())
    counts: Counter[str] = Counter()
    names: dict[str, str] = {recipe.digest: name for name, recipe in PRESETS.items()}
    recipes: dict[str, Recipe] = {}
    known: dict[str, tuple[str, str, Mapping[str, Any]]] = {}
    n_bytes: dict[str, int] = {}
    for each in filter(None, columns.values()):
        for stored, _, its_keys, its_contents in objects_of(each):
            known |= dict.fromkeys(its_keys, (stored.recipe, stored.name, stored.fields))
            n_bytes |= dict(zip(its_contents, stored.arrays["n_bytes"].tolist(), strict=True))
    for digest, made_by, fields in _made(store, keys, known):
        counts[digest] += 1
        names.setdefault(digest, made_by)
        if digest not in recipes and (recipe := _recipe(names[digest], fields)):
            recipes[digest] = recipe
    remotes = remotes_of(store)
    layers = Layers(store, settings.host, remotes)
    corpora: list[dict[str, Any]] = []
    profiles: list[dict[str, Any]] = []
    for name, catalog in catalogs.items():
        corpora.append(_corpus(catalog, columns[name]))
        given = settings.profiles_of(name)
        taken = _taken(store, catalog, columns[name], given, recipes, layers if remotes else None)
        profiles += ({"corpus": name, "recipe": names[digest] or digest[:8], **row} for digest, row in taken)
    return StatusReport(
        location=location,
        origin=origin,
        exists=True,
        objects=len(contents),
        n_bytes=sum(n_bytes[each] if each in n_bytes else store.object_bytes(each) for each in contents),
        records=sum(counts.values()),
        corpora=tuple(corpora),
        profiles=tuple(profiles),
        recipes=tuple({"name": names[recipe], "digest": recipe, "records": n} for recipe, n in sorted(counts.items())),
        damaged_records=len(keys) - sum(counts.values()),
        damaged_catalogs=tuple(damaged),
        leftovers=len(store.stale_tmp()),
        remotes=tuple({"name": each.name, "url": each.url, "private": each.private} for each in remotes),
        silent_remotes=tuple(layers.silent),
    )


def _recipe(name: str, fields: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe that a record names; None where this version cannot build it, so has no view of it."""
    try:
        return Recipe.from_identity(fields, name=name or "unnamed")
    except ValidationError:
        return None


def _catalogs(store: Store) -> tuple[dict[str, Catalog], list[str]]:
    """Return each corpus's catalog, and the corpora whose catalog is damaged."""
    found: dict[str, Catalog] = {}
    damaged: list[str] = []
    for name in store.corpora():
        try:
            catalog = store.catalog(name)
        except IntegrityError:
            damaged.append(name)
            continue
        if catalog is not None:
            found[name] = catalog
    return found, damaged


def _made(
    store: Store, keys: Iterable[str], known: Mapping[str, tuple[str, str, Mapping[str, Any]]]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield recipe, its name and its fields of each record, read unless the columns know it; none of damaged ones."""
    for key in keys:
        if key in known:
            yield known[key]
        elif is_digest(key, 32):
            with suppress(IntegrityError):
                if (record := store.record(key)) is not None:
                    yield record.recipe, str(record.provenance.get("recipe_name", "")), record.recipe_fields


def _corpus(catalog: Catalog, columns: Columns | None) -> dict[str, Any]:
    if columns is None:
        rows = catalog.rows.values()
        synthetic, refused = any(row.synthetic for row in rows), sum(bool(row.refusals) for row in rows)
        splits = Counter(row.split for row in rows)
    else:
        synthetic = bool(columns.arrays["synthetic"].any())
        refused = int((np.diff(columns.arrays["refusals_bounds"]) > 0).sum())
        counts = np.bincount(columns.arrays["split"], minlength=len(columns.words["split"])).tolist()
        splits = Counter({name: n for name, n in zip(columns.words["split"], counts, strict=True) if n})
    return {
        "name": catalog.corpus,
        "recordings": len(catalog.rows),
        "generation": catalog.seq,
        "labelled": catalog.labelled,
        "synthetic": synthetic,
        "refused": refused,
        "splits": dict(sorted(splits.items())),
    }


def _taken(
    store: Store,
    catalog: Catalog,
    columns: Columns | None,
    profiles: Mapping[str, Profile],
    recipes: Mapping[str, Recipe],
    layers: Layers | None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each recipe and profile what a view of them would hold, by the `assemble` that `view` uses.

    With `layers`, also what their remotes have of the rest, by remote.
    """
    if columns is None:
        taken = {each.name: {row.path for row in members(catalog.rows, each)} for each in profiles.values()}
        contradict = contradictions(catalog.rows.values())
    else:
        places = {each.name: member_places(columns, each) for each in profiles.values()}
        taken = {name: {columns.paths[i] for i in some.tolist()} for name, some in places.items()}
        contradict = contradicting(catalog, columns)
    for digest, recipe in recipes.items():
        if columns is None:
            every = catalog.rows.values()
            found = assemble(store, every, recipe=recipe, labelled=catalog.labelled, contradicting=contradict)
            ready, omitted = {each.path for each in found[0]}, {each.recording for each in found[2]}
        else:
            all_of_it = Assembled(store, catalog, columns, recipe)
            rows = np.arange(len(all_of_it.columns))
            held = all_of_it.members(rows, labelled=catalog.labelled, contradicting=contradict)
            ready, omitted = all_of_it.paths_of(held), {each.recording for each in held.omitted}
        at = _at_remotes(layers, catalog, digest, set().union(*taken.values()) - ready - omitted) if layers else {}
        for profile, paths in taken.items():
            counts = {"recordings": len(paths), "ready": len(paths & ready), "omitted": len(paths & omitted)}
            there = Counter(at[path] for path in paths & at.keys())
            yield digest, {"profile": profile, **counts, "remotes": dict(there)}


def _at_remotes(layers: Layers, catalog: Catalog, recipe: str, paths: Iterable[str]) -> dict[str, str]:
    """Return which remote has each of the recordings that one has."""
    sources = {path: catalog.rows[path].source for path in paths}
    keys = {path: key_of(source=source, recipe=recipe) for path, source in sources.items() if source}
    found = layers.where(set(keys.values()))
    return {path: found[key] for path, key in keys.items() if key in found}
