"""A cold page cache: epochs of the loader in fresh processes, against reading the same bytes from the disk in order.

    python benchmarks/loader_cold.py STORE N_RECORDINGS SHUFFLE STRIDE_S THREADS    (one epoch; used by bench_loader)

Global shuffle goes through windows that do not overlap, so that every byte is wanted once. Block shuffle goes through
all windows, every 10 s: those of a run share their bytes, which then are read once.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import queue
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from loader_corpus import Corpus, opened, read_all
from measuring import Row

import brainbrr

_BLOCK_BYTES = 1 << 23
_WAYS = {
    "global, 2 threads": ("global", "60", 2),
    "global, 1 thread": ("global", "60", 1),
    "block, 2 threads": ("block", "10", 2),
}


def cold_rows(corpus: Corpus, *, repeats: int) -> Iterator[Row]:
    """Compare cold epochs with O_DIRECT, in turns; a ratio is the median over turns. The cache is warm afterwards."""
    files, store, n = corpus.files(), corpus.view.store.location, len(corpus.folders)
    n_bytes = sum(path.stat().st_size for path in files)
    meta = corpus.view.recordings[0].record.array
    rate_hz, tile_bytes = meta.rate_hz, meta.tile_bytes
    direct: list[float] = []
    scattered: list[float] = []
    rates: dict[str, list[float]] = {name: [] for name in _WAYS}
    shares: list[float] = []
    for _ in range(max(repeats // 2, 1)):
        direct.append(n_bytes / read_direct(files))
        scattered.append(read_scattered(files, corpus.length // rate_hz // 10 * tile_bytes))
        for name, (shuffle, stride_s, threads) in _WAYS.items():
            arguments = [str(store), str(n), shuffle, stride_s, str(threads)]
            command = [sys.executable, str(Path(__file__)), *arguments]
            told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            rates[name].append(told["windows"] / told["seconds"])
            shares.append(told["in_memory"])
    read_all(files)
    a_window = corpus.length // rate_hz // 10 * tile_bytes
    limit = statistics.median(direct) / a_window
    low, high = min(direct) / 1e6, max(direct) / 1e6
    least = f"O_DIRECT {statistics.median(direct) / 1e6:.0f} MB/s ({low:.0f} to {high:.0f}): {limit:,.0f} windows/s"
    for name, goal in zip(_WAYS, (0.9, None, 3.0), strict=True):
        rate = statistics.median(rates[name])
        ratio = statistics.median(r * a_window / d for r, d in zip(rates[name], direct, strict=True))
        detail = f"{rate:,.0f} windows/s, an epoch; {least}; {max(shares):.1%} were in memory"
        yield Row(f"cold cache, {name} / sequential O_DIRECT", ratio, "×", detail, goal)
    rate, disk = statistics.median(rates["global, 2 threads"]), statistics.median(scattered) / a_window
    ratio = statistics.median(r * a_window / d for r, d in zip(rates["global, 2 threads"], scattered, strict=True))
    detail = f"{rate:,.0f} windows/s; the disk reads {disk:,.0f} blocks of a window's size in random order"
    yield Row("cold cache, global, 2 threads / O_DIRECT in random order, 4 threads", ratio, "×", detail)


def drop(paths: Iterable[Path]) -> None:
    """Have the system forget what it holds of files; what a process has mapped stays."""
    os.sync()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def resident_share(paths: Iterable[Path]) -> float:
    """Return the share of files that the system holds in memory."""
    libc, held, pages = ctypes.CDLL(None, use_errno=True), 0, 0
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    for path in paths:
        n_bytes = path.stat().st_size
        flags = (ctypes.c_ubyte * -(-n_bytes // mmap.PAGESIZE))()
        descriptor = os.open(path, os.O_RDONLY)
        address = libc.mmap(None, n_bytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if libc.mincore(address, n_bytes, flags):
            raise OSError(ctypes.get_errno(), "mincore", str(path))
        libc.munmap(address, n_bytes)
        os.close(descriptor)
        held += sum(flag & 1 for flag in flags)
        pages += len(flags)
    return held / pages


def read_direct(paths: Iterable[Path]) -> float:
    """Read files one after the other past the page cache; return the seconds."""
    buffer = mmap.mmap(-1, _BLOCK_BYTES)  # O_DIRECT wants whole pages
    began = time.perf_counter()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        at, end = 0, os.fstat(descriptor).st_size
        while at < end:
            at += os.preadv(descriptor, [buffer], at)
        os.close(descriptor)
    return time.perf_counter() - began


def read_scattered(paths: Iterable[Path], size: int) -> float:
    """Read blocks of a window's size in random order past the page cache, 4 at a time; return bytes per second."""
    size += -size % mmap.PAGESIZE
    blocks = [(path, at) for path in paths for at in range(0, path.stat().st_size - size, size)]
    random.Random(0).shuffle(blocks)
    descriptors = {path: os.open(path, os.O_RDONLY | os.O_DIRECT) for path in paths}
    buffers: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
    for _ in range(4):
        buffers.put(mmap.mmap(-1, size))

    def read(block: tuple[Path, int]) -> int:
        buffer = buffers.get()
        n_read = os.preadv(descriptors[block[0]], [buffer], block[1])
        buffers.put(buffer)
        return n_read

    began = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        n_bytes = sum(pool.map(read, blocks))
    seconds = time.perf_counter() - began
    for descriptor in descriptors.values():
        os.close(descriptor)
    return n_bytes / seconds


def main() -> None:
    """Run one epoch; print its windows and seconds, from the loader's start to its last batch."""
    store, n_recordings, shuffle, stride_s, threads = sys.argv[1:]
    corpus = opened(Path(store), int(n_recordings)).with_window(stride_s=stride_s)
    options = {"batch": 64, "labels": "none", "as_numpy": True, "threads": int(threads), "shuffle": shuffle}
    with brainbrr.loader(corpus.view, mode="stream", **options) as batches:  # type: ignore[arg-type]
        next(batches)  # pays for imports and kernels
    del batches
    gc.collect()  # what is mapped cannot be dropped
    drop(corpus.files())
    in_memory = resident_share(corpus.files())
    began, n = time.perf_counter(), 0
    with brainbrr.loader(corpus.view, mode="stream", epochs=1, **options) as batches:  # type: ignore[arg-type]
        for batch in batches:
            n += len(batch.index)
    print(json.dumps({"windows": n, "seconds": time.perf_counter() - began, "in_memory": in_memory}))


if __name__ == "__main__":
    main()
