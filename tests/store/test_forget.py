"""What forget deletes at once, what it leaves, and how it ends when it was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.small_stores import DAY, Killed, at, die, every_point, held, publish, put, verify_catalog, view_of, whole
from helpers.store_values import catalog_of, overwrite, row_of

from brainbrr.core import failpoints
from brainbrr.core.digest import sha256
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import deletion, sidecars
from brainbrr.store.forget import forget
from brainbrr.store.frozen_views import freeze, pin, retire
from brainbrr.store.gc import gc
from brainbrr.store.records import Record
from brainbrr.store.store import Store


@pytest.fixture(autouse=True)
def nobody_listens_afterwards() -> Iterator[None]:
    yield
    failpoints.listener = None


def filled(location: Path) -> tuple[Store, dict[str, Record]]:
    """A store with two corpora that share a recording, an older generation, another recipe, views and a pin."""
    store = Store.create(location)
    old_recipe = {"revision": 9}
    records = {name: put(store, name) for name in ("left", "own", "shared", "other")}
    records["own, old recipe"] = put(store, "own", recipe_fields=old_recipe, seed=1)
    retire(store, records["own, old recipe"].recipe, "old")
    publish(store, records["left"], records["own"], records["shared"])
    publish(store, records["own"], records["shared"])
    publish(store, records["shared"], records["other"], corpus="another")
    for said in (view_of(records["own"]), view_of(records["other"], corpus="another")):
        freeze(store, *said)
        pin(store, said[0])
    return store, records


GONE = ("left", "own", "own, old recipe")


def test_a_dry_run_lists_exactly_what_goes_and_changes_nothing(tmp_path: Path) -> None:
    store, records = filled(tmp_path / "store")
    before = held(store)
    report = forget(store, "demo")
    assert set(report.records) == {records[name].key for name in GONE}
    assert set(report.objects) == {records[name].content for name in GONE}
    assert {name[:32] for name in report.findings} == set(report.records)
    assert report.views == report.pins == (view_of(records["own"])[0],)
    assert [each["seq"] for each in report.generations] == [1, 2]
    assert report.shared == (records["shared"].key,)
    assert report.n_bytes > 3 * 1000
    assert (held(store), store.corpora()) == (before, ("another", "demo"))
    assert not store.layout.receipts() and not list(store.layout.trash.iterdir())


def test_all_that_a_corpus_alone_kept_goes_at_once_with_a_receipt(tmp_path: Path) -> None:
    store, records = filled(tmp_path / "store")
    digests = [sha256(store.layout.generation("demo", seq).read_bytes()) for seq in (1, 2)]
    foreseen = forget(store, "demo")
    report = forget(store, "demo", yes=True)
    rest = [records["shared"], records["other"]]
    assert held(store)[0] == {record.key for record in rest}
    assert held(store)[1] == {record.content for record in rest}
    assert store.corpora() == ("another",)
    assert store.frozen_views() == (view_of(records["other"], corpus="another")[0],)
    assert store.layout.pins() == list(store.frozen_views())
    [receipt] = sidecars.read_receipts(store.layout)
    assert report.receipts == (receipt,)
    for kind in ("views", "pins", "records", "objects", "findings"):
        assert getattr(receipt, kind) == getattr(foreseen, kind) == getattr(report, kind), kind
    assert [(g.corpus, g.seq, g.sha256_of) for g in receipt.generations] == [
        ("demo", 1, digests[0]),
        ("demo", 2, digests[1]),
    ]
    assert (receipt.verb, receipt.corpus) == ("forget", "demo")
    assert any("backups" in place for place in receipt.out_of_reach)
    assert not list(store.layout.trash.iterdir())
    whole(store)
    with pytest.raises(UsageError, match="no corpus is called 'demo'"):
        forget(store, "demo", yes=True)


def test_forget_leaves_no_byte_of_a_corpus_except_names_in_its_receipt(tmp_path: Path) -> None:
    store, records = filled(tmp_path / "store")
    catalogs.write_index(store.layout)
    views = set(store.frozen_views())
    forget(store, "demo", yes=True)
    gone = [records[name] for name in GONE]
    texts = [digest.encode() for r in gone for digest in (r.key, r.content)]
    texts += [b"/demo/", *(digest.encode() for digest in views - set(store.frozen_views()))]
    assert "catalog/another/00000001.jsonl" in store.layout.index.read_text()
    for path in store.location.rglob("*"):
        if path.is_file() and path.parent.name != "receipts":
            data = path.read_bytes()
            assert not any(text in data or text in os.fsencode(path) for text in texts), path


def test_what_lies_in_quarantine_and_trash_under_its_names_goes_too(tmp_path: Path) -> None:
    store, records = filled(tmp_path / "store")
    own, other = records["own"], records["other"]
    store.layout.quarantine(store.layout.object(own.content))
    put(store, "own")
    for kept in (other, own):
        overwrite(store.layout.findings_of(kept.key, 1), b"damaged")
        store.layout.quarantine(store.layout.findings_of(kept.key, 1))
    store.layout.quarantine(store.layout.object(other.content))
    put(store, "other")
    copy = store.location / "quarantine" / "00000001.jsonl.0123456789ab"
    copy.write_bytes(store.layout.generation("demo", 1).read_bytes())
    report = forget(store, "demo", yes=True)
    assert len(report.quarantine) == 3
    left = sorted(path.name.partition(".")[0] for path in (store.location / "quarantine").iterdir())
    assert left == sorted([other.content, f"{other.key}-1"])
    [receipt] = sidecars.read_receipts(store.layout)
    assert set(receipt.quarantine) == set(report.quarantine)


def test_a_damaged_store_forgets_nothing(tmp_path: Path) -> None:
    store, records = filled(tmp_path / "store")
    overwrite(store.layout.record(records["other"].key), b"damaged")
    before = held(store)
    for yes in (False, True):
        with pytest.raises(IntegrityError, match="nothing is deleted"):
            forget(store, "demo", yes=yes)
    assert held(store) == before and store.corpora() == ("another", "demo")


def test_old_generations_are_deleted_alone_and_the_rest_still_verifies(tmp_path: Path) -> None:
    store, records = filled(tmp_path / "store")
    digests = [sha256(store.layout.generation("demo", seq).read_bytes()) for seq in (1, 2)]
    row = row_of("new.edf", source=records["own"].source)
    store.publish("demo", lambda _: catalog_of([row], created=sidecars.now()))
    before = held(store)
    assert [each["seq"] for each in forget(store, "demo", older_than_s=DAY).generations] == [1, 2]
    assert store.layout.generations("demo") == [1, 2, 3]
    forget(store, "demo", older_than_s=DAY, yes=True)
    assert store.layout.generations("demo") == store.layout.acknowledged("demo") == store.layout.cuts("demo") == [3]
    assert held(store) == before
    verify_catalog(store, "demo")
    [receipt] = sidecars.read_receipts(store.layout)
    assert [(each.seq, each.sha256_of) for each in receipt.generations] == list(enumerate(digests, 1))
    publish(store, records["shared"])
    assert Store.open(store.location).layout.generations("demo") == [3, 4]
    verify_catalog(store, "demo")


def test_the_latest_generation_stays_however_old(tmp_path: Path) -> None:
    store, _ = filled(tmp_path / "store")
    assert not forget(store, "demo", older_than_s=400 * 365 * DAY, yes=True).generations
    assert store.layout.generations("demo") == [1, 2]
    for _ in range(2):
        forget(store, "demo", older_than_s=0, yes=True)
        assert store.layout.generations("demo") == store.layout.cuts("demo") == [2]


def test_what_only_pruned_generations_referenced_goes_too(tmp_path: Path) -> None:
    store, records = filled(tmp_path / "store")
    forget(store, "demo", older_than_s=0, yes=True)
    assert records["left"].key in held(store)[0]
    forget(store, "demo", yes=True)
    assert records["left"].key not in held(store)[0]


def test_what_waits_for_a_gc_of_another_corpus_stays(tmp_path: Path) -> None:
    store, records = filled(tmp_path / "store")
    publish(store, records["shared"], corpus="another")
    forget(store, "demo", yes=True)
    assert records["other"].key in held(store)[0]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"older_than_s": 0}])
def test_killed_at_any_point_the_same_command_finishes(tmp_path: Path, options: dict[str, Any]) -> None:
    counted, _ = filled(tmp_path / "counted")
    points = set(failpoints.POINTS) - {"folder made", "file written", "file unlinked", "file durable"}
    n_points = every_point(lambda: forget(counted, "demo", yes=True, **options), points=points)
    assert n_points >= (5 if options else 20)
    for n in range(1, n_points + 1):
        store, records = filled(tmp_path / str(n))
        digests = {sha256(store.layout.generation("demo", seq).read_bytes()) for seq in (1, 2)}
        failpoints.listener = at(n, die, points=points)
        with pytest.raises(Killed):
            forget(store, "demo", yes=True, **options)
        failpoints.listener = None
        if n % 2:
            gc(store, yes=True)  # may come in between, and must not lose what is known of the corpus
        try:
            forget(store, "demo", yes=True, **options)
        except UsageError:  # it was done, and the process died after that
            assert n == n_points or not options
        told = sidecars.deleted(store.layout)
        if options:
            assert store.layout.generations("demo") == [2]
            verify_catalog(store, "demo")
            assert told["generations"].keys() == {"demo/1"}
        else:
            assert held(store)[0] == {records["shared"].key, records["other"].key}, n
            assert held(store)[1] == {records["shared"].content, records["other"].content}, n
            assert store.corpora() == ("another",)
            every = [each.sha256_of for receipt in sidecars.read_receipts(store.layout) for each in receipt.generations]
            assert set(every) == digests
            assert {records[name].key for name in GONE} <= told["records"].keys()
            assert {records[name].content for name in GONE} <= told["objects"].keys()
        assert not list(store.layout.trash.iterdir()), n
        whole(store)


@pytest.mark.slow
def test_an_ingest_of_another_corpus_meanwhile_keeps_what_it_names(tmp_path: Path) -> None:
    counted, _ = filled(tmp_path / "counted")
    points = {"forget written", "deletion begun", "taken away", "decided"}
    n_points = every_point(lambda: forget(counted, "demo", yes=True), points=points)
    for n in range(1, n_points + 1):
        store, records = filled(tmp_path / str(n))
        own = records["own"]

        def adopt(store: Store = store, own: Record = own) -> None:
            publish(store, own, corpus="third")
            deletion.cancel(store.layout)
            if not (store.layout.record(own.key).exists() and store.has_object(own)):
                put(store, "own")

        failpoints.listener = at(n, adopt, points=points)
        forget(store, "demo", yes=True)
        failpoints.listener = None
        assert store.corpora() == ("another", "third")
        assert own.key in held(store)[0] and own.content in held(store)[1], n
        whole(store)


@pytest.mark.slow
def test_an_ingest_that_ends_meanwhile_does_not_stop_a_cut(tmp_path: Path) -> None:
    points = {"deletion begun", "decided"}
    for n in range(1, 4):
        store, records = filled(tmp_path / str(n))
        publish(store, records["own"])
        failpoints.listener = at(n, lambda layout=store.layout: deletion.cancel(layout), points=points)
        report = forget(store, "demo", older_than_s=0, yes=True)
        assert failpoints.listener is None, "the point was not reached"
        assert store.layout.generations("demo") == store.layout.acknowledged("demo") == [3]
        assert sorted(each.seq for receipt in report.receipts for each in receipt.generations) == [1, 2]
        assert not list(store.layout.trash.iterdir())
        verify_catalog(store, "demo")
