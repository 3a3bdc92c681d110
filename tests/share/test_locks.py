"""Locks: what a view is without a name in it, each difference by its reason, and remotes that are held to them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import brainbrr
from brainbrr.core import models
from brainbrr.core.digest import key_of, sha256
from brainbrr.errors import BrainbrrError, IntegrityError, UsageError
from brainbrr.share import locks
from brainbrr.share.citation import Citation
from brainbrr.store import copy as copies
from brainbrr.store.catalog import Row
from brainbrr.store.store import Store

RECIPE = brainbrr.Recipe().digest


@pytest.fixture(scope="module")
def locked(stored: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lock of the generated corpus."""
    out = tmp_path_factory.mktemp("locked") / "demo.lock"
    brainbrr.lock(out, store=stored)
    return out


@pytest.fixture
def own(stored: Store, tmp_path: Path) -> Store:
    """A store of the same recordings that a test may change."""
    return Store.open(Path(shutil.copytree(stored.location, tmp_path / "own")))


def rows_of(store: Store) -> list[Row]:
    catalog = store.catalog("demo")
    assert catalog is not None
    return [row for row in catalog.rows.values() if row.contents]


def change(store: Store, row: Row, **fields: Any) -> None:
    """Let a store's catalog say other things of a recording."""
    new = row.model_copy(update=fields)

    def merge(latest: Any) -> Any:
        rows = {path: each for path, each in latest.rows.items() if path != row.path}
        return dataclasses.replace(latest, rows={**rows, new.path: new})

    store.publish("demo", merge)


def another(split: str) -> str:
    return "train" if split == "eval" else "eval"


def differences(lock: Path, store: Store, **selected: Any) -> list[tuple[str, str]]:
    return [(each.kind, each.recording) for each in brainbrr.lock(check=lock, store=store, **selected).differences]


def forge(store: Store, row: Row, *, source: str | None = None, like: Row | None = None) -> str:
    """Add a record of another source, or of another recording's object; return its key."""
    record = store.record(key_of(source=str((like or row).source), recipe=RECIPE))
    assert record is not None
    source = source or str(row.source)
    key = key_of(source=source, recipe=RECIPE)
    if like is not None:
        store.path_of("record", key).unlink()
    copies.add_record(store, record.model_copy(update={"source": source, "key": key}))
    return key


def test_the_same_view_has_the_same_lock_and_no_name_is_in_it(own: Store, stored: Store, locked: Path) -> None:
    brainbrr.lock(own.location / "again.lock", store=own)
    data = (own.location / "again.lock").read_bytes()
    assert data == locked.read_bytes()
    names = {part for row in rows_of(stored) for part in (row.patient, row.session or row.patient, Path(row.path).stem)}
    assert not [name for name in names if name.encode() in data]
    report = brainbrr.lock(check=locked, store=own)
    assert (report.exit_code, report.counts["same"]) == (0, 18)
    with pytest.raises(UsageError, match="goes with a lock to write"):
        brainbrr.lock(check=locked, store=own, view="abcdef")


def test_a_copy_without_names_is_what_the_lock_says(stored: Store, locked: Path, tmp_path: Path) -> None:
    brainbrr.bundle(tmp_path / "all.zip", store=stored)
    assert brainbrr.unbundle(tmp_path / "all.zip", store=tmp_path / "second", lock=locked).exit_code == 0
    assert brainbrr.lock(check=locked, store=tmp_path / "second").exit_code == 0
    again = brainbrr.lock(tmp_path / "again.lock", store=tmp_path / "second")
    assert again.digest == locks.read_lock(locked).digest


