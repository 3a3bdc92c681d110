"""`why` explains hits and misses, by recording and by key, also in a damaged store."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from helpers.computing import computed_once
from helpers.support import Cli

from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import UsageError
from brainbrr.store.records import Record
from brainbrr.store.store import Store
from brainbrr.views.why import changed, why

RECIPE = Recipe()


@pytest.fixture
def store(cli: Cli, corpus: Path, tmp_path: Path) -> Store:
    with computed_once():
        assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    return Store.open(tmp_path / "store")


@pytest.fixture
def record(store: Store) -> Record:
    return next(iter(store.records()))


def spoil(file: Path) -> None:
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-5])


def test_a_key_that_nobody_stored_is_not_called_an_empty_store(cli: Cli, store: Store) -> None:
    report = why(store, "0" * 32, recipe=RECIPE)
    assert (report.hit, report.reason) == (False, "no record has this key")
    told = cli("why", "0" * 32)
    assert "no record has this key" in told.out and "nothing is stored" not in told.out + told.err


def test_a_hit_by_key_needs_its_object(cli: Cli, store: Store, record: Record) -> None:
    assert why(store, record.key, recipe=RECIPE).to_json()["content"] == record.content
    shutil.rmtree(store.layout.object(record.content))
    report = why(store, record.key, recipe=RECIPE)
    assert (report.hit, report.content, report.reason) == (False, None, "its object is gone from the store")
    assert "object is gone" in cli("why", record.key).out


def test_changes_to_a_key_are_asked_of_its_own_source_and_recipe(store: Store, record: Record) -> None:
    other = Recipe(name="other", quantum_uv="0.25")
    report = why(store, record.key, recipe=other, changes=["notch_hz=50"])
    assert not report.hit and report.key != record.key
    assert report.nearest == {"key": record.key, "differences": {"notch_hz": ["50", "60"]}}
    assert why(store, record.key, recipe=other, changes=["notch_hz=60"]).hit
    with pytest.raises(UsageError, match="no record has this key"):
        why(store, "0" * 32, recipe=other, changes=["notch_hz=50"])


def test_changes_to_a_recording_are_made_to_the_recipe(cli: Cli, store: Store) -> None:
    [catalog] = [store.catalog(name) for name in store.corpora()]
    assert catalog is not None
    path = next(row.path for row in catalog.rows.values() if row.source is not None)
    assert why(store, path, recipe=RECIPE).hit
    nearest = why(store, path, recipe=RECIPE, changes=["notch_hz=50"]).nearest
    assert nearest is not None and nearest["differences"] == {"notch_hz": ["50", "60"]}


def test_damaged_records_are_skipped_and_a_damaged_one_says_so(store: Store, record: Record) -> None:
    spoil(store.layout.record(record.key))
    report = why(store, record.key, recipe=RECIPE)
    assert not report.hit and "its record is damaged" in str(report.reason)
    other = next(iter(store.records()))
    nearest = why(store, other.key, recipe=RECIPE, changes=["notch_hz=50"]).nearest
    assert nearest is not None and nearest["key"] == other.key


@pytest.mark.slow
def test_a_refused_recording_says_what_it_was_refused_for(cli: Cli, corpus: Path) -> None:
    edf = sorted(corpus.rglob("*.edf"))[0]
    edf.write_bytes(edf.read_bytes()[:1000])
    cli("ingest", corpus, "--profile", "full", "--workers", 1)
    told = cli("why", edf.stem, "--json").json
    assert told["hit"] is False and told["reason"].startswith("refused: ")


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ("notch=50", "no field 'notch'"),
        ("notch_hz", "FIELD=VALUE"),
        ("rate_hz=²", "rate_hz"),
        ("quantum_uv=big", "quantum_uv"),
        ("name=x", "no field 'name'"),
    ],
)
def test_a_wrong_change_is_refused_by_name(change: str, fragment: str) -> None:
    with pytest.raises(UsageError, match=re.escape(fragment)):
        changed(RECIPE, [change])


def test_off_and_false_switch_a_step_off() -> None:
    assert changed(RECIPE, ["notch_hz=off"]).notch_hz is changed(RECIPE, ["notch_hz=false"]).notch_hz is None
