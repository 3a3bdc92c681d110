"""`pin`: a view that the store keeps for good, with all that it names.

`recipe`: which recipes a store holds, and which of them are not needed any more. `forget` and `gc`: of a store and of
copies that were staged on this node.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.digest import is_digest
from brainbrr.core.progress import Progress, Silent
from brainbrr.eeg.signal.recipe import PRESETS, Recipe, load_recipe
from brainbrr.engines.slurm import submissions
from brainbrr.errors import Fix, IntegrityError, UsageError
from brainbrr.store import deletion, frozen_views, leases
from brainbrr.store.forget import ForgetReport
from brainbrr.store.forget import forget as _forget
from brainbrr.store.gc import GcReport
from brainbrr.store.gc import gc as _gc
from brainbrr.store.store import Store
from brainbrr.views.stage import remove_deleted
from brainbrr.views.view import View

_FIX = Fix(
    "give the digest of a view that is frozen in the store, a run's view.json, or a file that ",
    ("view", "--out", "FILE"),
    " wrote",
)


@dataclass(frozen=True)
class PinReport:
    """What was done, and every pin that there is now: {view, created, by, corpus, profile, split, recordings}."""

    store: Path
    view: str | None
    done: str
    """`listed`, `pinned`, `was pinned`, `unpinned` or `was not pinned`."""
    pins: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "store": str(self.store), "pins": [dict(pin) for pin in self.pins]}


def pin(store: Store, view: str, *, remove: bool = False) -> PinReport:
    """Freeze a view in the store if it is not, and keep it for good; or, with `remove`, let it be forgotten again.

    `view`: a digest, or what begins one, of a frozen view; or a file that holds one. Raises UsageError for neither,
    IntegrityError where the store does not hold what the view names.
    """
    if remove:
        named = _frozen(store, view, {*store.pinned_views(), *store.frozen_views()}) or str(read_view(view)["digest"])
        return _pin_report(store, named, "unpinned" if frozen_views.unpin(store, named) else "was not pinned")
    digest = _frozen(store, view, set(store.frozen_views()))
    said = store.frozen(digest) if digest else read_view(view)
    if said is None:
        raise IntegrityError("this view is no longer frozen", where=store.path_of("view", str(digest)), fix=_FIX)
    try:
        opened = View.from_json(store, said)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this is no frozen view: {error}", where=view, fix=_FIX) from None
    digest = str(opened.digest)
    return _pin_report(store, digest, "pinned" if keep(store, digest, said) else "was pinned")


def pin_view(store: Store, view: View, *, remove: bool = False) -> PinReport:
    """Pin a view that is ready, or with `remove` unpin it. Raises as `pin` does."""
    if remove:
        done = "unpinned" if frozen_views.unpin(store, str(view.digest)) else "was not pinned"
    else:
        done = "pinned" if keep(store, str(view.digest), view.to_json()) else "was pinned"
    return _pin_report(store, view.digest, done)


def keep(store: Store, digest: str, view: Mapping[str, Any]) -> bool:
    """Freeze a view and pin it; say whether it was not pinned before. Raises IntegrityError where a gc was faster."""
    frozen_views.freeze(store, digest, view)
    is_new = frozen_views.pin(store, digest)
    need_objects(store, view)
    return is_new


def forget(
    store: Store,
    corpus: str,
    *,
    older_than_s: int | None = None,
    staged: Sequence[Path] = (),
    jobs: Path | None = None,
    yes: bool = False,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> ForgetReport:
    """Forget a corpus as `store.forget` does, with copies and job folders of it.

    `staged`: folders of this node that it was staged in; `jobs`: where SLURM's job folders are. Those of the corpus go
    first, while its catalog says which they are.
    """
    folders = _job_folders(store, corpus, jobs) if jobs is not None and older_than_s is None else []
    left: list[str] = []
    if leases.writers(store.layout).building:
        left = [f"{folder}: an ingest runs, perhaps this one: forget again when it has ended" for folder in folders]
        folders = []
    elif yes:
        for folder in folders:
            with files.writing(folder, n_bytes=0):
                deletion.remove(folder)
    report = _forget(store, corpus, older_than_s=older_than_s, yes=yes, progress=progress)
    left += [text for into in staged for text in remove_deleted(store, into)] if yes else []
    return dataclasses.replace(report, unproven=(*report.unproven, *left), jobs=tuple(map(str, folders)))


def _job_folders(store: Store, corpus: str, jobs: Path) -> list[Path]:
    """Return the job folders of a corpus's ingests into this store."""
    found = []
    for folder, submitted in submissions(jobs):
        with contextlib.suppress(KeyError, TypeError):
            work = submitted["work"]
            if work["corpus"] == corpus and Path(work["location"]).resolve() == store.location.resolve():
                found.append(folder)
    return found


