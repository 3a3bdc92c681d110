from __future__ import annotations

import os
from pathlib import Path

import pytest

from brainbrr.store import filesystem

MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 0:40 / /scratch rw - lustre 10.0.0.1@o2ib:/scratch rw
41 27 0:41 / /home/with\040space rw,relatime master:2 propagate_from:1 - nfs4 server:/home rw
42 27 0:42 / /pool rw - btrfs /dev/sdb rw
43 42 0:43 / /pool/remote rw - fuse.sshfs me@server: rw
nonsense
"""


@pytest.mark.parametrize(
    ("device", "path", "kind"),
    [
        ((254, 0), "/anywhere", "ext4"),
        ((0, 40), "/scratch/store", "lustre"),
        ((0, 41), "/somewhere/else", "nfs4"),
        ((0, 99), "/pool/subvolume/object", "btrfs"),
        ((0, 99), "/pool/remote/object", "fuse.sshfs"),
        ((0, 99), "/poolside", "ext4"),
        ((0, 99), "/home/with space/store", "nfs4"),
    ],
)
def test_the_kind_of_a_device_is_what_the_mount_table_says(device: tuple[int, int], path: str, kind: str) -> None:
    assert filesystem.kind_of(MOUNTS, os.makedev(*device), Path(path)) == kind


def test_a_device_that_nobody_lists_has_no_kind() -> None:
    assert filesystem.kind_of("", os.makedev(0, 1), Path("/")) is None


@pytest.mark.parametrize(
    ("kind", "local"),
    [("ext4", True), ("tmpfs", True), ("nfs", False), ("fuse.sshfs", False), ("9p", False), ("new-one", False)],
)
def test_only_known_local_file_systems_are_mapped(
    kind: str, local: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    monkeypatch.setattr(filesystem, "_known", {})
    monkeypatch.setattr(filesystem, "_mounts", lambda: asked.append(1) or f"1 0 7:7 / / rw - {kind} none rw")
    monkeypatch.setattr(filesystem.sys, "platform", "linux")
    assert [filesystem.is_local(os.makedev(7, 7), tmp_path) for _ in range(3)] == [local] * 3
    assert len(asked) == 1  # thousands of shards lie on one device


def test_another_system_than_linux_maps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(filesystem, "_known", {})
    monkeypatch.setattr(filesystem.sys, "platform", "darwin")
    assert filesystem.is_local(os.makedev(7, 7), tmp_path)
