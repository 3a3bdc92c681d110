"""`status`: what a store holds, where it is and why there. Reads no signal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from brainbrr.eeg.signal.recipe import PRESETS, Recipe
from brainbrr.errors import IntegrityError
from brainbrr.loading.recordings import assemble, contradictions
from brainbrr.profiles import Profile
from brainbrr.settings import Settings
from brainbrr.store.catalog import Catalog
from brainbrr.store.store import Store
from brainbrr.views.select import members


@dataclass(frozen=True)
class StatusReport:
    """The store, its recipes, and each corpus's profiles with their readiness."""

    location: Path
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
        }


def status(store: Store | None, settings: Settings) -> StatusReport:
    """Return what the store holds, and how ready each corpus's profiles are."""
    location, origin = settings.store.value, settings.store.origin
    if store is None:
        return StatusReport(location, origin, exists=False)
    contents = list(store.contents())
    counts: Counter[str] = Counter()
    names: dict[str, str] = {recipe.digest: name for name, recipe in PRESETS.items()}
    recipes: dict[str, Recipe] = {}
    for record in store.records():
        counts[record.recipe] += 1
        names.setdefault(record.recipe, str(record.provenance.get("recipe_name", "")))
        if record.recipe not in recipes and (recipe := _recipe(names[record.recipe], record.recipe_fields)):
            recipes[record.recipe] = recipe
    corpora: list[dict[str, Any]] = []
    profiles: list[dict[str, Any]] = []
    damaged: list[str] = []
    for name in store.corpora():
        try:
            catalog = store.catalog(name)
        except IntegrityError:
            damaged.append(name)
            continue
        if catalog is not None:
            corpora.append(_corpus(catalog))
            profiles += _readiness(store, catalog, settings.profiles_of(name), recipes, names)
    return StatusReport(
        location=location,
        origin=origin,
        exists=True,
        objects=len(contents),
        n_bytes=sum(store.object_bytes(content) for content in contents),
        records=sum(counts.values()),
        corpora=tuple(corpora),
        profiles=tuple(profiles),
        recipes=tuple({"name": names[recipe], "digest": recipe, "records": n} for recipe, n in sorted(counts.items())),
        damaged_records=sum(1 for _ in store.keys()) - sum(counts.values()),  # noqa: SIM118  # a store is no dict
        damaged_catalogs=tuple(damaged),
        leftovers=len(store.stale_tmp()),
    )


def _recipe(name: str, fields: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe that a record names; None where this version cannot build it, so has no view of it."""
    try:
        return Recipe.from_identity(fields, name=name or "unnamed")
    except ValidationError:
        return None


def _corpus(catalog: Catalog) -> dict[str, Any]:
    rows = catalog.rows.values()
    return {
        "name": catalog.corpus,
        "recordings": len(rows),
        "generation": catalog.seq,
        "labelled": catalog.labelled,
        "synthetic": any(row.synthetic for row in rows),
        "refused": sum(bool(row.refusals) for row in rows),
        "splits": dict(sorted(Counter(row.split for row in rows).items())),
    }


def _readiness(
    store: Store,
    catalog: Catalog,
    profiles: Mapping[str, Profile],
    recipes: Mapping[str, Recipe],
    names: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """Yield for each recipe and profile what a view of them would hold, by the `assemble` that `view` uses."""
    taken = {profile.name: {row.path for row in members(catalog.rows, profile)} for profile in profiles.values()}
    contradicting = contradictions(catalog.rows.values())
    for digest, recipe in recipes.items():
        found = assemble(
            store, catalog.rows.values(), recipe=recipe, labelled=catalog.labelled, contradicting=contradicting
        )
        ready, omitted = {each.path for each in found[0]}, {each.recording for each in found[2]}
        for profile, paths in taken.items():
            yield {
                "corpus": catalog.corpus,
                "profile": profile,
                "recipe": names[digest] or digest[:8],
                "recordings": len(paths),
                "ready": len(paths & ready),
                "omitted": len(paths & omitted),
            }
