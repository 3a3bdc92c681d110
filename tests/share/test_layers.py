"""Layers: what a store lacks is read in the folders of its remotes, and fetched from those at URLs."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.s3 import site

import brainbrr
from brainbrr.core.progress import Silent
from brainbrr.errors import ViewNotReadyError
from brainbrr.settings import resolve
from brainbrr.share.transfer import fetch
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
