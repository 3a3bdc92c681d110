"""The loader: batches of a view's windows, in reused buffers, filled by threads that read ahead. numpy only."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import count, islice, pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from brainbrr.core.arrays import AnyArray, Float32, Int64, UInt8, UInt16
from brainbrr.errors import UsageError
from brainbrr.loading.augment import Augment, Augmenter, Variation
from brainbrr.loading.index import Index
from brainbrr.loading.labels import Kind, Labeller, Per
from brainbrr.loading.order import Order, Sampling
from brainbrr.loading.reader import Resident, Shards, WindowReader
from brainbrr.store.store import Store

DType = Literal["float32", "float16", "bfloat16", "int16"]

_STORED = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16, "int16": np.int16}
_LINE = 64
_READ_AHEAD = 32
"""At least this number of windows is announced to the system before it is read."""


Memory = Callable[[int], UInt8]
"""Returns uninitialised memory of a number of bytes."""


def host_memory(n_bytes: int) -> UInt8:
    """Return memory of this process."""
    return np.empty(n_bytes, dtype=np.uint8)


class Batch(NamedTuple):
    """Windows of one step. With `reuse`, in buffers that the next steps fill again.

    signal (batch, rows, length), int16 (batch, recorded channels, length); label uint8 (batch, ...) as
    `labels.Labeller` says, 255 in unlabelled time; valid bool (batch, length), false in padding and in unlabelled
    time; index int64 (batch,) into the view. bfloat16 is given to numpy as its bits, uint16.
    """

    signal: Any
    label: Any
    valid: Any
    index: Any  # hides tuple.index(), which has no use here


@dataclass(frozen=True)
class Filler:
    """Everything that makes one window: signal, label, augmentation, and memory."""

    reader: WindowReader
    labeller: Labeller
    dtype: DType
    augmenter: Augmenter | None = None
    memory: Memory = host_memory

    def __post_init__(self) -> None:
        if self.dtype not in _STORED:
            raise UsageError(f"dtype = {self.dtype!r}", fix=", ".join(_STORED))

    def empty(self, n: int) -> Batch:
        """Return unfilled buffers for n windows."""
        index = self.reader.index
        n_rows = len(index.frame.channels if self.dtype == "int16" else index.frame.rows)
        return Batch(
            signal=self._on_lines((n, n_rows, index.frame.length), np.dtype(_STORED[self.dtype])),
            label=np.empty((n, *self.labeller.shape), dtype=np.uint8),
            valid=np.empty((n, index.frame.length), dtype=np.bool_),
            index=np.empty(n, dtype=np.int64),
        )

    def _on_lines(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
        """Return an unfilled array that begins on a cache line."""
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        memory = self.memory(n_bytes + _LINE)
        first = -memory.ctypes.data % _LINE
        return memory[first : first + n_bytes].view(dtype).reshape(shape)

    def fill(self, batch: Batch, plan: Plan, rows: slice) -> None:
        """Fill some rows of a batch with windows of a plan."""
        recordings, signal = plan.recordings[rows], batch.signal[rows]
        variations = self.variations(plan, rows)
        starts = self.starts(recordings, plan.starts[rows], variations)
        self.labeller.fill(recordings, starts, batch.label[rows], batch.valid[rows])
        if self.dtype == "int16":
            self.reader.raw_many(recordings, starts, signal)
        elif self.dtype == "float32":
            self.reader.fill_many(recordings, starts, signal, variations)
        else:
            exact = np.empty(signal.shape[1:], dtype=np.float32)[None]
            for i in range(len(signal)):
                one = slice(i, i + 1)
                self.reader.fill_many(recordings[one], starts[one], exact, variations and variations[one])
                signal[i] = bfloat16(exact[0]) if self.dtype == "bfloat16" else exact[0]

    def variations(self, plan: Plan, rows: slice) -> list[Variation] | None:
        """Return the variations of a plan's windows, None without augmentation."""
        if self.augmenter is None:
            return None
        return [self.augmenter.draw(plan.place + row) for row in range(len(plan.windows))[rows]]

    def starts(self, recordings: Int64, starts: Int64, variations: list[Variation] | None) -> Int64:
        """Return the first samples of windows after augmentation."""
        if variations is None or self.augmenter is None:
            return starts
        index = self.reader.index
        shift = self.augmenter.config.shift_s * index.frame.rate_hz * np.array([each.shift for each in variations])
        latest = np.maximum(index.n_samples[recordings] - index.frame.length, 0)
        # a last window that is padded begins later than that: without a shift it stays where it is
        return np.where(shift == 0, starts, np.clip(starts + np.rint(shift).astype(np.int64), 0, latest))


