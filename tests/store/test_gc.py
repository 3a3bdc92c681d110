"""What gc deletes, what it leaves, and who may write meanwhile."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.small_stores import DAY, META, Killed, at, die, every_point, held, publish, put, view_of, whole
from helpers.store_values import arguments, catalog_of, meta_of, overwrite, row_of, samples_of
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.core import failpoints, models
from brainbrr.core.digest import sha256
from brainbrr.core.statcache import Host
from brainbrr.errors import BrainbrrError, IntegrityError, UsageError
from brainbrr.ingest.repair import repair
from brainbrr.store import candidates, sidecars
from brainbrr.store import frozen_views as the_frozen_views
from brainbrr.store.deletion import Deletion, cancel, remove
from brainbrr.store.gc import gc
from brainbrr.store.integrity import verify_object, verify_record
from brainbrr.store.reachability import Reachability
from brainbrr.store.records import Record
from brainbrr.store.store import Store
from brainbrr.store.verify import verify


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[str], None]], None]]:
    def begin(listener: Callable[[str], None]) -> None:
        failpoints.listener = listener

    yield begin
    failpoints.listener = None


def age(store: Store, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of the file system be so much later than what lies there says."""
    real = candidates.clock_ns
    monkeypatch.setattr(candidates, "clock_ns", lambda layout: real(layout) + seconds * 10**9)


def test_a_dry_run_lists_what_nothing_names_and_deletes_nothing(store: Store) -> None:
    kept, lost = put(store, "kept"), put(store, "lost")
    publish(store, kept)
    before = held(store)
    report = gc(store, grace_s=0)
    assert {(each.kind, each.name) for each in report.unneeded} == {
        ("records", lost.key),
        ("objects", lost.content),
        ("findings", f"{lost.key}-1"),
    }
    assert {each.state for each in report.unneeded} == {"deleted"}
    assert report.bytes_of("deleted") > META.shard_bytes
    assert held(store) == before
    assert not list(store.layout.trash.iterdir()) and not store.layout.receipts()
    assert report.to_json()["counts"]["records"] == {"deleted": 1}


def test_with_grace_0s_everything_unreferenced_is_deleted_at_once_with_a_receipt(store: Store) -> None:
    kept, lost = put(store, "kept"), put(store, "lost")
    publish(store, kept)
    report = gc(store, yes=True, grace_s=0)
    assert held(store) == ({kept.key}, {kept.content}, {f"{kept.key}-1"})
    [receipt] = sidecars.read_receipts(store.layout)
    assert (receipt.verb, receipt.records, receipt.objects) == ("gc", (lost.key,), (lost.content,))
    assert receipt.findings == (f"{lost.key}-1",)
    assert report.receipts == (receipt,)
    assert not list(store.layout.trash.iterdir())
    whole(store)
    assert not gc(store, yes=True, grace_s=0).unneeded
    assert len(store.layout.receipts()) == 1


def test_a_new_object_is_left_alone_then_marked_then_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = put(store, "lost")
    for _ in range(2):
        assert {each.state for each in gc(store, yes=True).unneeded} == {"young"}
    assert not candidates.read_all(store.layout)[0]
    age(store, DAY + 60, monkeypatch)
    assert {each.state for each in gc(store).unneeded} == {"candidate"}
    assert {each.state for each in gc(store, yes=True).unneeded} == {"candidate"}
    assert held(store)[0] == {lost.key}
    [found] = candidates.read_all(store.layout)[0]
    assert found.names["objects"] == {lost.content}
    monkeypatch.undo()
    age(store, 3600, monkeypatch)
    assert {each.state for each in gc(store, yes=True).unneeded} == {"waiting"}
    age(store, DAY, monkeypatch)
    assert {each.state for each in gc(store, yes=True).unneeded} == {"deleted"}
    assert held(store) == (set(), set(), set())
    assert not list(store.layout.trash.iterdir())


def test_garbage_with_an_mtime_in_the_future_goes_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = put(store, "lost")
    for path in (store.layout.object(lost.content), store.layout.record(lost.key)):
        os.utime(path, (4e9, 4e9))
    assert {each.state for each in gc(store).unneeded} == {"young"}
    age(store, 2 * DAY, monkeypatch)
    assert {each.state for each in gc(store, yes=True).unneeded} == {"candidate"}
    age(store, 2 * DAY, monkeypatch)
    gc(store, yes=True)
    assert held(store) == (set(), set(), set())


