"""What arguments of the Python API mean: stores, profiles, recipes, selections and durations, resolved in one place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, TypeVar

from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import UsageError
from brainbrr.settings import Settings, resolve
from brainbrr.store.opening import open_existing, require_folder
from brainbrr.store.store import Store
from brainbrr.views.columns import parse_condition
from brainbrr.views.recipes import find_recipe
from brainbrr.views.select import Selection

Location = str | Path | None
"""A store's or a run's folder; None for the one that the command line would choose."""

Conditions = Mapping[str, str] | Iterable[str | tuple[str, str]] | None
"""What a row has to fulfil: a mapping, FIELD=VALUE texts, or pairs."""


class Selected(TypedDict, total=False):
    """Which recordings a verb of sharing takes, as `view` does, or a frozen view by its digest (`view`)."""

    corpus: str | None
    profile: str | None
    split: str | None
    recipe: Recipe | str | Path
    where: Conditions
    splits: str | Path | None
    aliases: Mapping[str, str] | str | Path | None
    view: str | None


_T = TypeVar("_T")
_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Place:
    """Where a verb works: the settings of this host, and the store of an argument where it is open already."""

    settings: Settings
    opened: Store | None = None

    @property
    def location(self) -> Path:
        """The store's folder."""
        return self.settings.store.value

    @property
    def store(self) -> Store:
        """The store, in a folder. Raises UsageError where there is none, or where it is at a URL."""
        return require_folder(self.opened) if self.opened else Store.open(self.location)

    @property
    def readable(self) -> Store:
        """The store to read, also one at a URL. Raises UsageError where there is none."""
        return self.opened or open_existing(self.settings)

    @property
    def store_if_there(self) -> Store | None:
        """The store, in a folder; None where nothing was ever ingested."""
        return require_folder(self.opened) if self.opened else Store.open_if_there(self.location)


def place(store: Store | Location, *, runs: Location = None) -> Place:
    """Return where a verb works: the store given, or the one that `brainbrr status` shows."""
    if isinstance(store, Store):
        return Place(resolve(store=store.where, runs=text(runs)), store)
    return Place(resolve(store=text(store), runs=text(runs)))


def store_of(store: Store | Location) -> Store:
    """Return the store in a folder that an argument means. Raises UsageError where there is none."""
    return place(store).store


def readable_of(store: Store | Location) -> Store:
    """Return the store that an argument means, to read it. Raises UsageError where there is none."""
    return store if isinstance(store, Store) else place(store).readable


def recipe_of(recipe: Recipe | str | Path, store: Store | None = None) -> Recipe:
    """Return a recipe, the preset or file of a name, or the store's recipe of a name or digest.

    Raises ConfigError where there is none.
    """
    return recipe if isinstance(recipe, Recipe) else find_recipe(store, str(recipe))


def selection_of(
    *,
    patients: Iterable[str] = (),
    where: Conditions = None,
    exclude: Iterable[str] | Path = (),
    min_quality: int | None = None,
) -> Selection:
    """Return a selection; `where` as a mapping or as FIELD=VALUE texts, `exclude` as paths or a file of them."""
    return Selection(
        patients=_names("patients", patients),
        where=_pairs(where),
        exclude=frozenset(_lines(exclude) if isinstance(exclude, Path) else _names("exclude", exclude)),
        min_quality=min_quality,
    )


def accepted(accept: str | Iterable[str], *, known: tuple[str, ...]) -> frozenset[str]:
    """Return the kinds of findings that a caller accepts. Raises UsageError for a kind that the verb does not have."""
    kinds = frozenset(accept.split(",") if isinstance(accept, str) and accept else accept)
    unknown = sorted(kinds - set(known))
    if unknown:
        raise UsageError(f"accept = {unknown[0]!r}", fix=f"kinds: {', '.join(known)}")
    return kinds


def seconds_of(name: str, duration: float | str) -> float:
    """Return seconds: a number of them, or a text with its unit such as 24h or 90d. Raises UsageError."""
    if not isinstance(duration, str):
        return duration
    match = _DURATION.match(duration)
    if match is None:
        raise UsageError(f"{name} = {duration[:40]!r}: not a duration", fix="a number and s, m, h or d, as in 24h")
    return int(match[1]) * _UNIT_S[match[2]]


def text(location: Location) -> str | None:
    """Return a location as the settings take it."""
    return None if location is None else str(location)


def path_of(location: Location) -> Path | None:
    """Return a location as a path, None where none is given."""
    return None if location is None else Path(location)


def _names(name: str, values: Iterable[_T]) -> tuple[_T, ...]:
    if isinstance(values, str):  # each letter would be a name
        raise UsageError(f"{name} = {values!r}: a list of names", fix=f"{name}=[{values!r}]")
    return tuple(values)


def _pairs(where: Conditions) -> tuple[tuple[str, str], ...]:
    if where is None:
        return ()
    if isinstance(where, Mapping):
        return tuple(where.items())
    return tuple(parse_condition(each) if isinstance(each, str) else each for each in _names("where", where))


def _lines(file: Path) -> Iterable[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"--exclude: the file is not UTF-8: {error.reason}", where=file) from None
    return (line.strip() for line in lines if line.strip() and not line.startswith("#"))
