"""`recompress`: another codec, and nothing else that differs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click
import pytest
from helpers.computing import computed_once
from helpers.small_stores import at, every_point, publish, put, view_of, whole
from helpers.support import Cli, leaves

from brainbrr.cli.app import cli as group
from brainbrr.core import failpoints
from brainbrr.errors import UsageError
from brainbrr.store import copy
from brainbrr.store.deletion import Deletion, DeletionCancelled
from brainbrr.store.forget import forget
from brainbrr.store.formats import CODECS
from brainbrr.store.gc import gc
from brainbrr.store.integrity import verify_object, verify_record
from brainbrr.store.reachability import Reachability
from brainbrr.store.recompress import recompress
from brainbrr.store.store import Store


@pytest.fixture
def store(cli: Cli, corpus: Path, tmp_path: Path) -> Store:
    for profile in ("smoke", "dev"):  # two generations of the catalog
        with computed_once():
            assert cli("ingest", corpus, "--profile", profile, "--workers", 1).code == 0
    assert cli("view", "--profile", "smoke", "--out", tmp_path / "view.json").code == 0
    store = Store.open(tmp_path / "store")
    store.freeze("7" * 64, {"format": 1, "profile": "smoke"})
    return store


def tree(store: Store) -> dict[str, bytes]:
    """Every file of a store."""
    paths = (path for path in store.location.rglob("*") if path.is_file())
    return {str(path.relative_to(store.location)): path.read_bytes() for path in paths}


def shard(store: Store, content: str) -> Path:
    return store.layout.object(content) / "c.0.0"


@pytest.mark.slow
def test_a_recompressed_store_differs_in_the_bytes_of_objects_alone(cli: Cli, store: Store, tmp_path: Path) -> None:
    before = tree(store)
    told = cli("recompress", "--to", tmp_path / "zstd", "--json")
    assert told.code == 0
    other = Store.open(tmp_path / "zstd")
    assert other.codec == "zstd"
    assert tree(store) == before
    names = {name for name, data in tree(other).items() if before.get(name) != data}
    assert names == {"format.json"} | {name for name in before if name.count("/") == 3 and name.startswith("objects")}
    assert tree(other).keys() == before.keys()

    report = told.json
    n_objects = len(list(store.contents()))
    assert (report["objects"], report["copied"], report["failed"]) == (n_objects, n_objects, [])
    assert (report["records"], report["findings"], report["views"]) == (n_objects, n_objects, 1)
    assert report["generations"] == len(store.layout.generations("demo")) >= 2
    for name, each in (("bytes_before", store), ("bytes_after", other)):
        assert report[name] == sum(each.object_bytes(content) for content in each.contents())
        assert report[name] == cli("status", "--store", each.location, "--json").json["bytes"]
    assert report["ratio"] == round(report["bytes_after"] / report["bytes_before"], 4) < 0.85


@pytest.mark.slow
def test_views_keep_their_digests_and_everything_is_proven(cli: Cli, store: Store, tmp_path: Path) -> None:
    assert cli("recompress", "--to", tmp_path / "zstd", "--codec", "zstd").code == 0
    for profile in ("smoke", "dev"):
        views = [cli("view", "--profile", profile, "--store", tmp_path / name, "--json") for name in ("store", "zstd")]
        assert [view.code for view in views] == [0, 0]
        assert views[0].json["digest"] == views[1].json["digest"] is not None
    for asked in (["verify"], ["verify", "--quick"], ["check", "--profile", "dev"]):
        assert cli(*asked, "--store", tmp_path / "zstd").code == 0


@pytest.mark.slow
def test_a_recompressed_store_takes_new_recordings(cli: Cli, store: Store, corpus: Path, tmp_path: Path) -> None:
    cli("recompress", "--to", tmp_path / "zstd")
    told = cli("ingest", corpus, "--workers", 2, "--store", tmp_path / "zstd", "--json")
    assert told.code == 0
    assert told.json["new"] > 0
    assert told.json["reused"] == len(list(store.contents()))
    assert cli("verify", "--store", tmp_path / "zstd").code == 0
    assert cli("ingest", corpus, "--rehash", "--store", tmp_path / "zstd", "--json").json["new"] == 0


@pytest.mark.slow
def test_there_and_back_again_gives_the_same_bytes(cli: Cli, store: Store, tmp_path: Path) -> None:
    assert cli("recompress", "--to", tmp_path / "zstd").code == 0
    assert cli("recompress", "--store", tmp_path / "zstd", "--to", tmp_path / "plain").code == 0
    assert tree(Store.open(tmp_path / "plain")) == tree(store)


@pytest.mark.slow
def test_what_was_cut_off_goes_on_from_there(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = copy.copy_object, []

    def interrupted(*arguments: object) -> int:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[recompress.__module__], "copy_object", interrupted)
        with pytest.raises(KeyboardInterrupt):
            recompress(store, tmp_path / "zstd")
    half = Store.open(tmp_path / "zstd")
    n_there, n_all = len(list(half.contents())), len(list(store.contents()))
    assert 2 <= n_there < n_all
    assert not list(half.records())
    stats = {content: shard(half, content).stat().st_mtime_ns for content in half.contents()}
    report = recompress(store, tmp_path / "zstd")
    assert (report.objects, report.copied, report.failed) == (n_all, n_all - n_there, ())
    assert all(shard(half, content).stat().st_mtime_ns == stat for content, stat in stats.items())
    assert recompress(store, tmp_path / "zstd").copied == 0
    assert not list((half.location / "tmp").iterdir())


@pytest.mark.slow
def test_what_is_damaged_is_left_out_and_listed(cli: Cli, store: Store, tmp_path: Path) -> None:
    flipped, cut = sorted(store.contents())[:2]
    data = bytearray(shard(store, flipped).read_bytes())
    data[5] ^= 1
    for content, damaged in ((flipped, bytes(data)), (cut, bytes(data[:-9]))):
        shard(store, content).chmod(0o644)
        shard(store, content).write_bytes(damaged)
    told = cli("recompress", "--to", tmp_path / "zstd", "--json")
    assert told.code == 4
    failed = told.json["failed"]
    assert {each["object"] for each in failed if "object" in each} == {flipped, cut}
    assert sum("record" in each for each in failed) == 2
    other = Store.open(tmp_path / "zstd")
    assert set(other.contents()) == set(store.contents()) - {flipped, cut}
    told = cli("verify", "--store", other.location, "--json")  # their catalog misses what is left out, and nothing else
    assert sum("record" in each for each in told.json["corrupt"]) == len(told.json["corrupt"]) == 2
    assert "failed object" in cli("recompress", "--to", tmp_path / "zstd").out


@pytest.mark.slow
def test_an_object_under_anothers_name_is_not_copied(store: Store, tmp_path: Path) -> None:
    one, other = sorted(store.contents())[:2]
    shutil.rmtree(store.layout.object(one))
    shutil.copytree(store.layout.object(other), store.layout.object(one))
    report = recompress(store, tmp_path / "zstd")
    assert report.failed[0]["object"] == one
    assert "decoded array has content" in report.failed[0]["reason"]
    assert one not in set(Store.open(tmp_path / "zstd").contents())


@pytest.mark.slow
def test_a_damaged_copy_of_an_earlier_run_is_replaced(store: Store, tmp_path: Path) -> None:
    recompress(store, tmp_path / "zstd")
    other = Store.open(tmp_path / "zstd")
    content = min(other.contents())
    shard(other, content).chmod(0o644)
    shard(other, content).write_bytes(b"cut short")
    assert recompress(store, tmp_path / "zstd").copied == 1
    verify_object(other, content)
    assert len(list((other.location / "quarantine").iterdir())) == 1


@pytest.mark.slow
def test_the_same_store_one_inside_another_and_the_same_codec_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.location)
    for to in (store.location, tmp_path / "link"):
        with pytest.raises(UsageError, match="the store itself"):
            recompress(store, to)
    with pytest.raises(UsageError, match="inside another"):
        recompress(store, store.location / "zstd")
    with pytest.raises(UsageError, match="has codec none already"):
        recompress(store, tmp_path / "new", codec="none")
    Store.create(tmp_path / "plain")
    with pytest.raises(UsageError, match="has codec none, not zstd"):
        recompress(store, tmp_path / "plain")
    assert not (tmp_path / "new").exists()
    assert not (store.location / "zstd").exists()


@pytest.mark.slow
def test_another_catalog_of_the_same_name_stops_it_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    other = Store.create(tmp_path / "zstd", codec="zstd")
    catalog = store.catalog("demo")
    assert catalog is not None
    other.publish("demo", lambda _: catalog)
    with pytest.raises(UsageError, match="generation 1 of corpus 'demo' is another one there"):
        recompress(store, tmp_path / "zstd")
    assert not list(other.contents())


def test_help_lists_every_codec() -> None:
    (codec,) = (option for option in dict(leaves(group))["recompress"].params if option.name == "codec")
    assert isinstance(codec.type, click.Choice)
    assert tuple(codec.type.choices) == CODECS


@pytest.mark.slow
def test_a_deletion_in_the_target_that_ran_meanwhile_is_called_off(store: Store, tmp_path: Path) -> None:
    target = Store.open(recompress(store, tmp_path / "zstd").to)
    key = next(target.keys())
    deletion = Deletion(Reachability(target.layout), "gc")
    deletion.decide("records", target.layout.record(key))
    assert recompress(store, tmp_path / "zstd").exit_code == 0
    with pytest.raises(DeletionCancelled):
        deletion.finish()
    verify_record(target, key)


BESIDE = {"object begun", "object renamed", "file written", "file linked"}


def a_store(location: Path) -> tuple[Store, int]:
    """A store of two corpora, with an object that nothing references; and how many objects it has."""
    store = Store.create(location)
    kept, forgotten, _ = (put(store, name) for name in ("kept", "forgotten", "unreachable"))
    publish(store, kept)
    publish(store, forgotten, corpus="gone")
    digest, view = view_of(kept)
    store.freeze(digest, view)
    return store, 3


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["gc", "forget"])
def test_what_is_deleted_meanwhile_is_no_damage(tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def delete() -> None:
        gc(store, yes=True, grace_s=0) if verb == "gc" else forget(store, "gone", yes=True)

    monkeypatch.setattr(sys.modules[recompress.__module__], "_THREADS", 1)
    n_points = every_point(lambda: recompress(a_store(tmp_path / "all")[0], tmp_path / "all.zstd"), points=BESIDE)
    n_before = every_point(lambda: a_store(tmp_path / "none"), points=BESIDE)
    for n in range(1 + (verb == "gc"), n_points - n_before + 1, 3):
        store, n_objects = a_store(tmp_path / f"{n}")
        monkeypatch.setattr(failpoints, "listener", at(n, delete, points=BESIDE))
        report = recompress(store, tmp_path / f"{n}.zstd")
        assert (failpoints.listener, report.failed, report.exit_code) == (None, (), 0)
        n_gone = 1 if verb == "gc" else 2  # forget also deletes what no catalog ever named
        assert n_objects - n_gone <= report.objects <= n_objects
        whole(Store.open(report.to))
