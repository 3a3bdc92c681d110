"""Verify a store at a place: what is listed there, and of each object as much as the depth asks. Changes nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from brainbrr.core.digest import key_of
from brainbrr.core.progress import Progress
from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.store import formats, reader
from brainbrr.store.checks import SampleSums, check_sums
from brainbrr.store.damage import Collector, Damage, Kind
from brainbrr.store.formats import ARRAY_FILE
from brainbrr.store.integrity import Depth
from brainbrr.store.places import RemoteError
from brainbrr.store.records import Record
from brainbrr.store.remote import RemoteStore

FIX = "delete its record there, and the frozen views that name it; then push it again from a store that has it whole"
_THREADS = 8


@dataclass(frozen=True)
class FarInspection:
    """What is there, how many objects were verified now, and what is damaged."""

    contents: tuple[str, ...]
    n_records: int
    n_verified: int
    n_remaining: int
    damage: tuple[Damage, ...]


def inspect_far(store: RemoteStore, depth: Depth, *, until: float | None, progress: Progress) -> FarInspection:
    """Verify records, objects, catalogs and frozen views; no object is begun after `until`.

    Raises RemoteError where the place does not answer.
    """
    broken = Collector()
    keys = sorted(store.keys())
    store.prefetch(keys)
    records: dict[str, Record] = {}
    for key in keys:
        with _collecting(broken, "record", key):
            if (record := store.record(key)) is None:
                raise IntegrityError("it is not there", where=store.where)
            records[key] = record
    objects: dict[str, list[Record]] = defaultdict(list)
    for record in records.values():
        objects[record.content].append(record)
    store.list_objects()
    progress.start("verifying", sum(each[0].array.shard_bytes for each in objects.values()), "B")

    def verify(content: str) -> bool:
        if until is not None and time.monotonic() >= until:
            return False
        with _collecting(broken, "object", content):
            _verify_object(store, objects[content], depth)
        progress.advance(objects[content][0].array.shard_bytes)
        return True

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            done = list(pool.map(verify, sorted(objects)))
    finally:
        progress.stop()
    _verify_catalogs(store, records, broken)
    for digest in store.frozen_views():
        with _collecting(broken, "view", digest):
            _verify_view(store, digest, records)
    damage = tuple(Damage(each.kind, each.name, each.reason, FIX, each.unreadable) for each in broken)
    return FarInspection(tuple(sorted(objects)), len(keys), sum(done), len(done) - sum(done), damage)


@contextmanager
def _collecting(broken: Collector, kind: Kind, name: str) -> Iterator[None]:
    """Add an error about what is there as damage; a place that does not answer is no damage."""
    try:
        yield
    except RemoteError:
        raise
    except BrainbrrError as error:
        broken.append(Damage.of(kind, name, error))


def _verify_object(store: RemoteStore, records: Sequence[Record], depth: Depth) -> None:
    """Raise IntegrityError unless an object is there as its records describe it."""
    content, meta = records[0].content, records[0].array
    if any(each.array != meta for each in records):
        raise IntegrityError("its records describe different arrays")
    if not store.has_files(content, meta.shard_bytes):
        raise IntegrityError("one of its files is missing, or the shard has an impossible size")
    if depth == "quick":
        return
    folder = store.layout.object(content)
    if store.file_bytes(folder / ARRAY_FILE) != formats.zarr_json(meta, store.codec):
        raise IntegrityError("zarr.json is not what its record says")
    with reader.over_bytes(store.shard(content, meta), meta, store.codec, folder=folder) as opened:
        if depth == "checksums":
            opened.verify()
            return
        sums = SampleSums()
        if (found := reader.content_of(opened, observer=sums)) != content:
            raise reader.wrong_content(folder, found)
    for record in records:
        check_sums(record, sums.digests())


def _verify_catalogs(store: RemoteStore, records: Mapping[str, Record], broken: Collector) -> None:
    for corpus in store.corpora():
        with _collecting(broken, "catalog", corpus):
            catalog = store.catalog(corpus)
            for row in catalog.rows.values() if catalog else ():
                for recipe, content in row.contents.items():
                    record = records.get(key_of(source=str(row.source), recipe=recipe))
                    if record is None or record.content != content:
                        raise IntegrityError(
                            f"it names content {content[:12]} for {row.path}, which has no such record"
                        )


def _verify_view(store: RemoteStore, digest: str, records: Mapping[str, Record]) -> None:
    view = store.frozen(digest)
    for entry in view["recordings"] if view else ():
        record = records.get(entry["key"])
        if record is None or record.content != entry["content"]:
            raise IntegrityError(f"it names content {entry['content'][:12]}, which has no such record")
