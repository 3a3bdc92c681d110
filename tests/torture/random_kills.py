"""SIGKILL at random moments of eight writers and a gc on one store: `random_kills.py --kills 2000`.

Six writers change a tree of their own and ingest it again and again; two ingest one tree together, the bytes of all
from one small pool, so that they meet at keys and objects; the gc deletes what no catalog names any more, without
any grace. After each round of kills, as they lie: the store opens and verifies, whatever an ingest acknowledged and
its tree still has is there, and nothing is there twice; after some, the same commands make all of it complete.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from brainbrr.core.digest import key_of, source_digest
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.settings import resolve
from brainbrr.store.gc import gc
from brainbrr.store.store import Store
from brainbrr.store.verify import verify
from brainbrr.views.check import check

N_OWN, N_TOGETHER = 6, 2
RECIPE = Recipe()


class Arena:
    """One store, the trees of its writers, and what they were told."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.store = folder / "store"
        self.pool = sorted(write_corpus(folder / "pool", n_recordings=8, seed=seed, seconds=(8, 12)))
        Store.create(self.store)
        shutil.copytree(folder / "pool", self.tree("together"))
        for n in range(N_OWN):
            self.tree(f"own{n}").mkdir(parents=True)
            for edf in self.pool[n % 3 :: 3]:
                self.add(f"own{n}", edf)

    def tree(self, corpus: str) -> Path:
        return self.folder / "trees" / corpus

    def place(self, corpus: str, edf: Path) -> Path:
        return self.tree(corpus) / edf.relative_to(self.folder / "pool")

    def add(self, corpus: str, edf: Path) -> None:
        """Put a recording with its labels into a tree, its EDF last and whole."""
        place = self.place(corpus, edf)
        place.parent.mkdir(parents=True, exist_ok=True)
        for file in sorted(edf.parent.glob(f"{edf.stem}.*"), key=lambda path: path.suffix == ".edf"):
            whole = self.folder / f"copy-{os.getpid()}"
            shutil.copyfile(file, whole)
            whole.replace(place.with_name(file.name))

    def acknowledged(self, corpus: str) -> dict[str, str]:
        """What the last ingest of a corpus that came back has stored: source by path."""
        with suppress(FileNotFoundError):
            lines = (self.folder / f"{corpus}.told").read_text().splitlines()
            return dict(json.loads(lines[-1])) if lines else {}
        return {}

    # What the processes do, each until it is killed

    def write(self, corpus: str, seed: int) -> None:
        """Change the tree, ingest it, and write down what is stored now; again and again."""
        mine = random.Random(seed)
        while True:
            if corpus != "together":
                edf = mine.choice(self.pool)
                if mine.random() < 0.5:
                    self.add(corpus, edf)
                elif len(list(self.tree(corpus).rglob("*.edf"))) > 1:
                    self.place(corpus, edf).unlink(missing_ok=True)
            self.ingest(corpus)
            rows = Store.open(self.store).catalog(corpus).rows  # type: ignore[union-attr]
            line = json.dumps({path: row.source for path, row in rows.items() if row.contents}) + "\n"
            with (self.folder / f"{corpus}.told").open("ab", buffering=0) as told:
                told.write(line.encode())

    def ingest(self, corpus: str) -> None:
        accept = frozenset({"removed"})
        ingest(IngestOptions(root=self.tree(corpus), store=self.store, corpus=corpus, workers=1, accept=accept))

    def collect(self, seed: int) -> None:
        while True:
            gc(Store.open(self.store), yes=True, grace_s=0)

    # What must hold

    def check_as_it_lies(self) -> None:
        store = Store.open(self.store)
        assert verify(store).corrupt == (), verify(store).corrupt
        corpora = set(store.corpora())
        for corpus in (*(f"own{n}" for n in range(N_OWN)), "together"):
            told = self.acknowledged(corpus)
            assert not told or corpus in corpora, corpus
            for path, source in told.items():
                file = self.tree(corpus) / path
                if file.exists() and source_digest(file) == source:
                    record = store.record(key_of(source=source, recipe=RECIPE.digest))
                    assert record is not None, (corpus, path)
                    assert store.has_object(record), (corpus, path)

    def finish(self) -> None:
        """The same commands make everything complete; nothing is there twice, and nothing is left over."""
        for corpus in (*(f"own{n}" for n in range(N_OWN)), "together"):
            self.ingest(corpus)
        store = Store.open(self.store)
        gc(store, yes=True, grace_s=0)
        report = check(store, settings=resolve(), require=("no-duplicates", "complete"))
        assert report.exit_code == 0, report
        assert report.orphans == (), report.orphans
        n_sources = len({source_digest(edf) for edf in (self.folder / "trees").rglob("*.edf")})
        assert len(list(store.contents())) == len(list(store.keys())) == n_sources
        assert not list((self.store / "tmp").iterdir())
        assert not list((self.store / "quarantine").iterdir())


def fork(act: Callable[[int], None], seed: int) -> int:
    """Start a process that acts until it is killed; one that ends by itself is a violation."""
    child = os.fork()
    if child:
        return child
    try:
        act(seed)
    except BaseException as error:  # noqa: BLE001  # a child must not go on as its parent
        import traceback

        traceback.print_exception(error)
    finally:
        os._exit(1)


def torture(folder: Path, *, n_kills: int, seed: int, per_round: int = 50) -> dict[str, int]:
    """Kill at random until there were enough kills; return counts. Raises AssertionError for a violation."""
    arena = Arena(folder, seed)
    names = [*(f"own{n}" for n in range(N_OWN)), *["together"] * N_TOGETHER]
    acts: list[Callable[[int], None]] = [lambda s, name=name: arena.write(name, s) for name in names]
    acts.append(arena.collect)
    counts = {"kills": 0, "of the gc": 0, "rounds": 0}
    while counts["kills"] < n_kills:
        living = {fork(act, arena.random.getrandbits(30)): act for act in acts}
        try:
            for _ in range(min(per_round, n_kills - counts["kills"])):
                time.sleep(arena.random.uniform(0, 0.06))
                victim = arena.random.choice(list(living))
                act = living.pop(victim)
                _kill(victim)
                counts["kills"] += 1
                counts["of the gc"] += act == arena.collect
                living[fork(act, arena.random.getrandbits(30))] = act
        finally:
            for child in living:
                _kill(child)
        arena.check_as_it_lies()
        counts["rounds"] += 1
        if counts["rounds"] % 4 == 0:
            arena.finish()
    arena.finish()
    counts["acknowledged ingests"] = sum(len(f.read_text().splitlines()) for f in folder.glob("*.told"))
    return counts


def _kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, f"a process ended by itself, with {status}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--into", type=Path, help="keep everything here")
    asked = parser.parse_args()
    print(f"random kills: seed {asked.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        counts = torture(asked.into or Path(folder), n_kills=asked.kills, seed=asked.seed)
    said = ", ".join(f"{n} {name}" for name, n in counts.items())
    print(f"random kills: {said}; 0 violations")


if __name__ == "__main__":
    main()
