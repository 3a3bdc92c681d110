"""The start of an epoch: from an index's file to the first batch, with thousands of recordings.

    python benchmarks/loader_epoch.py STORE INDEX REPEATS    (used by bench_loader)

The index is the corpus's own, its arrays repeated: all entries point to the same stored objects, so that no hundred
thousand files are needed. Objects are opened as always, each under its number in the index.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from loader_corpus import Corpus
from measuring import Row, peak_mb

import brainbrr
from brainbrr.loading.index import Index
from brainbrr.store.store import Store

_GOALS = {5_000: 50.0, 100_000: 1000.0}
_MOST_BYTES = 1000.0
_BATCHES = 8


def epoch_rows(corpus: Corpus, into: Path, *, repeats: int) -> Iterator[Row]:
    """Measure in a fresh process for each number of recordings."""
    for n, goal in _GOALS.items():
        path = into / f"index-{n}.npz"
        repeated(corpus.index, n).save(path)
        command = [sys.executable, str(Path(__file__)), str(corpus.view.store.location), str(path), str(repeats)]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        starts = [1000 * s for s in told["seconds"]]
        detail = (
            f"{min(starts):.0f} to {max(starts):.0f} ms; {told['windows']:,} windows, {told['load_ms']:.0f} ms to load "
            f"{path.stat().st_size / 1e6:.1f} MB; imports and kernels paid before"
        )
        measure = f"epoch start, {n:,} recordings (index to first batch, warm)"
        yield Row(measure, statistics.median(starts), "ms", detail, goal, at_most=True)
        grown = told["grown_mb"] * 1e6 / n
        detail = f"{told['grown_mb']:.0f} MB more than with one recording, at the peak {told['peak_mb']:.0f} MB in all"
        yield Row(f"memory per recording, {n:,} recordings", grown, "B", detail, _MOST_BYTES, at_most=True)


def repeated(index: Index, n: int) -> Index:
    """Return an index of n recordings, those of the one given again and again."""
    n_once = len(index.n_samples)
    of = np.arange(n) % n_once
    changed: dict[str, Any] = {}
    for bounds, columns in (
        ("seizure_bounds", ("seizures",)),
        ("event_bounds", ("events", "event_type", "event_place")),
    ):
        old = getattr(index, bounds)
        sizes = np.diff(old)[of]
        changed[bounds] = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.repeat(old[of] - changed[bounds][:-1], sizes) + np.arange(changed[bounds][-1])
        changed |= {name: getattr(index, name)[rows] for name in columns}
    for field in fields(index):
        if field.name not in changed and field.name != "frame" and len(getattr(index, field.name)) == n_once:
            changed[field.name] = getattr(index, field.name)[of]  # the others are empty: nothing is mixed
    return replace(index, **changed)


def main() -> None:
    """Start epochs; print their seconds, and the memory that one of them holds."""
    store, path, repeats = brainbrr.open_store(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    one = path.with_name(f"one-of-{path.name}")
    repeated(Index.load(path), 1).save(one)
    before = held_mb(store, one)  # imports, kernels, and as many buffers
    one.unlink()
    grown = held_mb(store, path) - before
    seconds, loads = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        index = Index.load(path)
        loads.append(time.perf_counter() - began)
        with _loader(index, store) as batches:
            next(batches)
            seconds.append(time.perf_counter() - began)
    told = {"seconds": seconds, "load_ms": 1000 * statistics.median(loads), "windows": len(index), "grown_mb": grown}
    print(json.dumps(told | {"peak_mb": peak_mb()}))


def held_mb(store: Store, path: Path) -> float:
    """Return the memory of this process while a loader runs whose ring is full. Mapped tiles are the page cache's."""
    with _loader(Index.load(path), store) as batches:
        for _ in range(_BATCHES):
            next(batches)
        status = Path("/proc/self/status").read_text()
    gc.collect()
    return 1.024e-3 * int(status.partition("RssAnon:")[2].split()[0])


def _loader(index: Index, store: Store) -> Any:
    return brainbrr.loader(index, store=store, batch=64, balance="balanced", labels="binary", as_numpy=True)


if __name__ == "__main__":
    main()