def test_what_is_needed_again_within_the_grace_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = put(store, "lost")
    age(store, DAY + 60, monkeypatch)
    gc(store, yes=True)
    publish(store, lost)
    age(store, DAY + 60, monkeypatch)
    assert not gc(store, yes=True).unneeded
    assert not list(store.layout.trash.iterdir())  # the list is worked off
    whole(store)


def test_a_deletion_candidate_that_is_stored_again_gets_a_new_grace_period(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = put(store, "lost")
    age(store, DAY + 60, monkeypatch)
    gc(store, yes=True)
    monkeypatch.undo()
    store.layout.record(lost.key).unlink()
    time.sleep(0.05)
    put(store, "lost")
    age(store, DAY + 60, monkeypatch)
    report = gc(store, yes=True)
    assert {each.kind: each.state for each in report.unneeded}["records"] == "candidate"
    assert {each.kind: each.state for each in report.unneeded}["objects"] == "candidate"  # its record names it
    whole(store)
    assert held(store)[0] == {lost.key}


def test_an_object_that_a_young_record_names_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = put(store, "old", seed=7)
    age(store, DAY + 60, monkeypatch)
    gc(store, yes=True)
    monkeypatch.undo()
    young = put(store, "young", seed=7)
    assert young.content == old.content
    age(store, DAY + 60, monkeypatch)
    real = candidates.since_ns
    monkeypatch.setattr(
        candidates,
        "since_ns",
        lambda layout, kind, name, now_ns: (
            (real(layout, kind, name, now_ns) or 0) + (2 * DAY * 10**9 if name == young.key else 0)
        ),
    )
    gc(store, yes=True)
    assert held(store)[:2] == ({young.key}, {young.content})
    whole(store)


def test_a_frozen_view_keeps_what_it_names_without_any_catalog(store: Store) -> None:
    kept, lost = put(store, "kept"), put(store, "lost")
    digest, said = view_of(kept)
    store.freeze(digest, said)
    gc(store, yes=True, grace_s=0)
    assert held(store)[:2] == ({kept.key}, {kept.content})
    assert lost.key in sidecars.deleted(store.layout)["records"]


def test_a_retired_recipe_keeps_nothing_but_what_views_name(store: Store) -> None:
    new = {"rate_hz": 16, "revision": 1}
    old_a, new_a, old_b = put(store, "a"), put(store, "a", recipe_fields=new, seed=3), put(store, "b")
    publish(store, old_a, old_b, new_a)
    digest, said = view_of(old_b)
    store.freeze(digest, said)
    the_frozen_views.retire(store, old_a.recipe, "old")
    gc(store, yes=True, grace_s=0)
    assert held(store)[0] == {new_a.key, old_b.key}
    the_frozen_views.restore(store, old_a.recipe)
    with pytest.raises(AssertionError):  # the catalog names it again; ingest would build it
        whole(store)


def test_two_keys_of_one_content_keep_it_for_each_other(store: Store) -> None:
    a, b = put(store, "a", seed=1), put(store, "b", seed=1)
    publish(store, b)
    gc(store, yes=True, grace_s=0)
    assert held(store)[:2] == ({b.key}, {a.content})


def test_old_views_that_nobody_pinned_go_with_all_they_kept(store: Store) -> None:
    records = [put(store, name) for name in ("old", "pinned", "new")]
    views = [view_of(record) for record in records]
    for digest, said in views:
        store.freeze(digest, said)
    the_frozen_views.pin(store, views[1][0])
    for digest, _ in views[:2]:
        os.utime(store.layout.view(digest), ns=(1, time.time_ns() - 91 * DAY * 10**9))
    assert not gc(store, grace_s=0).unneeded
    dry = gc(store, grace_s=0, views_older_than_s=90 * DAY)
    assert [each.name for each in dry.unneeded if each.kind == "views"] == [views[0][0]]
    assert set(store.frozen_views()) == {digest for digest, _ in views}
    gc(store, yes=True, grace_s=0, views_older_than_s=90 * DAY)
    assert set(store.frozen_views()) == {views[1][0], views[2][0]}
    assert held(store)[0] == {records[1].key, records[2].key}
    [receipt] = sidecars.read_receipts(store.layout)
    assert receipt.views == (views[0][0],)


def test_a_pin_that_is_no_file_still_keeps_its_view(store: Store) -> None:
    digest, said = view_of(put(store, "kept"))
    store.freeze(digest, said)
    os.utime(store.layout.view(digest), ns=(1, 1))
    the_frozen_views.pin(store, digest)
    os.utime(store.layout.view(digest), ns=(1, 1))
    store.layout.pin(digest).unlink()
    store.layout.pin(digest).symlink_to("nowhere")
    assert not gc(store, yes=True, grace_s=0, views_older_than_s=60).unneeded


def test_freezing_an_old_view_again_makes_it_new(store: Store) -> None:
    digest, said = view_of(put(store, "a"))
    store.freeze(digest, said)
    os.utime(store.layout.view(digest), ns=(1, 1))
    the_frozen_views.freeze(store, digest, said)
    assert not gc(store, yes=True, grace_s=0, views_older_than_s=60).unneeded


@pytest.mark.parametrize("what", ["record", "catalog", "view", "pin", "misplaced"])
def test_nothing_is_deleted_from_a_store_that_cannot_be_read_wholly(store: Store, what: str) -> None:
    kept = put(store, "kept")
    put(store, "lost")
    publish(store, kept)
    digest, said = view_of(kept)
    store.freeze(digest, said)
    the_frozen_views.pin(store, digest)
    path = {
        "record": store.layout.record(kept.key),
        "catalog": store.layout.generation("demo", 1),
        "view": store.layout.view(digest),
    }.get(what)
    if path is not None:
        data = path.read_bytes()
        overwrite(path, data[:50] + bytes([data[50] ^ 1]) + data[51:])
    elif what == "pin":
        store.layout.view(digest).unlink()  # a pin of a view that is gone
    else:
        (store.layout.record(kept.key).parent / "notes.json").write_text("{}")
    before = held(store)
    for yes in (False, True):
        with pytest.raises(IntegrityError, match="nothing is deleted") as caught:
            gc(store, yes=yes, grace_s=0)
        assert "brainbrr verify" in (caught.value.fix or "")
        assert caught.value.exit_code == 4
    assert held(store) == before


@pytest.mark.parametrize("how", ["rubbish", "anothers"])
def test_a_damaged_mark_of_retirement_lets_go_of_nothing(store: Store, how: str) -> None:
    kept = put(store, "kept")
    publish(store, kept)
    mark = store.layout.retirement(kept.recipe)
    the_frozen_views.retire(store, "a" * 32, "another")
    mark.write_bytes(b"" if how == "rubbish" else store.layout.retirement("a" * 32).read_bytes())
    with pytest.raises(IntegrityError, match="nothing is deleted"):
        gc(store, yes=True, grace_s=0)
    assert held(store)[0] == {kept.key}


@pytest.mark.parametrize("place", ["catalog/demo", "records/{}", "catalog", "views", "records"])
@pytest.mark.parametrize("stead", ["nothing", "a link to nowhere", "a file"])
def test_a_folder_that_is_not_there_is_never_taken_for_an_empty_one(
    store: Store, tmp_path: Path, place: str, stead: str
) -> None:
    kept = put(store, "kept")
    publish(store, kept)
    put(store, "lost")
    folder = store.location / place.format(kept.key[:2])
    folder.rename(tmp_path / "elsewhere")
    if stead == "a file":
        folder.write_text("")
    elif stead == "a link to nowhere":
        folder.symlink_to(tmp_path / "nowhere")
    elif "/" in place:
        return  # a corpus, or the records of two digits, that may never have been there
    with pytest.raises(IntegrityError, match=r"a folder of the store is not there|a link is"):
        gc(Store.open(store.location), yes=True, grace_s=0)
    assert set(store.contents()) >= {kept.content}
    found = [each.name for each in verify(store).corrupt if each.kind == "folder"]
    assert found == ([] if stead == "a file" or "{}" in place else [place])
    if found:
        outcome = "restored" if place == "records" else "not restored"  # catalogs name what has to be in it
        assert {("folder", outcome)} <= {(each.kind, each.outcome) for each in repair(store).results}
        assert folder.is_symlink() == (
            stead == "a link to nowhere" and place != "records"
        )  # nobody takes it for nothing afterwards


def test_an_unreadable_frozen_view_never_counts_as_referencing_nothing(store: Store) -> None:
    store.freeze("c" * 64, {"format": 1, "rows": []})
    with pytest.raises(IntegrityError, match="no frozen view that this version knows"):
        gc(store, grace_s=0)


def test_what_a_lost_record_named_stays_while_the_catalog_says_so(store: Store) -> None:
    kept = put(store, "kept")
    publish(store, kept)
    store.layout.record(kept.key).unlink()
    gc(store, yes=True, grace_s=0)
    assert held(store) == (set(), {kept.content}, {f"{kept.key}-1"})


def test_leftovers_of_dead_writers_go_with_yes_and_those_of_other_hosts_after_a_week(store: Store) -> None:
    tmp = store.location / "tmp"
    other, old = tmp / f"00000000-1-{'a' * 32}", tmp / f"00000000-2-{'b' * 32}"
    for folder in (other, old):
        folder.mkdir()
        (folder / "c.0.0").write_bytes(b"half")
    week_ago = time.time() - 8 * DAY
    for path in (old / "c.0.0", old):
        os.utime(path, (week_ago, week_ago))
    assert gc(store).leftovers == 1 and old.exists()
    gc(store, yes=True)
    assert [path.name for path in tmp.iterdir()] == [other.name]


def test_a_damaged_list_deletes_nothing_and_moves_to_quarantine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = put(store, "lost")
    age(store, DAY + 60, monkeypatch)
    gc(store, yes=True)
    [found] = candidates.read_all(store.layout)[0]
    overwrite(found.path, found.path.read_bytes().replace(b"records", b"rekords"))
    age(store, DAY + 60, monkeypatch)
    gc(store, yes=True)
    assert held(store)[0] == {lost.key}
    assert [path.name[:-13] for path in (store.location / "quarantine").iterdir()] == [found.path.name]


@pytest.mark.parametrize("call", ["listdir", "lstat"])
def test_a_folder_of_records_that_cannot_be_read_is_said_to_be_that(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    record = put(store, "lost")
    hidden = store.layout.record(record.key).parent
    real = getattr(os, call)

    def denied(path: Path, **how: object) -> object:
        if Path(path) == hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **how)

    monkeypatch.setattr(os, call, denied)
    with pytest.raises(UsageError, match="a folder of the store cannot be read: Permission denied") as caught:
        gc(store, yes=True, grace_s=0)
    assert caught.value.where == str(hidden) and caught.value.fix
    monkeypatch.undo()
    assert held(store)[0] == {record.key}


def test_a_store_that_cannot_be_written_is_listed_and_not_collected(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = put(store, "lost")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(store.location))

    monkeypatch.setattr("brainbrr.core.files.write", denied)
    assert {each.name for each in gc(store, grace_s=0).unneeded} >= {lost.key}
    with pytest.raises(UsageError, match="cannot be written"):
        gc(store, yes=True, grace_s=0)
    assert held(store)[0] == {lost.key}


# Writers that come in between


OWN = {"list written", "deletion begun", "taken away", "put back", "decided", "receipt written", "removed"}
"""The points of a gc itself."""


def collected(folder: Path) -> tuple[Store, Record]:
    store = Store.create(folder)
    publish(store, put(store, "kept"))
    put(store, "other", seed=1)
    return store, put(store, "lost", seed=1)


def act_of(name: str, store: Store, lost: Record) -> Callable[[], None]:
    """What another process does: it finds the record, or stores it, and then makes it alive."""

    def put_and_publish() -> None:
        publish(store, put(store, "lost", seed=1), corpus="another")
        cancel(store.layout)
        again()

    def reuse_and_publish() -> None:
        publish(store, lost, corpus="another")
        cancel(store.layout)
        again()

    def again() -> None:
        """As ingest looks after it has published."""
        if not (store.layout.record(lost.key).exists() and store.has_object(lost)):
            put(store, "lost", seed=1)

    def freeze() -> None:
        digest, said = view_of(lost)
        the_frozen_views.freeze(store, digest, said)
        again()

    def put_alone() -> None:
        put(store, "lost", seed=1)

    def collect() -> None:
        gc(store, yes=True, grace_s=0)

    return {
        "gc": collect,
        "put": put_alone,
        "put, publish": put_and_publish,
        "publish": reuse_and_publish,
        "freeze": freeze,
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["put", "put, publish", "publish", "freeze", "gc"])
def test_a_writer_at_any_point_of_a_gc_loses_nothing(
    tmp_path: Path, name: str, listen: Callable[[Callable[[str], None]], None]
) -> None:
    counted, _ = collected(tmp_path / "counted")
    n_points = every_point(lambda: gc(counted, yes=True, grace_s=0), points=OWN)
    assert n_points >= 12
    for n in range(1, n_points + 1):
        store, lost = collected(tmp_path / str(n))
        listen(at(n, act_of(name, store, lost), points=OWN))
        gc(store, yes=True, grace_s=0)
        failpoints.listener = None
        whole(store)
        if name not in ("put", "gc"):
            assert store.record(lost.key) is not None, n
            assert store.has_object(lost), n
        gc(store, yes=True, grace_s=0)
        assert (lost.key in held(store)[0]) == (name not in ("put", "gc"))
        assert not list(store.layout.trash.iterdir()), n
        whole(store)


@pytest.mark.slow
@pytest.mark.parametrize("then", ["gc", "publish", "freeze"])
def test_after_gc_dies_at_any_point_the_next_gc_or_writer_completes(
    tmp_path: Path, then: str, listen: Callable[[Callable[[str], None]], None]
) -> None:
    counted, _ = collected(tmp_path / "counted")
    points = set(failpoints.POINTS) if then == "gc" else OWN
    n_points = every_point(lambda: gc(counted, yes=True, grace_s=0), points=points)

    for n in range(1, n_points + 1):
        store, lost = collected(tmp_path / str(n))
        listen(at(n, die, points=points))
        with pytest.raises(Killed):
            gc(store, yes=True, grace_s=0)
        failpoints.listener = None
        if then == "gc":
            gc(store, yes=True, grace_s=0)
            assert len(held(store)[0]) == 1
            deleted = sidecars.deleted(store.layout)
            assert lost.key in deleted["records"] and lost.content in deleted["objects"]
            assert not [path for path in store.layout.trash.iterdir() if path.suffix != ".json"]
        else:
            act_of(then, store, lost)()
            assert store.record(lost.key) is not None
            whole(store)
            gc(store, yes=True, grace_s=0)
            assert lost.key in held(store)[0]
        whole(store)


def test_records_published_while_gc_moves_them_aside_are_restored_even_if_their_writer_died(
    store: Store, listen: Callable[[Callable[[str], None]], None]
) -> None:
    lost, also = put(store, "lost"), put(store, "also")
    digest, said = view_of(also)

    def become_alive() -> None:
        publish(store, lost)
        store.freeze(digest, said)

    listen(at(2, become_alive, points={"taken away"}))  # views come first, and there are none
    gc(store, yes=True, grace_s=0)
    assert held(store)[0] == {lost.key, also.key}
    whole(store)


def test_what_a_dead_gc_took_is_there_for_who_freezes_a_view_of_it(
    store: Store, listen: Callable[[Callable[[str], None]], None]
) -> None:
    lost = put(store, "lost")

    for n in (2, 3):  # records are taken away; then objects, when the records are decided
        listen(at(n, die, points={"taken away"}))
        with pytest.raises(Killed):
            gc(store, yes=True, grace_s=0)
        assert (store.record(lost.key) is None, store.has_object(lost)) == (True, n == 2)
        digest, said = view_of(lost)
        the_frozen_views.freeze(store, digest, said)
        assert (store.record(lost.key) is None, store.has_object(lost)) == (n == 3, True)
        store.layout.view(digest).unlink()


def test_an_object_stays_while_another_deletion_may_put_its_record_back(
    store: Store, listen: Callable[[Callable[[str], None]], None]
) -> None:
    lost, reader = put(store, "lost"), Reachability(store.layout)
    listen(at(1, die, points={"taken away"}))
    with pytest.raises(Killed):
        Deletion(reader, "gc").records([lost.key])
    assert store.record(lost.key) is None
    other = Deletion(reader, "gc")
    other.objects([lost.content])
    assert other.finish() is None
    cancel(store.layout)
    verify_record(store, lost.key)


def test_a_cancelled_deletion_does_not_overwrite_a_file_stored_since(
    store: Store, listen: Callable[[Callable[[str], None]], None]
) -> None:
    lost = put(store, "lost")
    listen(at(1, die, points={"taken away"}))
    with pytest.raises(Killed):
        Deletion(Reachability(store.layout), "gc").records([lost.key])
    again = {**arguments(META, source="lost"), "provenance": {"brainbrr": "9.9"}}
    store.put(store.reader(lost.content).read(0, META.n_samples), **again)
    cancel(store.layout)
    record = store.record(lost.key)
    assert record is not None and record.provenance == {"brainbrr": "9.9"}


def test_a_deletion_that_lost_a_folder_of_its_own_was_not_called_off(store: Store) -> None:
    publish(store, put(store, "kept"))
    deletion = Deletion(Reachability(store.layout), "forget", "demo")
    (deletion.folder / "gone" / "catalog").rmdir()
    with pytest.raises(FileNotFoundError):
        deletion.decide("catalog", store.layout.generation("demo", 1), of="demo")
    assert store.catalog("demo") is not None


def test_a_folder_that_cannot_be_removed_is_an_error_unless_a_reader_has_a_file_of_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(number: int) -> Callable[[object], None]:
        def rmdir(_: object) -> None:
            raise OSError(number, os.strerror(number))

        return rmdir

    monkeypatch.setattr(Path, "rmdir", refused(errno.ENOTEMPTY))
    remove(tmp_path)
    monkeypatch.setattr(Path, "rmdir", refused(errno.EBUSY))
    with pytest.raises(OSError, match="busy"):
        remove(tmp_path)


def test_a_gc_gives_up_when_it_is_called_off_for_ever(
    store: Store, listen: Callable[[Callable[[str], None]], None]
) -> None:
    lost = put(store, "lost")
    listen(lambda point: cancel(store.layout) if point == "deletion begun" else None)
    with pytest.raises(BrainbrrError, match="cancelled this each time"):
        gc(store, yes=True, grace_s=0)
    assert held(store)[0] == {lost.key}
    whole(store)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_gc_keeps_everything_referenced_and_deletes_everything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = Store.create(tmp_path_factory.mktemp("law") / "store")
    recipes = [{"revision": 0}, {"revision": 1}]
    pool = [
        put(store, f"{name}", seed=data.draw(st.integers(0, 2)) * 10 + i, recipe_fields=fields)
        for name in range(data.draw(st.integers(1, 4)))
        for i, fields in enumerate(recipes)
    ]
    some = st.lists(st.sampled_from(pool), max_size=4, unique_by=lambda record: record.key)
    catalogs = {corpus: data.draw(some) for corpus in ("one", "two")}
    for corpus, records in catalogs.items():
        publish(store, *data.draw(some), corpus=corpus)  # an older generation keeps nothing
        publish(store, *records, corpus=corpus)
    views = [data.draw(some) for _ in range(data.draw(st.integers(0, 2)))]
    for records in views:
        the_frozen_views.freeze(store, *view_of(*records))
    retired = {r.recipe for r in data.draw(some)}
    for recipe in retired:
        the_frozen_views.retire(store, recipe, "retired")
    sources = {record.source for records in catalogs.values() for record in records}
    alive = {r.key for r in pool if r.source in sources and r.recipe not in retired}
    alive |= {record.key for records in views for record in records}
    gc(store, yes=True, grace_s=0)
    assert held(store)[0] == alive
    assert held(store)[1] == {record.content for record in pool if record.key in alive}
    assert held(store)[2] == {f"{key}-1" for key in alive}
    whole(store)


@pytest.mark.slow
def test_gc_at_any_point_of_a_put_deletes_nothing_that_the_put_acknowledges(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta, n = meta_of(2, 400), 0
    reached: list[str] = []

    def collect_at(place: int) -> None:
        def listen(point: str) -> None:
            reached.append(point)
            if len(reached) == place:
                monkeypatch.setattr(failpoints, "listener", None)
                gc(store, yes=True, grace_s=0)

        monkeypatch.setattr(failpoints, "listener", listen)

    while len(reached) == n:
        reached.clear()
        n += 1
        source = f"recording {n}"
        row = row_of(f"{n}.edf", source=sha256(source.encode()))
        store.publish("demo", lambda latest, row=row: catalog_of([*(latest.rows.values() if latest else ()), row]))
        collect_at(n)
        kept = store.put(samples_of(meta, seed=n), **arguments(meta, source=source)).record
        monkeypatch.setattr(failpoints, "listener", None)
        verify_record(store, kept.key)
        verify_object(store, kept.content)
    assert n > 10 and "object durable" in reached


@pytest.mark.parametrize(
    "stray",
    ["records/.nfs0001", "records/x.json", "findings/.nfs0001", "objects/x", f"findings/{'a' * 32}-0.json"],
)
def test_what_no_deletion_took_away_hinders_no_writer_and_no_gc(store: Store, stray: str) -> None:
    publish(store, put(store, "kept"))
    folder = store.layout.trash / ("a" * 32)
    (folder / stray).parent.mkdir(parents=True)
    (folder / stray).touch()  # NFS keeps a file that somebody reads under such a name
    (store.layout.trash / ("b" * 32)).touch()
    cancel(store.layout)
    assert gc(store, yes=True).receipts == ()
    lost = put(store, "lost")
    gc(store, yes=True, grace_s=0)
    assert lost.content not in set(store.contents())
    whole(store)


@pytest.mark.slow
def test_verify_does_not_report_what_a_running_or_killed_gc_moved_aside(
    tmp_path: Path, listen: Callable[[Callable[[str], None]], None]
) -> None:
    points = {"taken away", "decided", "receipt written", "removed"}

    def remembered(name: str) -> tuple[Store, Host]:
        store, host = Store.create(tmp_path / name), Host(tmp_path / f"host of {name}")
        kept, _ = put(store, "kept"), put(store, "lost")
        publish(store, kept)
        assert verify(store, host=host).corrupt == ()
        return store, host

    counted, _ = remembered("counted")
    n_points = every_point(lambda: gc(counted, yes=True, grace_s=0), points=points)
    assert n_points > 8
    for n in range(1, n_points + 1):
        store, host = remembered(str(n))
        beside: list[object] = []
        listen(at(n, lambda s=store, h=host, b=beside: b.append(verify(s, host=h).corrupt), points=points))
        gc(store, yes=True, grace_s=0)
        assert beside == [()], n
        store, host = remembered(f"{n}, killed")
        listen(at(n, die, points=points))
        with pytest.raises(Killed):
            gc(store, yes=True, grace_s=0)
        assert verify(store, host=host).corrupt == (), n
        gc(store, yes=True, grace_s=0)
        assert verify(store, host=host).corrupt == (), n


def test_a_list_that_another_gc_is_deleting_from_counts_as_absent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates.write(store.layout, {"records": [], "objects": [], "findings": []})
    real = sidecars.read_checksummed

    def worked_off(path: Path, *rest: object, **more: object) -> object:
        path.unlink()
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(sidecars, "read_checksummed", worked_off)
    assert candidates.read_all(store.layout) == ([], [])


@pytest.mark.parametrize("damage", [{"records": ["../../x"]}, {"objects": ["0"]}, {"findings": ["."]}])
def test_a_list_of_what_has_no_name_of_ours_is_damaged(store: Store, damage: dict[str, object]) -> None:
    path = candidates.write(store.layout, {"records": [], "objects": [], "findings": []}).path
    overwrite(path, models.to_checksummed({**models.from_checksummed(path.read_bytes(), where=path), **damage}))
    assert candidates.read_all(store.layout) == ([], [path])
