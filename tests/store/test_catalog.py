from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import partial
from pathlib import Path

import pytest
from helpers.small_stores import verify_catalog
from helpers.store_values import catalog_of, flips, overwrite, row_of
from hypothesis import given
from hypothesis import strategies as st

from brainbrr.core import models
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import generation as generation_file
from brainbrr.store.catalog import Catalog, Refusal, Row, damage
from brainbrr.store.layout import Layout
from brainbrr.store.store import Store

digests = st.text("0123456789abcdef", min_size=32, max_size=32)
long_digests = st.text("0123456789abcdef", min_size=64, max_size=64)
texts = st.text(max_size=10)
rows = st.builds(
    Row,
    path=st.lists(st.text("abc é\\\n", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join),
    patient=texts,
    session=st.none() | texts,
    split=st.sampled_from(["train", "dev", "eval", "none"]),
    source=st.none() | long_digests,
    n_bytes=st.integers(0, 1 << 50),
    signal_us=st.none() | st.integers(0, 1 << 50),
    synthetic=st.booleans(),
    labels=st.none() | long_digests,
    annotations=st.none() | st.dictionaries(texts, st.lists(st.integers(0, 99) | texts, max_size=3), max_size=3),
    refusals=st.dictionaries(
        digests, st.builds(Refusal, error=texts, reason=texts, accepted=st.booleans(), labels=st.none() | long_digests)
    ),
)


@pytest.mark.slow
@given(st.lists(rows, max_size=5))
def test_a_generation_round_trips(rows: list[Row]) -> None:
    catalog = catalog_of(rows)
    assert generation_file.decode(generation_file.encode(catalog), where=None) == catalog


def test_a_generation_is_json_lines_sorted_by_path() -> None:
    data = generation_file.encode(catalog_of([row_of("edf/b.edf"), row_of("edf/a.edf")]))
    header, *rows, last = map(json.loads, data.splitlines())
    assert header == {
        "base": None,
        "corpus": "demo",
        "created": "2026-01-01T00:00:00+00:00",
        "format": 2,
        "kind": "catalog",
        "labelled": True,
        "layout": "tusz",
        "n_rows": 2,
        "parent": None,
        "seq": 1,
    }
    assert [row["path"] for row in rows] == ["edf/a.edf", "edf/b.edf"]
    assert last == {"sha256": hashlib.sha256(b"".join(data.splitlines(keepends=True)[:-1])).hexdigest()}


def test_every_flipped_bit_and_every_truncation_of_a_generation_is_found() -> None:
    data = generation_file.encode(catalog_of([row_of("a.edf")]))
    for _, damaged in flips(data):
        with pytest.raises(IntegrityError):
            generation_file.decode(damaged, where="here")
    for n in range(len(data)):
        with pytest.raises(IntegrityError):
            generation_file.decode(data[:n], where="here")


def resealed(data: bytes, old: bytes, new: bytes) -> bytes:
    """What a hostile writer would make of a generation: other words, the right digest."""
    assert old in data
    text = b"".join(data.splitlines(keepends=True)[:-1]).replace(old, new)
    return text + b'{"sha256":"' + hashlib.sha256(text).hexdigest().encode() + b'"}\n'


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"n_rows":2', b'"n_rows":3', "2 rows"),
        (b'"seq":1', b'"seq":"1"', "seq"),
        (b'"path":"b.edf"', b'"path":"a.edf"', "sorted"),
        (b'"path":"b.edf"', b'"path":"../b.edf"', "leaves its corpus"),
        (b'"path":"b.edf"', b'"path":"/b.edf"', "leaves its corpus"),
        (b'"path":"b.edf"', b'"path":"c//b.edf"', "leaves its corpus"),
        (b'"path":"b.edf"', b'"path":""', "leaves its corpus"),
        (b'"path":"b.edf"', b'"path":"c/./b.edf"', "leaves its corpus"),
        (b'"path":"b.edf"', b'"path":"."', "leaves its corpus"),
        (b'"path":"b.edf"', b'"path":"b.edf/"', "leaves its corpus"),
        (b'"path":"b.edf"', b'"path":1', "path = 1"),
        (b'"n_bytes":1000', b'"n_bytes":-1', "n_bytes = -1: should be greater than or equal to 0"),
        (b'"n_bytes":1000', b'"n_bytes":1000.0', "1000.0 is not an integer"),
        (b'"labels":null', b'"labels":"x"', "hex"),
        (b'"refusals":{}', b'"refusals":{"x":{}}', "missing"),
        (b'"refusals":{}', b'"refusals":{"x":{"error":"","reason":"","accepted":true,"labels":null}}', "hex"),
        (b'"session":null', b'"session":null,"age":3', "unknown field 'age'"),
        (b'"annotations":null', b'"annotations":[]', "annotations"),
        (b'{"annotations"', b'[{"annotations"', "not JSON"),
    ],
)
def test_a_generation_that_says_what_no_writer_says_is_refused(old: bytes, new: bytes, reason: str) -> None:
    data = generation_file.encode(catalog_of([row_of("a.edf"), row_of("b.edf")]))
    with pytest.raises(IntegrityError, match=reason):
        generation_file.decode(resealed(data, old, new), where="here")


