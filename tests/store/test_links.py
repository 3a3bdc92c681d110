"""Links planted in a store: nobody is led outside by one, to read, to list or to write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.store_values import arguments, catalog_of, meta_of, row_of, samples_of

from brainbrr.errors import IntegrityError
from brainbrr.store import copy, deletion
from brainbrr.store.formats import read_array
from brainbrr.store.gc import gc
from brainbrr.store.integrity import decode_object, verify_binding, verify_group
from brainbrr.store.records import Record
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

META = meta_of(2, 200)


@pytest.fixture
def record(store: Store) -> Record:
    kept = store.put(samples_of(META), **arguments(META)).record
    store.put_findings(kept.key, 1, {"score": 100})
    store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
    store.freeze("c" * 64, {"format": 1})
    return kept


def lead_out(folder: Path, tmp_path: Path) -> dict[Path, bytes]:
    """Put a link in a folder's place, to the same folder elsewhere; return what lies there."""
    outside = tmp_path / "outside"
    shutil.copytree(folder, outside)
    shutil.rmtree(folder)
    folder.symlink_to(outside)
    return contents(outside)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


READS: list[tuple[str, Callable[[Store, Record], object]]] = [
    ("objects.zarr/{0:.2}", lambda store, record: store.reader(record.content)),
    ("objects.zarr/{0:.2}", lambda store, record: store.reader(record.content, record.array)),
    ("objects.zarr/{0:.2}", lambda store, record: read_array(store.layout.object(record.content))),
    ("objects.zarr/{0:.2}", lambda store, record: store.open_array(record.content)),
    ("objects.zarr/{0:.2}", lambda store, record: decode_object(store, record.content)),
    ("objects.zarr/{0:.2}", lambda store, record: verify_group(store, record.content[:2])),
    ("objects.zarr/{0:.2}", lambda store, record: verify_binding(store, record)),
    (
        "objects.zarr/{0:.2}",
        lambda store, record: list(copy._blocks(store.layout.object(record.content) / "c.0.0")),
    ),
    ("objects.zarr/{0:.2}/{0}", lambda store, record: store.reader(record.content, record.array)),
    ("objects.zarr/{0:.2}/{0}", lambda store, record: store.reader(record.content)),
    ("records/{1:.2}", lambda store, record: store.record(record.key)),
    ("findings/{1:.2}", lambda store, record: store.findings(record.key, 1)),
    ("catalog/demo", lambda store, record: store.catalog("demo")),
    ("views", lambda store, record: store.frozen("c" * 64)),
]


@pytest.mark.parametrize(("place", "reading"), READS)
def test_no_reader_follows_a_link(
    store: Store, record: Record, tmp_path: Path, place: str, reading: Callable[[Store, Record], object]
) -> None:
    reading(store, record)
    there = lead_out(store.location / place.format(record.content, record.key), tmp_path)
    with pytest.raises(IntegrityError, match="a link"):
        reading(store, record)
    assert contents(tmp_path / "outside") == there


@pytest.mark.parametrize("place", ["objects.zarr/{0:.2}", "records/{1:.2}", "findings/{1:.2}", "catalog/demo"])
def test_verify_names_a_link_and_lists_nothing_behind_it(
    store: Store, record: Record, tmp_path: Path, place: str
) -> None:
    place = place.format(record.content, record.key)
    lead_out(store.location / place, tmp_path)
    (tmp_path / "outside" / f"{'a' * 64}").mkdir()
    found = verify(store).corrupt
    assert any(place.rpartition("/")[2] in value.split("/") for each in found for value in each.to_json().values())
    assert "a" * 64 not in str(found)


@pytest.mark.parametrize("place", ["objects.zarr/{0:.2}", "records/{1:.2}", "findings/{1:.2}", "catalog/demo"])
def test_nothing_is_written_or_moved_behind_a_link(store: Store, record: Record, tmp_path: Path, place: str) -> None:
    there = lead_out(store.location / place.format(record.content, record.key), tmp_path)
    for path in there:
        path.chmod(0o644)
        path.write_bytes(b"damaged")
    damaged = contents(tmp_path / "outside")
    with pytest.raises(IntegrityError, match="a link"):
        store.put(samples_of(META), **arguments(META))
        store.put_findings(record.key, 1, {"score": 1})
        store.publish("demo", lambda _: catalog_of([row_of("b.edf")]))
    assert contents(tmp_path / "outside") == damaged
    assert os.listdir(store.location / "tmp") == []


@pytest.mark.parametrize(
    "folder", ["objects.zarr", "records", "findings", "catalog", "views", "tmp", "quarantine", "trash"]
)
def test_a_store_whose_own_folder_is_a_link_is_not_opened(store: Store, tmp_path: Path, folder: str) -> None:
    lead_out(store.location / folder, tmp_path)
    for opening in (Store.open, Store.create):
        with pytest.raises(IntegrityError, match="a link is where a folder belongs"):
            opening(store.location)
    store.layout.mark.unlink()
    with pytest.raises(IntegrityError, match="a link is where a folder belongs"):
        Store.create(store.location)
    assert "format.json" not in os.listdir(store.location)


def test_a_store_may_be_reached_by_a_link(store: Store, record: Record, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.location)
    assert verify(Store.open(tmp_path / "link")).corrupt == ()


@pytest.mark.parametrize("link", ["", "gone", "spare", "gone/objects", "views"])
def test_a_link_in_trash_leads_no_deletion_and_no_calling_off_outside(store: Store, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    for folder in ("views", "gone/objects", "gone/catalog/demo", "spare"):
        (outside / folder).mkdir(parents=True)
        (outside / folder / f"{'d' * 64}.json").write_text("theirs")
    before = contents(outside)
    place = store.layout.trash / ("a" * 32) / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside / link)
    deletion.cancel(store.layout)
    gc(store, yes=True)
    deletion.cancel(store.layout)
    assert contents(outside) == before
    assert "d" * 64 not in store.frozen_views()


def test_no_folder_is_made_use_of_behind_a_link(store: Store, tmp_path: Path) -> None:
    folder = store.layout.record("ab" * 16).parent
    folder.symlink_to(tmp_path)
    with pytest.raises(IntegrityError, match="a link is where a folder belongs"):
        store.layout.ensure_fan_out(folder)
