"""A small generated corpus in a store, and views onto it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.support import EVERYTHING

from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.loading.windows import WindowSpec
from brainbrr.store.store import Store
from brainbrr.views.report import ViewRequest, view
from brainbrr.views.view import View

ViewOf = Callable[..., View]


@pytest.fixture(scope="session")
def view_of(stored: Store) -> ViewOf:
    """Make the view of all recordings with 4 s windows, or with the window's fields given."""

    def make(store: Store = stored, split: str | None = None, **fields: Any) -> View:
        window = WindowSpec.model_validate({"length_s": "4", "stride_s": "1.5", "tail": "pad", **fields})
        request = ViewRequest(EVERYTHING, Recipe(), window, split=split)
        return view(store, request, location=store.location).view

    return make
