"""What a store holds of a key already, from this host's memory where a stat allows that. Opens no object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from brainbrr.digest import is_digest
from brainbrr.errors import IntegrityError
from brainbrr.file_facts import FileFacts
from brainbrr.store import proof
from brainbrr.store.records import Record
from brainbrr.store.store import Store


@dataclass(frozen=True)
class Stored:
    """What an ingest needs to know of a record: enough to find its object and to fill its catalog row."""

    content: str
    shard_bytes: int
    signal_us: int
    synthetic: bool

    @classmethod
    def of(cls, record: Record) -> Stored:
        """Return what a record says of all this."""
        array = record.array
        signal_us = array.n_samples * 1_000_000 // array.rate_hz
        return cls(record.content, array.shard_bytes, signal_us, bool(record.signal.get("synthetic")))


def stored(store: Store, key: str, *, remembered: FileFacts | None = None, prove: bool = False) -> Stored | None:
    """Return what a key's record says when it and its object can be reused; where not, building puts that right.

    A record that was read before and whose stat has not moved is not opened again. Its object is looked for each
    time, by two stats. With `prove` nothing remembered counts, and the object is proven.
    """
    try:
        found = _read(store, key, remembered, prove=prove)
        if not store.has_files(found.content, found.shard_bytes):
            return None
        if prove:
            proof.verify_object(store, found.content)
    except (FileNotFoundError, NotADirectoryError, IntegrityError):
        return None
    return found


def is_there(store: Store, key: str, found: Stored | Record) -> bool:
    """Say whether a key's record and its object lie in their places still. Three stats; proves nothing."""
    known = found if isinstance(found, Stored) else Stored.of(found)
    return store.layout.record(key).exists() and store.has_files(known.content, known.shard_bytes)


def remember(store: Store, keys: Iterable[str], remembered: FileFacts) -> None:
    """Read records again that were built just now: the next ingest then finds those by stat that have settled."""
    for key in keys:
        stored(store, key, remembered=remembered)


def _read(store: Store, key: str, remembered: FileFacts | None, *, prove: bool) -> Stored:
    path = store.layout.record(key)

    def read() -> Stored:
        record = store.record(key)
        if record is None:
            raise FileNotFoundError(path)
        return Stored.of(record)

    if remembered is None:
        return read()
    known = None if prove else _from_fact(remembered.known(key, path))
    return known or Stored(*remembered.learn(key, path, lambda: astuple(read())))


def _from_fact(fact: Any) -> Stored | None:
    """Return what was remembered; what nobody can have written is nothing: the record says it anew."""
    if (
        not isinstance(fact, list)
        or [type(item) for item in fact] != [str, int, int, bool]
        or not is_digest(fact[0], 64)
    ):
        return None
    return Stored(*fact)
