from __future__ import annotations

import json

import pytest
from helpers.store_values import arguments, flips_on_disk, meta_of, overwrite, samples_of

from brainbrr.core import models
from brainbrr.core.digest import canonical_json
from brainbrr.errors import IntegrityError
from brainbrr.store.integrity import read_record, verify_record
from brainbrr.store.reachability import Reachability
from brainbrr.store.records import Record
from brainbrr.store.store import Store

META = meta_of(2, 300, absent=(1,))


@pytest.fixture
def record(store: Store) -> Record:
    return store.put(samples_of(META), **arguments(META)).record


def test_a_record_round_trips_and_is_sealed_json_on_disk(store: Store, record: Record) -> None:
    assert Record.from_json(json.loads(canonical_json(record.to_json()))) == record
    on_disk = json.loads(store.layout.record(record.key).read_bytes())
    on_disk.pop("sha256")
    assert on_disk == record.to_json()
    assert on_disk["array"] == META.attributes()
    assert store.layout.record(record.key).stat().st_mode & 0o777 == 0o444


@pytest.mark.slow
def test_every_flipped_bit_of_a_record_is_found(store: Store, record: Record) -> None:
    for _ in flips_on_disk(store.layout.record(record.key)):
        with pytest.raises(IntegrityError):
            store.record(record.key)
    assert store.record(record.key) == record


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key": "x"}, "key = 'x': should be 32 hex digits"),
        ({"key": "A" * 32}, "key = .*: should be 32 hex digits"),
        ({"content": "../" * 22}, "content = .*: should be 64 hex digits"),
        ({"source": 5}, "source = 5"),
        ({"array": {}}, "missing"),
        ({"array": {**META.attributes(), "rate": 0}}, "rate_hz = 0"),
        ({"statistics": []}, "statistics"),
        ({"provenance": None}, "provenance"),
        ({"shell": "rm"}, "unknown field 'shell'"),
    ],
    ids=str,
)
def test_a_record_that_says_what_no_writer_says_is_refused(record: Record, change: object, reason: str) -> None:
    with pytest.raises(IntegrityError, match=reason):
        Record.from_json({**record.to_json(), **change})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "0" * 64}, "not the key of its source"),
        ({"recipe_fields": {"rate_hz": 17}}, "not the digest of its recipe_fields"),
        ({"recipe": "0" * 32}, "not the digest of its recipe_fields"),
        ({"key": "0" * 32}, "not the key of its source"),
    ],
    ids=str,
)
def test_a_record_that_contradicts_itself_is_refused(
    store: Store, record: Record, change: dict[str, object], reason: str
) -> None:
    overwrite(store.layout.record(record.key), models.to_checksummed({**record.to_json(), **change}))
    with pytest.raises(IntegrityError, match=reason):
        store.record(record.key)
    assert read_record(store, record.key) == Record.from_json({**record.to_json(), **change})


def test_a_record_under_another_key_is_refused_but_can_be_looked_at(store: Store, record: Record) -> None:
    other = store.put(samples_of(META), **arguments(META, source="other")).record
    overwrite(store.layout.record(other.key), store.layout.record(record.key).read_bytes())
    with pytest.raises(IntegrityError, match="the record of key"):
        store.record(other.key)
    assert list(store.records()) == [record]
    assert set(store.keys()) == {record.key, other.key}
    assert read_record(store, other.key) == record


def test_verify_record_asks_for_its_object(store: Store, record: Record) -> None:
    assert verify_record(store, record.key) == record
    folder = store.layout.object(record.content)
    overwrite(folder / "zarr.json", (folder / "zarr.json").read_bytes().replace(b'"E0"', b'"E9"'))
    with pytest.raises(IntegrityError, match="disagree"):
        verify_record(store, record.key)
    (folder / "c.0.0").unlink()
    with pytest.raises(IntegrityError, match="not there"):
        verify_record(store, record.key)
    store.layout.record(record.key).unlink()
    with pytest.raises(IntegrityError, match="no record"):
        verify_record(store, record.key)


def test_a_file_that_is_no_record_is_found(store: Store, record: Record) -> None:
    (store.layout.records / "aa").mkdir(exist_ok=True)
    (store.layout.records / "aa" / "notes.json").touch()
    assert set(store.keys()) == {record.key, "aa/notes.json"}
    with pytest.raises(IntegrityError, match="not in a record's place"):
        verify_record(store, "aa/notes.json")
    assert read_record(store, "aa/notes.json") is None


@pytest.mark.parametrize("checks", ["0", "g" * 16, "0" * 7, "0" * 800])
def test_checks_are_eight_digits_for_each_tile(record: Record, checks: str) -> None:
    said = record.to_json()
    assert len(said["checks"]) == 8 * record.array.n_tiles
    with pytest.raises(IntegrityError, match="8 hex digits for each"):
        Record.from_json({**said, "checks": checks})


def test_reachability_refuses_a_record_under_another_name(store: Store, record: Record) -> None:
    path = store.layout.record(record.key)
    assert Reachability(store.layout).record(path, record.key) is not None
    with pytest.raises(IntegrityError, match="this is the record of key"):
        Reachability(store.layout).record(path, "e" * 32)
    overwrite(path, models.to_checksummed({**record.to_json(), "source": "f" * 64}))
    with pytest.raises(IntegrityError):
        Reachability(store.layout).record(path, record.key)


@pytest.mark.parametrize("named", [{"key": "x", "content": "c" * 64}, {"key": "a" * 32, "content": "../x"}])
def test_reachability_refuses_a_view_without_digests(store: Store, named: dict[str, str]) -> None:
    store.freeze("e" * 64, {"format": 1, "recordings": [named]})
    with pytest.raises(IntegrityError):
        Reachability(store.layout).view("e" * 64)
