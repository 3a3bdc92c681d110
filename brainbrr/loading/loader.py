"""The loader: a view's index, a store and some choices, joined into batches. What other libraries need comes on top."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from brainbrr.errors import UsageError
from brainbrr.loading.augment import Augment, Augmenter
from brainbrr.loading.batches import Batch, DType, Filler, Memory, host_memory, stream
from brainbrr.loading.index import Index
from brainbrr.loading.labels import Kind, Labeller, Per
from brainbrr.loading.order import Order, Sampling
from brainbrr.loading.reader import Shards, WindowReader
from brainbrr.loading.resident import Resident
from brainbrr.store.store import Store

Mode = Literal["auto", "resident", "stream", "map"]


@dataclass(frozen=True)
class Choices:
    """What a loader gives, and how.

    `verify`: the checksum of a tile is held against it when a process first touches it, or on "every" read.
    `start_step` continues a loader of the same view, seed, batch and world; without `epochs` it never ends.
    `threads` read up to `depth` batches ahead. `rank` of `world` takes its part of each global batch.
    """

    batch: int
    sampling: Sampling = field(default_factory=Sampling)
    dtype: DType = "float32"
    labels: Kind = "binary"
    per: Per = "sample"
    augment: Augment = field(default_factory=Augment)
    verify: Literal["first", "every"] = "first"
    start_step: int = 0
    epochs: int | None = None
    threads: int = 2
    depth: int = 2
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("verify", self.verify, ("first", "every")),
            ("labels", self.labels, ("none", "binary", "type", "per-channel")),
            ("per", self.per, ("sample", "window")),
        ):
            if value not in allowed:
                raise UsageError(f"{name} = {value!r}", fix=f"one of {', '.join(allowed)}")
        if self.dtype == "int16" and self.augment:
            raise UsageError("stored integers cannot be augmented", fix='dtype = "float32"')
        for name, count, least in (
            ("threads", self.threads, 1),
            ("depth", self.depth, 1),
            ("start_step", self.start_step, 0),
            ("epochs", 1 if self.epochs is None else self.epochs, 1),
        ):
            if count < least:
                raise UsageError(f"{name} = {count}: {least} at least")


class Loader:
    """An iterator of batches; `close` it, or let `with` do so, to stop its threads before the end.

    `types` are the names of the labels of kind "type"; `mode` is what "auto" chose; `staged` is where
    objects were copied to first, or None.
    """

    def __init__(self, batches: Iterator[Batch], *, order: Order, types: tuple[str, ...], mode: Mode) -> None:
        self._batches = batches
        self.order, self.types, self.mode = order, types, mode
        self.staged: Any = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps that hold one epoch, rounded up."""
        return self.order.steps(1)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

    def close(self) -> None:
        """Stop reading ahead."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def order_of(index: Index, choices: Choices) -> Order:
    """Return which windows each step takes. Raises UsageError when there is nothing to take."""
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
    shards = Shards(index, store, every=choices.verify == "every")
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
    """Return a loader of numpy arrays, in buffers that are filled again: of shards, or resident in this host's memory.

    Raises UsageError where there is nothing to take, SpaceError where a resident view does not fit.
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
    )
    return Loader(batches, order=order, types=filler.labeller.types, mode="stream" if mode == "auto" else mode)


def resident(filler: Filler, *, threads: int) -> Filler:
    """Return a filler of the same windows from this host's memory, after reading all of them into it."""
    return replace(filler, reader=WindowReader(filler.reader.index, Resident(filler.reader, threads=threads)))
