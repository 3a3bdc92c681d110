"""Layers: what a store lacks is read in the folders of its remotes, and fetched from those at URLs."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.s3 import site

import brainbrr
from brainbrr.core import models
from brainbrr.core.progress import Silent
from brainbrr.core.statcache import Host
from brainbrr.errors import AccessError, ViewNotReadyError
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.remotes import from_remotes
from brainbrr.ingest.scan import label, look_up, scan
from brainbrr.settings import resolve
from brainbrr.share.transfer import fetch
from brainbrr.store import remotes
from brainbrr.store.store import Store
from brainbrr.store.verify import verify
from brainbrr.views.report import open_view

WINDOW = brainbrr.WindowSpec(2, stride_s=1)


@pytest.fixture(autouse=True)
def _own_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def lab(stored: Store, tmp_path: Path) -> Path:
    shutil.copytree(stored.location, tmp_path / "lab" / "store")
    return tmp_path / "lab" / "store"


@pytest.fixture
def own(tmp_path: Path) -> Store:
    brainbrr.init(tmp_path / "own" / "store")
    return Store.open(tmp_path / "own" / "store")


def objects(store: Store) -> int:
    return len(list(store.contents()))


def test_a_view_reads_what_only_a_folder_remote_has_and_says_so(own: Store, lab: Path, stored: Store) -> None:
    brainbrr.pull(lab, store=own, profile="smoke")
    brainbrr.remotes(own, add={"lab": lab})
    view = brainbrr.view(own, window=WINDOW)
    there = brainbrr.view(stored, window=WINDOW)
    assert (view.state, view.digest) == ("ready", there.digest)
    assert objects(own) == 6
    for i in (0, len(view) // 2, len(view) - 1):
        assert np.array_equal(view[i].signal, there[i].signal)
    assert np.array_equal(pickle.loads(pickle.dumps(view))[-1].signal, there[-1].signal)
    listed = brainbrr.ls(own).rows
    assert sorted(row["remote"] or "" for row in listed) == [""] * 6 + ["lab"] * 12
    assert {row["state"] for row in listed} == {"stored"}
    full = next(row for row in brainbrr.status(own).profiles if row["profile"] == "full")
    assert (full["ready"], full["remotes"]) == (6, {"lab": 12})


def test_a_store_without_the_corpus_opens_it_through_a_remote(own: Store, lab: Path) -> None:
    brainbrr.remotes(own, add={"lab": lab})
    assert brainbrr.view(own, profile="smoke", window=WINDOW).state == "ready"
    assert len(brainbrr.ls(own).rows) == 18


def test_what_a_remote_at_a_url_has_is_fetched_by_the_command_that_the_view_names(own: Store, lab: Path) -> None:
    with site(lab) as url:
        brainbrr.push(lab, store=lab)  # writes the index
        brainbrr.pull(url, store=own, profile="smoke")
        brainbrr.remotes(own, add={"web": url})
        view = brainbrr.view(own, window=WINDOW)
        assert view.state == "incomplete"
        assert view.fix == "brainbrr pull web --corpus demo --profile full"
        with pytest.raises(ViewNotReadyError, match="pull web"):
            view.require_ready()


def test_a_view_of_which_remotes_have_a_part_names_both_commands(own: Store, lab: Path, tmp_path: Path) -> None:
    brainbrr.pull(lab, store=own, profile="smoke")
    brainbrr.push(tmp_path / "part" / "store", store=lab, profile="dev")
    with site(tmp_path / "part" / "store") as url:
        brainbrr.remotes(own, add={"web": url})
        fix = brainbrr.view(own).fix
    assert (
        fix
        == "`brainbrr pull web --corpus demo --profile full`, then `brainbrr ingest ROOT --corpus demo --profile full`"
    )


def test_a_remote_that_does_not_answer_is_left_out_and_named(own: Store, lab: Path, tmp_path: Path) -> None:
    brainbrr.pull(lab, store=own, profile="smoke")
    brainbrr.remotes(own, add={"gone": tmp_path / "gone", "lab": lab})
    assert brainbrr.view(own).state == "ready"
    assert [text.partition(":")[0] for text in brainbrr.status(own).silent_remotes] == ["remote gone is left out"]


def test_training_fetches_first_what_remotes_have_where_that_is_requested(own: Store, lab: Path) -> None:
    brainbrr.remotes(own, add={"lab": lab})
    settings = resolve(store=str(own.location))
    asked = {"profile": "smoke", "recipe": "default", "window": WINDOW, "split": "train"}
    assert fetch(open_view(settings, **asked), Silent())
    assert not fetch(open_view(settings, **asked), Silent())
    assert objects(own) == 2 and verify(own).corrupt == ()
    catalog = own.catalog("demo")
    assert catalog is not None and sum(bool(row.contents) for row in catalog.rows.values()) == 2
    assert open_view(settings, **asked).from_remotes == {}


def test_an_ingest_builds_only_what_no_remote_has(own: Store, lab: Path, corpus: Path, tmp_path: Path) -> None:
    brainbrr.push(tmp_path / "part" / "store", store=lab, profile="dev")
    brainbrr.remotes(own, add={"part": tmp_path / "part" / "store"})
    planned = brainbrr.ingest(corpus, store=own, dry_run=True)
    assert (planned.new, planned.from_remotes) == (6, {"part": 12})
    report = brainbrr.ingest(corpus, store=own)
    assert (report.new, report.reused, report.from_remotes) == (6, 12, {"part": 12})
    assert objects(own) == 6 and verify(own).corrupt == ()
    view = brainbrr.view(own)
    assert view.state == "ready" and view.digest == brainbrr.view(lab).digest
    again = brainbrr.ingest(corpus, store=own, copy=True)
    assert (again.new, again.reused, again.copied) == (0, 18, True)
    assert objects(own) == 18 and verify(own).corrupt == ()
    brainbrr.remotes(own, remove="part")
    assert brainbrr.view(own).digest == view.digest
    assert brainbrr.check(own).exit_code == 0


def test_a_forged_record_at_a_remote_is_not_reused(own: Store, lab: Path, corpus: Path) -> None:
    there = Store.open(lab)
    first, second = list(there.records())[:2]
    path = there.path_of("record", first.key)
    fields = {**second.to_json(), "key": first.key}
    path.chmod(0o644)
    path.write_bytes(models.to_checksummed(fields))
    brainbrr.remotes(own, add={"lab": lab})
    report = brainbrr.ingest(corpus, store=own)
    assert (report.new, report.from_remotes) == (1, {"lab": 17})


@pytest.fixture(params=["folder", "bucket"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A remote that is empty: a folder, or a bucket of SeaweedFS."""
    if request.param == "folder":
        return str(tmp_path / "shared" / "store")
    request.getfixturevalue("s3")
    return str(request.getfixturevalue("bucket"))