def test_publishing_chains_generations_and_writes_nothing_when_nothing_changed(store: Store) -> None:
    assert store.catalog("demo") is None
    assert store.corpora() == ()
    first = store.publish("demo", lambda latest: catalog_of([row_of("a.edf")]))
    assert (first.seq, first.parent) == (1, None)
    same = store.publish("demo", lambda latest: catalog_of([row_of("a.edf")], created="later", seq=9))
    assert same == first
    second = store.publish("demo", lambda latest: catalog_of([row_of("a.edf"), row_of("b.edf")]))
    assert second.seq == 2
    assert second.parent == hashlib.sha256(store.layout.generation("demo", 1).read_bytes()).hexdigest()
    third = store.publish("demo", lambda latest: dataclasses.replace(second, labelled=False))
    assert third.seq == 3
    assert store.catalog("demo") == third
    assert store.corpora() == ("demo",)
    verify_catalog(store, "demo")


def test_a_lost_race_is_merged_again_and_both_stay(store: Store) -> None:
    seen: list[Catalog | None] = []

    def merge(latest: Catalog | None) -> Catalog:
        if not seen:
            store.publish("demo", lambda _: catalog_of([row_of("theirs.edf")]))
        seen.append(latest)
        return catalog_of([*(latest.rows.values() if latest else ()), row_of("ours.edf")])

    assert sorted(store.publish("demo", merge).rows) == ["ours.edf", "theirs.edf"]
    assert [latest and latest.seq for latest in seen] == [None, 1]
    assert store.layout.generations("demo") == [1, 2]


def three_generations(store: Store) -> list[Path]:
    for n in range(1, 4):
        store.publish("demo", lambda _, n=n: catalog_of([row_of(f"{i}.edf") for i in range(n)]))  # type: ignore[misc]
    return [store.layout.generation("demo", seq) for seq in (1, 2, 3)]


def test_damage_in_the_latest_generation_or_its_parent_names_the_file(store: Store) -> None:
    for path in three_generations(store)[1:]:
        data = path.read_bytes()
        overwrite(path, data.replace(b"train", b"eval"))
        with pytest.raises(IntegrityError) as caught:
            store.catalog("demo")
        assert caught.value.where == str(path)
        overwrite(path, data)
    assert store.catalog("demo") is not None


def test_a_generation_under_another_number_or_corpus_is_damage(store: Store) -> None:
    paths = three_generations(store)
    overwrite(paths[2], paths[1].read_bytes())
    with pytest.raises(IntegrityError, match="generation 2 of 'demo'"):
        store.catalog("demo")
    other = store.layout.generation("other", 1)
    other.parent.mkdir()
    other.write_bytes(paths[0].read_bytes())
    with pytest.raises(IntegrityError, match="of 'demo'"):
        store.catalog("other")


def test_a_missing_or_rewritten_older_generation_is_found_by_verify(store: Store) -> None:
    paths = three_generations(store)
    data = paths[0].read_bytes()
    overwrite(paths[0], generation_file.encode(catalog_of([row_of("x.edf")])))
    assert store.catalog("demo") is not None
    with pytest.raises(IntegrityError, match="not the one that it continues"):
        verify_catalog(store, "demo")
    paths[0].unlink()
    with pytest.raises(IntegrityError, match="missing"):
        verify_catalog(store, "demo")
    paths[0].write_bytes(data)
    verify_catalog(store, "demo")


def test_a_row_that_could_not_be_read_again_is_never_written(store: Store) -> None:
    with pytest.raises(ValueError, match="leaves its corpus"):
        row_of("../escape.edf")
    escaped = row_of("a.edf").model_copy(update={"path": "../escape.edf"})
    with pytest.raises(IntegrityError, match="leaves its corpus"):
        store.publish("demo", lambda _: catalog_of([escaped]))
    assert store.catalog("demo") is None


def test_a_latest_generation_that_is_gone_is_missed(store: Store) -> None:
    paths = three_generations(store)
    paths[-1].unlink()
    for ask in (store.catalog, partial(verify_catalog, store)):
        with pytest.raises(IntegrityError, match="generation 3 of the catalog was published"):
            ask("demo")


def test_a_generation_whose_writer_died_before_it_was_acknowledged_counts(store: Store) -> None:
    paths = three_generations(store)
    told = store.layout.acknowledgement("demo", 3)
    told.unlink()
    before = store.catalog("demo")
    assert before is not None
    assert before.seq == len(paths)
    verify_catalog(store, "demo")
    assert store.publish("demo", lambda latest: latest or before) == before
    assert told.exists()  # the next writer of the same words acknowledges it


def test_a_replaced_latest_generation_is_found(store: Store) -> None:
    path = three_generations(store)[-1]
    catalog, _ = catalogs.generation(store.layout, "demo", 3)
    overwrite(path, generation_file.encode(dataclasses.replace(catalog, rows={})))
    [(name, error)] = damage(store.layout, "demo")
    assert name == "demo/00000003.jsonl" and "not the one that was published" in error.what


