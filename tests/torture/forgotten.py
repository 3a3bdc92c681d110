"""`forget` after a kill at every failpoint: `python tests/torture/forgotten.py` looks for the samples that are left.

What is killed: an ingest, one by a SLURM job, one by Dask, and the staging of a view; with --elsewhere, in another pid
namespace. Then `forget` (or, where nothing was published, the `gc` that its error names) runs, and no file outside the
corpus may hold a run of the signal.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from helpers.killed import killed, killed_elsewhere
from helpers.support import EVERYTHING
from helpers.works import InPlace

import brainbrr
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.engines.dask import Dask
from brainbrr.errors import UsageError
from brainbrr.store import leases
from brainbrr.store.store import Store
from brainbrr.views.retention import collect, forget
from brainbrr.views.stage import stage

RUN = 64
"""Bytes of int16 samples that are looked for: nobody has 32 of them in a row by chance."""


@dataclass(frozen=True)
class Place:
    """Where everything is: all but the corpus has to be free of its signal."""

    folder: Path

    @property
    def corpus(self) -> Path:
        return self.folder.with_name("corpus") / "demo"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"


def ingest(place: Place) -> None:
    brainbrr.ingest(place.corpus, store=place.store, workers=1)


def by_slurm(place: Place) -> None:
    brainbrr.ingest(place.corpus, store=place.store, executor=InPlace(place.folder / "jobs"))


def by_dask(place: Place) -> None:
    """On a worker that is a thread of this process."""
    import dask
    from dask.distributed import LocalCluster

    dask.config.set({"distributed.worker.daemon": False})
    one = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**one, local_directory=str(place.folder.with_name("dask"))) as cluster:
        brainbrr.ingest(place.corpus, store=place.store, executor=Dask(cluster))


def staging(place: Place) -> None:
    view = brainbrr.view(place.store, profile=EVERYTHING.name, window=brainbrr.WindowSpec("4", stride_s="4"))
    stage(view, place.scratch)


OPERATIONS: dict[str, tuple[Callable[[Place], None], bool]] = {
    "ingest": (ingest, False),
    "ingest of more": (ingest, True),
    "stage": (staging, True),
    "slurm": (by_slurm, False),
    "dask": (by_dask, False),
}
"""What is killed, and whether the store is there before."""


def runs_of(store: Store) -> list[bytes]:
    """Return runs of samples of every channel of every recording that are no constant."""
    found = []
    for record in store.records():
        with store.reader(record.content, record.array) as reader:
            block = reader.read(0, record.array.n_samples)
        found += [block[row, at : at + RUN // 2].tobytes() for row in range(0, len(block), 3) for at in (300, 2000)]
    return [run for run in found if len(set(run)) > 8]


def holding(folder: Path, runs: list[bytes]) -> list[str]:
    """Return the files that hold one of these runs."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [str(path.relative_to(folder)) for path in files if any(run in path.read_bytes() for run in runs)]


def forgotten(place: Place) -> tuple[str, ...]:
    """Forget the corpus, and return what is said to be left."""
    if not place.store.exists() or Store.open_if_there(place.store) is None:
        return ()
    store, staged = Store.open(place.store), (place.scratch,)
    try:
        return forget(store, "demo", yes=True, staged=staged).unproven
    except UsageError as error:
        assert "gc --yes --grace 0s" in str(error.fix), error
        return collect(store, yes=True, grace_s=0, staged=staged).unproven


def age(store: Path) -> None:
    """Let leases and drafts be older than a lease lives: of another container nothing else says that it has ended."""
    then = time.time() - 2 * leases.TTL_S
    for path in (*store.glob("leases/*"), *store.glob("tmp/**/*")):
        os.utime(path, (then, then), follow_symlinks=False)


def kills(
    folder: Path, names: list[str], step: int, *, elsewhere: bool
) -> Iterator[tuple[str, str, list[str], tuple[str, ...]]]:
    """Yield each kill with its operation and point, the files that hold signal, and what is said to be left."""
    write_corpus(folder / "corpus" / "demo", n_recordings=2, seconds=(11, 12))
    whole = Place(folder / "whole")
    ingest(whole)
    runs = runs_of(Store.open(whole.store))
    assert holding(whole.folder, runs)
    hidden = folder / "hidden.edf"
    for name in names:
        operation, there = OPERATIONS[name]
        at = 0
        point: str | None = ""
        while point is not None:
            at += step
            place = Place(folder / f"{name}-{at}")
            place.folder.mkdir()
            if there:
                _prepare(place, hidden if name == "ingest of more" else None)
            kill = killed_elsewhere if elsewhere else killed
            point = kill(lambda operation=operation, place=place: operation(place), at)
            if point is not None:
                if elsewhere:
                    age(place.store)
                left = forgotten(place)
                yield name, point, holding(place.folder, runs), left
            shutil.rmtree(place.folder)


def _prepare(place: Place, hidden: Path | None) -> None:
    """Ingest the corpus, or all of it but one recording."""
    edf = sorted(place.corpus.rglob("*.edf"))[0]
    if hidden is not None:
        edf.rename(hidden)
    try:
        ingest(place)
    finally:
        if hidden is not None:
            hidden.rename(edf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help=", ".join(OPERATIONS))
    parser.add_argument("--step", type=int, default=1, help="kill at each n-th failpoint only")
    parser.add_argument("--elsewhere", action="store_true", help="kill in another pid namespace, as of a container")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        done = list(kills(Path(folder), asked.operations or list(OPERATIONS), asked.step, elsewhere=asked.elsewhere))
    for name, n in Counter(name for name, *_ in done).items():
        print(f"  {name}: {n} kills at {len({point for each, point, *_ in done if each == name})} failpoints")
    # of another container's small files, without a lease, nothing says that their writer has ended: they are named
    bad = [each for each in done if each[2] or (each[3] and not asked.elsewhere)]
    for name, point, files, left in bad:
        print(f"  {name} at {point!r}: samples in {files}, said to be left: {left}")
    print(f"forgotten: {len(done)} kills, samples left after {sum(bool(files) for _, _, files, _ in done)}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
