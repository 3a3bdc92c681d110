"""Findings in the store: small sealed files beside the records, a version each, no part of any identity."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.store_values import arguments, meta_of, overwrite, samples_of

from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

KEY, OTHER = "ab" * 16, "cd" * 16
FOUND = {"score": 87, "findings": [{"name": "flat", "channel": "Fz", "per_mille": 1000}]}
META = meta_of(2, 400)
GOLDEN = Path(__file__).parent / "golden" / "format-2"


def test_what_was_found_is_kept_once_and_read_back(store: Store) -> None:
    assert store.findings(KEY, 1) is None and not store.has_findings(KEY, 1)
    n_bytes = store.put_findings(KEY, 1, FOUND)
    path = store.location / "findings" / "ab" / f"{KEY}-1.json"
    assert n_bytes == path.stat().st_size and path.stat().st_mode & 0o777 == 0o444
    assert store.findings(KEY, 1) == FOUND and store.has_findings(KEY, 1) and store.has_findings(KEY, 1, prove=True)
    assert store.put_findings(KEY, 1, {"score": 1}) == 0
    assert store.findings(KEY, 1) == FOUND  # the first stays
    assert not any((store.location / "tmp").iterdir())


def test_another_version_is_another_file_and_changes_nothing_else(store: Store) -> None:
    record = store.put(samples_of(META), **arguments(META)).record
    store.put_findings(record.key, 1, FOUND)
    before = {path: path.read_bytes() for path in store.location.rglob("*") if path.is_file()}
    store.put_findings(record.key, 2, {"score": 3})
    after = {path: path.read_bytes() for path in store.location.rglob("*") if path.is_file()}
    assert {path.name for path in after.keys() - before.keys()} == {f"{record.key}-2.json"}
    assert before.items() <= after.items()
    assert (store.findings(record.key, 1), store.findings(record.key, 2)) == (FOUND, {"score": 3})
    assert sorted(store.found_findings()) == [f"{record.key}-1", f"{record.key}-2"]


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json"])
def test_damaged_findings_are_named_and_made_anew_with_the_damaged_ones_kept(store: Store, damage: bytes) -> None:
    store.put_findings(KEY, 1, FOUND)
    path = store.layout.findings_of(KEY, 1)
    overwrite(path, damage)
    with pytest.raises(IntegrityError):
        store.findings(KEY, 1)
    assert not store.has_findings(KEY, 1, prove=True)
    [found] = verify(store).corrupt
    assert found.subject == ("findings", f"{KEY}-1") and "brainbrr repair" in found.fix
    assert store.put_findings(KEY, 1, FOUND) > 0
    assert store.findings(KEY, 1) == FOUND and verify(store).corrupt == ()
    [aside] = (store.location / "quarantine").iterdir()
    assert aside.read_bytes() == damage


def test_an_empty_file_as_a_power_cut_leaves_it_counts_as_absent(store: Store) -> None:
    store.put_findings(KEY, 1, FOUND)
    overwrite(store.layout.findings_of(KEY, 1), b"")
    assert not store.has_findings(KEY, 1)
    overwrite(store.layout.findings_of(KEY, 1), b"x")
    assert store.has_findings(KEY, 1)  # a stat proves no more than that


@pytest.mark.slow
def test_every_flipped_bit_is_found(store: Store) -> None:
    store.put_findings(KEY, 1, FOUND)
    path = store.layout.findings_of(KEY, 1)
    good = path.read_bytes()
    for i in range(len(good)):
        overwrite(path, bytes([*good[:i], good[i] ^ 4, *good[i + 1 :]]))
        assert verify(store, depth="checksums").exit_code == 4, i


def test_findings_under_anothers_name_are_not_taken(store: Store) -> None:
    store.put_findings(KEY, 1, FOUND)
    store.put_findings(OTHER, 1, FOUND)
    shutil.copy(store.layout.findings_of(KEY, 1), store.layout.findings_of(KEY, 1).with_name(f"{KEY}-2.json"))
    overwrite(store.layout.findings_of(OTHER, 1), store.layout.findings_of(KEY, 1).read_bytes())
    for key, version in ((OTHER, 1), (KEY, 2)):
        with pytest.raises(IntegrityError, match="these are findings 1 of key abab"):
            store.findings(key, version)
    assert {found.name for found in verify(store).corrupt} == {f"{OTHER}-1", f"{KEY}-2"}


def test_an_unexpected_file_among_findings_is_reported_by_its_path(store: Store) -> None:
    store.put_findings(KEY, 1, FOUND)
    folder = store.layout.findings / "ab"
    for name in ("note.txt", f"{OTHER}-1.json", f"{KEY}-0.json", f"{KEY}-1", ".nfs0001"):
        (folder / name).touch()
    found = {each.name: each.fix for each in verify(store).corrupt}
    assert set(found) == {"ab/note.txt", f"ab/{OTHER}-1.json", f"ab/{KEY}-0.json", f"ab/{KEY}-1"}
    assert all("brainbrr repair" in fix for fix in found.values())


@pytest.mark.parametrize("key", ["../../etc/passwd", "AB" * 16, "ab"])
def test_findings_of_what_is_no_key_or_no_version_are_refused(store: Store, key: str) -> None:
    with pytest.raises(UsageError, match="not a digest"):
        store.put_findings(key, 1, FOUND)
    for version in (0, -1, 1_000_000):
        with pytest.raises(UsageError, match="not a version"):
            store.has_findings(KEY, version)


def test_floats_and_endless_findings_are_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="cannot be stored"):
        store.put_findings(KEY, 1, {"score": 0.5})
    with pytest.raises(UsageError, match="at most 1,048,576"):
        store.put_findings(KEY, 1, {"findings": ["x" * 1000] * 1100})
    assert list(store.found_findings()) == []


def test_a_store_of_an_older_version_has_none_and_takes_them(tmp_path: Path) -> None:
    golden = Store(Store.open(Path(shutil.copytree(GOLDEN, tmp_path / "golden"))).layout)
    assert not golden.layout.findings.exists()
    [key, _] = golden.keys()
    assert golden.findings(key, 1) is None and not golden.has_findings(key, 1)
    assert list(golden.found_findings()) == [] and verify(golden).corrupt == ()
    golden.put_findings(key, 1, FOUND)
    assert golden.findings(key, 1) == FOUND and verify(golden).corrupt == ()
