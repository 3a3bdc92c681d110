"""Where one window's CPU time goes: each step of it alone, on one thread, page cache warm."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import google_crc32c
import numpy as np
from loader_corpus import Corpus, picks
from loader_ours import AHEAD
from loader_rounds import settle
from measuring import Row

import brainbrr
from brainbrr.loading.kernels import kernels
from brainbrr.loading.labels import Labeller
from brainbrr.loading.reader import Shards, WindowReader

_WINDOWS = 512
_ROUNDS = 5


def profile_rows(corpus: Corpus, batch: int) -> Iterator[Row]:
    """Give a row for each step of a window, in microseconds; steps run in turns, values are medians."""
    index = corpus.index
    shards = Shards(index, corpus.view.store)
    reader, labeller = WindowReader(index, shards), Labeller(index, kind="binary")
    windows = np.fromiter(itertools.islice(picks(0, 0, range(len(corpus))), _WINDOWS), np.int64)
    places = [index.locate(part) for part in np.split(windows, _WINDOWS // batch)]
    spans = [shards.span(r, s, s + corpus.length)[0] for place in places for r, s in zip(*place, strict=True)]
    out = np.zeros((batch, corpus.n_channels, corpus.length), dtype=np.float32)
    label = np.zeros((batch, *labeller.shape), dtype=np.uint8)
    valid = np.zeros((batch, corpus.length), dtype=np.bool_)
    batches = brainbrr.loader(corpus.view, batch=batch, labels="binary", as_numpy=True)
    many = kernels().many
    if many is None:
        raise SystemExit("the profile is of compiled code: pip install numba")
    ready = [(shards.at(r, s, np.full(batch, corpus.length))[0], index.table(r)) for r, s in places]

    def crc() -> None:
        for tiles in spans:
            for tile in tiles:
                google_crc32c.value(tile.view(np.uint8))

    def copy() -> None:
        for where, table in ready:
            many.rows(where, *table, index.clip, out)

    def read() -> None:
        for recordings, starts in places:
            reader.fill_many(recordings, starts, out)

    def mark() -> None:
        for recordings, starts in places:
            labeller.fill(recordings, starts, label, valid)

    def load() -> None:
        for _ in range(_WINDOWS // batch):
            next(batches)

    found: dict[str, list[float]] = {}
    with batches:
        for _ in range(batches.steps_per_epoch):  # every tile proven
            next(batches)
        for turn in range(_ROUNDS + 1):
            for step in (crc, copy, read, mark, load):
                if step is load:
                    for _ in range(AHEAD):
                        next(batches)
                took = _us(step)
                settle()
                if turn:
                    found.setdefault(step.__name__, []).append(took)
    us = {name: float(np.median(each)) for name, each in found.items()}
    yield Row("one window: crc32c of its tiles", us["crc"], "µs", "paid on every read, in the pass that converts")
    yield Row(
        "one window: copy, dequantise, normalise", us["copy"], "µs", "the kernel alone, on tiles that are at hand"
    )
    yield Row("one window: Python of the reader", us["read"] - us["copy"], "µs", f"reader {us['read']:.0f} µs")
    yield Row("one window: labels and valid time", us["mark"], "µs", "binary, per sample")
    rest = us["load"] - us["read"] - us["mark"]
    yield Row("one window: order, ring, hand-over", rest, "µs", f"whole loader {us['load']:.0f} µs, 1 thread")


def _us(step: Callable[[], None]) -> float:
    """Return the CPU time of all threads: what else the machine does is no step of a window."""
    began = time.process_time()
    step()
    return 1e6 * (time.process_time() - began) / _WINDOWS
