"""What a store has of a key already. A record whose stat has not changed since it was read is not opened again.

Objects are looked for by name and size; only `verify` opens them.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

from brainbrr.core.digest import is_digest, key_of
from brainbrr.core.statcache import FileFacts
from brainbrr.errors import CollisionError, IntegrityError
from brainbrr.store.integrity import verify_object
from brainbrr.store.records import Record
from brainbrr.store.store import Store


@dataclass(frozen=True)
class Reusable:
    """What an ingest needs of a record: enough to find its object and to fill its catalog row."""

    content: str
    shard_bytes: int
    signal_us: int
    synthetic: bool

    @classmethod
    def of(cls, record: Record) -> Reusable:
        """Return this part of a record."""
        array = record.array
        signal_us = array.n_samples * 1_000_000 // array.rate_hz
        return cls(record.content, array.shard_bytes, signal_us, bool(record.signal.get("synthetic")))


@dataclass(frozen=True)
class Made:
    """What an object is made from: the digests of a source and a recipe, whose key finds its record."""

    source: str
    recipe: str

    @cached_property
    def key(self) -> str:
        """The key of both."""
        return key_of(source=self.source, recipe=self.recipe)


def reuse(store: Store, made: Made, *, remembered: FileFacts | None = None, verify: bool = False) -> Reusable | None:
    """Return what can be reused: None where the key's record or object is missing or damaged, and must be built.

    The object is looked for each time, by two stats. With `verify`, nothing remembered counts and the object is
    verified in full. Raises CollisionError where the key's record was made from anything else.
    """
    try:
        found = _read(store, made, remembered, verify=verify)
        if not store.has_files(found.content, found.shard_bytes):
            return None
        if verify:
            verify_object(store, found.content)
    except (FileNotFoundError, NotADirectoryError, IntegrityError):
        return None
    return found


def remember(store: Store, built: Iterable[Made], remembered: FileFacts) -> None:
    """Read the records that were just built, so that the next ingest finds those by stat that have settled."""
    for made in built:
        with suppress(CollisionError, IntegrityError, FileNotFoundError, NotADirectoryError):  # refused, or gone again
            _read(store, made, remembered, verify=True)


def _read(store: Store, made: Made, remembered: FileFacts | None, *, verify: bool) -> Reusable:
    path = store.path_of("record", made.key)

    def read() -> Reusable:
        record = store.made_from(source=made.source, recipe=made.recipe)
        if record is None:
            raise FileNotFoundError(path)
        return Reusable.of(record)

    if remembered is None:
        return read()
    name = f"{made.source}-{made.recipe}"  # not the key: it is another fact that the record was made from these
    known = None if verify else _from_fact(remembered.known(name, path))
    return known or Reusable(*remembered.learn(name, path, lambda: astuple(read())))


def _from_fact(fact: Any) -> Reusable | None:
    """Return what was remembered, None for what brainbrr cannot have written: then the record is read again."""
    if (
        not isinstance(fact, list)
        or [type(item) for item in fact] != [str, int, int, bool]
        or not is_digest(fact[0], 64)
    ):
        return None
    return Reusable(*fact)
