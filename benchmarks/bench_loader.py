"""Windows per second: brainbrr's reader and loader against a copy from memory, and against its peers.

    python benchmarks/bench_loader.py --into FOLDER [--only reader,...] [--peers npz,tensorstore,...] [--quick]

Random 60 s windows (19 × 15,360, every 10 s) of generated recordings of 10 minutes, ingested for real; batches of 64;
page cache warm. All contenders of a part run in turns, in one process, and a ratio is the median of the ratios of each
round. Each one is held first against what plain zarr gives. FOLDER keeps recordings and peers' files (15 GB) for the
next time. `make bench-loader` installs the peers (benchmarks/requirements.txt).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import loader_ours as ours
import numpy as np
from loader_cold import cold_rows
from loader_corpus import Corpus, prepare, read_all
from loader_epoch import epoch_rows
from loader_gpu import gpu_rows
from loader_peers import EVERYWHERE, FEW, Fill, memcpy
from loader_profile import profile_rows
from loader_rounds import Contender, Pace, paces
from measuring import Row, heading, words
from peers import upstream

BATCH = 64
PARTS = ("reader", "peers", "loader", "lengths", "zstd", "resident", "cold", "epoch", "bytes", "gpu", "profile")
GOALS = {"npz": 300.0, "zarr-python": 25.0, "tensorstore": 2.5, "litdata": 4.0}
_UNMEASURED = "unmeasured"


class Bench:
    """One run: the corpus, the limit, and how long a contender's turn is."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.into = options, options.into
        self.corpus = prepare(options.into, options.recordings)
        self.few = self.corpus.few(options.few)
        self._limits: dict[int, Fill] = {}

    def limit(self, corpus: Corpus) -> Fill:
        """Return the copy of float32 windows from memory; the recordings are the same whatever the windows."""
        if corpus.length not in self._limits:
            self._limits[corpus.length] = memcpy(corpus, self.into, self.few)
        return self._limits[corpus.length]

    def run(self, contenders: dict[str, Contender], batch: int = BATCH) -> dict[str, Pace]:
        """Run contenders in turns."""
        return paces(contenders, rounds=self.options.rounds, turn_s=self.options.turn_s, batch=batch)

    def chosen(self, name: str, fill: Fill, corpus: Corpus | None = None, among: range | None = None) -> Contender:
        """Return a contender that reads what it is asked for, once it has been checked."""
        corpus = corpus or self.corpus
        ours.check(name, fill, corpus, among or range(len(corpus)))
        return ours.chosen(fill, corpus, batch=BATCH, among=among)

    def parts(self) -> Iterator[Row | str]:
        """Give the rows of all parts that are asked for."""
        parts: dict[str, Callable[[], Iterator[Row | str]]] = {
            "cold": lambda: cold_rows(self.corpus, repeats=self.options.rounds),  # before anything is mapped
            "loader": self.loader,  # its workers are forked before tensorstore has threads
            "reader": self.reader,
            "peers": self.peers,
            "lengths": self.lengths,
            "zstd": self.zstd,
            "resident": self.resident,
            "epoch": lambda: epoch_rows(self.corpus, self.into, repeats=self.options.rounds),
            "bytes": self.bytes_on_disk,
            "gpu": lambda: gpu_rows(self.corpus, BATCH),
            "profile": lambda: profile_rows(self.corpus, BATCH),
        }
        read_all(self.corpus.files())
        for name, part in parts.items():
            if name in self.options.only:
                yield from part()

    def reader(self) -> Iterator[Row]:
        """Compare the reader, which verifies every tile every time, with the copy."""
        corpus = self.corpus
        raw = ours.raw_reader(corpus)
        ours.check_raw(raw, corpus)
        found = self.run(
            {
                "memcpy": self.chosen("memcpy", self.limit(corpus)),
                "reader": self.chosen("reader", ours.reader(corpus)),
                "raw": ours.chosen(raw, corpus, batch=BATCH, dtype=np.int16),
            }
        )
        yield _against("reader, 1 thread, every tile verified / memcpy", found, "reader", "memcpy", 1.2)
        yield _against("raw int16 / float32 memcpy", found, "raw", "memcpy", 1.6)

    def peers(self) -> Iterator[Row | str]:
        """Compare the reader with its peers: on all recordings, and with those that hold a few."""
        for made, among in ((EVERYWHERE, range(len(self.corpus))), (FEW, self.few)):
            contenders = {"ours": self.chosen("reader", ours.reader(self.corpus), among=among)}
            contenders["memcpy"] = self.chosen("memcpy", self.limit(self.corpus), among=among)
            for name in (name for name in made if name in self.options.peers):
                folder = self.into / f"{name}-{self.options.recordings}-{self.options.few}"
                try:
                    fill = made[name](self.corpus, folder, among)
                except (ImportError, OSError) as error:  # OSError: its libraries fit another torch
                    yield f"reader / {name}\t{_UNMEASURED}\t-\t-\t{error}; `make bench-loader` installs it"
                    continue
                read_all([folder] if folder.exists() else [])
                contenders[name] = self.chosen(name, fill, among=among)
            found = self.run(contenders)
            where = "" if made is EVERYWHERE else f"; windows of {self.options.few} recordings"
            for name in contenders:
                if name not in ("ours", "memcpy"):
                    yield _against(f"reader / {name}", found, "ours", name, GOALS.get(name), where)
            yield _against("reader / memcpy, beside the peers", found, "ours", "memcpy", None, where)

    def loader(self) -> Iterator[Row]:
        """Compare the whole loader with the copy, and with torch's DataLoader over the same reader."""
        corpus = self.corpus
        ours.check_loader(corpus)
        contenders = ours.data_loaders(corpus, batch=BATCH)
        slow = list(contenders)
        contenders["memcpy"] = self.chosen("memcpy", self.limit(corpus))
        for threads in (1, 2):
            contenders[f"numpy {threads}"] = ours.loader(corpus, batch=BATCH, threads=threads)
            contenders[f"tensors {threads}"] = ours.loader(corpus, batch=BATCH, threads=threads, as_numpy=False)
        found = self.run(contenders)
        for threads, goal in ((1, 0.9), (2, 1.4)):
            yield _against(f"whole loader, {_threads(threads)} / memcpy", found, f"numpy {threads}", "memcpy", goal)
            measure = f"whole loader, torch tensors, {_threads(threads)} / memcpy"
            yield _against(measure, found, f"tensors {threads}", "memcpy", goal)
        best = max(slow, key=lambda name: found[name].median)
        yield _against(f"whole loader, 2 threads / the best, {best}", found, "tensors 2", best, 5.0)
        for name in slow:
            if name != best:
                yield _against(f"whole loader, 2 threads / {name}", found, "tensors 2", name)

    def lengths(self) -> Iterator[Row]:
        """Compare reader, loader and a memory map with the copy for shorter windows."""
        for seconds in ("2", "5", "12"):
            corpus = self.corpus.with_window(length_s=seconds, stride_s=seconds)
            folder = self.into / f"memmap-{self.options.recordings}-{self.options.few}"
            memmap = EVERYWHERE["memmap"](corpus, folder, range(0))
            read_all([folder])
            found = self.run(
                {
                    "memcpy": self.chosen("memcpy", self.limit(corpus), corpus),
                    "reader": self.chosen("reader", ours.reader(corpus), corpus),
                    "loader": ours.loader(corpus, batch=BATCH),
                    "memmap": self.chosen("memmap", memmap, corpus),
                },
            )
            del self._limits[corpus.length]
            yield _against(f"reader, {seconds} s windows / memcpy", found, "reader", "memcpy")
            yield _against(f"whole loader, 1 thread, {seconds} s windows / memcpy", found, "loader", "memcpy")
            yield _against(f"reader, {seconds} s windows / memmap", found, "reader", "memmap")

    def zstd(self) -> Iterator[Row]:
        """Compare zstd tiles with the copy, and their bytes with plain ones."""
        corpus = self.corpus
        store = ours.recompressed(corpus, self.into / f"zstd-{self.options.recordings}")
        packed = [store.layout.object(r.content) for r in corpus.view.recordings]
        read_all(packed)
        found = self.run(
            {
                "memcpy": self.chosen("memcpy", self.limit(corpus)),
                "zstd": self.chosen("zstd", ours.reader(corpus, store=store)),
            }
        )
        yield _against("zstd tiles, 1 thread / memcpy", found, "zstd", "memcpy", 0.2)
        sizes = [sum(_size(folder) for folder in folders) for folders in (packed, corpus.folders)]
        detail = f"{sizes[0] / 1e6:.0f} and {sizes[1] / 1e6:.0f} MB, {len(packed)} objects, made by `recompress`"
        yield Row("bytes, zstd / plain tiles", sizes[0] / sizes[1], "×", detail, 0.8, at_most=True)

    def resident(self) -> Iterator[Row]:
        """Compare the resident view with the stream, both in batches of 16."""
        small = {"batch": 16, "threads": 1}
        ours.check_loader(self.corpus, mode="resident")
        found = self.run(
            {
                "resident": ours.loader(self.corpus, mode="resident", **small),
                "stream": ours.loader(self.corpus, mode="stream", **small),
            },
            batch=16,
        )
        yield _against("resident on the CPU / stream, batch 16, 1 thread", found, "resident", "stream", 1.5)

    def bytes_on_disk(self) -> Iterator[Row | str]:
        """Compare the store's bytes with what the upstream pipeline writes of the same EDF files of train and dev."""
        recordings = self.corpus.view.recordings
        of = {i: self.corpus.edf(i) for i in range(self.options.few) if recordings[i].split in ("train", "dev")}
        of = {i: edf for i, edf in of.items() if "02_tcp_le" not in edf.parts}  # upstream's channel names are -REF
        mine = sum(map(self._stored_bytes, of))
        for name, compressed, goal in (("npz", False, 11.0), ("compressed npz", True, 9.0)):
            theirs = 0
            for edf in of.values():
                with tempfile.TemporaryDirectory(dir=self.into) as folder:
                    upstream(edf, Path(folder) / "windows.npz", compressed=compressed)
                    theirs += _size(Path(folder))
            detail = (
                f"{theirs / 1e6:.0f} and {mine / 1e6:.1f} MB, {len(of)} recordings of train and dev, records included"
            )
            yield Row(f"bytes on disk, upstream's {name} / store", theirs / mine, "×", detail, goal)

    def _stored_bytes(self, recording: int) -> int:
        layout, key = self.corpus.view.store.layout, self.corpus.view.recordings[recording].key
        return _size(self.corpus.folders[recording]) + layout.record(key).stat().st_size


