"""`status`: what a store holds, where it is and why there. Reads no signal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.digest import key_of
from brainbrr.eeg.recipe import PRESETS
from brainbrr.profiles import Profile
from brainbrr.store.store import Store
from brainbrr.verbs.select import members


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
        }


def status(
    store: Store | None, *, location: Path, origin: str, profiles_of: Callable[[str], dict[str, Profile]]
) -> StatusReport:
    """Return what the store holds; `profiles_of` gives a corpus's profiles."""
    if store is None:
        return StatusReport(location, origin, exists=False)
    contents = list(store.contents())
    counts: Counter[str] = Counter()
    names: dict[str, str] = {recipe.digest: name for name, recipe in PRESETS.items()}
    stored: set[str] = set()
    for record in store.records():
        counts[record.recipe] += 1
        names.setdefault(record.recipe, str(record.provenance.get("recipe_name", "")))
        if store.has_object(record):
            stored.add(record.key)
    corpora, profiles = [], []
    for name in store.corpora():
        catalog = store.catalog(name)
        if catalog is None:
            continue
        corpora.append(
            {
                "name": name,
                "recordings": len(catalog.rows),
                "generation": catalog.seq,
                "labelled": catalog.labelled,
                "synthetic": any(row.synthetic for row in catalog.rows.values()),
                "refused": sum(bool(row.refusals) for row in catalog.rows.values()),
                "splits": dict(sorted(Counter(row.split for row in catalog.rows.values()).items())),
            }
        )
        for recipe in counts:
            for profile in profiles_of(name).values():
                rows = members(catalog.rows, profile)
                ready = sum(
                    row.source is not None
                    and recipe not in row.refusals
                    and key_of(source=row.source, recipe=recipe) in stored
                    for row in rows
                )
                omitted = sum(recipe in row.refusals and row.refusals[recipe].accepted for row in rows)
                entry = {"corpus": name, "profile": profile.name, "recipe": names[recipe] or recipe[:8]}
                profiles.append({**entry, "recordings": len(rows), "ready": ready, "omitted": omitted})
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
    )
