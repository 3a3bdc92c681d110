"""gc, pin, recipe and forget as people run them, beside ingest and train."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.computing import computed_once
from helpers.support import TINY, Cli

import brainbrr
from brainbrr.core import failpoints
from brainbrr.core.progress import Silent
from brainbrr.errors import ViewNotReadyError
from brainbrr.learn.start import freeze_view
from brainbrr.store import sidecars
from brainbrr.store.deletion import Deletion
from brainbrr.store.frozen_views import retire
from brainbrr.store.gc import gc
from brainbrr.store.integrity import verify_record
from brainbrr.store.reachability import Reachability
from brainbrr.store.store import Store


@pytest.fixture
def store(cli: Cli, corpus: Path, tmp_path: Path) -> Store:
    with computed_once():
        assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    return Store.open(tmp_path / "store")


def forget_catalog(store: Store) -> None:
    """Let nothing in a store be named, as when its corpus had no recordings left."""
    for path in (store.location / "catalog" / "demo").iterdir():
        path.unlink()


@pytest.mark.slow
def test_gc_is_a_dry_run_until_yes(cli: Cli, store: Store) -> None:
    forget_catalog(store)
    before = set(store.contents())
    told = cli("gc", "--grace", "0s", "--json")
    assert told.code == 0 and told.json["dry_run"] is True
    n = len(before)
    assert told.json["counts"] == {"views": {}, **{kind: {"deleted": n} for kind in ("records", "objects", "findings")}}
    assert told.json["bytes"]["deleted"] == sum(each["n_bytes"] for each in told.json["unneeded"]) > 0
    assert set(store.contents()) == before
    lines = cli("gc", "--grace", "0s").out.splitlines()
    assert [line.split("\t")[:3] for line in lines[2:]] == [
        ["would delete", str(n), kind] for kind in ("records", "objects", "findings")
    ]
    told = cli("gc")
    assert "within the grace" in told.out and "--yes" not in told.err  # it would change nothing
    assert "--yes" in cli("gc", "--grace", "0s").err
    told = cli("gc", "--yes", "--grace", "0s", "--json")
    assert told.code == 0 and len(told.json["receipts"]) == 1
    assert not list(store.contents())
    assert cli("gc", "--grace", "24").code == 2


@pytest.mark.slow
def test_gc_of_a_damaged_store_ends_with_4_and_names_what_mends_it(cli: Cli, store: Store) -> None:
    path = store.layout.record(next(store.keys()))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-5])
    told = cli("gc", "--yes", "--grace", "0s")
    assert told.code == 4 and "brainbrr repair" in told.err


@pytest.mark.slow
def test_a_pinned_view_outlives_its_corpus(cli: Cli, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "view.json"
    assert cli("view", "--profile", "smoke", "--split", "train", "--out", file).code == 0
    said = json.loads(file.read_bytes())
    pinned = cli("pin", file, "--json")
    assert (pinned.code, pinned.json["done"], pinned.json["view"]) == (0, "pinned", said["digest"])
    assert cli("pin", said["digest"][:10], "--json").json["done"] == "was pinned"
    [listed] = cli("pin", "--list", "--json").json["pins"]
    assert (listed["corpus"], listed["split"], listed["recordings"]) == ("demo", "train", len(said["recordings"]))
    forget_catalog(store)
    assert cli("gc", "--yes", "--grace", "0s", "--views-older-than", "0s").code == 0
    assert set(store.keys()) == {each["key"] for each in said["recordings"]}
    assert brainbrr.views.view.View.from_json(store, said).state == "ready"
    assert cli("pin", "--remove", file, "--json").json["done"] == "unpinned"
    assert cli("pin", "--remove", said["digest"], "--json").json["done"] == "was not pinned"
    assert cli("gc", "--yes", "--grace", "0s", "--views-older-than", "0s").code == 0
    assert not list(store.keys()) and not store.frozen_views()


@pytest.mark.slow
def test_what_cannot_be_pinned_is_refused(cli: Cli, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "view.json"
    cli("view", "--profile", "smoke", "--out", file)
    assert cli("pin").code == cli("pin", file, "--list").code == 2
    assert "neither a view frozen" in cli("pin", "ab" * 32).err
    (tmp_path / "no.json").write_text("[1]")
    assert cli("pin", tmp_path / "no.json").code == 2
    said = json.loads(file.read_bytes())
    file.write_text(json.dumps({**said, "recordings": said["recordings"][1:]}))
    assert cli("pin", file).code == 4
    assert not store.frozen_views() and not store.layout.pins()


@pytest.mark.slow
def test_a_view_is_pinned_from_python_too(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = brainbrr.view(store, profile="smoke")
    assert brainbrr.pin(view).done == "pinned"
    assert brainbrr.pin(view).done == "was pinned"
    assert store.layout.pins() == [view.digest]
    assert not brainbrr.gc(store, grace=0).unneeded


@pytest.mark.slow
def test_a_retired_recipe_is_not_ingested_until_it_is_restored(cli: Cli, store: Store, corpus: Path) -> None:
    ingest = ("ingest", corpus, "--profile", "smoke", "--workers", 1)
    [listed] = cli("recipe", "list", "--json").json["recipes"]
    assert (listed["name"], listed["preset"], listed["retired"]) == ("default", True, False)
    assert listed["records"] == len(list(store.keys()))
    assert listed["bytes"] == sum(map(store.object_bytes, set(store.contents())))
    assert cli("recipe", "retire", "default", "--json").json["done"] == "retired"
    assert cli("recipe", "retire", listed["digest"][:8], "--json").json["done"] == "was retired"
    assert cli("recipe", "list", "--json").json["recipes"][0]["retired"] is True
    for more in ((), ("--dry-run",)):
        told = cli(*ingest, *more)
        assert told.code == 2 and f"brainbrr recipe restore {listed['digest'][:12]}" in told.err
    assert cli("view", "--profile", "smoke", "--json").json["state"] == "ready"
    cli("gc", "--yes", "--grace", "0s")
    assert not list(store.keys())
    assert cli("view", "--profile", "smoke").code == 3
    assert cli("recipe", "restore", "default", "--json").json["done"] == "restored"
    told = cli(*ingest, "--json")
    assert told.code == 0 and told.json["new"] > 0
    assert cli("view", "--profile", "smoke").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["smoke", "full"])
def test_an_object_stored_again_after_gc_is_reported_when_it_is_lost(
    cli: Cli, store: Store, corpus: Path, tmp_path: Path, profile: str
) -> None:
    ingest = ("ingest", corpus, "--workers", 1, "--profile", profile)
    time.sleep(1.1)  # catalogs and receipts are in whole seconds
    cli("recipe", "retire", "default")
    cli("gc", "--yes", "--grace", "0s")
    cli("recipe", "restore", "default")
    assert cli("verify").code == 0  # the catalog names it still, and a receipt names it since
    time.sleep(1.1)
    cli(*ingest)
    assert cli(*ingest, "--json").json["new"] == 0
    assert store.layout.generations("demo") == [1, 2]  # named anew, once
    shutil.rmtree(tmp_path / "host-cache")  # another host's verify
    key = next(store.keys())
    content = store.record(key).content
    store.layout.record(key).unlink()
    shutil.rmtree(store.layout.object(content))
    told = cli("verify", "--json")
    assert told.code == 4 and [each["record"] for each in told.json["corrupt"] if "record" in each] == [key]


@pytest.mark.slow
def test_a_generation_names_nothing_that_was_deleted_for_good(cli: Cli, store: Store, corpus: Path) -> None:
    old = next(store.records()).recipe
    cli("recipe", "retire", "default")
    cli("gc", "--yes", "--grace", "0s")
    cli("ingest", corpus, "--workers", 1, "--recipe", "10-20-ears")
    assert not any(old in row.contents for row in store.catalog("demo").rows.values())
    cli("recipe", "restore", "default")
    assert cli("verify").code == 0


@pytest.mark.slow
def test_a_recipe_that_is_not_one_is_refused_by_what_there_is(cli: Cli, store: Store, tmp_path: Path) -> None:
    assert cli("recipe", "retire").code == cli("recipe", "list", "default").code == 2
    told = cli("recipe", "retire", "nothing")
    assert told.code == 2 and "there are: default" in told.err
    for digest in ("abcdef" + "0" * 26, "abcdef" + "1" * 26):
        retire(store, digest, "twice")
    assert "means 2 recipes" in cli("recipe", "restore", "twice").err
    assert "means 2 recipes" in cli("recipe", "restore", "abcdef").err
    assert cli("recipe", "restore", "abcdef0", "--json").json["done"] == "restored"


@pytest.mark.slow
def test_forget_takes_the_corpus_away_and_says_what_it_cannot_reach(cli: Cli, store: Store, corpus: Path) -> None:
    told = cli("forget", "demo")
    assert told.code == 0 and "backups" in told.out and store.corpora() == ("demo",)
    assert cli("forget", "nothing").code == 2
    told = cli("forget", "demo", "--yes", "--json")
    assert told.code == 0 and told.json["records"]
    assert (list(store.keys()), list(store.contents()), store.corpora()) == ([], [], ())
    assert any("backups" in place for place in told.json["out_of_reach"])
    assert cli("verify").code == 0
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    assert cli("check", "--profile", "smoke").code == 0


@pytest.mark.slow
def test_forget_deletes_old_generations_through_the_command_line(cli: Cli, store: Store, corpus: Path) -> None:
    assert cli("ingest", corpus, "--workers", 1).code == 0
    told = cli("forget", "demo", "--older-than", "0s", "--yes", "--json")
    assert told.code == 0 and [each["seq"] for each in told.json["generations"]] == [1]
    assert cli("verify").code == cli("check").code == 0


# Beside a gc


class Killed(BaseException):
    """Stands for SIGKILL."""


def die_at(point: str) -> Callable[[str], None]:
    def listener(reached: str) -> None:
        if reached == point:
            failpoints.listener = None
            raise Killed

    return listener


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before the catalog", "after the catalog", "dead before the catalog"])
def test_an_ingest_builds_again_what_a_gc_took_meanwhile(
    cli: Cli, store: Store, corpus: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    forget_catalog(store)  # what is stored is reused, though nothing names it
    n, publish = len(list(store.keys())), Store.publish

    def collect(own: Store, name: str, merge: Any, **choices: Any) -> Any:
        monkeypatch.setattr(Store, "publish", publish)
        if when == "before the catalog":
            gc(own, yes=True, grace_s=0)
            assert not list(own.keys())
        if when == "dead before the catalog":
            failpoints.listener = die_at("put back")  # objects, whose records are still there
            with pytest.raises(Killed):
                deletion = Deletion(Reachability(own.layout), "gc")
                deletion.objects(list(own.contents()))
            assert len(list(own.contents())) == 1
        published = publish(own, name, merge, **choices)
        if when == "after the catalog":
            gc(own, yes=True, grace_s=0)
        return published

    monkeypatch.setattr(Store, "publish", collect)
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json")
    assert told.code == 0
    assert (told.json["new"], told.json["reused"]) == ((n, 0) if when == "before the catalog" else (0, n))
    assert len(list(store.keys())) == n
    for key in store.keys():  # noqa: SIM118
        verify_record(store, key)
    assert sum(len(row.contents) for row in store.catalog("demo").rows.values()) == n  # so that a lost one is missed
    assert cli("check", "--profile", "smoke").code == 0


@pytest.mark.slow
def test_train_freezes_its_view_so_that_no_gc_takes_it(cli: Cli, store: Store, corpus: Path, tmp_path: Path) -> None:
    assert cli("ingest", corpus, "--workers", 1).code == 0
    (tmp_path / "tiny.toml").write_text(TINY)
    trained = cli("train", "--config", tmp_path / "tiny.toml", "--json")
    assert trained.code == 0 and trained.json["metrics"]["frozen"] is True
    assert trained.json["view_digest"] in store.frozen_views() and len(store.frozen_views()) == 2  # and its dev split's
    forget_catalog(store)
    cli("gc", "--yes", "--grace", "0s")
    views = [json.loads((Path(trained.json["run"]) / name).read_bytes()) for name in ("view.json", "dev.json")]
    assert set(store.keys()) == {each["key"] for view in views for each in view["recordings"]}
    staged = cli("ingest", corpus, "--workers", 1).code or cli(
        *("train", "--config", tmp_path / "tiny.toml", "--stage", tmp_path / "scratch", "--json")
    )
    assert staged.json["metrics"]["frozen"] is True and staged.json["metrics"]["stage"]["n_copied"]


@pytest.mark.slow
def test_train_says_when_it_cannot_freeze(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Heard(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(store.location))

    view = brainbrr.view(store, profile="smoke")
    monkeypatch.setattr("brainbrr.core.files.write", denied)
    assert freeze_view(view, Heard()) is False
    assert len(said) == 1 and "could not be saved" in said[0] and "cannot be written" in said[0]


@pytest.mark.slow
def test_a_view_that_a_gc_took_before_it_was_frozen_is_not_ready(store: Store) -> None:
    view = brainbrr.view(store, profile="smoke")
    forget_catalog(store)
    gc(store, yes=True, grace_s=0)
    with pytest.raises(ViewNotReadyError, match="does not hold"):
        freeze_view(view, Silent())


@pytest.mark.slow
def test_a_recompressed_store_keeps_pins_retired_recipes_and_receipts(cli: Cli, store: Store, tmp_path: Path) -> None:
    view = brainbrr.view(store, profile="smoke")
    brainbrr.pin(view)
    retire(store, "ab" * 16, "old")
    receipt = sidecars.Receipt(verb="gc", created=sidecars.now(), by="x@y", records=("cd" * 16,))
    sidecars.write_receipt(store.layout, receipt)
    assert cli("recompress", "--to", tmp_path / "zstd").code == 0
    other = Store.open(tmp_path / "zstd")
    assert other.layout.pins() == [view.digest] and other.layout.retired() == ["ab" * 16]
    assert set(sidecars.deleted(other.layout)["records"]) == {"cd" * 16}
    assert cli("recompress", "--to", tmp_path / "zstd").code == 0
    store.layout.view(str(view.digest)).unlink()
    told = cli("recompress", "--to", tmp_path / "again", "--json")
    assert told.code == 4 and [set(each) - {"code", "reason"} for each in told.json["failed"]] == [{"pin"}]
