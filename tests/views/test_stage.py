"""Staging: copies that are proven, shared, bounded and gone when asked, and a view that reads them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from helpers.stager import view_of, windows

import brainbrr
from brainbrr.errors import BrainbrrError, IntegrityError, SpaceError, UsageError, ViewNotReadyError
from brainbrr.store import copy as copies
from brainbrr.store.recompress import recompress
from brainbrr.store.store import Store
from brainbrr.views.stage import StageOptions, StagingFolder, stage, stage_objects, staged
from brainbrr.views.view import View

pytestmark = pytest.mark.slow


def damage(shard: Path, at: int = 1000) -> None:
    shard.chmod(0o644)
    with shard.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def shard_of(store: Store, content: str) -> Path:
    return store.layout.object(content) / "c.0.0"


def test_a_staged_view_is_the_same_view_from_another_place(stored_at: Path, into: Path) -> None:
    view = view_of(stored_at)
    with_copies = stage(view, into)
    assert with_copies.view.digest == view.digest and with_copies.view.to_json() == view.to_json()
    assert windows(with_copies.view) == windows(view)
    assert with_copies.location.is_relative_to(into) and with_copies.view.store.location == with_copies.location
    contents = {r.content for r in view.recordings}
    n_bytes = sum(view.store.object_bytes(content) for content in contents)
    assert (with_copies.n_copied, with_copies.n_reused) == (len(contents), 0)
    assert with_copies.n_bytes == with_copies.bytes_copied == n_bytes
    again = stage(view, into)
    assert (again.n_copied, again.n_reused, again.bytes_reused) == (0, len(contents), n_bytes)
    with_copies.release()
    again.release()


def test_the_copies_are_an_ordinary_store_with_the_same_bytes(stored_at: Path, into: Path) -> None:
    view = view_of(stored_at)
    target = Store.open(stage(view, into).location)
    report = brainbrr.verify(target)
    assert not report.corrupt and report.objects == len({r.content for r in view.recordings})
    assert set(target.keys()) == {r.key for r in view.recordings}
    for recording in view.recordings:
        for name in ("zarr.json", "c.0.0"):
            copy = target.layout.object(recording.content) / name
            assert copy.read_bytes() == (view.store.layout.object(recording.content) / name).read_bytes()
            assert copy.stat().st_mode & 0o777 == 0o444
        assert target.open_array(recording.content).shape[1] == recording.n_samples
    assert View.from_json(target, view.to_json()).digest == view.digest
    assert target.location.parent.stat().st_mode & 0o777 == 0o700


def test_reading_goes_on_when_the_source_is_gone(store: Path, into: Path) -> None:
    view = view_of(store)
    expected = windows(view)
    with_copies = stage(view, into)
    store.rename(store.with_name("unmounted"))
    assert windows(with_copies.view) == expected
    assert stage(with_copies.view, into).location == with_copies.location  # it is its own copy already


def test_a_store_that_may_only_be_read_can_be_staged(stored_at: Path, into: Path) -> None:
    before = sorted((p, p.stat().st_mtime_ns) for p in stored_at.rglob("*"))
    if os.geteuid():
        for folder in [stored_at, *filter(Path.is_dir, stored_at.rglob("*"))]:
            folder.chmod(0o555)
    try:
        assert stage(view_of(stored_at), into).n_copied
    finally:
        for folder in [stored_at, *filter(Path.is_dir, stored_at.rglob("*"))]:
            folder.chmod(0o755)
    assert sorted((p, p.stat().st_mtime_ns) for p in stored_at.rglob("*")) == before


@pytest.mark.parametrize("at", [1000, -3])
def test_a_damaged_original_is_named_and_never_copied(store: Path, into: Path, at: int) -> None:
    view = view_of(store)
    content = view.recordings[0].content
    shard = shard_of(view.store, content)
    damage(shard, at % shard.stat().st_size)
    with pytest.raises(IntegrityError) as error:
        stage(view, into)
    assert content in str(error.value.where) and str(store) in str(error.value.where)
    folder = StagingFolder.of(Store.open(store), into)
    target = Store.open(folder.store)
    assert content not in set(target.contents()) and not list((target.location / "tmp").iterdir())
    with folder.gate():
        assert folder.in_use() == []


def test_a_swapped_original_is_found_by_its_content(store: Path, into: Path) -> None:
    view = view_of(store)
    first, second = (view.store.layout.object(c) for c in sorted({r.content for r in view.recordings})[:2])
    shutil.rmtree(first)
    shutil.copytree(second, first)  # every checksum of it is right
    with pytest.raises(IntegrityError, match="decoded array has content"):
        stage(view, into)


def test_a_copy_that_the_disk_garbles_is_no_copy(stored_at: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = copies._copy_blocks

    def garbling(original: Path, copy: Path, *, durable: bool) -> int:
        n_bytes = real(original, copy, durable=durable)
        if copy.name == "c.0.0":
            damage(copy)
        return n_bytes

    monkeypatch.setattr(copies, "_copy_blocks", garbling)
    with pytest.raises(IntegrityError, match="original, which is whole") as error:
        stage(view_of(stored_at), into)
    assert str(into) in str(error.value.where)
    assert not list(Store.open(StagingFolder.of(Store.open(stored_at), into).store).contents())


def test_an_original_that_is_gone_or_unreadable_is_said(
    store: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = view_of(store)
    folder = view.store.layout.object(view.recordings[0].content)
    (folder / "zarr.json").rename(folder.with_name("away"))
    with pytest.raises(IntegrityError, match="not there"):
        stage(view, into)
    shutil.rmtree(folder)
    with pytest.raises(IntegrityError, match="not there"):
        stage(view, into)

    def refuse(path: Path, *, folders: int) -> int:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(copies.files, "open_plain", refuse)
    with pytest.raises(BrainbrrError, match="Stale file handle"):
        list(copies._blocks(folder))


def test_a_damaged_copy_is_copied_again(stored_at: Path, into: Path) -> None:
    view = view_of(stored_at)
    with_copies = stage(view, into)
    content = view.recordings[0].content
    damage(shard_of(with_copies.view.store, content))
    (with_copies.location / "records" / view.recordings[1].key[:2] / f"{view.recordings[1].key}.json").unlink()
    again = stage(view, into)
    assert again.n_copied == 1
    assert not brainbrr.verify(again.view.store).corrupt and len(list(again.view.store.keys())) == len(view.recordings)


def test_a_copy_that_turns_out_damaged_says_how_to_go_on(stored_at: Path, into: Path) -> None:
    view = view_of(stored_at)
    with (
        pytest.raises(IntegrityError, match="a staged copy: stored samples are damaged") as error,
        staged(view, StageOptions(into), brainbrr.core.progress.Silent()) as with_copies,
    ):
        damage(shard_of(with_copies.view.store, view.recordings[0].content))
        windows(with_copies.view)
    assert "run the same again" in str(error.value.fix)


def test_a_limit_that_is_too_small_is_said_before_anything_is_written(stored_at: Path, into: Path) -> None:
    view = view_of(stored_at)
    n_bytes = sum(view.store.object_bytes(content) for content in {r.content for r in view.recordings})
    with pytest.raises(SpaceError, match=f"needs {n_bytes:,} bytes.*where {n_bytes - 1:,} may"):
        stage(view, into, limit_bytes=n_bytes - 1)
    assert not into.exists()
    stage(view, into, limit_bytes=n_bytes)


def test_a_limit_counts_what_lies_there_and_what_others_copy(stored_at: Path, into: Path) -> None:
    view = view_of(stored_at)
    patients = sorted({r.patient for r in view.recordings})
    one, other = view_of(stored_at, patients=(patients[0],)), view_of(stored_at, patients=tuple(patients[1:]))
    first = stage(one, into)
    n_bytes = first.n_bytes + sum(other.store.object_bytes(c) for c in {r.content for r in other.recordings})
    with pytest.raises(SpaceError, match=f"{n_bytes:,} would then lie there"):
        stage(other, into, limit_bytes=n_bytes - 1)
    folder = StagingFolder.of(Store.open(stored_at), into)
    with folder.gate():
        lease = folder.lease({"ab" * 32: 10**6})  # a job that has begun, and copied nothing yet
    with pytest.raises(SpaceError, match=f"{n_bytes + 10**6:,} would then lie there"):
        stage(other, into, limit_bytes=n_bytes)
    lease.release()
    stage(other, into, limit_bytes=n_bytes)


def test_a_disk_without_room_is_said_before_anything_is_written(
    stored_at: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs
    for changed in ({"f_bavail": 1}, {"f_favail": 1}):
        fields = [n for n in dir(real("/")) if n.startswith("f_")]
        full = type("Disk", (), {n: getattr(real("/"), n) for n in fields} | changed)
        monkeypatch.setattr(os, "statvfs", lambda _, full=full: full)
        with pytest.raises(SpaceError):
            stage(view_of(stored_at), into)
        assert not into.exists()


def test_a_disk_that_becomes_full_leaves_what_was_copied(
    stored_at: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = copies._copy_blocks, [5]

    def filling(original: Path, copy: Path, *, durable: bool) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(original, copy, durable=durable)

    monkeypatch.setattr(copies, "_copy_blocks", filling)
    with pytest.raises(SpaceError, match="became full") as error:
        stage(view_of(stored_at), into, n_threads=1)
    assert "--stage" in str(error.value.fix)
    monkeypatch.undo()
    assert stage(view_of(stored_at), into).n_reused == 2  # of two files each


def test_a_view_that_is_not_whole_cannot_be_staged(store: Path, into: Path) -> None:
    shutil.rmtree(view_of(store).store.layout.object(view_of(store).recordings[0].content))
    with pytest.raises(ViewNotReadyError, match="incomplete"):
        stage(view_of(store), into)


def test_a_folder_that_cannot_be_ours_is_refused(stored_at: Path, into: Path, tmp_path: Path) -> None:
    into.mkdir()
    StagingFolder.of(Store.open(stored_at), into).path.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="a link"):
        stage(view_of(stored_at), into)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="nothing can be staged"):
        stage(view_of(stored_at), tmp_path / "file")


def test_objects_can_be_staged_without_a_view(stored_at: Path, into: Path) -> None:
    source, view = Store.open(stored_at), view_of(stored_at)
    contents = {r.content for r in view.recordings}
    found = stage_objects(source, dict.fromkeys(contents, ()), into)
    assert set(found.store.contents()) == contents and not list(found.store.keys())
    with pytest.raises(UsageError, match="no view"):
        _ = found.view
    with_records = stage(view, into)
    assert with_records.n_reused == len(contents)
    assert set(with_records.store.keys()) == {r.key for r in view.recordings}
    assert (found.remove(), with_records.remove()) == (0, len(contents))


def test_a_store_of_zstd_tiles_is_staged_as_it_is(stored_at: Path, tmp_path: Path, into: Path) -> None:
    smaller = tmp_path / "smaller"
    recompress(Store.open(stored_at), smaller, codec="zstd")
    plain, packed = stage(view_of(stored_at), into), stage(view_of(smaller), into)
    assert packed.store.codec == "zstd" and packed.n_bytes < plain.n_bytes
    assert not brainbrr.verify(packed.store).corrupt
    for recording in packed.view.recordings:
        samples = [each.store.reader(recording.content).read(0, recording.n_samples) for each in (plain, packed)]
        assert samples[0].tobytes() == samples[1].tobytes()
    assert View.from_json(packed.store, packed.view.to_json()).digest == plain.view.digest
    shutil.rmtree(smaller)  # the same place, kept in another way: no reason to stumble
    shutil.copytree(stored_at, smaller)
    again = stage(view_of(smaller), into)
    assert again.store.codec == "none" and windows(again.view) == windows(plain.view)
