"""Profiles: how much of a corpus, as a quota per split. Decides which catalog rows, reads no signal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, zip_longest
from pathlib import Path
from typing import Any, Protocol, TypeVar

from brainbrr.core.digest import canonical_json, xxh3_128
from brainbrr.core.toml import read_toml
from brainbrr.errors import ConfigError

NAMES = ("smoke", "dev", "full")
SPLITS = ("train", "dev", "eval", "none")


@dataclass(frozen=True)
class Profile:
    """At most `quota[split]` recordings of each split; None takes all."""

    name: str
    quota: Mapping[str, int | None]


class Candidate(Protocol):
    """What choosing needs to know of a recording."""

    @property
    def path(self) -> str: ...  # noqa: D102

    @property
    def patient(self) -> str: ...  # noqa: D102

    @property
    def split(self) -> str: ...  # noqa: D102


C = TypeVar("C", bound=Candidate)


def choose(rows: Iterable[C], profile: Profile, *, has_seizures: Mapping[str, bool]) -> tuple[C, ...]:
    """Return the profile's rows, split after split, each in the profile's order.

    Within a split, rows are ordered by a hash of patient and path, those with and without seizures
    take turns, and the first `quota` are taken: so smoke ⊂ dev ⊂ full, with seizures wherever a split has them.
    """
    by_split: dict[str, list[C]] = {}
    for row in rows:
        by_split.setdefault(row.split, []).append(row)
    chosen: list[C] = []
    for split in by_rank(by_split):
        ordered = sorted(by_split[split], key=place_in_profile)
        with_seizures = [row for row in ordered if has_seizures[row.path]]
        without = [row for row in ordered if not has_seizures[row.path]]
        turns = (row for row in chain.from_iterable(zip_longest(with_seizures, without)) if row is not None)
        chosen += list(turns)[: profile.quota.get(split)]
    return tuple(chosen)


def by_rank(splits: Iterable[str]) -> list[str]:
    """Return the names of splits in the order in which profiles take them."""
    return sorted(splits, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))


def place_in_profile(row: Candidate) -> tuple[str, str]:
    """Return what orders the recordings of a split: a hash of patient and path, and the path."""
    return xxh3_128(canonical_json([row.patient, row.path])), row.path


def load_profiles(path: Path, *, corpus: str | None) -> dict[str, Profile]:
    """Return smoke, dev and full for a corpus, from a profiles file.

    Raises ConfigError for unknown names, what should be a table and is none, quotas that are no number or "all",
    and profiles that do not nest.
    """
    try:
        tables = read_toml(path)
    except FileNotFoundError:
        raise ConfigError("the profiles file is not there", where=path) from None
    corpora = tables.pop("corpus", {})
    if not isinstance(corpora, dict):
        raise ConfigError(f"corpus = {corpora!r}: not a table", where=path, fix="write [corpus.NAME.PROFILE]")
    for name, table in corpora.items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"corpus.{name} = {table!r}: not a table", where=path, fix=f"write [corpus.{name}.PROFILE]"
            )
    own = corpora.get(corpus, {}) if corpus is not None else {}
    for tables_of in (tables, *corpora.values()):
        unknown = sorted(set(tables_of) - set(NAMES))
        if unknown:
            raise ConfigError(f"unknown profile {unknown[0]!r}", where=path, fix=f"profiles: {', '.join(NAMES)}")
    profiles = {name: _profile(name, own.get(name, tables.get(name)), path) for name in NAMES}
    _check_nesting([profiles[name] for name in NAMES], path)
    return profiles


def _profile(name: str, table: Any, path: Path) -> Profile:
    if not isinstance(table, dict):
        raise ConfigError(f"profile {name!r} is missing", where=path, fix=f"add a table [{name}]")
    quota: dict[str, int | None] = {}
    for split in SPLITS:
        value = table.get(split, 0)
        if value == "all":
            quota[split] = None
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            quota[split] = value
        else:
            raise ConfigError(f'[{name}] {split} = {value!r}: a number of recordings, or "all"', where=path)
    unknown = sorted(set(table) - set(SPLITS))
    if unknown:
        raise ConfigError(f"[{name}] {unknown[0]}: unknown split", where=path, fix=f"splits: {', '.join(SPLITS)}")
    return Profile(name=name, quota=quota)


def _check_nesting(profiles: Sequence[Profile], path: Path) -> None:
    for small, large in pairwise(profiles):
        for split in SPLITS:
            a, b = small.quota[split], large.quota[split]
            if b is not None and (a is None or a > b):
                raise ConfigError(
                    f"{small.name} takes more of {split!r} than {large.name}: profiles must nest",
                    where=path,
                    fix=f"lower [{small.name}] {split} to at most {b}",
                )
