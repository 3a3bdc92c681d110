"""`bench`: measure how fast each way of reading feeds a model on this machine, and what limits it. Reads only."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from brainbrr.core.progress import Progress
from brainbrr.core.threads import cores
from brainbrr.errors import Fix, UsageError
from brainbrr.loading.index import Index
from brainbrr.loading.loader import Choices, Filler, filler_of, numpy_loader, order_of, plans_of, resident, stream
from brainbrr.loading.order import Order, Sampling
from brainbrr.loading.reader import free_bytes, resident_bytes
from brainbrr.store.formats import SHARD_FILE
from brainbrr.store.store import Store
from brainbrr.views.view import View

_ROUNDS = 5
_COPIED_BYTES = 1 << 29  # more than any cache keeps

_LIMIT = "copy in memory"
_STREAM, _RESIDENT = "stream, {} threads", "resident, {} threads"

Read = Callable[[], int]
"""Reads some windows, and returns how many."""


@dataclass(frozen=True)
class Pace:
    """Windows per second of one way of reading; `share` of what copying the same float32 windows in memory reaches."""

    way: str
    windows_per_second: float
    share: float


@dataclass
class BenchReport:
    """The measured rates, what limits them, and one line of advice."""

    view: str
    recordings: int
    windows: int
    window_s: float
    batch: int
    codec: str
    device: str
    limit_windows_per_second: float
    limit_gb_per_second: float
    paces: list[Pace] = field(default_factory=list)
    bound: str = ""
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        paces = [
            {"way": p.way, "windows_per_second": round(p.windows_per_second, 1), "share": round(p.share, 3)}
            for p in self.paces
        ]
        limits = {name: round(getattr(self, name), 2) for name in ("limit_windows_per_second", "limit_gb_per_second")}
        return {**vars(self), **limits, "paces": paces}


def bench(view: View, *, batch: int, device: str, seconds: float, progress: Progress) -> BenchReport:
    """Measure in turns, `seconds` for each way in all, and return medians.

    Raises UsageError for a view without windows, and as the loader does for a device that is not there.
    """
    index, store = view.index, view.store
    if not len(index):
        raise UsageError("the view has no windows to read")
    progress.start("bench", len(index.n_samples), "recordings")
    try:
        found = _warm(index, store, batch, device, seconds, progress)
        gc.collect()  # what is mapped cannot be dropped
        for shuffle in ("global", "block"):
            found[f"cold cache, {shuffle} shuffle"] = _cold(index, store, batch, shuffle, seconds)
    finally:
        progress.stop()
    limit = found.pop(_LIMIT)
    report = BenchReport(
        view=view.digest or "",
        recordings=len(index.n_samples),
        windows=len(index),
        window_s=index.frame.length / index.frame.rate_hz,
        batch=batch,
        codec=store.codec,
        device=device,
        limit_windows_per_second=limit,
        limit_gb_per_second=limit * len(index.frame.rows) * index.frame.length * 4 / 1e9,
        paces=[Pace(way, pace, pace / limit) for way, pace in found.items()],
    )
    report.bound, report.advice = _advice(report, found, index, batch)
    return report


def _warm(index: Index, store: Store, batch: int, device: str, seconds: float, progress: Progress) -> dict[str, float]:
    """Return the pace of every way of reading files that are in the system's cache, their tiles verified."""
    choices = Choices(batch=batch, labels="none")
    order, filler = order_of(index, choices), filler_of(index, store, choices)
    longest = np.empty((len(index.frame.channels), int(index.n_samples.max())), dtype=np.int16)
    for recording, n in enumerate(index.n_samples.tolist()):
        filler.reader.raw(recording, 0, longest[:, :n])
        progress.advance(1)
    ways: dict[str, Read] = {_LIMIT: _copier(index, batch), "one reader, no loader": _reader(filler, order)}
    with ExitStack() as stack:
        for mode, name in (("stream", _STREAM), ("resident", _RESIDENT)):
            if mode == "resident" and resident_bytes(index) * 2 > free_bytes():
                continue
            for threads in sorted({1, cores()}):
                if device == "cpu":
                    source = resident(filler, threads=threads) if mode == "resident" else filler
                    batches: Any = stream(source, order, threads=threads)
                else:
                    batches = _on_device(index, store, replace(choices, threads=threads), mode, device)
                stack.callback(batches.close)
                ways[name.format(threads)] = _next_of(batches)
        if device == "cpu" and find_spec("torch") is not None:
            from brainbrr.learn.torch_loader import by_dataloader

            ways["map-style, torch DataLoader, in this process"] = _next_of(by_dataloader(filler, order))
        return _interleaved(ways, seconds)