def bfloat16(exact: Float32) -> UInt16:
    """Return float32 rounded to the nearest bfloat16, ties to even, as bits."""
    bits = exact.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(exact), 0x7FC0, rounded).astype(np.uint16)


class Plan(NamedTuple):
    """The windows of one step, the recording and first sample of each, and the place of the first in the order."""

    windows: Int64
    recordings: Int64
    starts: Int64
    place: int


def plans_of(index: Index, order: Order, first: int, epochs: int | None) -> Iterator[Plan]:
    """Give the plans from step `first` on, without end or to the end of some epochs."""
    for step in count(first):
        place = order.place(step)
        n = order.batch if epochs is None else min(order.batch, epochs * order.epoch - place)
        if n < 1:
            return
        windows = order.take(place, n)
        recordings, starts = index.locate(windows)
        yield Plan(windows, recordings, starts, place)


class Buffers:
    """Buffers of one size. With `reuse` `n` of them take turns; else one is filled again once nothing refers to it.

    Without it a batch that is kept stays as it is, and a loop that keeps none needs no new memory.
    """

    def __init__(self, new: Callable[[], Batch], n: int, *, reuse: bool) -> None:
        self._new, self._n, self._reuse = new, n, reuse
        self._known: deque[tuple[Batch, list[int]]] = deque()

    def take(self) -> Batch:
        """Return buffers to fill."""
        if self._reuse:
            self._known.append((self._new(), []) if len(self._known) < self._n else self._known.popleft())
            return self._known[-1][0]
        for known, unused in self._known:
            if _references(known) == unused:
                return known
        buffers = self._new()
        self._known.append((buffers, _references(buffers)))
        return buffers


def _references(buffers: Batch) -> list[int]:
    """Return how often each buffer's memory is referred to: a view or a tensor of it refers to that."""
    return [sys.getrefcount(array if array.base is None else array.base) for array in buffers[:3]]


def stream(
    filler: Filler,
    order: Order,
    *,
    first: int = 0,
    epochs: int | None = None,
    threads: int = 2,
    depth: int = 2,
    reuse: bool = True,
) -> Generator[Batch]:
    """Give batches from step `first` on, without end or to the end of some epochs; `threads` read `depth` ahead.

    The last batch of the last epoch holds what is left. With `reuse` depth + 1 batches of memory are used, and a batch
    is the consumer's until it asks for the next; without, those and the batches that it keeps.
    Raises IntegrityError where stored bytes are damaged.
    """
    batch, plans = order.batch, plans_of(filler.reader.index, order, first, epochs)
    ahead = 1 - -_READ_AHEAD // batch  # announced while the batch before is read
    ring = Buffers(lambda: filler.empty(batch), depth + 1, reuse=reuse)
    pending: deque[tuple[Batch, list[Future[None]]]] = deque()
    announced: deque[Plan] = deque(islice(plans, 1))
    with (
        ThreadPoolExecutor(
            1, thread_name_prefix="brainbrr-loader-ahead"
        ) as advising,  # while the others wait for a disk
        ThreadPoolExecutor(threads, thread_name_prefix="brainbrr-loader") as pool,
    ):
        try:
            for turn in count():
                if announced:
                    plan = announced.popleft()
                    slot = _first(ring.take(), plan.windows)
                    cuts = [len(plan.windows) * part // threads for part in range(threads + 1)]
                    parts = [slice(*each) for each in pairwise(cuts)]
                    pending.append((slot, [pool.submit(filler.fill, slot, plan, part) for part in parts]))
                elif not pending:
                    return
                if turn == 0 and pending:
                    wait(pending[0][1])  # the consumer waits for the first batch: read nothing beside it
                for coming in islice(plans, ahead - len(announced)):
                    announced.append(coming)
                    advising.submit(filler.reader.advise, coming.recordings, coming.starts)
                if len(pending) > depth or not announced:
                    yield _ready(*pending.popleft())
        finally:
            advising.shutdown(wait=True, cancel_futures=True)
            pool.shutdown(wait=True, cancel_futures=True)


def _first(slot: Batch, windows: Int64) -> Batch:
    """Return as much of a slot as some windows need."""
    n = len(windows)
    return Batch(slot.signal[:n], slot.label[:n], slot.valid[:n], windows)


def _ready(batch: Batch, reading: list[Future[None]]) -> Batch:
    for part in reading:
        part.result()
    return batch


Mode = Literal["auto", "resident", "stream", "map"]


@dataclass(frozen=True)
class Choices:
    """What a loader gives, and how.

    `start_step` continues a loader of the same view, seed, batch and world; without `epochs` it never ends.
    `threads` read up to `depth` batches ahead, in buffers that are filled again, with `reuse` even while a batch is
    kept. `rank` of `world` takes its part of each global batch.
    """

    batch: int
    sampling: Sampling = field(default_factory=Sampling)
    dtype: DType = "float32"
    labels: Kind = "binary"
    per: Per = "sample"
    augment: Augment = field(default_factory=Augment)
    start_step: int = 0
    epochs: int | None = None
    threads: int = 2
    depth: int = 2
    reuse: bool = True
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("labels", self.labels, ("none", "binary", "type", "per-channel")),
            ("per", self.per, ("sample", "window")),
        ):
            if value not in allowed:
                raise UsageError(f"{name} = {value!r}", fix=f"one of {', '.join(allowed)}")
        if self.dtype == "int16" and self.augment:
            raise UsageError("stored integers cannot be augmented", fix='dtype = "float32"')
        for name, n, least in (
            ("threads", self.threads, 1),
            ("depth", self.depth, 1),
            ("start_step", self.start_step, 0),
            ("epochs", 1 if self.epochs is None else self.epochs, 1),
        ):
            if n < least:
                raise UsageError(f"{name} = {n}: {least} at least")


