"""`diff`: what two views, recipes or runs do not share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import ConfigError, UsageError
from brainbrr.learn.compare import RunLine, runs
from brainbrr.store import frozen_views
from brainbrr.store.store import Store
from brainbrr.views.recipes import bytes_per_hour, differences, find_recipe, gain_db
from brainbrr.views.retention import read_view

Kind = Literal["view", "recipe", "run"]

_WORDS = {"content": "other samples", "annotations": "other labels", "source": "another EDF", "key": "another key"}


@dataclass(frozen=True)
class Difference:
    """What A and B do not share. `fields`: settings that differ, as [A's, B's]; the rest depends on the kind.

    Of views: `only_a`, `only_b`, and `changed` recordings with what changed. Of recipes: `gain_db` by frequency and
    `bytes_per_hour`. Of runs: `scores` by split and name, beside what their views differ in.
    """

    kind: Kind
    a: str
    b: str
    fields: Mapping[str, Sequence[Any]]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    changed: Mapping[str, Sequence[str]] | None = None
    gain_db: Mapping[str, Sequence[float | None]] | None = None
    bytes_per_hour: Sequence[int] | None = None
    stored_bytes: Sequence[int] | None = None
    scores: Mapping[str, Mapping[str, Sequence[Any]]] | None = None

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.fields or self.only_a or self.only_b or self.changed or self.scores)

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {"same": self.same, **vars(self)}


def diff(a: str, b: str, *, store: Store | None, runs_folder: Path) -> Difference:
    """Compare two frozen views (digests or files), two recipes (names, files or digests), or two runs.

    Raises UsageError for what is none of these, and for two things of different kinds.
    """
    kinds = [kind_of(text, store, runs_folder) for text in (a, b)]
    if set(kinds) == {"view", "run"}:  # a run has a view
        a, b = (
            str(_run_folder(text, runs_folder) / "view.json") if kind == "run" else text
            for kind, text in zip(kinds, (a, b), strict=True)
        )
        kinds = ["view", "view"]
    if kinds[0] != kinds[1]:
        raise UsageError(f"{a} is a {kinds[0]} and {b} is a {kinds[1]}", fix="compare two of one kind")
    if kinds[0] == "run":
        return _runs(a, b, runs_folder)
    if kinds[0] == "recipe":
        return _recipes(find_recipe(store, a), find_recipe(store, b), store)
    return _views(a, frozen_view(store, a), b, frozen_view(store, b))


def kind_of(text: str, store: Store | None, runs_folder: Path) -> Kind:
    """Return what a text names: a run, a recipe or a view. Raises UsageError for none of these."""
    if _run_folder(text, runs_folder).is_dir():
        return "run"
    if Path(text).suffix == ".json" or (store and frozen_views.matching(set(store.frozen_views()), text, 64)):
        return "view"
    try:
        find_recipe(store, text)
        return "recipe"
    except ConfigError as error:
        if Path(text).is_file():
            raise
        what = f"{text[:80]!r} is no run, no recipe and no frozen view"
        raise UsageError(what, fix=f"runs are in {runs_folder}; for recipes {error.fix}") from None


def _run_folder(text: str, runs_folder: Path) -> Path:
    here = Path(text)
    return here if (here / "view.json").is_file() else runs_folder / text


def frozen_view(store: Store | None, text: str) -> dict[str, Any]:
    """Return a frozen view by its digest or file. Raises UsageError for what is none."""
    found = frozen_views.matching(set(store.frozen_views()), text, 64) if store and not Path(text).is_file() else []
    if len(found) > 1:
        raise UsageError(f"{text} begins {len(found)} digests", fix="give more of its digits")
    view = store.frozen(found[0]) if store and found else read_view(text)
    if view is None:
        raise UsageError(f"{text[:80]!r} is no frozen view")
    frozen_views.check_frozen(view)
    return view


def _views(a: str, ours: Mapping[str, Any], b: str, theirs: Mapping[str, Any]) -> Difference:
    fields = differences(_settings(ours), _settings(theirs))
    left = {each["path"]: each for each in ours["recordings"]}
    right = {each["path"]: each for each in theirs["recordings"]}
    changed = {}
    for path in left.keys() & right.keys():
        names = [name for name in left[path] if left[path][name] != right[path].get(name)]
        words = [_WORDS.get(name) or f"{name} {left[path][name]} → {right[path][name]}" for name in names]
        if words:
            changed[path] = words
    return Difference(
        "view",
        a,
        b,
        fields,
        tuple(sorted(left.keys() - right.keys())),
        tuple(sorted(right.keys() - left.keys())),
        dict(sorted(changed.items())),
    )


def _settings(view: Mapping[str, Any]) -> dict[str, Any]:
    scope = {name: view[name] for name in ("corpus", "profile", "split")}
    scope["omitted"] = len(view["omitted"])
    selection = {f"selection.{name}": value for name, value in view["selection"].items()}
    window = {f"window.{name}": value for name, value in view["window"].items()}
    recipe = {f"recipe.{name}": value for name, value in view["recipe"]["fields"].items()}
    return {**scope, **selection, **window, **recipe}


def _recipes(ours: Recipe, theirs: Recipe, store: Store | None) -> Difference:
    fields = differences(ours.identity(), theirs.identity())
    gains = None
    if ours.exact and theirs.exact:
        left, right = gain_db(ours), gain_db(theirs)
        gains = {f"{hz:g}": (left[hz], right[hz]) for hz in left}
    held: dict[str, set[str]] = {ours.digest: set(), theirs.digest: set()}
    for record in store.records() if store else ():
        if record.recipe in held:
            held[record.recipe].add(record.content)
    stored = None
    if store:
        stored = [sum(store.object_bytes(content) for content in held[each.digest]) for each in (ours, theirs)]
    return Difference(
        "recipe",
        f"{ours.name} {ours.digest[:8]}",
        f"{theirs.name} {theirs.digest[:8]}",
        fields,
        gain_db=gains,
        bytes_per_hour=[bytes_per_hour(ours), bytes_per_hour(theirs)],
        stored_bytes=stored,
    )


def _runs(a: str, b: str, folder: Path) -> Difference:
    ours, theirs = runs(folder, (a, b)).runs
    views = _views(a, read_view(str(ours.run / "view.json")), b, read_view(str(theirs.run / "view.json")))
    settings = {f"config.{name}": values for name, values in differences(ours.settings, theirs.settings).items()}
    facts = differences(_progress(ours), _progress(theirs))
    return Difference(
        "run",
        ours.run.name,
        theirs.run.name,
        {**facts, **settings, **views.fields},
        views.only_a,
        views.only_b,
        views.changed,
        scores=_scores(ours, theirs),
    )


def _progress(line: RunLine) -> dict[str, Any]:
    loss = None if line.loss is None else round(line.loss, 4)
    return {"config": line.config, "steps": line.steps, "finished": line.finished, "loss": loss}


def _scores(ours: RunLine, theirs: RunLine) -> dict[str, dict[str, list[Any]]]:
    found: dict[str, dict[str, list[Any]]] = {}
    for split in sorted({*ours.scores, *theirs.scores}):
        left, right = ours.scores.get(split, {}), theirs.scores.get(split, {})
        names = [name for name in {**left, **right} if name != "view_digest"]
        differing = {name: [left.get(name), right.get(name)] for name in names if left.get(name) != right.get(name)}
        if differing:
            found[split] = differing
    return found
