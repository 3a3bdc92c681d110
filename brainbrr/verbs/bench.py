"""`bench`: how fast each way of reading feeds a model on this machine, and what bounds it. Reads only."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from brainbrr.errors import UsageError
from brainbrr.loading.index import Index
from brainbrr.loading.loader import Choices, numpy_loader
from brainbrr.loading.memory import free_bytes, resident_bytes
from brainbrr.loading.order import Sampling
from brainbrr.loading.reader import Shards, WindowReader
from brainbrr.progress import Progress
from brainbrr.store.layout import SHARD_FILE
from brainbrr.store.store import Store
from brainbrr.views import View

_ROUNDS = 5
_COPIED_BYTES = 1 << 29  # more than any cache keeps

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
    """What a machine reaches, what bounds it, and what to do about it."""

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
        raise UsageError("the view has no windows: there is nothing to read")
    with ExitStack() as stack:
        warm = _ways(index, store, batch, device, stack)
        progress.start("bench", (_ROUNDS + 1) * len(warm) + 2, "runs")
        stack.callback(progress.stop)
        found = _interleaved(warm, seconds, progress)
    for shuffle in ("global", "block"):
        found[f"cold cache, {shuffle} shuffle"] = _cold(index, store, batch, shuffle, seconds)
        progress.advance(1)
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


_LIMIT = "copy in memory"
_STREAM, _RESIDENT = "stream, {} threads", "resident, {} threads"


def _ways(index: Index, store: Store, batch: int, device: str, stack: ExitStack) -> dict[str, Read]:
    """Return everything that is measured warm, by name; loaders close with the stack."""
    cores = max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 1)
    ways: dict[str, Read] = {_LIMIT: _copier(index, batch), "one reader, no loader": _reader(index, store, batch)}
    fits = resident_bytes(index) * 2 < free_bytes()
    for threads in sorted({1, cores}):
        modes = [("stream", _STREAM)] + ([("resident", _RESIDENT)] if fits else [])
        for mode, name in modes:
            loader = _loader(index, store, batch, device, mode, threads)
            stack.callback(loader.close)
            ways[name.format(threads)] = _next_of(loader)
    if device == "cpu" and find_spec("torch") is not None:
        ways["map-style, torch DataLoader, in this process"] = _dataloader(index, store, batch)
    return ways


def _loader(index: Index, store: Store, batch: int, device: str, mode: Any, threads: int) -> Any:
    choices = Choices(batch=batch, labels="none", threads=threads)
    if device == "cpu":
        return numpy_loader(index, store, choices, mode=mode)
    from brainbrr.learn.loader import torch_loader

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


def _reader(index: Index, store: Store, batch: int) -> Read:
    reader, random = WindowReader(index, Shards(index, store)), np.random.default_rng(0)
    out = np.zeros((2, batch, len(index.frame.rows), index.frame.length), dtype=np.float32)
    turn = iter(range(1 << 62))

    def read() -> int:
        into = out[next(turn) % 2]
        places = zip(*index.locate(random.integers(0, len(index), batch)), strict=True)
        for row, (recording, start) in enumerate(places):
            reader.fill(int(recording), int(start), into[row])
        return batch

    return read


def _dataloader(index: Index, store: Store, batch: int) -> Read:
    from brainbrr.learn.loader import by_dataloader

    return _next_of(by_dataloader(index, store, Choices(batch=batch, labels="none")))


def _interleaved(ways: dict[str, Read], seconds: float, progress: Progress) -> dict[str, float]:
    """Return the median pace of each way over some rounds; the first one opens files and does not count."""
    paces: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(_ROUNDS + 1):
        for name, read in ways.items():
            pace = _pace(read, seconds / _ROUNDS)
            if turn:
                paces[name].append(pace)
            progress.advance(1)
    return {name: statistics.median(each) for name, each in paces.items()}


def _pace(read: Read, seconds: float) -> float:
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or not n:
        n += read()
    return n / (time.perf_counter() - began)


def _cold(index: Index, store: Store, batch: int, shuffle: Any, seconds: float) -> float:
    """Return the pace after the system dropped the view's files from its cache."""
    for content in index.content:
        path = store.layout.object(content.tobytes().hex()) / SHARD_FILE
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
    """Return what bounds reading here, and one line of advice."""
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
        return "decode", "zstd tiles cost most of the time: `brainbrr recompress --codec none` trades bytes for it"
    bound = (
        "copy: memory itself" if streams[best] > 0.8 * report.limit_windows_per_second else "threads of this machine"
    )
    mode, threads = best.split(", ")
    return bound, f'mode = "{mode}", threads = {threads.split()[0]}, batch = {batch}: {streams[best]:,.0f} windows/s'
