"""A catalog as a base and deltas: what is written, what is read back, and what of it can be lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.store_values import catalog_of, overwrite, row_of
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store.catalog import Row
from brainbrr.store.create import create
from brainbrr.store.forget import forget
from brainbrr.store.generation import MOST_DELTAS
from brainbrr.store.restore import repair_catalogs
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

DAY_S = 86_400


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a catalog of thirty rows."""
    store = Store(create(tmp_path / "store"))
    publish(store, rows_of(range(30)))
    return store


def rows_of(numbers: range) -> dict[str, Row]:
    return {row.path: row for row in (row_of(f"p{n:04d}/r.edf", source=None) for n in numbers)}


def publish(store: Store, rows: dict[str, Row]) -> None:
    store.publish("demo", lambda _: catalog_of(list(rows.values())))


def lines_of(store: Store, seq: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in store.layout.generation("demo", seq).read_bytes().splitlines()]


def test_only_what_changed_is_written_and_all_of_it_is_read(store: Store) -> None:
    rows = rows_of(range(31))
    del rows["p0003/r.edf"]
    publish(store, rows)
    header, row, _ = lines_of(store, 2)
    assert (header["base"], header["removed"], row["path"]) == (1, ["p0003/r.edf"], "p0030/r.edf")
    found = Store.open(store.location).catalog("demo")
    assert found is not None and dict(found.rows) == rows and list(found.rows) == sorted(rows)
    assert "p0003/r.edf" not in found.rows and len(found.rows) == 30
    catalogs.verify(store.layout, "demo")


def test_a_base_is_written_when_more_than_a_tenth_changed_since_the_last_one(store: Store) -> None:
    for n in (31, 32, 33, 34):
        publish(store, rows_of(range(n)))
    assert [lines_of(store, seq)[0]["base"] for seq in (2, 3, 4, 5)] == [1, 1, 1, None]


def test_a_base_is_written_after_so_many_deltas(store: Store) -> None:
    for n in range(MOST_DELTAS + 1):
        store.publish("demo", lambda latest: latest, not_before=lambda _, n=n: f"2027-01-01T00:00:{n:02d}+00:00")  # type: ignore[arg-type, return-value]
    seqs = store.layout.generations("demo")
    assert [seq for seq in seqs if lines_of(store, seq)[0]["base"] is None] == [1, MOST_DELTAS + 2]


def test_another_layout_or_settings_write_a_base(store: Store) -> None:
    store.publish("demo", lambda _: catalog_of(list(rows_of(range(30)).values()), settings={"patient_from": "file"}))
    assert lines_of(store, 2)[0]["base"] is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 40), st.integers(0, 3), max_size=3), max_size=8))
def test_whatever_is_published_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, edits: list[dict[int, int]]
) -> None:
    store, rows = Store(create(tmp_path_factory.mktemp("s") / "store")), rows_of(range(30))
    publish(store, rows)
    for edit in edits:
        for n, n_bytes in edit.items():
            path = f"p{n:04d}/r.edf"
            if n_bytes:
                rows[path] = row_of(path, source=None, n_bytes=n_bytes)
            else:
                rows.pop(path, None)
        publish(store, rows)
        for reader in (store, Store.open(store.location)):
            found = reader.catalog("demo")
            assert found is not None and dict(found.rows) == rows and len(found.rows) == len(rows)
    catalogs.verify(store.layout, "demo")
    assert verify(store, depth="quick").corrupt == ()


def test_a_damaged_base_is_reported_alone_and_repair_gives_up_what_continues_it(store: Store) -> None:
    publish(store, rows_of(range(31)))
    path = store.layout.generation("demo", 1)
    overwrite(path, path.read_bytes().replace(b"p0002", b"p0009"))
    with pytest.raises(IntegrityError):
        Store.open(store.location).catalog("demo")
    bad = [each for each in verify(store, depth="quick").corrupt if each.kind == "catalog"]
    assert [each.name for each in bad] == ["demo/00000001.jsonl"]
    [result] = repair_catalogs(store, None, bad)
    assert result.outcome == "not restored" and store.layout.generations("demo") == []
    assert verify(store, depth="quick").corrupt == ()


def test_repair_cuts_at_a_base_and_never_at_a_delta(store: Store) -> None:
    publish(store, rows_of(range(31)))
    with pytest.raises(UsageError, match="needs those since 1"):
        catalogs.cut(store.layout, "demo", 2, "2026-01-01T00:00:00+00:00")
    publish(store, rows_of(range(60)))
    publish(store, rows_of(range(61)))
    store.layout.generation("demo", 1).unlink()
    bad = [each for each in verify(store, depth="quick").corrupt if each.kind == "catalog"]
    list(repair_catalogs(store, None, bad))
    found = Store.open(store.location).catalog("demo")
    assert store.layout.cuts("demo") == [3] and found is not None and dict(found.rows) == rows_of(range(61))


def test_forget_writes_a_base_where_a_delta_would_be_the_first(store: Store) -> None:
    publish(store, rows_of(range(31)))
    before = Store.open(store.location).catalog("demo")
    assert [each["seq"] for each in forget(store, "demo", older_than_s=DAY_S).generations] == [1, 2]
    forget(store, "demo", older_than_s=DAY_S, yes=True)
    after = Store.open(store.location).catalog("demo")
    assert store.layout.generations("demo") == store.layout.cuts("demo") == [3]
    assert before is not None and after is not None and dict(after.rows) == dict(before.rows)
    assert verify(store, depth="quick").corrupt == ()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"base":1', b'"base":2', "base 2 is not one of"),
        (b'"base":1', b'"base":0', "base"),
        (b'"base":1', b'"base":null', "removes none"),
        (b'["p0003/r.edf"]', b'["p0003/r.edf","p0003/r.edf"]', "each once"),
    ],
)
def test_a_delta_that_says_what_no_writer_says_is_refused(store: Store, old: bytes, new: bytes, reason: str) -> None:
    rows = rows_of(range(31))
    del rows["p0003/r.edf"]
    publish(store, rows)
    path = store.layout.generation("demo", 2)
    from store.test_catalog import resealed

    overwrite(path, resealed(path.read_bytes(), old, new))
    with pytest.raises(IntegrityError, match=reason):
        catalogs.generation(store.layout, "demo", 2)
