"""Copying a store piece by piece: each piece needs what it speaks of, and what differs is never replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_stores import publish, put, verify_catalog, view_of
from helpers.store_values import overwrite

from brainbrr.core import models
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import copy, frozen_views, sidecars
from brainbrr.store.integrity import verify_object
from brainbrr.store.records import Record
from brainbrr.store.sidecars import Receipt
from brainbrr.store.store import Store


@pytest.fixture
def target(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "target")


@pytest.fixture
def record(store: Store) -> Record:
    return put(store, "kept")


def test_an_object_that_lies_there_damaged_is_replaced(store: Store, target: Store, record: Record) -> None:
    assert copy.copy_object(store, target, record.content) > 0
    assert copy.copy_object(store, target, record.content) == 0
    shard = target.layout.object(record.content) / "c.0.0"
    overwrite(shard, shard.read_bytes()[:-1])
    assert copy.copy_object(store, target, record.content) > 0
    verify_object(target, record.content)
    assert len(list((target.location / "quarantine").iterdir())) == 1


def test_an_object_under_anothers_name_is_not_copied(store: Store, target: Store, record: Record) -> None:
    other = record.content[:2] + "e" * 62
    store.layout.object(record.content).rename(store.layout.object(other))
    with pytest.raises(IntegrityError):
        copy.copy_object(store, target, other)
    assert not list(target.contents())


def test_a_folder_that_no_content_has_is_damage(store: Store, target: Store, record: Record) -> None:
    stray = store.layout.object(record.content).with_name(record.content[:63])
    store.layout.object(record.content).rename(stray)
    with pytest.raises(IntegrityError, match="does not lie in its place"):
        copy.copy_object(store, target, stray.name)


def test_a_record_follows_its_object_and_replaces_no_other_content(store: Store, target: Store, record: Record) -> None:
    with pytest.raises(UsageError, match="is not there"):
        copy.copy_record(store, target, record.key)
    copy.copy_object(store, target, record.content)
    assert copy.copy_record(store, target, record.key) > 0
    assert copy.copy_record(store, target, record.key) == 0
    other = put(target, "other")
    changes = {"content": other.content, "array": other.array, "statistics": other.statistics}
    forged = record.model_copy(update=changes)
    overwrite(target.layout.record(record.key), models.to_checksummed(forged.to_json()))
    with pytest.raises(UsageError, match="another content there"):
        copy.copy_record(store, target, record.key)


def test_a_catalog_is_copied_with_its_acknowledgements_and_never_over_another_one(
    store: Store, target: Store, record: Record
) -> None:
    for records in ((), (record,), (record, put(store, "more"))):
        publish(store, *records)
    catalogs.cut(store.layout, "demo", 2, "2026-01-01T00:00:00+00:00")
    copy.copy_catalog(store, target, "demo")
    verify_catalog(target, "demo")
    layout = target.layout
    assert (layout.generations("demo"), layout.acknowledged("demo"), layout.cuts("demo")) == ([2, 3], [2, 3], [2])
    publish(target)
    publish(store, record)
    with pytest.raises(UsageError, match="generation 4 of corpus 'demo' is another one there"):
        copy.copy_catalog(store, target, "demo")


def test_a_damaged_catalog_is_not_copied(store: Store, target: Store, record: Record) -> None:
    publish(store, record)
    path = store.layout.generation("demo", 1)
    overwrite(path, path.read_bytes().replace(b"train", b"eval_"))
    with pytest.raises(IntegrityError):
        copy.copy_catalog(store, target, "demo")
    assert not target.layout.generations("demo")


def test_small_files_are_copied_whole_or_not_at_all(store: Store, target: Store, record: Record) -> None:
    digest, said = view_of(record)
    frozen_views.freeze(store, digest, said)
    frozen_views.pin(store, digest)
    frozen_views.retire(store, record.recipe, "default")
    said = Receipt(verb="gc", created="2026-01-01T00:00:00+00:00", by="us")
    receipt = sidecars.write_receipt(store.layout, said).stem
    with pytest.raises(UsageError, match="its view is not there"):
        copy.copy_small_file(store, target, "pin", digest)
    copy.copy_small_file(store, target, "view", digest)
    copy.copy_small_file(store, target, "pin", digest)
    copy.copy_small_file(store, target, "retired", record.recipe)
    copy.copy_small_file(store, target, "receipt", receipt)
    assert frozen_views.pinned(target, digest) == frozen_views.pinned(store, digest) is not None
    assert frozen_views.retired(target, record.recipe) == frozen_views.retired(store, record.recipe) is not None
    assert sidecars.read_receipt(target.layout, receipt) == sidecars.read_receipt(store.layout, receipt)
    [findings] = store.layout.findings.rglob("*.json")
    overwrite(findings, findings.read_bytes().replace(b"100", b"101"))
    with pytest.raises(IntegrityError):
        copy.copy_small_file(store, target, "findings", f"{record.key}-1")
    findings.rename(findings.with_name("stray.json"))
    with pytest.raises(IntegrityError):
        copy.copy_small_file(store, target, "findings", "stray")
