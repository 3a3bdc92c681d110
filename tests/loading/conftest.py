"""A small generated corpus in a store, and views onto it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainbrr.eeg.recipe import Recipe
from brainbrr.profiles import SPLITS, Profile
from brainbrr.store.store import Store
from brainbrr.verbs.ingest import ingest
from brainbrr.verbs.view import view
from brainbrr.views import View
from brainbrr.windows import WindowSpec

EVERYTHING = Profile(name="full", quota=dict.fromkeys(SPLITS))

ViewOf = Callable[..., View]


@pytest.fixture(scope="session")
def stored(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that holds the generated corpus: 18 recordings of 20 to 24 s."""
    location = tmp_path_factory.mktemp("loading") / "store"
    ingest(None, generated, location=location, workers=1)
    return Store.open(location)


@pytest.fixture(scope="session")
def view_of(stored: Store) -> ViewOf:
    """Make the view of all recordings with 4 s windows, or with the window's fields given."""

    def make(store: Store = stored, split: str | None = None, **fields: Any) -> View:
        window = WindowSpec.model_validate({"length_s": "4", "stride_s": "1.5", "tail": "pad", **fields})
        return view(
            store, location=store.location, profile=EVERYTHING, recipe=Recipe(), window=window, split=split
        ).view

    return make
