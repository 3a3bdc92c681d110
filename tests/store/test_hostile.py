"""Files from elsewhere: whatever they say, only our own errors come out, and never another answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import arguments, catalog_of, meta_of, overwrite, row_of, samples_of

from brainbrr.digest import canonical_json
from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.store import catalog as catalogs
from brainbrr.store import files, proof
from brainbrr.store.catalog import Row
from brainbrr.store.records import Record
from brainbrr.store.store import Store

META = meta_of(2, 200, absent=(1,))

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=6) | st.just("../" * 30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for name, item in inner for place in places(item, (*at, name)))]


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which something else stands in one or two places."""
    for _ in range(draw(st.integers(1, 2))):
        value = replaced(value, draw(st.sampled_from(places(value))), draw(values))
    return value


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    store = Store.create(tmp_path_factory.mktemp("hostile") / "store")
    return store, store.put(samples_of(META), **arguments(META)).record


FUZZ = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(data=st.data())
def test_any_zarr_json_is_the_template_or_damage(stored: tuple[Store, Record], data: st.DataObject) -> None:
    store, record = stored
    path = store.layout.object(record.content) / "zarr.json"
    good = path.read_bytes()
    try:
        text = data.draw(st.binary(max_size=50) | damaged(json.loads(good)).map(canonical_json))
        overwrite(path, text)
        if text == good:
            proof.verify_object(store, record.content)
        else:
            with pytest.raises(IntegrityError):
                proof.verify_object(store, record.content)
            with pytest.raises(IntegrityError):
                proof.verify_record(store, record.key)
    finally:
        overwrite(path, good)


@FUZZ
@given(data=st.data())
def test_any_sealed_record_is_whole_or_refused(stored: tuple[Store, Record], data: st.DataObject) -> None:
    store, record = stored
    path = store.layout.record(record.key)
    good = path.read_bytes()
    fields = data.draw(
        damaged(json.loads(canonical_json(record.to_json()))).filter(lambda v: v and isinstance(v, dict))
    )
    try:
        overwrite(path, files.seal(fields))
        found = store.record(record.key)
        assert found is not None
        assert canonical_json(found.to_json()) == canonical_json(fields)
        assert (found.key, found.source, found.recipe) == (record.key, record.source, record.recipe)
    except BrainbrrError:
        pass
    finally:
        overwrite(path, good)


@FUZZ
@given(value=damaged(row_of("edf/train/a.edf", annotations={"seizures": []}).to_json()))
def test_any_row_is_whole_or_refused(value: Any) -> None:
    try:
        row = Row.from_json(value)
    except IntegrityError:
        return
    assert canonical_json(row.to_json()) == canonical_json(value)
    catalogs.decode(catalogs.encode(catalog_of([row])), where=None)


@FUZZ
@given(text=st.binary(max_size=200))
def test_any_bytes_are_no_generation_no_view_and_no_format(tmp_path: Path, text: bytes) -> None:
    for reading in (lambda: catalogs.decode(text, where="x"), lambda: files.unseal(text, where="x")):
        with pytest.raises(IntegrityError):
            reading()
    (tmp_path / "format.json").write_bytes(text)
    with pytest.raises(BrainbrrError):
        Store.open(tmp_path)