def collect(store: Store, *, staged: Sequence[Path] = (), yes: bool = False, **options: Any) -> GcReport:
    """Delete what nothing references as `store.gc` does, and staged copies of what the store has no more."""
    report = _gc(store, yes=yes, **options)
    left = [text for into in staged for text in remove_deleted(store, into)] if yes else []
    return dataclasses.replace(report, unproven=(*report.unproven, *left))


def pins(store: Store) -> PinReport:
    """Return every pin."""
    return _pin_report(store, None, "listed")


def need_objects(store: Store, view: Mapping[str, Any]) -> None:
    """Raise IntegrityError unless the store holds every record and object that a view names. Reads no signal."""
    for entry in view["recordings"]:
        record = store.record(entry["key"])
        if record is None or record.content != entry["content"] or not store.has_object(record):
            raise IntegrityError(
                f"the view names content {entry['content'][:12]}, which the store does not hold",
                where=entry["path"],
                fix="ingest the corpus into this store again",
            )


def read_view(path: str) -> dict[str, Any]:
    """Return what a file says of a view. Raises UsageError for what is neither a file nor a frozen view."""
    try:
        value = json.loads(Path(path).read_bytes())
    except OSError:
        raise UsageError(f"{path[:80]!r} is neither a view frozen in this store nor a file", fix=_FIX) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is no frozen view: {error}", where=path, fix=_FIX) from None
    if not isinstance(value, dict) or not is_digest(value.get("digest"), 64):
        raise UsageError("this is no frozen view", where=path, fix=_FIX)
    return value


def _frozen(store: Store, text: str, known: set[str]) -> str | None:
    """Return the one known digest that a text names; None where it names none."""
    found = frozen_views.matching(known, text, 64)
    if len(found) > 1:
        raise UsageError(f"{text} begins {len(found)} digests", fix="give more of its digits")
    return found[0] if found else None


def _pin_report(store: Store, view: str | None, done: str) -> PinReport:
    every = []
    for digest in store.pinned_views():
        said, frozen = frozen_views.pinned(store, digest), store.frozen(digest) or {}
        if said is not None:
            of = {name: frozen.get(name) for name in ("corpus", "profile", "split")}
            every.append(
                {**dict(sorted(said.to_json().items())), **of, "recordings": len(frozen.get("recordings", ()))}
            )
    return PinReport(store.location, view, done, tuple(every))


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
    return _recipes_report(store, None, "listed")


def retire(store: Store, recipe: str) -> RecipesReport:
    """Say that what was made under a recipe is not needed any more, but by frozen views. Deletes nothing: gc does.

    `recipe`: a name, a file, or what begins its digest. Raises UsageError for none, and for more than one.
    """
    digest, name = _resolve(store, recipe)
    return _recipes_report(store, digest, "retired" if frozen_views.retire(store, digest, name) else "was retired")


def restore(store: Store, recipe: str) -> RecipesReport:
    """Take a retired recipe into use again. What gc has deleted since, ingest builds again."""
    digest, _ = _resolve(store, recipe)
    return _recipes_report(store, digest, "restored" if frozen_views.restore(store, digest) else "was not retired")


def refuse_retired(store: Store, recipe: Recipe) -> None:
    """Raise UsageError where nothing is to be built under a recipe any more."""
    said = frozen_views.retired(store, recipe.digest)
    if said is not None:
        raise UsageError(
            f"recipe {recipe.name} is retired in this store, since {said.created} by {said.by}",
            where=store.location,
            fix=Fix(("recipe", "restore", recipe.digest[:12]), ", or choose another --recipe"),
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
    for digest in store.retired_recipes():
        said = frozen_views.retired(store, digest)
        if said is not None:
            known(digest, said.name)["retired"] = True
    for digest, named in contents.items():
        found[digest]["bytes"] = sum(store.object_bytes(content) for content in named)
    return found


def _resolve(store: Store, text: str) -> tuple[str, str]:
    """Return the digest and the name of the one recipe that a text means."""
    if text in PRESETS or Path(text).is_file():
        recipe = load_recipe(text)
        return recipe.digest, recipe.name
    known = _known(store)
    found = [digest for digest, each in known.items() if each["name"] == text] or frozen_views.matching(known, text, 32)
    if len(found) != 1:
        names = ", ".join(f"{each['name']} {digest[:12]}" for digest, each in sorted(known.items()))
        what = f"{text[:80]!r} means {len(found)} recipes" if found else f"no recipe of this store is {text[:80]!r}"
        raise UsageError(what, where=store.location, fix=f"there are: {names or 'none'}")
    return found[0], str(known[found[0]]["name"])


def _recipes_report(store: Store, recipe: str | None, done: str) -> RecipesReport:
    found = sorted(_known(store).values(), key=lambda each: (each["name"], each["digest"]))
    return RecipesReport(store.location, recipe, done, tuple(found))
