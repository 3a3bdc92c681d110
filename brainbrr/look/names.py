"""Names that a shell completes: corpora, recipes, configs and runs of this host."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from brainbrr.eeg.signal.recipe import PRESETS
from brainbrr.errors import BrainbrrError
from brainbrr.learn.config import train_config_names
from brainbrr.settings import resolve
from brainbrr.store.opening import open_if_there


def names(kind: str, *, store: str | None = None, runs: str | None = None) -> list[str]:
    """Return the names of a kind: corpora, recipes, configs or runs; none where they cannot be read."""
    with suppress(BrainbrrError, OSError):
        return sorted(_NAMES[kind](store, runs))
    return []


def _corpora(store: str | None, runs: str | None) -> Iterable[str]:
    found = open_if_there(resolve(store=store))
    return found.corpora() if found else ()


def _recipes(store: str | None, runs: str | None) -> Iterable[str]:
    return PRESETS


def _configs(store: str | None, runs: str | None) -> Iterable[str]:
    return train_config_names()


def _runs(store: str | None, runs: str | None) -> Iterable[str]:
    folder = resolve(store=store, runs=runs).runs.value
    return (each.name for each in folder.iterdir() if (each / "view.json").is_file())


_NAMES = {"corpora": _corpora, "recipes": _recipes, "configs": _configs, "runs": _runs}
