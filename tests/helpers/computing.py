"""The signal path, run once a session for the same bytes and the same recipe: for stores that tests prepare."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brainbrr.core.digest import source_digest
from brainbrr.eeg.signal.preprocess import Preprocessed, preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.ingest import build

_MADE: dict[tuple[str, str, frozenset[str]], Preprocessed] = {}


@contextmanager
def computed_once() -> Iterator[None]:
    """Let an ingest in this process take recordings that were computed before. Only where a test prepares a store."""

    def remembered(path: Path, recipe: Recipe, *, accept: Collection[str] = (), whole: object = None) -> Preprocessed:
        key = source_digest(path), recipe.digest, frozenset(accept)
        if key not in _MADE:
            _MADE[key] = preprocess(path, recipe, accept=accept)
        return copy.copy(_MADE[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "preprocess", remembered)
        yield
