"""Who may read one folder and not another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from brainbrr.core import access
from brainbrr.core.access import Guard, allowed, guards, make_folder, opens_more, write_file

OPEN, LAB = Guard(0o755, 0), 5


@pytest.mark.parametrize(
    ("group", "within", "mask"),
    [
        (LAB, (OPEN, OPEN), 0o777),
        (LAB, (OPEN, Guard(0o700, 0)), 0o700),  # a parent is closed
        (LAB, (OPEN, Guard(0o750, LAB)), 0o770),
        (6, (OPEN, Guard(0o750, LAB)), 0o700),  # another group
        (LAB, (Guard(0o711, 0), OPEN), 0o700),  # may be entered, not listed
        (LAB, (OPEN, Guard(0o711, 0)), 0o777),  # a parent need not be listed
        (LAB, (OPEN, Guard(0o705, LAB)), 0o700),  # its group is kept out
        (LAB, (Guard(0o750, LAB), Guard(0o750, 7)), 0o700),  # only who is in both
        (LAB, (OPEN, Guard(0o755, 0, has_acl=True)), 0o700),
        (LAB, tuple(Guard(0o755, each) for each in range(20)), 0o700),  # too many to compare
    ],
)
def test_a_mask_lets_in_nobody_whom_the_path_keeps_out(group: int, within: tuple[Guard, ...], mask: int) -> None:
    assert allowed(group, within) == mask


def test_a_list_on_a_folder_may_let_in_anybody() -> None:
    assert opens_more(Guard(0o700, 0, has_acl=True), (Guard(0o750, 0),))
    assert not opens_more(Guard(0o700, 0, has_acl=True), (OPEN,))


def test_links_are_followed_to_the_parents_that_count(tmp_path: Path) -> None:
    (tmp_path / "closed" / "corpus").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "closed" / "corpus")
    assert [each.mode for each in guards(tmp_path / "link")[:2]] == [0o755, 0o700]


def test_a_list_on_the_disk_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Guard.of(tmp_path).has_acl
    monkeypatch.setattr(os, "listxattr", lambda _: ["user.note", "system.posix_acl_default"])
    assert Guard.of(tmp_path).has_acl
    monkeypatch.delattr(os, "listxattr")  # not Linux
    assert not Guard.of(tmp_path).has_acl


def test_folders_and_files_are_no_more_readable_than_asked(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", access.OWNER_ONLY)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700, 0o700]
    make_folder(tmp_path / "c", (OPEN,))
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o755
    file = tmp_path / "file"
    file.write_bytes(b"a longer text")
    write_file(file, b"short", access.OWNER_ONLY)
    assert file.stat().st_mode & 0o777 == 0o600 and file.read_bytes() == b"short"
