"""What receipts keep, and what they refuse."""

from __future__ import annotations

import pytest
from helpers.store_values import overwrite

from brainbrr.core import models
from brainbrr.errors import IntegrityError
from brainbrr.store import sidecars
from brainbrr.store.sidecars import Generation, Receipt
from brainbrr.store.store import Store

WHOLE = Receipt(
    verb="forget",
    created="2026-01-01T00:00:00+00:00",
    by="somebody@somewhere",
    corpus="demo",
    generations=(Generation(corpus="demo", seq=1, sha256_of="a" * 64),),
    views=("b" * 64,),
    pins=("b" * 64,),
    records=("c" * 32,),
    objects=("d" * 64,),
    findings=(f"{'c' * 32}-1",),
    quarantine=(f"{'d' * 64}.0123456789ab",),
    out_of_reach=("backups",),
)


def test_a_receipt_is_read_as_it_was_written(store: Store) -> None:
    path = sidecars.write_receipt(store.layout, WHOLE)
    assert store.layout.receipts() == [path.stem]
    assert sidecars.read_receipts(store.layout) == (WHOLE,)


def test_what_receipts_name_is_known_with_the_time_when_it_last_went(store: Store) -> None:
    assert sidecars.deleted(store.layout)["records"] == {}
    sidecars.write_receipt(store.layout, WHOLE)
    later = "2026-01-02T00:00:00+00:00"
    sidecars.write_receipt(store.layout, Receipt(verb="gc", created=later, by="x@y", records=("e" * 32,)))
    deleted = sidecars.deleted(store.layout)
    assert deleted["records"] == {"c" * 32: WHOLE.created, "e" * 32: later}
    assert deleted["generations"] == {"demo/1": WHOLE.created}
    assert deleted["views"] == {"b" * 64: WHOLE.created}


def test_a_damaged_receipt_is_an_error_and_excuses_nothing(store: Store) -> None:
    path = sidecars.write_receipt(store.layout, WHOLE)
    whole = path.read_bytes()
    for i in (0, 20, len(whole) - 3):
        overwrite(path, whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        with pytest.raises(IntegrityError):
            sidecars.read_receipt(store.layout, path.stem)
        assert sidecars.deleted(store.layout)["records"] == {}


TIMES = ["soon", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T01:00:00+01:00", "9999-12-31T23:59:59-23:59"]


@pytest.mark.parametrize(
    "change",
    [
        {"records": [1]},
        {"generations": [{"seq": 1}]},
        {"format": 2},
        {"more": 1},
        *({"created": time} for time in TIMES),
    ],
)
def test_what_is_no_receipt_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        models.parse(Receipt, {**WHOLE.to_json(), **change}, where="here")


def test_a_receipt_says_who_and_when() -> None:
    assert sidecars.user_and_host().count("@") == 1
    assert sidecars.now() > "2026"


def test_a_receipt_in_the_place_of_another_is_no_receipt(store: Store) -> None:
    path = sidecars.write_receipt(store.layout, WHOLE)
    other = store.layout.receipt(f"{path.stem[:-12]}{'0' * 12}")
    other.write_bytes(path.read_bytes())
    with pytest.raises(IntegrityError, match="another receipt than its name says"):
        sidecars.read_receipt(store.layout, other.stem)
    assert sidecars.read_receipts(store.layout) == (WHOLE,)


def test_a_receipt_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(IntegrityError, match="not there"):
        sidecars.read_receipt(store.layout, "20260101T000000Z-0123456789ab")
