"""The order in which bytes become durable, and what happens when another process is faster."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.small_stores import at, publish, put, view_of
from helpers.store_values import arguments, catalog_of, content_of, meta_of, overwrite, put_together, row_of, samples_of

from brainbrr.core import failpoints, files
from brainbrr.core.digest import sha256
from brainbrr.errors import IntegrityError, NotReproducibleError, RecordingError
from brainbrr.store import catalog as catalogs
from brainbrr.store import deletion as the_deletion
from brainbrr.store import frozen_views, restore, writer
from brainbrr.store.commit import can_keep_together
from brainbrr.store.create import rewrite_mark
from brainbrr.store.deletion import Deletion
from brainbrr.store.forget import forget
from brainbrr.store.gc import gc
from brainbrr.store.integrity import verify_object
from brainbrr.store.reachability import Reachability
from brainbrr.store.store import Put, Store
from brainbrr.store.verify import verify

META = meta_of(2, 400)
SAMPLES = samples_of(META)


@pytest.fixture
def trace(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every fsync, rename and link, with paths below the store; content, key and temporary names shortened."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell the path of a descriptor")
    calls: list[str] = []

    def short(path: Any) -> str:
        text = str(Path(path).relative_to(store.location))
        text = re.sub(r"receipts/.+", "receipts/*.json", re.sub(r"tmp/[^/]+", "tmp/*", text))
        text = re.sub(r"ID\.[0-9a-f]{12}$", "ID.*", re.sub(r"[0-9a-f]{32,64}", "ID", text))
        return re.sub(r"(?<=/)[0-9a-f]{2}(?=/|$)", "ab", text)

    real = {name: getattr(os, name) for name in ("fsync", "rename", "link")}
    syncfs = files.syncfs

    def all_of_it(descriptor: int) -> None:
        syncfs(descriptor)
        calls.append("syncfs")

    def fsync(descriptor: int) -> None:
        real["fsync"](descriptor)
        calls.append(f"fsync {short(os.readlink(f'/proc/self/fd/{descriptor}'))}")

    def two(name: str) -> Any:
        def call(source: Any, target: Any) -> None:
            real[name](source, target)
            calls.append(f"{name} {short(source)} {short(target)}")

        return call

    monkeypatch.setattr(files, "syncfs", all_of_it)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", two("rename"))
    monkeypatch.setattr(os, "link", two("link"))
    return calls


GROUP = ["fsync objects.zarr", "fsync tmp/*", "link tmp/* objects.zarr/ab/zarr.json", "fsync objects.zarr/ab"]
OBJECT = [
    "fsync tmp/*/zarr.json",
    "fsync tmp/*/c.0.0",
    "fsync tmp/*",
    "rename tmp/* objects.zarr/ab/ID",
    "fsync objects.zarr/ab",
]
RECORD = ["fsync records", "fsync tmp/*", "link tmp/* records/ab/ID.json", "fsync records/ab"]


def test_a_put_makes_each_step_durable_before_the_next(store: Store, trace: list[str]) -> None:
    store.put(SAMPLES, **arguments(META))
    assert trace == [*GROUP, *OBJECT, *RECORD]


def test_an_object_that_is_there_already_is_made_durable_before_it_is_recorded(store: Store, trace: list[str]) -> None:
    store.put(SAMPLES, **arguments(META))
    trace.clear()
    store.put(SAMPLES, **arguments(META, source="another"))
    assert trace == ["fsync objects.zarr", "fsync objects.zarr/ab", *RECORD]


def test_each_step_of_a_batch_is_durable_before_the_next(store: Store, trace: list[str]) -> None:
    if not can_keep_together(store):
        pytest.skip("this file system has no syncfs that counts")
    store.put(SAMPLES, **arguments(META))
    trace.clear()
    results = put_together(store, {"a": 1, "b": 2, "its copy": 0, "an EDF": 0}, META)
    assert [(put.new_object, put.new_record) for put in results] == [  # type: ignore[union-attr]
        (True, True), (True, True), (False, True), (False, False),
    ]  # fmt: skip
    groups = [step for step in trace if step.endswith("zarr.json")]
    assert [step for step in trace if step not in groups] == [
        "syncfs",
        *2 * ["rename tmp/* objects.zarr/ab/ID"],
        "syncfs",
        *3 * ["link tmp/* records/ab/ID.json"],
        "syncfs",
    ]
    assert verify(store).verified == 3


def test_nothing_of_a_batch_is_acknowledged_that_could_not_be_made_durable(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files, "syncfs", broken)
    with pytest.raises(OSError, match="Input/output error"):
        put_together(store, {"a": 1, "b": 2}, META)
    assert list(store.keys()) == [] and list((store.location / "tmp").iterdir()) == []


def test_a_second_content_of_a_key_refuses_that_one_of_a_batch(store: Store) -> None:
    store.put(SAMPLES, **arguments(META))
    first, second = put_together(store, {"an EDF": 1, "b": 2}, META)
    assert isinstance(first, NotReproducibleError) and isinstance(second, Put)


def test_a_generation_is_durable_when_it_is_acknowledged(store: Store, trace: list[str]) -> None:
    store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
    generation = "catalog/demo/00000001.jsonl"
    told = generation.replace(".jsonl", ".ack.json")
    assert trace == [
        step
        for path in (generation, told)
        for step in ("fsync catalog", "fsync tmp/*", f"link tmp/* {path}", "fsync catalog/demo")
    ]


def test_what_moves_to_quarantine_is_durable_there_and_gone_here(store: Store, trace: list[str]) -> None:
    content = store.put(SAMPLES, **arguments(META)).record.content
    overwrite(store.layout.object(content) / "c.0.0", b"rotten")
    trace.clear()
    store.put(SAMPLES, **arguments(META))
    away = ["rename objects.zarr/ab/ID quarantine/ID.*", "fsync quarantine", "fsync objects.zarr/ab"]
    assert trace[:4] == ["fsync objects.zarr", *away]


def test_a_second_content_of_a_key_is_durable_in_quarantine(store: Store, trace: list[str]) -> None:
    store.put(SAMPLES, **arguments(META))
    trace.clear()
    with pytest.raises(NotReproducibleError):
        store.put(samples_of(META, seed=1), **arguments(META))
    assert trace == [*OBJECT[:3], "rename tmp/* quarantine/ID", "fsync quarantine", "fsync tmp"]


def test_a_file_is_durable_unless_somebody_says_otherwise(store: Store, trace: list[str]) -> None:
    for name, durable in (("a", {}), ("b", {"durable": False})):
        files.write(store.location / "tmp" / name, b"x", **durable)
    assert trace == ["fsync tmp/*"]


def test_a_record_of_a_faster_process_is_made_durable_too(
    store: Store, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    overtake(store, monkeypatch, lambda: store.put(SAMPLES, **arguments(META)))
    trace.clear()
    put = store.put(SAMPLES, **arguments(META))
    assert not put.new_record
    assert trace[-1] == "fsync records/ab"


def overtake(store: Store, monkeypatch: pytest.MonkeyPatch, other: Any) -> None:
    """Let `other` run once, when the next put has written its own files but published nothing."""
    finish = writer.Draft.finish

    def write(draft: writer.Draft) -> int:
        monkeypatch.setattr(writer.Draft, "finish", finish)
        n_bytes = finish(draft)
        other()
        return n_bytes

    monkeypatch.setattr(writer.Draft, "finish", write)


def test_a_faster_process_with_the_same_array_wins_and_ours_is_dropped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtake(store, monkeypatch, lambda: store.put(SAMPLES, **arguments(META)))
    put = store.put(SAMPLES, **arguments(META))
    assert (put.new_object, put.new_record, put.n_bytes_written, put.quarantined) == (False, False, 0, ())
    assert not list((store.location / "tmp").iterdir())
    verify_object(store, put.record.content)


def test_an_object_that_appears_at_the_last_moment_is_never_replaced(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def faster(point: str) -> None:
        if point == "object flushed":  # between looking and renaming
            monkeypatch.setattr(failpoints, "listener", None)
            content = store.put(SAMPLES, **arguments(META, source="another")).record.content
            seen.append((store.layout.object(content) / "c.0.0").stat().st_ino)

    monkeypatch.setattr(failpoints, "listener", faster)
    put = store.put(SAMPLES, **arguments(META))
    shard = store.layout.object(put.record.content) / "c.0.0"
    assert (put.new_object, put.new_record, [shard.stat().st_ino]) == (False, True, seen)


def test_a_name_that_is_taken_is_never_given_to_another_file(store: Store) -> None:
    tmp = store.location / "tmp"
    assert files.publish(tmp / "a", tmp / "name", b"first")
    assert not files.publish(tmp / "b", tmp / "name", b"second")
    assert (tmp / "name").read_bytes() == b"first"


def test_a_name_that_is_taken_in_quarantine_stays(store: Store) -> None:
    for text in ("first", "second"):
        (store.location / "tmp" / text).mkdir()
        (store.location / "tmp" / text / "file").write_text(text)
    kept = store.layout.quarantine(store.location / "tmp" / "first", name="name")
    with pytest.raises(OSError, match="not empty"):
        store.layout.quarantine(store.location / "tmp" / "second", name="name")
    assert kept and (kept / "file").read_text() == "first"


def test_a_faster_process_that_left_damage_is_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> None:
        content = store.put(SAMPLES, **arguments(META)).record.content
        overwrite(store.layout.object(content) / "c.0.0", b"rotten")

    overtake(store, monkeypatch, damaged)
    put = store.put(SAMPLES, **arguments(META))
    assert (put.new_object, len(put.quarantined)) == (True, 1)
    verify_object(store, put.record.content)


def test_a_faster_process_with_another_array_keeps_the_key(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = samples_of(META, seed=1)
    overtake(store, monkeypatch, lambda: store.put(theirs, **arguments(META)))
    with pytest.raises(NotReproducibleError):
        store.put(SAMPLES, **arguments(META))
    (record,) = store.records()
    assert record.content == content_of(theirs, META)


def test_what_reads_back_as_something_else_is_never_published(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    close = writer.Draft._close

    def rotten(draft: writer.Draft, n: int) -> None:
        draft._tile(n)[0, 0] ^= 1  # valid checksums of the wrong samples, as bad memory would make
        close(draft, n)

    monkeypatch.setattr(writer.Draft, "_close", rotten)
    with pytest.raises(IntegrityError, match="reads back as something else"):
        store.put(SAMPLES, **arguments(META))
    assert list(store.contents()) == list(store.keys()) == list((store.location / "tmp").iterdir()) == []


def test_short_writes_are_finished(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: max(1, len(data) // 3)]))
    content = store.put(SAMPLES, **arguments(META)).record.content
    monkeypatch.undo()
    verify_object(store, content)


def test_files_are_read_only_once_they_are_finished(tmp_path: Path) -> None:
    files.write(tmp_path / "file", b"x")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o444


def test_every_folder_above_a_new_store_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    real = files.sync_folder

    def sync(folder: Path) -> None:
        real(folder)
        synced.append(folder)

    monkeypatch.setattr(files, "sync_folder", sync)
    Store.create(tmp_path / "a" / "b" / "store")
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)


RECEIPT = ["fsync .", "fsync tmp/*", "link tmp/* receipts/*.json", "fsync receipts"]


def away(kind: str, place: str, name: str) -> list[str]:
    """How one thing is taken away, durably, and then decided upon."""
    return [
        f"rename {place}/{name} trash/ID/{kind}/{name}",
        f"fsync {place}",
        f"fsync trash/ID/{kind}",
        f"rename trash/ID/{kind}/{name} trash/ID/gone/{kind}/{name}",
    ]


def test_gc_moves_files_aside_durably_then_lists_them_durably_then_deletes(store: Store, trace: list[str]) -> None:
    put(store, "lost")
    trace.clear()
    gc(store, yes=True, grace_s=0)
    assert trace == [
        *("fsync tmp/*", "rename tmp/* trash/ID", "fsync trash", "fsync trash/ID/views"),
        *away("records", "records/ab", "ID.json"),
        *away("objects", "objects.zarr/ab", "ID"),
        *away("findings", "findings/ab", "ID-1.json"),
        *RECEIPT,
    ]


def test_what_a_deletion_took_is_back_durably(store: Store, trace: list[str]) -> None:
    record = put(store, "taken")
    deletion = Deletion(Reachability(store.layout), "gc")
    for kind, name in (("records", record.key), ("objects", record.content)):
        path = the_deletion.place(store.layout, kind, name)
        path.rename(deletion.folder / kind / path.name)
    trace.clear()
    the_deletion.cancel(store.layout)
    assert trace == [
        "rename trash/ID trash/ID",
        *("link trash/ID/records/ID.json records/ab/ID.json", "fsync records/ab"),
        *("rename trash/ID/objects/ID objects.zarr/ab/ID", "fsync objects.zarr/ab"),
    ]


def test_a_forget_takes_a_catalog_away_whole_and_durably(store: Store, trace: list[str]) -> None:
    publish(store, put(store, "kept"))
    trace.clear()
    forget(store, "demo", yes=True)
    at = trace.index("rename catalog/demo trash/ID/gone/catalog/demo")
    assert trace[at + 1 : at + 3] == ["fsync trash/ID/gone/catalog", "fsync catalog"]


def test_a_mark_is_taken_back_durably_after_its_receipt(store: Store, trace: list[str]) -> None:
    digest, said = view_of(put(store, "seen"))
    frozen_views.freeze(store, digest, said)
    frozen_views.pin(store, digest)
    trace.clear()
    frozen_views.unpin(store, digest)
    assert trace == [*RECEIPT, "fsync pins"]


def test_a_repair_syncs_the_folder_it_moves_to_and_the_folder_it_moves_from(store: Store, trace: list[str]) -> None:
    record = put(store, "misplaced")
    aside = store.location / "quarantine"
    array = store.layout.object(record.content).rename(aside / "array")
    file = store.layout.record(record.key).rename(aside / "file")
    trace.clear()
    restore.place_object(store, array, record.content)
    restore.place_file(store, file, "record", record.key)
    rewrite_mark(store.layout)
    assert trace == [
        *(
            "fsync objects.zarr",
            "rename quarantine/array objects.zarr/ab/ID",
            "fsync objects.zarr/ab",
            "fsync quarantine",
        ),
        *("fsync records", "link quarantine/file records/ab/ID.json", "fsync records/ab", "fsync quarantine"),
        *("fsync tmp/*", "fsync ."),
    ]


def test_a_generation_comes_back_into_a_catalog_whose_folder_is_gone(store: Store, trace: list[str]) -> None:
    publish(store, put(store, "kept"))
    path = store.layout.generation("demo", 1)
    data = path.read_bytes()
    shutil.rmtree(path.parent)
    trace.clear()
    restore.replace_generation(store, "demo", 1, data)
    assert trace[0] == "fsync catalog" and path.read_bytes() == data
    assert catalogs.acknowledged_digest(store.layout, "demo", 1) == sha256(data)


def test_no_quarantined_thing_is_overwritten(store: Store) -> None:
    for name in ("first", "second"):
        (store.location / "tmp" / name).mkdir(parents=True)
        (store.location / "tmp" / name / name).touch()
    first = store.layout.quarantine(store.location / "tmp" / "first", name="x")
    with pytest.raises(OSError, match="not empty"):
        store.layout.quarantine(store.location / "tmp" / "second", name="x")
    assert first is not None and [path.name for path in first.iterdir()] == ["first"]


DRAFTING = {"object begun", "object written", "object flushed", "file written"}


@pytest.mark.parametrize("n", range(1, 6))
def test_a_draft_that_vanishes_costs_its_own_recording_only(
    store: Store, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    place, in_place = store.layout.object(content_of(SAMPLES, META)), []

    def vanish() -> None:
        in_place.append(place.exists())
        for path in (store.location / "tmp").iterdir():
            the_deletion.remove(path)

    monkeypatch.setattr(failpoints, "listener", at(n, vanish, points=DRAFTING))
    lost = None
    try:
        store.put(SAMPLES, **arguments(META))
    except RecordingError as error:
        lost = error
        assert "its draft was removed" in error.what
    assert in_place == [lost is None]  # afterwards only small files are in tmp/, which are written again
    store.put(SAMPLES, **arguments(META))
    verify_object(store, content_of(SAMPLES, META))
    assert not list((store.location / "quarantine").iterdir())
