"""Access terms: open data go anywhere, all other only where somebody declared a place private, by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from helpers.support import Cli

from brainbrr.core.progress import Silent
from brainbrr.core.statcache import Host
from brainbrr.eeg.corpus.terms import TUSZ, Terms, given_terms, published_terms, strictest
from brainbrr.errors import AccessError, UsageError
from brainbrr.share import transfer
from brainbrr.share.terms import require_allowed, terms_of
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.opening import open_store
from brainbrr.store.store import Store


def catalog(*, layout: str = "plain", synthetic: bool = False, **settings: str) -> Catalog:
    row = Row(
        path="a.edf",
        patient="a",
        session=None,
        split="none",
        source="0" * 64,
        n_bytes=1,
        signal_us=1,
        synthetic=synthetic,
        labels=None,
        annotations=None,
        refusals={},
    )
    return Catalog("c", 1, None, layout, True, "2026-01-01T00:00:00+00:00", {"a.edf": row}, settings)


@pytest.mark.parametrize(
    ("of", "access"),
    [
        (catalog(), "private"),
        (catalog(layout="tusz"), "credentialed"),
        (catalog(layout="tusz", synthetic=True), "open"),
        (catalog(access="open", terms="https://physionet.org/x"), "open"),
        (catalog(layout="tusz", access="private"), "private"),
        (catalog(access="anything else"), "private"),
    ],
)
def test_a_corpus_is_open_only_where_that_is_known(of: Catalog, access: str) -> None:
    assert terms_of(of).access == access
    if access == "open":
        require_allowed(of, None, what="this")
    else:
        with pytest.raises(AccessError, match=f"is {access}") as caught:
            require_allowed(of, None, what="this")
        assert caught.value.exit_code == 6 and "--private" in str(caught.value.fix)
        assert "ingest their own copy" in str(caught.value.fix)


def test_a_corpus_of_which_a_part_is_generated_is_not_open() -> None:
    mixed = catalog(synthetic=True)
    real = mixed.rows["a.edf"].model_copy(update={"path": "b.edf", "synthetic": False})
    assert terms_of(dataclasses.replace(mixed, rows={**mixed.rows, "b.edf": real})).access == "private"


def test_the_terms_of_chb_mit_and_siena_are_known_from_a_copy_of_their_publishers(tmp_path: Path) -> None:
    assert published_terms(tmp_path, {"summary.txt"}) is None
    for name in ("RECORDS", "SHA256SUMS.txt"):
        (tmp_path / name).touch()
    assert published_terms(tmp_path, {"summary.txt"}) == Terms(
        "open", "https://physionet.org/content/chbmit/1.0.0/", "ODC-By 1.0"
    )
    siena = published_terms(tmp_path, {"Seizures-list.txt"})
    assert siena is not None and siena.licence == "CC BY 4.0"
    assert published_terms(tmp_path, {".csv_bi"}) is None


def test_two_catalogs_together_have_the_terms_of_the_more_closed_one() -> None:
    open_, closed = {"access": "open", "terms": "https://a"}, {**TUSZ.settings(), "patient_from": "file"}
    assert strictest(open_, closed) == strictest(closed, open_) == closed
    assert strictest(open_, {}) == open_
    with pytest.raises(UsageError, match="goes with"):
        given_terms(None, "https://a")
    with pytest.raises(UsageError, match="address"):
        given_terms("open", "file:///etc")


@pytest.mark.slow
def test_what_is_not_open_goes_only_where_somebody_declared_it_private(
    stored: Store, tmp_path: Path, cli: Cli, host: Host
) -> None:
    own = tmp_path / "own"
    assert cli("pull", str(stored.location), "--store", str(own)).code == 0
    store = Store.open(own)
    store.publish("demo", lambda latest: dataclasses.replace(latest, settings=TUSZ.settings()))
    cli("remote", "add", "lab", str(tmp_path / "lab"), "--store", str(own))
    refused = cli("push", "lab", "--store", str(own))
    assert refused.code == 6 and "credentialed" in refused.err and "isip.piconepress.com" in refused.err
    assert f"remote add lab {tmp_path / 'lab'} --private" in refused.err.replace(f" --store {own}", "")
    assert not (tmp_path / "lab").exists()
    assert cli("push", str(tmp_path / "lab"), "--store", str(own)).code == 6
    cli("remote", "add", "lab", str(tmp_path / "lab"), "--private", "--store", str(own))
    assert cli("push", "lab", "--store", str(own)).code == 0
    there = Store.open(tmp_path / "lab").catalog("demo")
    assert there is not None and terms_of(there).access == "credentialed"
    other = Store.create(tmp_path / "other")
    lab = open_store(str(tmp_path / "lab"), host)
    transfer.send_catalog(lab, other, "demo", prefer_source=True)
    assert other.catalog("demo").settings == TUSZ.settings()  # type: ignore[union-attr]
    assert Silent()


@pytest.mark.slow
def test_ingest_keeps_what_it_is_told_of_access(corpus: Path, tmp_path: Path, cli: Cli) -> None:
    store = ("--store", str(tmp_path / "store"))
    assert cli("ingest", str(corpus), "--profile", "smoke", "--access", "credentialed", *store).code == 0
    assert cli("ingest", str(corpus), "--profile", "smoke", *store).code == 0
    found = Store.open(tmp_path / "store").catalog("demo")
    assert found is not None and dict(found.settings) == {"access": "credentialed"}
    refused = cli("ingest", str(corpus), "--terms", "https://a", *store)
    assert refused.code == 2 and "goes with" in refused.err
