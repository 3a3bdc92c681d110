"""Bundles: a view in one archive, the same bytes for the same view, through the ordinary way in on the other side."""

from __future__ import annotations

import dataclasses
import errno
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import brainbrr
from brainbrr.errors import AccessError, BrainbrrError, IntegrityError, UsageError, ViewNotReadyError
from brainbrr.share import archive as archives
from brainbrr.share.archive import Archive
from brainbrr.store.store import Store
from brainbrr.store.verify import verify


@pytest.fixture(scope="module")
def bundled(stored: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the generated corpus's smoke profile, without names."""
    out = tmp_path_factory.mktemp("bundled") / "smoke.zip"
    brainbrr.bundle(out, store=stored, profile="smoke")
    return out


def patients_of(store: Store) -> set[str]:
    catalog = store.catalog("demo")
    assert catalog is not None
    return {row.patient for row in catalog.rows.values()} | {Path(path).stem for path in catalog.rows}


def test_the_same_view_is_the_same_bytes_also_from_another_store(stored: Store, bundled: Path, tmp_path: Path) -> None:
    brainbrr.push(tmp_path / "lab", store=stored)
    packed = Store.create(tmp_path / "packed", codec="zstd")
    brainbrr.pull(tmp_path / "lab", store=packed, profile="smoke")
    brainbrr.bundle(tmp_path / "again.zip", store=packed, profile="smoke")
    assert (tmp_path / "again.zip").read_bytes() == bundled.read_bytes()


def test_without_names_no_patient_no_path_and_no_time_is_in_it(stored: Store, bundled: Path, tmp_path: Path) -> None:
    data = bundled.read_bytes()
    assert not [name for name in patients_of(stored) if name.encode() in data]
    record = next(iter(stored.records()))
    assert record.provenance["created"].encode() not in data
    brainbrr.bundle(tmp_path / "named.zip", store=stored, profile="smoke", names=True)
    named = (tmp_path / "named.zip").read_bytes()
    assert any(name.encode() in named for name in patients_of(stored))
    assert brainbrr.unbundle(tmp_path / "named.zip", store=tmp_path / "own").digest == view_digest(stored)


def view_digest(store: Store) -> str | None:
    return brainbrr.view(store, profile="smoke").digest


def test_patients_stay_apart_and_together_without_their_names(stored: Store, bundled: Path, tmp_path: Path) -> None:
    brainbrr.unbundle(bundled, store=tmp_path / "own")
    ours, theirs = (brainbrr.view(store, profile="smoke").recordings for store in (stored, tmp_path / "own"))
    both = [{each.source: each.patient for each in those} for those in (ours, theirs)]
    assert both[0].keys() == both[1].keys()
    pairs = {(both[0][source], both[1][source]) for source in both[0]}
    assert len(pairs) == len(set(both[0].values())) == len(set(both[1].values()))


def test_zarr_opens_it(stored: Store, bundled: Path) -> None:
    zarr = pytest.importorskip("zarr")
    recording = brainbrr.view(stored, profile="smoke").recordings[0]
    with zarr.storage.ZipStore(bundled, mode="r") as store:
        group = zarr.open_group(store, mode="r")
        array = group[f"objects.zarr/{recording.content[:2]}/{recording.content}"]
        with stored.reader(recording.content, recording.record.array) as reader:
            assert (array[:] == reader.read(0, recording.n_samples)).all()


def test_a_second_machine_trains_from_an_archive(bundled: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from helpers.support import TINY

    store = tmp_path / "second" / "store"
    assert brainbrr.unbundle(bundled, store=store).exit_code == 0
    assert verify(Store.open(store)).corrupt == ()
    config = tmp_path / "tiny.toml"
    config.write_text(TINY)
    trained = brainbrr.train(config=config, changes=["train.steps=3"], store=store, runs=tmp_path / "runs")
    assert trained.steps == 3


def test_an_interrupted_unbundle_continues(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Archive._block
    left = [3]

    def cut(self: Archive, name: str, start: int, stop: int) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EIO, "unplugged")
        return read(self, name, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "_block", cut)
        with pytest.raises(OSError, match="unplugged"):
            brainbrr.unbundle(bundled, store=tmp_path / "own")
    own = Store.open(tmp_path / "own")
    assert own.corpora() == () and 0 < len(list(own.keys())) < 6
    report = brainbrr.unbundle(bundled, store=own)
    assert (report.sent + report.reused, report.exit_code) == (6, 0)
    assert report.reused > 0 and verify(own).corrupt == ()


def test_what_is_not_ready_is_not_bundled_and_leaves_no_file(stored: Store, tmp_path: Path) -> None:
    brainbrr.push(tmp_path / "part", store=stored, profile="smoke")
    part = Store.open(tmp_path / "part")
    with pytest.raises(ViewNotReadyError):
        brainbrr.bundle(tmp_path / "out.zip", store=part, profile="full")
    assert not (tmp_path / "out.zip").exists()
    (tmp_path / "out.zip").write_bytes(b"mine")
    with pytest.raises(UsageError, match="here already"):
        brainbrr.bundle(tmp_path / "out.zip", store=part, profile="smoke")


def test_what_is_not_open_is_bundled_only_below_a_private_folder(stored: Store, tmp_path: Path) -> None:
    own = Store.create(tmp_path / "own")
    brainbrr.push(own.location, store=stored, profile="smoke")
    own.publish("demo", lambda latest: dataclasses.replace(latest, settings={"access": "credentialed"}))
    out = tmp_path / "disk" / "smoke.zip"
    out.parent.mkdir()
    with pytest.raises(AccessError, match="credentialed") as caught:
        brainbrr.bundle(out, store=own, profile="smoke")
    assert caught.value.exit_code == 6 and "lock" in str(caught.value) and not out.exists()
    brainbrr.remotes(own, add={"disk": out.parent}, private=True)
    brainbrr.bundle(out, store=own, profile="smoke")
    brainbrr.unbundle(out, store=tmp_path / "second")
    catalog = Store.open(tmp_path / "second").catalog("demo-unnamed")
    assert catalog is not None and catalog.settings["access"] == "credentialed"


# Hostile archives


def rebuilt(
    original: Path, out: Path, change: Callable[[zipfile.ZipInfo, bytes], tuple[zipfile.ZipInfo, bytes]]
) -> Path:
    """Write an archive of changed entries, as zipfile writes them."""
    with zipfile.ZipFile(original) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            changed, data = change(archives._entry(entry.filename), old.read(entry))
            with new.open(changed, "w", force_zip64=True) as part:
                part.write(data)
    return out


def renamed(old: str, new: str) -> Callable[[zipfile.ZipInfo, bytes], tuple[zipfile.ZipInfo, bytes]]:
    def change(entry: zipfile.ZipInfo, data: bytes) -> tuple[zipfile.ZipInfo, bytes]:
        if entry.filename == old:
            entry.filename = new
        return entry, data

    return change


def as_link(entry: zipfile.ZipInfo, data: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    if entry.filename == "format.json":
        entry.external_attr = 0o120777 << 16
    return entry, data


def compressed(entry: zipfile.ZipInfo, data: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    if entry.filename == "index.json":
        entry.compress_type = zipfile.ZIP_DEFLATED
        data = b" " * (1 << 24)
    return entry, data


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (renamed("index.json", "../index.json"), "no name in a store"),
        (renamed("index.json", "/etc/passwd"), "no name in a store"),
        (renamed("index.json", "views/..\\x.json"), "no name in a store"),
        pytest.param(
            renamed("index.json", "format.json"), "twice", marks=pytest.mark.filterwarnings("ignore:Duplicate name")
        ),
        (renamed("zarr.json", "views/" + "0" * 64 + ".json"), "in order|views"),
        (as_link, "link"),
        (compressed, "compressed"),
    ],
    ids=["traversal", "absolute", "backslash", "duplicate", "unsorted", "link", "bomb"],
)
def test_entries_that_no_bundle_has_are_refused_by_name(
    change: Callable[[zipfile.ZipInfo, bytes], tuple[zipfile.ZipInfo, bytes]], what: str, bundled: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    hostile = rebuilt(bundled, tmp_path / "hostile.zip", change)
    with pytest.raises(BrainbrrError, match=what):
        brainbrr.unbundle(hostile, store=tmp_path / "own")
    assert set(tmp_path.iterdir()) - before == {hostile}


def list_of(data: bytes) -> tuple[int, int]:
    *_, n_bytes, start, _ = struct.unpack("<4s4H2LH", data[-22:])
    return start, n_bytes


def swapped_names(data: bytes) -> bytes:
    """Let the list name two objects the other way round than their own headers."""
    start, _ = list_of(data)
    names = sorted({data[m : m + 64] for m in find_all(data[start:], b"objects.zarr/", start, 16)})[:2]
    head, tail = data[:start], data[start:]
    return head + tail.replace(names[0], b"\0" * 64).replace(names[1], names[0]).replace(b"\0" * 64, names[1])


def find_all(data: bytes, text: bytes, offset: int, after: int) -> list[int]:
    found, at = [], data.find(text)
    while at >= 0:
        if data[at + len(text) + 2 : at + len(text) + 3] == b"/" and data[at + after : at + after + 4] != b"zarr":
            found.append(offset + at + after)
        at = data.find(text, at + 1)
    return found


def larger_sizes(data: bytes) -> bytes:
    """Let the list declare that the first entry has 3 GiB."""
    start, _ = list_of(data)
    return data[: start + 20] + struct.pack("<LL", 3 << 30, 3 << 30) + data[start + 28 :]


def overlapping(data: bytes) -> bytes:
    """Let the last entry of the list start where the first one does."""
    start, n_bytes = list_of(data)
    last = data.rfind(b"PK\1\2", start, start + n_bytes)
    return data[: last + 42] + b"\0\0\0\0" + data[last + 46 :]


LOCATOR = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
"""What says that a record of 64-bit numbers is before it."""


def huge_list(data: bytes) -> bytes:
    return data[:-10] + struct.pack("<L", (1 << 31) - 1) + data[-6:]


@pytest.mark.parametrize(
    "change",
    [
        swapped_names,
        larger_sizes,
        overlapping,
        huge_list,
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\0" + data,
        lambda data: data[:100],
        lambda data: b"",
        lambda data: LOCATOR + data[-22:],
    ],
    ids=["names", "sizes", "overlap", "list", "cut", "more", "prefix", "start", "empty", "locator"],
)
def test_an_archive_whose_list_and_entries_disagree_is_refused(
    change: Callable[[bytes], bytes], bundled: Path, tmp_path: Path
) -> None:
    (tmp_path / "hostile.zip").write_bytes(change(bundled.read_bytes()))
    with pytest.raises(IntegrityError):
        brainbrr.unbundle(tmp_path / "hostile.zip", store=tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_a_list_is_bounded_where_its_two_ends_disagree(tmp_path: Path) -> None:
    before = bytes(1000)
    record = struct.pack("<4sQ2H2L4Q", b"none", 44, 45, 45, 0, 0, 0, 0, 0, len(before))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, len(before), 0, 0)
    (tmp_path / "hostile.zip").write_bytes(before + record + LOCATOR + end)
    with pytest.raises(IntegrityError, match="ZIP64 record"):
        Archive(tmp_path / "hostile.zip")


def test_an_object_that_was_swapped_in_it_is_refused_and_the_rest_arrives(bundled: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundled) as original:
        shards = {e.filename: original.read(e) for e in original.infolist() if e.filename.endswith("c.0.0")}
    same_size = next(a for a in shards if any(len(shards[a]) == len(shards[b]) and a != b for b in shards) or True)
    data = bytearray(shards[same_size])
    data[1000] ^= 1

    def change(entry: zipfile.ZipInfo, old: bytes) -> tuple[zipfile.ZipInfo, bytes]:
        return entry, bytes(data) if entry.filename == same_size else old

    report = brainbrr.unbundle(rebuilt(bundled, tmp_path / "hostile.zip", change), store=tmp_path / "own")
    assert (report.exit_code, len(report.failed), report.sent) == (4, 1, 5)
    assert verify(Store.open(tmp_path / "own")).corrupt == ()


@pytest.fixture(scope="module")
def small(bundled: Path) -> bytes:
    return bundled.read_bytes()


@given(st.data())
@settings(max_examples=25)
def test_a_mutated_archive_is_refused_or_gives_what_it_gave(
    small: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    start, n_bytes = list_of(small)
    place = data.draw(st.one_of(st.integers(0, len(small) - 1), st.integers(start, start + n_bytes + 21)))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
    if kind == "flip":
        changed = small[:place] + bytes([small[place] ^ (1 << data.draw(st.integers(0, 7)))]) + small[place + 1 :]
    elif kind == "cut":
        changed = small[:place] + small[place + data.draw(st.integers(1, 1000)) :]
    else:
        more = data.draw(st.binary(min_size=1, max_size=50)) if kind == "insert" else small[place : place + 100]
        changed = small[:place] + more + small[place:]
    (folder / "x.zip").write_bytes(changed)
    (folder / "y.zip").write_bytes(small)
    with Archive(folder / "y.zip") as original:
        whole = {name: original._bytes(name, part.start, part.n_bytes) for name, part in original._parts.items()}
    try:
        opened = Archive(folder / "x.zip")
    except BrainbrrError:
        return
    with opened:
        found = {name: opened._bytes(name, part.start, part.n_bytes) for name, part in opened._parts.items()}
        assert found.keys() == whole.keys()
        for name in (name for name in found if found[name] != whole[name] and not name.endswith("c.0.0")):
            with pytest.raises(IntegrityError, match="damaged"):
                opened.read(name, limit=len(found[name]))
    if any(found[name] != whole[name] for name in found if name.endswith("c.0.0")):
        report = brainbrr.unbundle(folder / "x.zip", store=folder / "own")
        assert (report.exit_code, len(report.failed)) == (4, 1)
