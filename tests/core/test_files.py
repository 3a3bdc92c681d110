from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from helpers.store_values import flips
from hypothesis import given
from hypothesis import strategies as st

from brainbrr.core import files, models
from brainbrr.core.digest import canonical_json
from brainbrr.errors import IntegrityError, SpaceError, UsageError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name != "sha256"), json_values, min_size=1, max_size=5))
def test_sealing_round_trips_and_stays_plain_json(fields: dict[str, object]) -> None:
    sealed = models.to_checksummed(fields)
    assert models.from_checksummed(sealed, where=None) == fields
    assert json.loads(sealed) == {**fields, "sha256": hashlib.sha256(canonical_json(fields)).hexdigest()}


def test_every_flipped_bit_and_every_truncation_of_a_sealed_file_is_found() -> None:
    sealed = models.to_checksummed({"format": 1, "name": "Größe", "rows": [1, 2, {"k": None}]})
    for _, damaged in flips(sealed):
        with pytest.raises(IntegrityError):
            models.from_checksummed(damaged, where="here")
    for n in range(len(sealed)):
        with pytest.raises(IntegrityError):
            models.from_checksummed(sealed[:n], where="here")


@pytest.mark.parametrize("fields", [{}, {"sha256": "x"}, {"a": 0.5}, {"a": 1 << 63}, {"a": {1: 2}}, {"a": b"x"}])
def test_what_has_no_canonical_text_is_not_sealed(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        models.to_checksummed(fields)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"[]", b"1", b"{", b'{"a":1.0}', b'{"a":1e3}', b'{"a":NaN}', b'{"a":Infinity}', b"\xff\xfe", b"{}x"),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"9" * 10_000 + b"}",
        b'{"a":%d}' % 2**63,
        b'{"a":-%d}' % 2**63,
        b'{"a":1,"a":2}',
        b'{"a":[{"b":1,"b":1}]}',
        b'{"a":"\\ud800"}',
        b'{"\\uDFFF":1}',
        b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"a":' + b'["]",[' * 40 + b"]]" * 40 + b"}",
        b'{"a":' + b'{"[":' * 64 + b"1" + b"}" * 64 + b"}",
    ],
    ids=lambda text: text[:12],
)
def test_hostile_json_is_an_integrity_error(text: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        models.decode_json(text, where="there")
    assert caught.value.where == "there"


def test_brackets_inside_strings_are_not_counted_as_nesting() -> None:
    deep: object = "at the bottom"
    for _ in range(63):
        deep = [deep]
    value = {"a": deep, "b": '[{"\\' * 99, "c": "😀", "most": 2**63 - 1, "least": 1 - 2**63, "many": [{}] * 99}
    assert models.decode_json(canonical_json(value), where=None) == value


def test_only_plain_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    os.mkfifo(tmp_path / "fifo")
    assert files.read(tmp_path / "plain", limit=5) == b"12345"
    for name, reason in (("link", "a link"), ("fifo", "not a regular file"), (".", "not a regular file")):
        with pytest.raises(IntegrityError, match=reason):
            files.read(tmp_path / name)
    with pytest.raises(IntegrityError, match="5 bytes, where at most 4"):
        files.read(tmp_path / "plain", limit=4)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "nothing")


def test_the_first_to_publish_a_name_wins(tmp_path: Path) -> None:
    assert files.publish(tmp_path / "t1", tmp_path / "name", b"first")
    assert not files.publish(tmp_path / "t2", tmp_path / "name", b"second")
    assert (tmp_path / "name").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_a_link_whose_answer_was_lost_still_counts_as_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def twice(source: Path, target: Path) -> None:  # as NFS does when it repeats a request
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    assert files.publish(tmp_path / "t", tmp_path / "name", b"ours")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="this system has no file that opens but does not read")
def test_a_read_that_fails_names_its_file() -> None:
    memory = Path(f"/proc/{os.getpid()}/mem")
    with pytest.raises(OSError, match=f"Input/output error: '{memory}'"):
        files.read(memory)


def test_a_write_that_fails_names_the_store(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_CREAT | os.O_RDONLY)
    with pytest.raises(OSError, match=f"Bad file descriptor: '{tmp_path}'"), files.writing(tmp_path, n_bytes=1):
        files.write_all(descriptor, b"x")
    os.close(descriptor)


def test_a_folder_is_renamed_only_onto_an_empty_place_and_an_impossible_place_is_an_error(tmp_path: Path) -> None:
    folder, place = tmp_path / "folder", tmp_path / "place"
    folder.mkdir()
    (folder / "file").touch()
    place.mkdir()
    assert files.rename_folder(folder, place) and (place / "file").exists()
    folder.mkdir()
    assert not files.rename_folder(folder, place) and folder.exists()
    with pytest.raises(FileNotFoundError):
        files.rename_folder(folder, tmp_path / "nowhere" / "place")


@pytest.mark.parametrize(("what", "more"), [("bytes", {"n_inodes": 1}), ("inodes", {"n_bytes": 1})])
def test_what_does_not_fit_is_refused_before_it_is_begun(tmp_path: Path, what: str, more: dict[str, int]) -> None:
    files.check_space(tmp_path, n_bytes=1, n_inodes=1)
    if what == "inodes" and not os.statvfs(tmp_path).f_files:
        pytest.skip("this file system does not count inodes")
    with pytest.raises(SpaceError, match=f"{what} are needed") as refused:
        files.check_space(tmp_path, **{f"n_{what}": 1 << 60, **more})
    assert str(refused.value.fix).startswith("free at least 1,152,") and what in str(refused.value.fix)


@pytest.mark.parametrize(("n_bytes", "told"), [(0, "65,536"), (1, "65,536"), (100_000, "100,000")])
def test_nobody_with_a_full_disk_is_told_to_free_nothing(tmp_path: Path, n_bytes: int, told: str) -> None:
    with (
        pytest.raises(SpaceError, match=f"{told} bytes were needed") as caught,
        files.writing(tmp_path, n_bytes=n_bytes),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert f"free at least {told} bytes" in str(caught.value.fix)


def test_a_replaced_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.replace(path, b"old", durable=False, mode=0o600)
    assert path.read_bytes() == b"old" and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="interrupted"), files.replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
        raise ValueError("interrupted")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with files.replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_the_stores_may_be_a_link_but_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IntegrityError, match="a link"):
        files.open_plain(tmp_path / "link")
    with os.fdopen(files.open_plain(tmp_path / "link", follow=True), "rb") as file:
        assert file.read() == b"x"
    for name, error in (("pipe", "a pipe"), (".", "directory"), ("none", "No such file")):
        with pytest.raises(OSError, match=error):
            files.open_plain(tmp_path / name, follow=True)