def _on_device(index: Index, store: Store, choices: Choices, mode: Any, device: str) -> Any:
    from brainbrr.learn.torch_loader import torch_loader

    return torch_loader(index, store, choices, mode=mode, device=device)


def _next_of(batches: Iterator[Any]) -> Read:
    return lambda: len(next(batches).signal)


def _copier(index: Index, batch: int) -> Read:
    """Return a copy of one batch of random float32 windows from memory to memory."""
    shape = (len(index.frame.rows), index.frame.length)
    n = max(_COPIED_BYTES // (4 * shape[0] * shape[1]), 2)
    windows, out = np.ones((n, *shape), dtype=np.float32), np.zeros((2, batch, *shape), dtype=np.float32)
    random, turn = np.random.default_rng(0), iter(range(1 << 62))

    def read() -> int:
        into = out[next(turn) % 2]
        for row, window in enumerate(random.integers(0, n, batch)):
            np.copyto(into[row], windows[window])
        return batch

    return read


def _reader(filler: Filler, order: Order) -> Read:
    """Return the reading of one batch after another in this thread."""
    buffers, plans = [filler.empty(order.batch) for _ in range(2)], plans_of(filler.reader.index, order, 0, None)
    turn = iter(range(1 << 62))

    def read() -> int:
        filler.fill(buffers[next(turn) % 2], next(plans), slice(None))
        return order.batch

    return read


def _interleaved(ways: dict[str, Read], seconds: float) -> dict[str, float]:
    """Return the median pace of each way over some rounds; the first one fills buffers and does not count."""
    paces: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(_ROUNDS + 1):
        for name, read in ways.items():
            pace = _pace(read, seconds / _ROUNDS)
            if turn:
                paces[name].append(pace)
    return {name: statistics.median(each) for name, each in paces.items()}


def _pace(read: Read, seconds: float) -> float:
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or not n:
        n += read()
    return n / (time.perf_counter() - began)


def _cold(index: Index, store: Store, batch: int, shuffle: Any, seconds: float) -> float:
    """Return the pace after the system dropped the view's files from its cache."""
    for content in index.content:
        path = store.path_of("object", content.tobytes().hex()) / SHARD_FILE
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    choices = Choices(batch=batch, labels="none", sampling=Sampling(shuffle=shuffle), epochs=1)
    began, n = time.perf_counter(), 0
    with numpy_loader(index, store, choices) as batches:
        for each in batches:
            n += len(each.signal)
            if time.perf_counter() - began > seconds:
                break
    return n / (time.perf_counter() - began)


def _advice(report: BenchReport, found: dict[str, float], index: Index, batch: int) -> tuple[str, str]:
    """Return what limits reading here, and one line of advice."""
    streams = {name: pace for name, pace in found.items() if name.startswith(("stream", "resident"))}
    best = max(streams, key=lambda name: streams[name])
    cold = max(pace for name, pace in found.items() if name.startswith("cold"))
    fits = resident_bytes(index) < free_bytes()
    if not fits and cold < 0.5 * streams[best]:
        return (
            "disk",
            'larger than memory: shuffle = "block" reads each byte once; train --stage DIR if it is remote',
        )
    if report.codec == "zstd" and streams[best] < 0.5 * report.limit_windows_per_second:
        return (
            "decode",
            Fix(
                "decompressing zstd tiles takes most of the time: ",
                ("recompress", "--to", "DIR", "--codec", "none"),
                " makes a larger store that is faster to read",
            ),
        )
    bound = (
        "memory bandwidth" if streams[best] > 0.8 * report.limit_windows_per_second else "the threads of this machine"
    )
    mode, threads = best.split(", ")
    return bound, f'mode = "{mode}", threads = {threads.split()[0]}, batch = {batch}: {streams[best]:,.0f} windows/s'