def test_a_swapped_acknowledgement_is_the_damage_that_is_reported(store: Store) -> None:
    three_generations(store)
    first, second = (store.layout.acknowledgement("demo", seq) for seq in (1, 2))
    overwrite(second, first.read_bytes())
    [(name, error)] = damage(store.layout, "demo")
    assert name == "demo/00000002.ack.json" and "acknowledges generation 1" in error.what


def test_a_catalog_that_was_cut_begins_there(store: Store) -> None:
    paths = three_generations(store)
    catalogs.cut(store.layout, "demo", 2, "2026-01-01T00:00:00+00:00")
    paths[0].unlink()
    verify_catalog(store, "demo")
    assert store.publish("demo", lambda _: catalog_of([row_of("new.edf")])).seq == 4
    verify_catalog(store, "demo")
    paths[1].unlink()
    with pytest.raises(IntegrityError, match="missing"):
        verify_catalog(store, "demo")


def test_contents_by_recipe_are_digests_and_are_left_out_where_there_are_none() -> None:
    row = row_of("a.edf", contents={"ab" * 16: "cd" * 32})
    assert models.parse(Row, row.to_json(), where=None) == row
    assert "contents" not in row_of("a.edf").to_json()
    with pytest.raises(IntegrityError, match="contents"):
        models.parse(Row, {**row.to_json(), "contents": {"ab": "cd"}}, where=None)


def test_a_catalog_that_lost_its_only_generation_is_missed(store: Store) -> None:
    store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
    store.layout.generation("demo", 1).unlink()
    assert store.corpora() == ("demo",)
    with pytest.raises(IntegrityError, match="generation 1 of the catalog was published"):
        store.catalog("demo")


def test_a_generation_that_is_too_large_to_be_read_again_is_not_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
    monkeypatch.setattr(catalogs, "MAX_CATALOG_BYTES", 2000)
    with pytest.raises(UsageError, match="at most 2,000 are read again"):
        store.publish("demo", lambda _: catalog_of([row_of(f"{n}.edf") for n in range(20)]))
    assert store.layout.generations("demo") == [1]


def test_a_cut_that_names_another_generation_is_what_is_damaged(store: Store) -> None:
    three_generations(store)
    catalogs.cut(store.layout, "demo", 2, "2026-01-01T00:00:00+00:00")
    path = store.layout.cut("demo", 2)
    said = models.decode_json(path.read_bytes(), where=path)
    said.pop("sha256", None)
    overwrite(path, models.to_checksummed({**said, "parent": "e" * 64}))
    [(name, error)] = damage(store.layout, "demo")
    assert name == "demo/00000002.cut.json" and "names another generation" in error.what


def test_the_first_generation_has_nothing_before_it_to_cut_off(store: Store) -> None:
    three_generations(store)
    with pytest.raises(UsageError, match="none before it"):
        catalogs.cut(store.layout, "demo", 1, "2026-01-01T00:00:00+00:00")
    assert not store.layout.cut("demo", 1).exists()


def test_a_cut_in_the_place_of_another_says_which_it_is(store: Store) -> None:
    three_generations(store)
    for seq in (2, 3):
        catalogs.cut(store.layout, "demo", seq, "2026-01-01T00:00:00+00:00")
    overwrite(store.layout.cut("demo", 3), store.layout.cut("demo", 2).read_bytes())
    [(name, error)] = damage(store.layout, "demo")
    assert name == "demo/00000003.cut.json" and "this is the cut at 2" in error.what


def test_of_two_generations_that_do_not_match_the_later_one_is_believed(store: Store) -> None:
    path = three_generations(store)[1]
    catalog, _ = catalogs.generation(store.layout, "demo", 2)
    other = generation_file.encode(dataclasses.replace(catalog, rows={}))
    told = store.layout.acknowledgement("demo", 2)
    said = models.from_checksummed(told.read_bytes(), where=told)
    overwrite(path, other)
    overwrite(told, models.to_checksummed({**said, "sha256_of": hashlib.sha256(other).hexdigest()}))
    [(name, error)] = damage(store.layout, "demo")
    assert name == "demo/00000002.jsonl" and "do not continue each other" in error.what


@pytest.mark.parametrize("listing", ["generations", "acknowledged", "cuts"])
def test_a_generation_that_is_published_while_others_are_listed_is_not_missed(
    store: Store, monkeypatch: pytest.MonkeyPatch, listing: str
) -> None:
    store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
    real, other = getattr(Layout, listing), Store.open(store.location)

    def listed(layout: Layout, corpus: str) -> list[int]:
        found = real(layout, corpus)
        monkeypatch.setattr(Layout, listing, real)
        other.publish("demo", lambda _: catalog_of([row_of("a.edf"), row_of("b.edf")]))
        return list(found)

    monkeypatch.setattr(Layout, listing, listed)
    found = store.catalog("demo")
    assert found is not None and found.seq in (1, 2)
    assert store.layout.acknowledged("demo") == [1, 2]
