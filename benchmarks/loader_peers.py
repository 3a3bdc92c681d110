"""What the loader is measured against: other ways to the same windows, normalised float32 in a batch.

Each peer writes its own files once into a folder, unless it reads the store's, and fills a buffer that is used
again. Those that keep int16 dequantise and normalise with numpy, those that keep float32 have it normalised.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from loader_corpus import Corpus, Floats, Picks, Samples

Fill = Callable[[Picks, Floats], Picks]
"""Fill a batch with windows of the view; returns which ones it were: a stream has an order of its own."""

Array = np.ndarray[Any, np.dtype[Any]]
_CHUNK_BYTES = 1 << 26


def memcpy(corpus: Corpus, folder: Path, few: range) -> Fill:
    """The limit: windows of float32 recordings that lie in memory, copied."""
    recordings = [corpus.normalised(i) for i in range(len(corpus.folders))]

    def fill(windows: Picks, out: Floats) -> Picks:
        for row, window in zip(out, windows, strict=True):
            start = corpus.start[window]
            np.copyto(row, recordings[corpus.recording[window]][:, start : start + corpus.length])
        return windows

    return fill


def npz(corpus: Corpus, folder: Path, few: range, *, compressed: bool) -> Fill:
    """One npz for each recording with all its overlapping windows and labels, as upstream's cache is."""
    save = np.savez_compressed if compressed else np.savez
    labels = np.empty(corpus.length, dtype=np.uint8)
    valid = np.empty(corpus.length, dtype=np.bool_)
    first = {recording: corpus.windows_of(recording).start for recording in {corpus.recording[w] for w in few}}
    for recording in first:
        with _writing(folder / f"{recording}.npz") as into:
            if into:
                members = corpus.windows_of(recording)
                masks = np.empty((len(members), corpus.length), dtype=np.float32)
                for mask, window in zip(masks, members, strict=True):
                    corpus.view.fill(window, np.empty((corpus.n_channels, corpus.length), np.float32), labels, valid)
                    mask[:] = labels
                save(into, windows=corpus.expected(members), labels=masks)

    def fill(windows: Picks, out: Floats) -> Picks:
        for row, window in zip(out, windows, strict=True):
            recording = corpus.recording[window]
            with np.load(folder / f"{recording}.npz") as file:
                row[:] = file["windows"][window - first[recording]]
        return windows

    return fill


def _integers(corpus: Corpus, read: Callable[[int, int, int], Samples]) -> Fill:
    """Fill from what gives int16 of (recording, start, stop)."""
    numbers = corpus.numbers

    def fill(windows: Picks, out: Floats) -> Picks:
        for row, window in zip(out, windows, strict=True):
            recording, start = corpus.recording[window], corpus.start[window]
            numbers[recording].apply(read(recording, start, start + corpus.length), row)
        return windows

    return fill


def zarr_python(corpus: Corpus, folder: Path, few: range) -> Fill:
    """zarr-python on the store's own arrays, all of them open."""
    arrays = [corpus.open_array(i) for i in range(len(corpus.folders))]
    return _integers(corpus, lambda recording, start, stop: arrays[recording][:, start:stop])


def zarrs(corpus: Corpus, folder: Path, few: range) -> Fill:
    """The same arrays through zarr-python with the codec pipeline of zarrs."""
    import zarr
    import zarrs  # noqa: F401  # registers it

    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        arrays = [corpus.open_array(i) for i in range(len(corpus.folders))]
    return _integers(corpus, lambda recording, start, stop: arrays[recording][:, start:stop])


def tensorstore(corpus: Corpus, folder: Path, few: range) -> Fill:
    """The same arrays by tensorstore, a batch of reads at once; its pool holds the shards' indexes, not the tiles."""
    import tensorstore as ts

    context = ts.Context({"cache_pool": {"total_bytes_limit": 1 << 22}})
    options: dict[str, Any] = {"open": True, "read": True, "recheck_cached_data": "open", "context": context}
    arrays = [
        ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}, **options).result()
        for path in corpus.folders
    ]

    def fill(windows: Picks, out: Floats) -> Picks:
        places = [(corpus.recording[window], corpus.start[window]) for window in windows]
        reads = [arrays[recording][:, start : start + corpus.length].read() for recording, start in places]
        for row, read, (recording, _) in zip(out, reads, places, strict=True):
            corpus.numbers[recording].apply(read.result(), row)
        return windows

    return fill


def h5py(corpus: Corpus, folder: Path, few: range) -> Fill:
    """One HDF5 file with a contiguous int16 dataset for each recording, read into a buffer that is used again."""
    import h5py as h5

    with _writing(folder / "all.h5") as into:
        if into:
            with h5.File(into, "w") as file:
                for i in range(len(corpus.folders)):
                    file.create_dataset(str(i), data=corpus.samples(i))
    file = h5.File(folder / "all.h5", "r")
    datasets = [file[str(i)] for i in range(len(corpus.folders))]
    buffer = np.empty((corpus.n_channels, corpus.length), dtype=np.int16)

    def read(recording: int, start: int, stop: int) -> Samples:
        datasets[recording].read_direct(buffer, np.s_[:, start:stop])
        return buffer

    return _integers(corpus, read)