def _against(
    measure: str, found: dict[str, Pace], name: str, other: str, goal: float | None = None, where: str = ""
) -> Row:
    """Return the row of one contender against another."""
    detail = f"{name} {found[name]}; {other} {found[other]}{where}"
    return Row(measure, found[name].over(found[other]), "×", detail, goal)


def _threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    """Measure the parts that are asked for and print a row for each value."""
    options = _options()
    print(heading(), flush=True)
    print("measure\tvalue\tgoal\treached\tdetail", flush=True)
    for row in Bench(options).parts():
        print(row, flush=True)


def _options() -> argparse.Namespace:
    summary, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=summary)
    peers = (*EVERYWHERE, *FEW)
    parser.add_argument("--into", type=Path, required=True, help="where recordings and peers' files are kept")
    parser.add_argument("--only", type=words(PARTS), default=list(PARTS), metavar="PARTS", help=", ".join(PARTS))
    parser.add_argument("--peers", type=words(peers), default=list(peers), metavar="PEERS", help=", ".join(peers))
    parser.add_argument("--recordings", type=int, default=200, help="recordings of 10 minutes")
    parser.add_argument("--few", type=int, default=24, help="recordings whose windows the peers hold that cut before")
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count")
    parser.add_argument("--turn-s", type=float, default=0.5, help="about how long a contender's turn is")
    parser.add_argument("--quick", action="store_true", help="3 rounds, 0.2 s a turn: does it run at all?")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.turn_s = 3, 0.2
    if sys.platform != "linux":
        parser.error("needs Linux: files are dropped from its page cache, and read past it")
    return options


if __name__ == "__main__":
    main()
