"""Build one EDF file into a new store, as a worker would; print seconds and peak memory as JSON.

    python benchmarks/one_build.py EDF STORE [CHANNEL...]

A process of its own, since the peak of a process never falls.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from measuring import cost_of, peak_mb
from threadpoolctl import threadpool_limits

import brainbrr.ingest.ready  # noqa: F401  # as a worker is
from brainbrr.core.digest import xxh3_128
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.ingest.build import Builder, Built, Identified, Task
from brainbrr.store.store import Store


def task_of(edf: Path) -> Task:
    """Return the build of a file that nothing is known of, as `ingest` sends it to a worker."""
    return Task(edf.name, edf, None, edf.stat().st_size, xxh3_128(os.fsencode(edf)))


def ours(edf: Path, folder: Path, recipe: Recipe) -> Callable[[], object]:
    """Make a store in a folder; return what takes one EDF all the way into it, hash to fsync."""
    builder = Builder.for_ingest(Store.create(folder / "store").location, edf.parent, recipe)

    def run() -> object:
        found = builder(task_of(edf))
        if not (isinstance(found, Identified) and isinstance(found.outcome, Built)):
            raise RuntimeError(found)
        return found

    return run


def main() -> None:
    """Build, and say what it took."""
    edf, folder, *channels = sys.argv[1:]
    recipe = Recipe(channels=tuple(channels)) if channels else Recipe()
    with threadpool_limits(1):
        cost = cost_of(ours(Path(edf), Path(folder), recipe))
    print(json.dumps({"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