def test_two_workers_without_a_common_disk_fill_one_remote(
    shared: str, corpus: Path, stored: Store, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(2) as pool:
        workers = [tmp_path / f"worker{i}" / "store" for i in (1, 2)]
        reports = list(pool.map(lambda store: brainbrr.ingest(corpus, store=store, push=shared), workers))
    assert sum(report.pushed["objects"] for report in reports) == 18
    assert all(report.exit_code == 0 for report in reports)
    built = [report.new for report in reports]
    assert min(built) > 0 and sum(built) < 30, built  # twice only what was on its way when the other one asked
    brainbrr.pull(shared, store=tmp_path / "reader" / "store")
    assert brainbrr.view(tmp_path / "reader" / "store").digest == brainbrr.view(stored).digest
    third = brainbrr.ingest(corpus, store=tmp_path / "late" / "store", push=shared)
    assert (third.new, third.from_remotes) == (0, {shared: 18})


def test_what_a_worker_sent_before_it_was_killed_is_named_by_the_next_one(
    corpus: Path, stored: Store, tmp_path: Path
) -> None:
    shared = tmp_path / "shared" / "store"

    class Killed(Silent):
        def advance(self, n: int = 1, *, note: str = "") -> None:
            if "new" in note and int(note.split()[0]) == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        brainbrr.ingest(corpus, store=tmp_path / "first" / "store", push=shared, progress=Killed())
    sent = objects(Store.open(shared))
    assert 0 < sent < 18
    report = brainbrr.ingest(corpus, store=tmp_path / "second" / "store", push=shared)
    assert (report.new, sum(report.from_remotes.values())) == (18 - sent, sent)
    brainbrr.pull(shared, store=tmp_path / "reader" / "store")
    assert brainbrr.view(tmp_path / "reader" / "store").digest == brainbrr.view(stored).digest


def test_a_corpus_that_is_not_open_is_not_sent_while_it_is_built(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="is private"):
        brainbrr.ingest(corpus, store=tmp_path / "own" / "store", access="private", push=tmp_path / "x" / "store")
    assert not (tmp_path / "x").exists()
    own = Store.open(tmp_path / "own" / "store")
    brainbrr.remotes(own, add={"x": tmp_path / "x" / "store"}, private=True)
    assert brainbrr.ingest(corpus, store=own, profile="smoke", push="x").pushed["objects"] == 6


def test_another_source_of_a_key_that_a_remote_has_is_not_taken_for_what_is_there(
    own: Store, lab: Path, generated: Path, tmp_path: Path
) -> None:
    brainbrr.remotes(own, add={"lab": lab})
    quiet, options = Silent(), IngestOptions(root=generated, store=own.location, host=Host(tmp_path / "host"))
    scanned = scan(options, quiet)
    first, second, *_ = look_up(scanned, list(label(scanned, quiet)), quiet)
    forged = dataclasses.replace(second, key=first.key)
    for chosen in ([first, forged], [forged, first]):
        assert [each.path for each in from_remotes(scanned, own, chosen, quiet)] == [first.path]


def test_remotes_added_at_the_same_time_are_all_kept(own: Store, tmp_path: Path) -> None:
    names = [f"lab{i}" for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: remotes.add(own, name, str(tmp_path / name)), names))
    assert sorted(each.name for each in remotes.remotes_of(own)) == names
