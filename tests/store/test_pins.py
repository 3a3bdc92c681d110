"""Pins and retirements: small files of what their names say."""

from __future__ import annotations

import shutil

import pytest
from helpers.small_stores import put, view_of

from brainbrr.errors import IntegrityError
from brainbrr.store import frozen_views, sidecars
from brainbrr.store.store import Store


def test_a_mark_is_of_what_its_name_says(store: Store) -> None:
    digest, said = view_of(put(store, "seen"))
    frozen_views.freeze(store, digest, said)
    assert (frozen_views.pin(store, digest), frozen_views.pin(store, digest)) == (True, False)
    other = "e" * 64
    with pytest.raises(IntegrityError, match="no view of this digest"):
        frozen_views.pin(store, other)
    shutil.copyfile(store.layout.pin(digest), store.layout.pin(other))
    with pytest.raises(IntegrityError, match="pin of another view"):
        sidecars.read_pin(store.layout, other)


def test_a_recipe_is_retired_once(store: Store) -> None:
    recipe = put(store, "made").recipe
    assert (frozen_views.retire(store, recipe, "default"), frozen_views.retire(store, recipe, "default")) == (
        True,
        False,
    )
    assert (frozen_views.restore(store, recipe), frozen_views.restore(store, recipe)) == (True, False)
