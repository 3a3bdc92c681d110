"""A key finds and proves nothing; a small file is of the kind and the name that its place asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_stores import META, publish, put, view_of
from helpers.store_values import arguments, overwrite, samples_of

from brainbrr.errors import CollisionError, IntegrityError
from brainbrr.store import records, sidecars
from brainbrr.store import store as stores
from brainbrr.store.gc import gc
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

KEY = "0123456789abcdef" * 2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.mark.parametrize("other", [{"source": "theirs"}, {"recipe_fields": {"another": "recipe"}}])
def test_a_record_of_another_source_or_recipe_under_the_same_key_is_a_collision(
    store: Store, monkeypatch: pytest.MonkeyPatch, other: dict[str, object]
) -> None:
    for module in (records, stores):
        monkeypatch.setattr(module, "key_of", lambda *, source, recipe: KEY)  # as if all were forged
    first = store.put(samples_of(META), **arguments(META, source="ours")).record
    with pytest.raises(CollisionError, match="one of the two is forged") as collision:
        store.put(samples_of(META, seed=1), **arguments(META, **({"source": "ours"} | other)))
    assert f"source {first.source[:12]} by recipe {first.recipe[:8]}" in collision.value.what
    assert store.record(KEY) == first


def frozen(store: Store, name: str) -> str:
    digest, fields = view_of(put(store, name))
    sidecars.publish_view(store.layout, digest, fields)
    return digest


def test_an_intact_file_of_another_kind_or_name_is_damage_and_stops_gc(store: Store) -> None:
    publish(store, put(store, "a"))
    one, other = frozen(store, "a"), frozen(store, "b")
    pin = sidecars.Pin(view=one, created="2026-01-01T00:00:00+00:00", by="a test")
    sidecars.publish_checksummed(store.layout, store.layout.pin(one), pin, lambda: None)
    assert verify(store).exit_code == 0
    file = store.layout.view(one)
    good = file.read_bytes()
    for planted in (store.layout.pin(one), store.layout.view(other), next(store.location.glob("records/*/*.json"))):
        overwrite(file, planted.read_bytes())
        assert verify(store).exit_code == 4
        with pytest.raises(IntegrityError):
            gc(store, yes=True, grace_s=0)
    overwrite(file, good)
    assert verify(store).exit_code == 0
