"""Many processes and one EDF at the same moment: `stampede.py --processes 32`. One object, one record, one computation.

Each process is a real `brainbrr ingest` with a host cache of its own, as on so many machines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.store.store import Store
from brainbrr.store.verify import verify


@dataclass(frozen=True)
class Stampede:
    """What the processes said together, and what they left."""

    new: int
    reused: int
    computed_twice: int
    objects: int
    records: int
    leases: int
    leftovers: int
    quarantined: int
    damaged: int


def begin(root: Path, store: Path, host: Path, *options: str) -> subprocess.Popen[str]:
    """Start one `brainbrr ingest` on a host cache of its own."""
    environment = {**os.environ, "BRAINBRR_STORE": str(store), "XDG_CACHE_HOME": str(host)}
    command = [sys.executable, "-m", "brainbrr", "ingest", str(root), "--json", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(processes: Sequence[subprocess.Popen[str]], *, timeout_s: float) -> list[dict[str, int]]:
    """Wait for all, and return what each reported. Raises AssertionError for one that failed."""
    reports, deadline = [], time.monotonic() + timeout_s
    for process in processes:
        out, err = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
        assert process.returncode == 0, err
        reports.append(json.loads(out))
    return reports


def left_in(location: Path, reports: Sequence[dict[str, int]]) -> Stampede:
    """Count what a store holds, and what was reported of it."""
    store = Store.open(location)
    found = {name: sum(1 for _ in (location / name).glob("*")) for name in ("leases", "tmp", "quarantine")}
    return Stampede(
        new=sum(report["new"] for report in reports),
        reused=sum(report["reused"] for report in reports),
        computed_twice=sum(report["computed_twice"] for report in reports),
        objects=sum(1 for _ in store.contents()),
        records=sum(1 for _ in store.keys()),  # noqa: SIM118  # a store is no dict
        leases=found["leases"],
        leftovers=found["tmp"],
        quarantined=found["quarantine"],
        damaged=len(verify(store).corrupt),
    )


def stampede(folder: Path, n_processes: int, *, n_recordings: int = 1) -> Stampede:
    """Let so many processes ingest one generated tree into a store that is not there yet."""
    root, store = folder / "demo", folder / "store"
    write_corpus(root, n_recordings=n_recordings, seed=0, seconds=(120, 140))
    processes = [begin(root, store, folder / f"host{n}", "--workers", "1") for n in range(n_processes)]
    return left_in(store, ended(processes, timeout_s=30 + 10 * n_processes))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    n_wrong = twice = 0
    for n in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            found = stampede(Path(folder), given.processes)
        wrong = (found.objects, found.records, found.new, found.damaged, found.leftovers) != (1, 1, 1, 0, 0)
        n_wrong, twice = n_wrong + wrong, twice + found.computed_twice
        print(f"round {n + 1}: {found}{' WRONG' if wrong else ''}", flush=True)
    print(f"{given.rounds} stampedes of {given.processes} processes: {n_wrong} wrong, {twice} computed in vain")
    return int(n_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
