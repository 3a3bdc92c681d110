"""Cores that a process may use."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest

from brainbrr.core import threads

V1 = "cpu,cpuacct"


@pytest.mark.parametrize(
    ("cgroup", "files", "cpus"),
    [
        ("0::/a/b\n", {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1.5),  # the group around it
        ("0::/on/the/host\n", {"cpu.max": "200000 100000\n"}, 2),  # in a container
        (
            f"4:{V1}:/x\n3:memory:/y\n",
            {f"{V1}/x/cpu.cfs_quota_us": "250000", f"{V1}/x/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("0::/\n", {}, math.inf),
        ("nonsense\n", {"cpu.max": "what"}, math.inf),
    ],
)
def test_a_control_group_limits_the_cores(tmp_path: Path, cgroup: str, files: dict[str, str], cpus: float) -> None:
    (tmp_path / "proc").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert threads.cgroup_quota(tmp_path / "proc", tmp_path / "cgroup") == cpus


@pytest.mark.skipif(sys.platform != "linux", reason="affinity")
def test_cores_are_those_of_affinity_and_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for quota, n in ((math.inf, 8), (2.5, 3), (0.1, 1)):
        monkeypatch.setattr(threads, "cgroup_quota", lambda quota=quota: quota)
        assert threads.cores() == n
