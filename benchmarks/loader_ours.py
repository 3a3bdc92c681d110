"""brainbrr's own ways to windows, each as a contender that runs in turns with the peers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from loader_corpus import Corpus, Floats, Picks, picks
from loader_peers import Fill
from loader_rounds import Contender

import brainbrr
from brainbrr.loading.reader import Shards, WindowReader
from brainbrr.store.recompress import recompress
from brainbrr.store.store import Store

AHEAD = 3
"""Batches of a loader's ring: some may have been filled in another's turn, and do not count."""


def reader(corpus: Corpus, *, store: Store | None = None) -> Fill:
    """Windows straight from the tiles, one thread, each proven on every read."""
    windows = WindowReader(corpus.index, Shards(corpus.index, store or corpus.view.store))

    def fill(asked: Picks, out: Floats) -> Picks:
        windows.fill_many(*corpus.index.locate(np.asarray(asked)), out)
        return asked

    return fill


def raw_reader(corpus: Corpus) -> Fill:
    """Windows as they are stored, int16, into a buffer that is used again."""
    windows = WindowReader(corpus.index, Shards(corpus.index, corpus.view.store))

    def fill(asked: Picks, out: Any) -> Picks:
        windows.raw_many(*corpus.index.locate(np.asarray(asked)), out)
        return asked

    return fill


def chosen(
    fill: Fill, corpus: Corpus, *, batch: int, among: range | None = None, dtype: type = np.float32
) -> Contender:
    """Return what fills one batch after another with the windows of a turn, the same ones for everybody."""
    out = np.zeros((batch, corpus.n_channels, corpus.length), dtype=dtype)
    range_ = range(len(corpus)) if among is None else among

    def take(turn: int, n: int) -> int:
        windows = picks(0, turn, range_)
        for first in range(0, n, batch):
            size = min(batch, n - first)
            fill(list(itertools.islice(windows, size)), out[:size])
        return n

    return Contender(take, warm=len(range_))


def streaming(start: Callable[[], Iterator[Any]], *, warm: int, ahead: int) -> Contender:
    """Return what takes batches of an iterator without end, that reads `ahead` batches ahead of itself."""
    batches: list[Iterator[Any]] = []

    def take(turn: int, n: int) -> int:
        if not batches:
            batches.append(start())
        given = 0
        while given < n:
            given += len(next(batches[0])[0])
        return given

    return Contender(take, warm, ahead)


def loader(corpus: Corpus, *, batch: int, **options: Any) -> Contender:
    """The whole loader: iteration, shuffling, balancing, labels, ring; as a user calls it."""
    options = {"balance": "balanced", "labels": "binary", "as_numpy": True} | options
    warm = 2 * len(corpus)  # half of what is balanced is background, which is most of all windows
    return streaming(lambda: iter(brainbrr.loader(corpus.view, batch=batch, **options)), warm=warm, ahead=AHEAD)


def data_loaders(corpus: Corpus, *, batch: int) -> dict[str, Contender]:
    """torch's DataLoader over the same reader: item by item or a batch at a time, with 0, 1 and 2 forked workers."""
    ways = itertools.product(("by item", "by batch"), (0, 1, 2))
    return {f"DataLoader {how}, {n} workers": _data_loader(corpus, how, n, batch) for how, n in ways}


def _data_loader(corpus: Corpus, how: str, n_workers: int, batch: int) -> Contender:
    from torch.utils.data import DataLoader, Dataset

    options = {"balance": "balanced", "labels": "binary"}
    dataset: Any = brainbrr.loader(corpus.view, batch=batch, mode="map", **options)

    class Items(Dataset[Any]):
        """The same without whole batches, so that torch collates them."""

        def __len__(self) -> int:
            return len(dataset)

        def __getitem__(self, window: int) -> Any:
            return dataset[window]

    whole = how == "by batch"
    batches = DataLoader(
        dataset if whole else Items(),
        batch_sampler=dataset.batches,
        collate_fn=type(dataset).whole if whole else None,
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        multiprocessing_context="fork" if n_workers else None,
    )

    def forever() -> Iterator[Any]:
        while True:
            yield from batches

    return streaming(forever, warm=len(corpus), ahead=2 * n_workers)


def check(name: str, fill: Fill, corpus: Corpus, among: range) -> None:
    """Exit unless a contender delivers what plain zarr and whole numbers say, bit for bit."""
    asked = np.random.default_rng(1).permutation(among.stop)[:8].tolist()
    out = np.full((len(asked), corpus.n_channels, corpus.length), np.nan, dtype=np.float32)
    given = list(fill(asked, out))
    wrong = np.flatnonzero((out != corpus.expected(given)).any(axis=(1, 2)))
    if len(wrong):
        raise SystemExit(f"{name} delivers something else in windows {[given[i] for i in wrong]}")


def check_raw(fill: Fill, corpus: Corpus) -> None:
    """Exit unless the integers, normalised by numpy, are what is expected."""
    out = np.zeros((1, corpus.n_channels, corpus.length), dtype=np.int16)

    def normalised(windows: Picks, into: Floats) -> Picks:
        for row, window in zip(into, windows, strict=True):
            fill([window], out)
            corpus.numbers[corpus.recording[window]].apply(out[0], row)
        return windows

    check("brainbrr raw", normalised, corpus, range(len(corpus)))


def check_loader(corpus: Corpus, **options: Any) -> None:
    """Exit unless the loader's batches hold the windows that they say they hold."""
    options = {"balance": "balanced", "labels": "binary", "as_numpy": True} | options
    with brainbrr.loader(corpus.view, batch=8, **options) as batches:
        for batch in itertools.islice(batches, 3):
            if (np.asarray(batch.signal) != corpus.expected(batch.index.tolist())).any():
                raise SystemExit(f"the loader with {options} delivers other windows than it says")


def recompressed(corpus: Corpus, into: Path) -> Store:
    """Return a copy of the corpus's store in zstd, made by the verb unless it is there."""
    if not into.exists():
        recompress(corpus.view.store, into, codec="zstd")
    return brainbrr.open_store(into)
