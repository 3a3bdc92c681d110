"""`recipe`: which recipes a store holds, and which of them nobody needs any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.eeg.recipe import PRESETS, Recipe, load_recipe
from brainbrr.errors import UsageError
from brainbrr.store import marks
from brainbrr.store.store import Store


@dataclass(frozen=True)
class RecipesReport:
    """What was done to which recipe, and every recipe that the store knows.

    Each is {name, digest, records, bytes, retired, preset}; bytes of objects that recipes share count in each.
    """

    store: Path
    recipe: str | None
    done: str
    """`listed`, `retired`, `was retired`, `restored` or `was not retired`."""
    recipes: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "store": str(self.store), "recipes": [dict(each) for each in self.recipes]}


def recipes(store: Store) -> RecipesReport:
    """Return every recipe that has records, or is retired."""
    return _report(store, None, "listed")


def retire(store: Store, recipe: str) -> RecipesReport:
    """Say that what was made under a recipe is not needed any more, but by frozen views. Deletes nothing: gc does.

    `recipe`: a name, a file, or what begins its digest. Raises UsageError for none, and for more than one.
    """
    digest, name = _resolve(store, recipe)
    return _report(store, digest, "retired" if marks.retire(store, digest, name) else "was retired")


def restore(store: Store, recipe: str) -> RecipesReport:
    """Take a retired recipe into use again. What gc has deleted since, ingest builds again."""
    digest, _ = _resolve(store, recipe)
    return _report(store, digest, "restored" if marks.restore(store, digest) else "was not retired")


def refuse_retired(store: Store, recipe: Recipe) -> None:
    """Raise UsageError where nothing is to be built under a recipe any more."""
    said = marks.retired(store, recipe.digest)
    if said is not None:
        raise UsageError(
            f"recipe {recipe.name} is retired in this store, since {said['created']} by {said['by']}",
            where=store.location,
            fix=f"brainbrr recipe restore {recipe.digest[:12]}, or choose another --recipe",
        )


def _known(store: Store) -> dict[str, dict[str, Any]]:
    presets = {recipe.digest: name for name, recipe in PRESETS.items()}
    found: dict[str, dict[str, Any]] = {}
    contents: dict[str, set[str]] = defaultdict(set)

    def known(digest: str, name: str) -> dict[str, Any]:
        name = presets.get(digest, name)
        empty = {"name": name, "digest": digest, "records": 0, "bytes": 0, "retired": False}
        return found.setdefault(digest, {**empty, "preset": digest in presets})

    for record in store.records():
        known(record.recipe, str(record.provenance.get("recipe_name", "")))["records"] += 1
        contents[record.recipe].add(record.content)
    for digest in store.layout.retired():
        said = marks.retired(store, digest)
        if said is not None:
            known(digest, said["name"])["retired"] = True
    for digest, named in contents.items():
        found[digest]["bytes"] = sum(store.object_bytes(content) for content in named)
    return found


def _resolve(store: Store, text: str) -> tuple[str, str]:
    """Return the digest and the name of the one recipe that a text means."""
    if text in PRESETS or Path(text).is_file():
        recipe = load_recipe(text)
        return recipe.digest, recipe.name
    known = _known(store)
    found = [digest for digest, each in known.items() if each["name"] == text] or marks.matching(known, text, 32)
    if len(found) != 1:
        names = ", ".join(f"{each['name']} {digest[:12]}" for digest, each in sorted(known.items()))
        what = f"{text[:80]!r} means {len(found)} recipes" if found else f"no recipe of this store is {text[:80]!r}"
        raise UsageError(what, where=store.location, fix=f"there are: {names or 'none'}")
    return found[0], str(known[found[0]]["name"])


def _report(store: Store, recipe: str | None, done: str) -> RecipesReport:
    found = sorted(_known(store).values(), key=lambda each: (each["name"], each["digest"]))
    return RecipesReport(store.location, recipe, done, tuple(found))