class Loader:
    """An iterator of batches; close it, or use it in a `with` statement, to stop its threads before the end.

    `brainbrr.loader` makes one.

    Parameters
    ----------
    batches : iterator of Batch
        The batches.
    order : Order
        Which windows each step takes.
    types : tuple of str
        The names of the labels of kind "type", by their number.
    mode : {"stream", "resident", "map"}
        How windows are read; what "auto" chose.

    Attributes
    ----------
    staged : StagedObjects or None
        Where objects were copied to first.

    Examples
    --------
    >>> view = brainbrr.view("store", profile="smoke", window=brainbrr.WindowSpec(2, stride_s=1))
    >>> with brainbrr.loader(view, batch=8, epochs=1, as_numpy=True) as batches:
    ...     batches, sum(len(batch.index) for batch in batches)
    (<Loader stream: 16 steps of 8 windows an epoch>, 126)
    """

    def __init__(self, batches: Iterator[Batch], *, order: Order, types: tuple[str, ...], mode: Mode) -> None:
        self._batches = batches
        self.order, self.types, self.mode = order, types, mode
        self.staged: Any = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps that hold one epoch, rounded up."""
        return self.order.steps(1)

    def __repr__(self) -> str:
        return f"<Loader {self.mode}: {self.steps_per_epoch:,} steps of {self.order.batch} windows an epoch>"

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

    def close(self) -> None:
        """Stop reading ahead, and drop the batches that were.

        Notes
        -----
        Closing twice is allowed. ``with`` calls it; a loader that was read to its end needs no call.
        """
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def order_of(index: Index, choices: Choices) -> Order:
    """Return which windows each step takes. Raises UsageError when no window can be taken."""
    return Order(
        index,
        choices.sampling,
        batch=choices.batch,
        rank=choices.rank,
        world=choices.world,
        unlabelled=choices.labels == "none",
    )


def filler_of(index: Index, store: Store, choices: Choices, *, memory: Memory = host_memory) -> Filler:
    """Return what fills windows from a store's objects."""
    shards = Shards(index, store)
    augment = choices.augment
    return Filler(
        reader=WindowReader(index, shards),
        labeller=Labeller(index, kind=choices.labels, per=choices.per),
        dtype=choices.dtype,
        augmenter=Augmenter(augment, index.frame.rows, seed=choices.sampling.seed) if augment else None,
        memory=memory,
    )


def numpy_loader(
    index: Index, store: Store, choices: Choices, *, mode: Mode = "stream", memory: Memory = host_memory
) -> Loader:
    """Return a loader of numpy arrays: read from shards, or resident in this host's memory.

    Raises UsageError where no window can be taken, SpaceError where a resident view does not fit.
    """
    order, filler = order_of(index, choices), filler_of(index, store, choices, memory=memory)
    if mode == "resident":
        filler = resident(filler, threads=choices.threads)
    batches = stream(
        filler,
        order,
        first=choices.start_step,
        epochs=choices.epochs,
        threads=choices.threads,
        depth=choices.depth,
        reuse=choices.reuse,
    )
    return Loader(batches, order=order, types=filler.labeller.types, mode="stream" if mode == "auto" else mode)


def resident(filler: Filler, *, threads: int) -> Filler:
    """Return a filler of the same windows from this host's memory, after reading all of them into it."""
    return replace(filler, reader=WindowReader(filler.reader.index, Resident(filler.reader, threads=threads)))