def test_each_recording_that_differs_is_named_with_the_reason(own: Store, locked: Path) -> None:
    reissued, relabelled, moved, renamed, gone, other = rows_of(own)[:6]
    forge(own, reissued, source=sha256(b"re-issued"))
    change(own, reissued, source=sha256(b"re-issued"))
    labels = {**(relabelled.annotations or {}), "seizures": [[0, 1_000_000]], "typed": []}
    change(own, relabelled, annotations=labels)
    change(own, moved, split=another(moved.split))
    change(own, renamed, patient="somebody")
    own.publish("demo", lambda c: dataclasses.replace(c, rows={p: r for p, r in c.rows.items() if p != gone.path}))  # type: ignore[union-attr]
    assert differences(locked, own) == sorted(
        [
            ("source", reissued.path),
            ("labels", relabelled.path),
            ("split", moved.path),
            *([("patient", renamed.path)] if sum(row.patient == renamed.patient for row in rows_of(own)) else []),
            ("missing", f"source {gone.source}"),
        ],
        key=lambda each: (each[1], each[0]),
    )
    report = brainbrr.lock(check=locked, store=own)
    assert report.exit_code == 4
    assert f"{reissued.source} in the lock" in next(d.reason for d in report.differences if d.kind == "source")
    change(own, other, path="a/new/name.edf")  # what a path is called is part of nothing
    assert ("extra", "a/new/name.edf") not in differences(locked, own)


def test_a_patient_who_became_two_is_named(own: Store, locked: Path) -> None:
    by_patient: dict[str, list[Row]] = {}
    for row in rows_of(own):
        by_patient.setdefault(row.patient, []).append(row)
    several = next(those for those in by_patient.values() if len(those) > 1)
    change(own, several[-1], patient="somebody")
    found = differences(locked, own)
    assert [kind for kind, _ in found] == ["patient"]


def test_what_is_only_missing_ends_with_3_and_what_is_more_with_4(stored: Store, tmp_path: Path) -> None:
    brainbrr.lock(tmp_path / "all.lock", store=stored)
    brainbrr.lock(tmp_path / "smoke.lock", store=stored, profile="smoke")
    brainbrr.push(tmp_path / "part", store=stored, profile="smoke")
    report = brainbrr.lock(check=tmp_path / "all.lock", store=tmp_path / "part")
    assert (report.exit_code, {each.kind for each in report.differences}) == (3, {"missing"})
    assert all(each.reason == "not stored under this recipe" for each in report.differences)
    report = brainbrr.lock(check=tmp_path / "smoke.lock", store=stored, profile="full")
    assert (report.exit_code, {each.kind for each in report.differences}) == (4, {"extra"})
    assert brainbrr.lock(check=tmp_path / "smoke.lock", store=stored).exit_code == 0


def test_another_recipe_is_shown_field_by_field(stored: Store, tmp_path: Path) -> None:
    brainbrr.lock(tmp_path / "x.lock", store=stored, profile="smoke")
    report = brainbrr.lock(check=tmp_path / "x.lock", store=stored, recipe=brainbrr.Recipe(notch_hz=50))
    assert dict(report.recipe) == {"notch_hz": ("60", "50")} and report.exit_code == 4


# Signatures


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two SSH keys and a file of allowed signers that names the first one."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen here")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "signers").write_text(f"lab@example.org {(folder / 'ours.pub').read_text()}")
    return folder


def test_a_signed_lock_is_verified_and_no_other(keys: Path, stored: Store, tmp_path: Path) -> None:
    file, signers = tmp_path / "x.lock", keys / "signers"
    brainbrr.lock(file, store=stored, profile="smoke", sign=keys / "ours")
    assert brainbrr.lock(check=file, store=stored, verify=signers).signed_by == "lab@example.org"
    data = file.read_bytes()
    file.write_bytes(data + b"\n")
    with pytest.raises(IntegrityError, match="not of this file"):
        brainbrr.lock(check=file, store=stored, verify=signers)
    brainbrr.lock(file, store=stored, profile="smoke", sign=keys / "theirs")
    with pytest.raises(IntegrityError, match="none of the allowed signers"):
        brainbrr.lock(check=file, store=stored, verify=signers)
    Path(f"{file}.sig").unlink()
    with pytest.raises(UsageError, match="no signature"):
        brainbrr.lock(check=file, store=stored, verify=signers)


# Remotes that are held to a lock


def other_samples(store: Store, first: Row, second: Row) -> None:
    forge(store, first, like=second)
    change(store, first, contents={RECIPE: second.contents[RECIPE]})


def other_labels(store: Store, first: Row, second: Row) -> None:
    change(store, first, annotations={**(first.annotations or {}), "seizures": [], "typed": []})


def other_split(store: Store, first: Row, second: Row) -> None:
    change(store, first, split=another(first.split))