def memmap(corpus: Corpus, folder: Path, few: range) -> Fill:
    """One file of bare int16 for each recording, mapped; dequantised straight from the map."""
    maps = []
    for i in range(len(corpus.folders)):
        with _writing(folder / f"{i}.i2") as into:
            if into:
                corpus.samples(i).tofile(into)
        shape = (corpus.n_channels, int(corpus.index.n_samples[i]))
        maps.append(np.memmap(folder / f"{i}.i2", dtype=np.int16, mode="r", shape=shape).view(np.ndarray))
    return _integers(corpus, lambda recording, start, stop: maps[recording][:, start:stop])


def lmdb(corpus: Corpus, folder: Path, few: range) -> Fill:
    """LMDB of float32 windows that were cut before."""
    import lmdb as mdb

    with _writing(folder / "windows") as into:
        if into:
            with mdb.open(str(into), map_size=2 * len(few) * corpus.window_bytes + _CHUNK_BYTES) as database:
                for window in few:
                    with database.begin(write=True) as put:
                        put.put(b"%08d" % window, corpus.expected([window]).tobytes())
    database = mdb.open(str(folder / "windows"), readonly=True, lock=False, readahead=False)

    def fill(windows: Picks, out: Floats) -> Picks:
        with database.begin(buffers=True) as get:
            for row, window in zip(out, windows, strict=True):
                row[:] = np.frombuffer(get.get(b"%08d" % window), dtype=np.float32).reshape(row.shape)
        return windows

    return fill


def litdata(corpus: Corpus, folder: Path, few: range) -> Fill:
    """LitData's chunks of float32 windows that were cut before, by its StreamingDataset."""
    from litdata import StreamingDataset
    from litdata.streaming.cache import Cache

    with _writing(folder / "chunks") as into:
        if into:
            cache = Cache(str(into), chunk_bytes=_CHUNK_BYTES)
            for window in few:
                cache[window] = corpus.expected([window])[0]
            cache.done()
            cache.merge()
    dataset = StreamingDataset(str(folder / "chunks"))

    def fill(windows: Picks, out: Floats) -> Picks:
        for row, window in zip(out, windows, strict=True):
            row[:] = dataset[window]
        return windows

    return fill


def webdataset(corpus: Corpus, folder: Path, few: range) -> Fill:
    """WebDataset's tar files of float32 windows that were cut before; it streams, in its own order."""
    import webdataset as wds

    with _writing(folder / "tars") as into:
        if into:
            into.mkdir()
            with wds.ShardWriter(str(into / "%04d.tar"), maxsize=_CHUNK_BYTES, verbose=0) as sink:
                for window in np.random.default_rng(0).permutation(len(few)).tolist():
                    sink.write({"__key__": f"{window:08d}", "npy": corpus.expected([window])[0]})
    tars = sorted(map(str, (folder / "tars").iterdir()))
    dataset = wds.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(64).decode().to_tuple("__key__", "npy")
    windows = iter(dataset.repeat())

    def fill(asked: Picks, out: Floats) -> Picks:
        given = []
        for row in out[: len(asked)]:
            key, row[:] = next(windows)
            given.append(int(key))
        return given

    return fill


def braindecode(corpus: Corpus, folder: Path, few: range, *, lazy: bool) -> Fill:
    """braindecode's windows over MNE's raws, normalised before: in memory, or read from FIF when asked for."""
    import mne

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies, when imported
        from braindecode.datasets import BaseConcatDataset, RawDataset
        from braindecode.preprocessing import create_fixed_length_windows
    info = mne.create_info(list(corpus.view.channels), corpus.view.rate_hz, "eeg", verbose="error")
    raws = []
    for recording in sorted({corpus.recording[window] for window in few}):
        raw = mne.io.RawArray(corpus.normalised(recording).astype(np.float64), info, verbose="error")
        if lazy:
            with _writing(folder / f"{recording}_raw.fif") as into:
                if into:
                    raw.save(into, overwrite=True, verbose="error")
            raw = mne.io.read_raw_fif(folder / f"{recording}_raw.fif", preload=False, verbose="error")
        raws.append(RawDataset(raw))
    dataset = create_fixed_length_windows(
        BaseConcatDataset(raws),
        window_size_samples=corpus.length,
        window_stride_samples=corpus.view.stride,
        drop_last_window=True,
        preload=False,
        verbose="error",
    )

    def fill(windows: Picks, out: Floats) -> Picks:
        for row, window in zip(out, windows, strict=True):
            row[:] = dataset[window][0]
        return windows

    return fill


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[Path | None]:
    """Give a path to write to that becomes `path` when all is written; None where that is there already."""
    if path.exists():
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"draft-{path.name}")
    if draft.is_dir():
        shutil.rmtree(draft)
    yield draft
    os.sync()
    draft.replace(path)


EVERYWHERE: dict[str, Callable[[Corpus, Path, range], Fill]] = {
    "zarr-python": zarr_python,
    "zarrs": zarrs,
    "tensorstore": tensorstore,
    "h5py": h5py,
    "memmap": memmap,
}
"""Peers that read windows of all recordings."""

FEW: dict[str, Callable[[Corpus, Path, range], Fill]] = {
    "npz": lambda corpus, folder, few: npz(corpus, folder, few, compressed=False),
    "npz-compressed": lambda corpus, folder, few: npz(corpus, folder, few, compressed=True),
    "lmdb": lmdb,
    "litdata": litdata,
    "webdataset": webdataset,
    "braindecode": lambda corpus, folder, few: braindecode(corpus, folder, few, lazy=False),
    "braindecode-lazy": lambda corpus, folder, few: braindecode(corpus, folder, few, lazy=True),
}
"""Peers that would take six times the disk or more: they hold the windows of some recordings."""
