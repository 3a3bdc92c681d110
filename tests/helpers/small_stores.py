"""Small stores for the tests of what is kept and what is deleted, and points at which others come in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers.store_values import arguments, catalog_of, meta_of, row_of, samples_of

from brainbrr.core import failpoints
from brainbrr.core.digest import xxh3_128
from brainbrr.store import catalog as catalogs
from brainbrr.store.integrity import verify_object, verify_record
from brainbrr.store.reachability import Reachability
from brainbrr.store.records import Record
from brainbrr.store.store import Store

META = meta_of(2, 400)
DAY = 86_400


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and nothing is cleaned up but what a `finally` does."""


def put(store: Store, name: str, *, seed: int | None = None, recipe_fields: Any = None) -> Record:
    """Store an array under a name that stands for an EDF's bytes; the same seed is the same array."""
    seed = int(xxh3_128(name.encode())[:6], 16) if seed is None else seed
    record = store.put(samples_of(META, seed=seed), **arguments(META, source=name, recipe_fields=recipe_fields)).record
    store.put_findings(record.key, 1, {"score": 100})
    return record


def publish(store: Store, *records: Record, corpus: str = "demo") -> None:
    """Let these be all that a corpus has now."""
    rows = [row_of(f"{r.key}.edf", source=r.source, contents={r.recipe: r.content}) for r in records]
    store.publish(corpus, lambda _: catalog_of(rows, corpus=corpus))


def view_of(*records: Record, corpus: str = "demo") -> tuple[str, dict[str, Any]]:
    """A digest and what a frozen view of these says, as far as a store looks."""
    said = {"format": 1, "corpus": corpus, "recordings": [{"key": r.key, "content": r.content} for r in records]}
    return xxh3_128(repr(said).encode()) * 2, said


def held(store: Store) -> tuple[set[str], set[str], set[str]]:
    """Keys, contents and findings that are there."""
    return set(store.keys()), set(store.contents()), set(store.found_findings())


def whole(store: Store) -> None:
    """Everything that is alive is there, and all that is there is whole."""
    roots = Reachability(store.layout).read()
    for key in roots.keys:
        assert store.record(key) is not None, key
    for content in roots.objects():
        verify_object(store, content)
    for key in store.keys():  # noqa: SIM118
        verify_record(store, key)


def every_point(act: Callable[[], object], *, points: set[str]) -> int:
    """Return how many of some points are reached while something is done."""
    reached: list[str] = []
    failpoints.listener = reached.append
    try:
        act()
    finally:
        failpoints.listener = None
    return sum(point in points for point in reached)


def at(n: int, act: Callable[[], None], *, points: set[str]) -> Callable[[str], None]:
    """Return a listener that acts at the n-th of some points, once, and hears nothing of that."""
    count = 0

    def listener(point: str) -> None:
        nonlocal count
        count += point in points
        if count == n:
            failpoints.listener = None
            act()

    return listener


def die() -> None:
    """End as by SIGKILL."""
    raise Killed


def verify_catalog(store: Store, corpus: str) -> None:
    catalogs.verify(store.layout, corpus)