def other_patient(store: Store, first: Row, second: Row) -> None:
    change(store, first, patient=second.patient)


@pytest.mark.parametrize("forgery", [other_samples, other_labels, other_split, other_patient])
def test_a_forged_remote_serves_only_what_the_lock_names(
    forgery: Callable[[Store, Row, Row], None], own: Store, locked: Path, tmp_path: Path
) -> None:
    rows = [row for row in rows_of(own) if row.annotations and row.annotations["seizures"]]
    first = rows[0]
    second = next(row for row in rows if row.patient != first.patient and row.split == first.split)
    forgery(own, first, second)
    report = brainbrr.pull(own.location, store=tmp_path / "believes")
    assert report.exit_code == 0, "nothing of it shows without a lock"
    held = brainbrr.pull(own.location, store=tmp_path / "held", lock=locked)
    assert held.exit_code == 4 and first.path in {each.recording for each in held.failed}
    mine = Store.open(tmp_path / "held")
    assert first.path not in {row.path for row in rows_of(mine)}
    assert {row.path for row in rows_of(mine)} >= {row.path for row in rows_of(own)} - {
        each.recording for each in held.failed
    }
    found = differences(locked, mine)
    assert found and {kind for kind, _ in found} == {"missing"}


def test_what_a_lock_does_not_name_is_left_out_and_what_lacks_is_named(
    own: Store, locked: Path, tmp_path: Path
) -> None:
    brainbrr.lock(tmp_path / "smoke.lock", store=own, profile="smoke")
    report = brainbrr.pull(own.location, store=tmp_path / "few", lock=tmp_path / "smoke.lock")
    assert (report.sent, report.exit_code) == (6, 0)
    assert len(rows_of(Store.open(tmp_path / "few"))) == len(Store.open(tmp_path / "few").catalog("demo").rows) == 6  # type: ignore[union-attr]
    report = brainbrr.pull(tmp_path / "few", store=tmp_path / "third", lock=locked)
    assert (report.exit_code, len(report.missing)) == (3, 12)


# Hostile files


def rewritten(lock: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    fields = models.from_checksummed(lock.read_bytes(), where=lock)
    change(fields)
    out.write_bytes(models.to_checksummed(fields))
    return out


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda f: f["recordings"].pop(), "digest is not that"),
        (lambda f: f["recordings"][0].pop(), "recordings"),
        (lambda f: f["recordings"][0].__setitem__(4, -1), "recordings"),
        (lambda f: f["recordings"][0].__setitem__(1, "../../x"), "64 hex digits"),
        (lambda f: f.__setitem__("terms", {"access": "open", "terms": "javascript:x"}), "terms"),
        (lambda f: f.__setitem__("kind", "view"), "kind"),
        (lambda f: f.__setitem__("more", 1), "unknown field"),
    ],
)
def test_a_lock_that_says_what_none_says_is_refused(
    change: Callable[[dict[str, Any]], None], what: str, locked: Path, stored: Store, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match=what):
        brainbrr.lock(check=rewritten(locked, tmp_path / "x.lock", change), store=stored)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'{"a":1e5}', b"\0" * 100], ids=repr)
def test_what_is_no_lock_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_bytes(data)
    with pytest.raises(IntegrityError):
        locks.read_lock(tmp_path / "x.lock")


def test_a_huge_lock_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "x.lock").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(IntegrityError, match="more than"):
        locks.read_lock(tmp_path / "x.lock")


@given(place=st.integers(0, 1 << 20), bit=st.integers(0, 7))
@settings(max_examples=40)
def test_a_single_bit_shows(place: int, bit: int, locked: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = bytearray(locked.read_bytes())
    data[place % len(data)] ^= 1 << bit
    file = tmp_path_factory.mktemp("flipped") / "x.lock"
    file.write_bytes(data)
    with pytest.raises(BrainbrrError):
        locks.read_lock(file)


def test_a_lock_is_cited_in_three_forms(locked: Path) -> None:
    lock = locks.read_lock(locked)
    found = Citation.of(lock)
    assert lock.digest in found.text and lock.digest in found.bibtex
    assert json.loads(found.bids())["GeneratedBy"][0]["Name"] == "brainbrr"
