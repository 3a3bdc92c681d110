"""Views from a catalog's columns are those that rows and records give, one by one."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.store_values import overwrite

import brainbrr
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.loading.columnar import StoredRecordings
from brainbrr.store import catalog as catalogs
from brainbrr.store import columns as store_columns
from brainbrr.store.catalog import Refusal
from brainbrr.store.columns import columns_of, decode, encode
from brainbrr.store.damage import Damage
from brainbrr.store.forget import forget
from brainbrr.store.gc import gc
from brainbrr.store.generation import Rows
from brainbrr.store.restore import repair_catalogs
from brainbrr.store.store import Store
from brainbrr.store.verify import VerifyReport, verify
from brainbrr.views.why import why

MOST = ["no-duplicates", "no-leaks", "complete"]
WINDOWS = (
    {},
    {"normalise": "none"},
    {"normalise": "zscore"},
    {"normalise": "fixed", "scale_uv": "20"},
    {"reference": "average"},
)


@pytest.fixture
def varied(store: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose catalog has columns and a delta over them, with every kind of row."""
    return vary(Store.open(store), monkeypatch)


def vary(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(store_columns, "LEAST_ROWS", 1)

    def change(latest: Any) -> Any:
        rows = dict(latest.rows)
        recipe = next(iter(next(row for row in rows.values() if row.contents).contents))
        paths = sorted(rows)
        typed = [[1_000_000, 3_000_000, "fnsz", ["T3", "C3"]], [4_000_000, 10**15, "gnsz", []]]
        said = {"labelled": True, "duration_us": 10**16, "notes": ["odd"], "typed": typed, "unknown": [[0, 500_000]]}
        changes: dict[str, dict[str, Any]] = {
            paths[0]: {"annotations": {**said, "seizures": [[1_000_000, 3_000_000], [4_000_000, 10**15]]}},
            paths[1]: {"refusals": {recipe: Refusal(error="EdfError", reason="bad", accepted=True, labels=None)}},
            paths[2]: {"annotations": {**said, "typed": [], "seizures": [[0, 1]], "unusable": ["Fz", "EEG CZ-REF"]}},
            paths[3]: {"session": None, "contents": {}},
            paths[4]: {"source": rows[paths[5]].source, "contents": rows[paths[5]].contents},
        }
        for path, change in changes.items():
            rows[path] = rows[path].model_copy(update=change)
        return dataclasses.replace(latest, rows=rows)

    store.publish("demo", change, whole=True)
    row = next(iter(store.catalog("demo").rows.values()))  # type: ignore[union-attr]
    store.publish(
        "demo",
        lambda latest: dataclasses.replace(  # type: ignore[arg-type, type-var, return-value]
            latest, rows=Rows.over(latest.rows, {row.path: row.model_copy(update={"patient": "é another"})})
        ),
    )  # type: ignore[union-attr]
    return Store.open(store.location)


def without_columns(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> Any:
    with monkeypatch.context() as patched:
        patched.setattr(store_columns, "read", lambda *_: None)
        return act()


@pytest.mark.parametrize("options", [{}, {"profile": "smoke"}, {"split": "train"}, {"profile": "dev"}])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_view_from_columns_is_the_view_of_rows_and_records(
    varied: Store, monkeypatch: pytest.MonkeyPatch, window: dict[str, Any], options: dict[str, Any]
) -> None:
    options = {**options, "window": brainbrr.WindowSpec(2, stride_s=1, **window)}
    fast = brainbrr.view(varied.location, **options)
    slow = without_columns(monkeypatch, lambda: brainbrr.view(varied.location, **options))
    assert isinstance(fast.recordings, StoredRecordings) and not isinstance(slow.recordings, StoredRecordings)
    assert fast.recordings == slow.recordings and (fast.digest, fast.state) == (slow.digest, slow.state)
    assert (fast.missing, fast.omitted) == (slow.missing, slow.omitted)
    assert dataclasses.replace(fast.totals, n_bytes=None) == slow.totals
    assert fast.index.frame == slow.index.frame
    for name in (field.name for field in dataclasses.fields(fast.index) if field.name != "frame"):
        ours, theirs = getattr(fast.index, name), getattr(slow.index, name)
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
        assert ours.dtype == theirs.dtype, name
    fast.index.check()


def test_status_why_and_gc_say_the_same_with_columns_and_without(
    varied: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = brainbrr.view(varied.location).recordings[0].path
    acts: dict[str, Callable[[Store], dict[str, Any]]] = {
        "status": lambda store: brainbrr.status(store.location).to_json(),
        "gc": lambda store: gc(store).to_json() | {"seconds": 0},
        "hit": lambda store: why(store, path, recipe=Recipe()).to_json(),
        "miss": lambda store: why(store, path, recipe=Recipe(), changes=("notch_hz=50",)).to_json(),
        "check": lambda store: (
            brainbrr.check(store.location, require=["no-duplicates", "no-leaks", "complete"]).to_json()
            | {"corrupt": []}
        ),
    }
    for name, act in acts.items():
        fast = act(Store.open(varied.location))
        assert fast == without_columns(monkeypatch, lambda act=act: act(Store.open(varied.location))), name


def test_columns_come_back_from_their_file_and_no_flipped_byte_escapes(varied: Store) -> None:
    rows = varied.catalog("demo").rows  # type: ignore[union-attr]
    columns = columns_of(varied.layout, rows)
    assert columns is not None
    data = encode(columns, "ab" * 32)
    assert encode(decode(data, "ab" * 32, where=None), "ab" * 32) == data
    fresh = store_columns.derived(varied.layout, rows.values())
    assert encode(fresh.take(np.arange(len(fresh))), "0") == encode(fresh, "0")
    for i in range(0, len(data), 97):
        damaged = data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]
        with pytest.raises(brainbrr.errors.IntegrityError):
            decode(damaged, "ab" * 32, where=None)
    with pytest.raises(brainbrr.errors.IntegrityError, match="another generation"):
        decode(data, "cd" * 32, where=None)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("path", lambda a: a | 0x80),
        ("path_bounds", lambda a: a[::-1]),
        ("split", lambda a: a + 1000),
        ("typed", lambda a: a - 9),
        ("n_bytes", lambda a: a[1:]),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(varied: Store, name: str, change: Callable[[Any], Any]) -> None:
    columns = columns_of(varied.layout, varied.catalog("demo").rows)  # type: ignore[union-attr]
    assert columns is not None
    wrong = dataclasses.replace(columns, arrays={**columns.arrays, name: change(columns.arrays[name])})
    with pytest.raises(brainbrr.errors.IntegrityError, match="no columns as brainbrr writes them"):
        decode(encode(wrong, "ab" * 32), "ab" * 32, where=None)


def test_a_record_or_an_object_that_is_gone_is_missing(varied: Store) -> None:
    recordings = brainbrr.view(varied.location).recordings
    first, second = recordings[0], recordings[1]
    varied.layout.record(first.key).unlink()
    varied.layout.object(second.content).rename(varied.location / "tmp" / "away")
    view = brainbrr.view(varied.location)
    reasons = {each.recording: each.reason for each in view.missing}
    assert reasons[first.path] == "not stored under this recipe"
    assert reasons[second.path] == "its object is missing from the store"


def test_damaged_columns_are_done_without(varied: Store) -> None:
    seq = varied.layout.with_columns("demo")[-1]
    before = brainbrr.view(varied.location).digest
    path = varied.layout.columns("demo", seq)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    view = brainbrr.view(varied.location)
    assert view.digest == before and not isinstance(view.recordings, StoredRecordings)


def test_a_full_verify_finds_columns_that_say_something_else_and_repair_derives_them_again(varied: Store) -> None:
    assert of_catalogs(verify(varied)) == []
    seq = varied.layout.with_columns("demo")[-1]
    path, digest = varied.layout.columns("demo", seq), catalogs.generation(varied.layout, "demo", seq)[1]
    good = path.read_bytes()
    columns = decode(good, digest, where=None)
    recipe, stored = next(iter(columns.stored.items()))
    for wrong in (
        dataclasses.replace(columns, arrays={**columns.arrays, "n_bytes": columns.arrays["n_bytes"] + 1}),
        dataclasses.replace(
            columns,
            stored={recipe: dataclasses.replace(stored, arrays={**stored.arrays, "mean": stored.arrays["mean"] + 1})},
        ),
    ):
        overwrite(path, encode(wrong, digest))
        assert of_catalogs(verify(varied, depth="quick")) == []
        bad = of_catalogs(verify(varied))
        assert [each.name for each in bad] == [f"demo/{path.name}"]
        assert [each.outcome for each in repair_catalogs(varied, None, bad)] == ["restored"]
        assert not columns_differ(varied) and of_catalogs(verify(varied)) == []
    overwrite(path, good[:-1])
    assert [each.name for each in of_catalogs(verify(varied, depth="quick"))] == [f"demo/{path.name}"]


def of_catalogs(report: VerifyReport) -> list[Damage]:
    return [each for each in report.corrupt if each.kind == "catalog"]


def columns_differ(store: Store) -> bool:
    seq = store.layout.with_columns("demo")[-1]
    base, digest = catalogs.generation(store.layout, "demo", seq)
    found = store_columns.read(store.layout, "demo", seq, digest)
    assert found is not None
    return store_columns.differ(found, store_columns.derived(store.layout, base.rows.values()))


def test_columns_of_a_generation_that_is_cut_off_go_with_it(varied: Store) -> None:
    assert len(varied.layout.with_columns("demo")) == 1
    forget(varied, "demo", older_than_s=0, yes=True)
    assert varied.layout.with_columns("demo") == varied.layout.generations("demo")


def test_a_check_without_verified_finds_a_copy_that_no_record_names(varied: Store) -> None:
    record = brainbrr.view(varied.location).recordings[0].record
    copy = varied.layout.object("ff" * 32)
    copy.parent.mkdir(exist_ok=True)
    shutil.copytree(varied.layout.object(record.content), copy)
    report = brainbrr.check(varied.location, require=["no-duplicates"])
    assert report.duplicate_objects == ({"content": record.content, "copies": ("ff" * 32,)},) and report.exit_code == 5
    assert not report.corrupt and "ff" * 32 not in report.orphans
