"""Costs of contenders that run in turns, and what is said of them: rows with a goal."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

Contender = Callable[[Path], Callable[[], object]]
"""Given an empty folder, what to run and measure: making it ready is not measured."""


@dataclass(frozen=True)
class Cost:
    """Seconds of one run, or the medians of several. CPU counts all threads, and child processes that ended."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{1000 * self.cpu_s:.0f} ms CPU, {1000 * self.wall_s:.0f} ms wall"


@dataclass(frozen=True)
class Row:
    """One measure. `goal` is what to reach at least, or at most where `at_most`; None where nothing is promised."""

    measure: str
    value: float
    unit: str
    detail: str
    goal: float | None = None
    at_most: bool = False

    def __str__(self) -> str:
        goal, reached = "-", "-"
        if self.goal is not None:
            goal = f"{'≤' if self.at_most else '≥'} {self.goal:g} {self.unit}"
            reached = "yes" if (self.value <= self.goal if self.at_most else self.value >= self.goal) else "no"
        return f"{self.measure}\t{self.value:.2f} {self.unit}\t{goal}\t{reached}\t{self.detail}"


def cost_of(work: Callable[[], object]) -> Cost:
    """Run something once."""
    wall, cpu = time.perf_counter(), _cpu_s()
    work()
    return Cost(time.perf_counter() - wall, _cpu_s() - cpu)


def interleaved(contenders: Mapping[str, Contender], repeats: int, folder: Path) -> dict[str, Cost]:
    """Run all contenders in turns, each time into an empty folder; return their medians.

    The first round pays for imports and caches and does not count.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for n in range(repeats + 1):
        for name, contender in contenders.items():
            into = folder / "into"
            into.mkdir()
            cost = cost_of(contender(into))
            shutil.rmtree(into)
            if n > 0:
                costs[name].append(cost)
    return {
        name: Cost(statistics.median(c.wall_s for c in runs), statistics.median(c.cpu_s for c in runs))
        for name, runs in costs.items()
    }


def heading(packages: Sequence[str] = ("numpy", "scipy", "mne")) -> str:
    """Return when, of what, where and how the rows below were measured."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    versions = " ".join(f"{name} {_version(name)}" for name in packages)
    return (
        f"# {datetime.now(UTC):%Y-%m-%d} · commit {commit} · {os.cpu_count()} × {_processor()}{load}\n"
        f"# python {platform.python_version()} {versions} · python {shlex.join(sys.argv)}"
    )


def words(allowed: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return what parses an option of some words, with commas between them."""

    def parse(text: str) -> list[str]:
        if wrong := set(text.split(",")) - set(allowed):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(wrong))}: choose from {', '.join(allowed)}")
        return text.split(",")

    return parse


def peak_mb() -> float:
    """Return the most memory that this process has had resident, in MB."""
    try:
        status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent's, from before exec
        return 1.024e-3 * int(status.partition("VmHWM:")[2].split()[0])
    except OSError:
        unit = 1e-6 if sys.platform == "darwin" else 1.024e-3
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
