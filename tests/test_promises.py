"""The promises of store/README.md, one short test each, by number; tests/store holds the long ones."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from helpers import crash
from helpers.store_values import arguments, catalog_of, flips_on_disk, meta_of, overwrite, row_of, samples_of
from helpers.support import ROOT

from brainbrr.errors import FormatError, IntegrityError, UsageError
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.settings import resolve
from brainbrr.store import sidecars
from brainbrr.store.create import Access
from brainbrr.store.gc import gc
from brainbrr.store.integrity import decode_object
from brainbrr.store.store import Store
from brainbrr.store.verify import verify
from brainbrr.views.check import check
from store import test_crash, test_golden, test_layout, test_store, test_write_order

META = meta_of(2, 400, absent=(1,))
SAMPLES = samples_of(META)
PROMISES = re.findall(r"^(\d+)\. ", (ROOT / "store" / "README.md").read_text().split("## Promises")[1], re.MULTILINE)

trace = test_write_order.trace


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def test_every_promise_has_its_test() -> None:
    named = [name.split("_")[2] for name in globals() if name.startswith("test_promise_")]
    promises = [f"{int(number):02d}" for number in PROMISES]
    assert named == promises == [f"{n:02d}" for n in range(1, len(promises) + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", crash.ACTIONS)
def test_promise_01_whoever_looks_between_two_steps_of_a_writer_sees_nothing_half(tmp_path: Path, name: str) -> None:
    for n in itertools.count(1):
        store = Store.create(tmp_path / str(n))
        with crash.Breaking(n, lambda store=store: crash.check(store, done=False, name=name)) as breaking:
            crash.ACTIONS[name](store)
        if breaking.count < n:
            break
    assert n > 6


def test_promise_02_what_is_put_is_durable_in_order_and_the_same_command_finishes(
    store: Store, trace: list[str]
) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with crash.Breaking(9, fail), pytest.raises(OSError, match="Input/output"):
        store.put(SAMPLES, **arguments(META))
    assert list(store.keys()) == []
    trace.clear()
    store.put(SAMPLES, **arguments(META))
    assert trace[-len(test_write_order.RECORD) :] == test_write_order.RECORD  # the object first, its record last
    assert verify(store).corrupt == ()


def test_promise_03_damage_is_an_error_that_names_object_and_time(store: Store) -> None:
    content = store.put(SAMPLES, **arguments(META)).record.content
    shard = store.layout.object(content) / "c.0.0"
    data = bytearray(shard.read_bytes())
    data[META.tile_bytes * 2 + 7] ^= 1
    overwrite(shard, bytes(data))
    reader = store.reader(content)
    assert np.array_equal(reader.read(0, 320), SAMPLES[:, :320])
    with pytest.raises(IntegrityError, match="from 20 s to 30 s") as caught:
        reader.read(310, 330)
    assert content in str(caught.value.where)


@pytest.mark.slow
def test_promise_04_verify_finds_flips_truncations_deletions_and_swaps(store: Store) -> None:
    first, second = (
        store.put(samples_of(META, seed=seed), **arguments(META, source=str(seed))).record for seed in (1, 2)
    )
    one, other = map(store.layout.object, (first.content, second.content))
    files = [one / "c.0.0", one / "zarr.json", store.layout.record(first.key)]
    for file in files:
        good = file.read_bytes()
        for _ in itertools.islice(flips_on_disk(file), 0, None, 499):
            assert verify(store).exit_code == verify(store, depth="checksums").exit_code == 4
        overwrite(file, good[:-1])
        assert verify(store).exit_code == verify(store, depth="checksums").exit_code == 4
        file.unlink()
        if file is files[-1]:
            assert check(store, settings=resolve()).orphans == (first.content,)
        else:
            assert verify(store).exit_code == verify(store, depth="checksums").exit_code == 4
        file.write_bytes(good)
    overwrite(one / "c.0.0", (other / "c.0.0").read_bytes())
    assert (verify(store).exit_code, verify(store, depth="checksums").exit_code) == (4, 0)


def test_promise_05_one_array_of_many_sources_recipes_and_corpora_is_stored_once(store: Store) -> None:
    for corpus in ("a", "b"):
        store.put(SAMPLES, **arguments(META, source=corpus))
        store.publish(corpus, lambda _, corpus=corpus: catalog_of([row_of("x.edf")], corpus=corpus))
    store.put(SAMPLES, **arguments(META, recipe_fields={"other": 1}))
    assert (len(list(store.contents())), len(list(store.keys()))) == (1, 3)


def test_promise_06_second_results_and_damage_move_to_quarantine(store: Store, tmp_path: Path) -> None:
    test_store.test_a_second_content_of_a_key_goes_to_quarantine_and_the_first_stays(store)
    test_store.test_a_damaged_record_moves_to_quarantine_and_is_written_again(Store.create(tmp_path / "other"))


@pytest.mark.slow
def test_promise_07_a_full_disk_says_how_much_was_needed_and_leaves_nothing_half(tmp_path: Path) -> None:
    test_crash.test_a_full_disk_at_any_point_says_how_much_was_needed_and_leaves_nothing_half(tmp_path, "put")


@pytest.mark.slow
def test_promise_08_a_reader_needs_no_permission_to_write() -> None:
    test_store.test_a_reader_needs_no_permission_to_write()


def test_promise_09_zarr_lists_every_object_and_reads_the_same_samples(store: Store) -> None:
    content = store.put(SAMPLES, **arguments(META)).record.content
    group = zarr.open_group(str(store.location / "objects.zarr"), mode="r")
    [(path, array)] = [(p, a) for p, a in group.members(max_depth=None) if isinstance(a, zarr.Array)]
    assert path == f"{content[:2]}/{content}"
    assert np.array_equal(array[:], SAMPLES)


def test_promise_10_another_format_is_refused_by_name_and_format_2_opens(tmp_path: Path) -> None:
    test_golden.test_a_store_of_format_1_is_refused_by_name()
    golden = shutil.copytree(test_golden.GOLDEN / "format-2", tmp_path / "golden")
    assert {record.key: record.content for record in Store.open(golden).records()} == test_golden.CONTENTS
    assert verify(Store.open(golden)).corrupt == ()
    overwrite(golden / "format.json", b'{"format":3,"kind":"brainbrr store"}')
    with pytest.raises(FormatError, match="format 3"):
        Store.open(golden)


def test_promise_11_no_identifier_and_no_link_leads_out_of_the_store(store: Store, tmp_path: Path) -> None:
    test_layout.test_identifiers_are_hex_before_they_touch_a_path(store, "../../etc/passwd")
    test_layout.test_a_corpus_name_is_no_path(store, "..")
    content = store.put(SAMPLES, **arguments(META)).record.content
    folder = store.layout.object(content)
    folder.rename(tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    with pytest.raises(IntegrityError, match="a link"):
        store.reader(content)
    with pytest.raises(UsageError):
        decode_object(store, "../outside")


def test_promise_12_what_is_alive_stays_and_what_is_deleted_has_a_receipt(store: Store) -> None:
    alive = store.put(SAMPLES, **arguments(META, source="alive")).record
    store.publish("demo", lambda _: catalog_of([row_of("a.edf", source=alive.source)]))
    dead = store.put(samples_of(META, seed=1), **arguments(META, source="dead")).record
    gc(store, yes=True, grace_s=0)
    assert list(store.keys()) == [alive.key] and list(store.contents()) == [alive.content]
    deleted = sidecars.deleted(store.layout)
    assert (list(deleted["records"]), list(deleted["objects"])) == ([dead.key], [dead.content])
    assert verify(store).corrupt == ()


@pytest.mark.slow
def test_promise_13_a_corpus_that_is_not_mounted_deletes_nothing(corpus: Path, tmp_path: Path) -> None:
    ingest(IngestOptions(root=corpus, store=tmp_path / "store", workers=1))
    store = Store.open(tmp_path / "store")
    before = store.catalog("demo")
    (corpus / "edf").rename(tmp_path / "another disk")
    (corpus / "edf").mkdir()
    with pytest.raises(UsageError):
        ingest(IngestOptions(root=corpus, store=store.location, workers=1, accept=frozenset({"removed"})))
    gc(store, yes=True, grace_s=0)
    assert store.catalog("demo") == before
    assert len(list(store.contents())) == len(before.rows)  # type: ignore[union-attr]


def test_promise_14_two_that_build_one_key_at_once_both_succeed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    test_write_order.test_a_faster_process_with_the_same_array_wins_and_ours_is_dropped(store, monkeypatch)
    assert (len(list(store.contents())), len(list(store.keys()))) == (1, 1)


def test_promise_15_folders_of_a_shared_store_have_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    """Two users in one group are in tests/cli/test_sharing.py."""
    store = Store.create(tmp_path / "shared", access=Access(0o2775, os.getegid()))
    before = os.umask(0o077)
    try:
        content = store.put(SAMPLES, **arguments(META)).record.content
        store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
    finally:
        os.umask(before)
    folders = [path for path in store.location.rglob("*") if path.is_dir()]
    assert store.layout.object(content) in folders
    assert {path.stat().st_mode & 0o7777 for path in folders} == {0o2775}
    assert {path.stat().st_mode & 0o7777 for path in store.location.rglob("*") if path.is_file()} == {0o444}
