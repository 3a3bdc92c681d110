"""Find the damage in a store: every object against its content, everything else against what references it.

The only place that decides what damage is: `verify`, `repair` and `check --require verified` call it. Changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from brainbrr.core.arrays import Int16
from brainbrr.core.digest import is_digest, json_digest, sha256
from brainbrr.core.progress import Progress, Silent
from brainbrr.core.statistics import Statistics
from brainbrr.core.threads import cores, one_blas_thread
from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.store import access, create, deletion
from brainbrr.store.damage import Collector, Damage, succeeds
from brainbrr.store.formats import CRC_BYTES, FILL, ArrayMeta, crc32c, recorded
from brainbrr.store.integrity import (
    Depth,
    decode_object,
    read_record,
    verify_binding,
    verify_folder,
    verify_group,
    verify_place,
    verify_record_file,
)
from brainbrr.store.records import Record
from brainbrr.store.references import Bound, References, check_small_files
from brainbrr.store.store import Store
from brainbrr.store.unexpected import unexpected_files

_STATISTICS = {"n", "sums", "products", "quartiles"}
_THREADS = 8
_TOGETHER = 16  # tiles


def _at_once(name: str, verify: Callable[[], str | None]) -> bool:
    verify()
    return True


@dataclass(frozen=True)
class Scope:
    """How deep to verify, and which objects: `sums` has those that passed before, with the digests of their sums.

    `verify` is given the name of each other object with a function that verifies it and returns these; it says
    whether that was done now. Objects come in the order of `priority`.
    """

    depth: Depth = "full"
    sums: Mapping[str, str | None] = field(default_factory=dict)
    verify: Callable[[str, Callable[[], str | None]], bool] = _at_once
    priority: Callable[[str], Any] = str


@dataclass(frozen=True)
class Inspection:
    """What is damaged in a store, and what was read to find that out.

    `misplaced` things are whole, but stored under another's name; `broken` is everything else.
    """

    contents: tuple[str, ...]
    verified: frozenset[str]
    """Objects that were verified now, damaged or not."""
    n_records: int
    broken: tuple[Damage, ...]
    misplaced: tuple[Damage, ...]
    decoded: Mapping[str, str]
    """By folder: the content of the array in it."""
    records: tuple[Bound, ...]
    """Whole records with their objects."""
    without_object: tuple[Bound, ...]
    """Whole records without their objects."""
    foreign_records: Mapping[str, Bound]
    """By file: records that are whole, but another key's, misplaced or without their objects."""
    wanted: Mapping[str, str]
    """By key: the content that catalogs and frozen views say it has."""
    names: Mapping[str, frozenset[str]]
    """By kind: what exists, damaged or not."""

    @property
    def damage(self) -> tuple[Damage, ...]:
        """All of it, by kind and name."""
        return tuple(sorted((*self.broken, *self.misplaced)))

    @property
    def intact(self) -> frozenset[str]:
        """Objects that were verified now, and are not damaged."""
        return self.verified - {each.name for each in self.damage if each.kind == "object"}


def inspect_store(store: Store, scope: Scope = Scope(), *, progress: Progress = Silent()) -> Inspection:  # noqa: B008  # frozen
    """Verify everything in a store, and read each object once. Several threads, a few tiles of memory each."""
    before = deletion.deleted(store.layout)
    objects = _Objects(store, scope)
    objects.verify(progress)
    broken, misplaced = objects.broken, objects.misplaced
    unplaced = misplaced.names("object")  # a folder that zarr should not list needs no group
    for fan_out in sorted({"", *(name[:2] for name in objects.names if name not in unplaced)}):
        with broken.collecting("group", f"{fan_out}/zarr.json".lstrip("/")):
            verify_group(store, fan_out)
    with broken.collecting("format", "format.json"):
        create.verify_mark(store.layout)
    with broken.collecting("stranger", store.layout.access.name):  # moved aside, it is a choice that was not made
        access.chosen(store.layout)
    records = _Records(store, objects.sums, broken, misplaced)
    records.verify()
    deleted = deletion.deleted(store.layout)
    references = References(
        store, records.whole, records.names, deleted["records"], broken, columns_too=scope.depth == "full"
    )
    references.check_catalogs()
    references.check_views()
    names: dict[str, Iterable[str]] = {"object": objects.names, "record": records.names}
    names |= check_small_files(store, broken)
    for name in unexpected_files(store.layout):
        if name not in broken.names("folder"):
            broken.add("stranger", name, "no store has a file of this name")
    if broken or misplaced:
        deleted = deletion.deleted(store.layout)

    def remaining(damage: Iterable[Damage]) -> tuple[Damage, ...]:
        return tuple(
            each for each in damage if not deletion.deleted_meanwhile(store.layout, *each.subject, before, deleted)
        )

    return Inspection(
        contents=tuple(objects.names),
        verified=frozenset(objects.verified),
        n_records=len(records.names),
        broken=remaining(broken),
        misplaced=remaining(misplaced),
        decoded=objects.decoded,
        records=tuple(records.bound.values()),
        without_object=tuple(records.without_object.values()),
        foreign_records=records.foreign,
        wanted=references.wanted,
        names={kind: frozenset(found) for kind, found in names.items()},
    )


class _Objects:
    """The objects of a store, and what is found out about them."""

    def __init__(self, store: Store, scope: Scope) -> None:
        self.names = sorted(store.contents())
        self.broken, self.misplaced = Collector(), Collector()
        self.verified: set[str] = set()
        self.decoded: dict[str, str] = {}
        self.sums = dict(scope.sums)
        self._store, self._scope = store, scope

    def verify(self, progress: Progress) -> None:
        """Verify those that the scope asks for."""
        scope = self._scope
        todo = sorted((name for name in self.names if name not in scope.sums), key=scope.priority)
        progress.start("verifying", len(todo), "objects")
        pool = ThreadPoolExecutor(min(_THREADS, cores()))
        try:
            with one_blas_thread():
                for name, done in zip(todo, pool.map(self._verify, todo), strict=True):
                    if done:
                        self.verified.add(name)
                    progress.advance(note=name[:12])
        finally:
            pool.shutdown(cancel_futures=True)
            progress.stop()

    def _verify(self, name: str) -> bool:
        depth = self._scope.depth

        def verify() -> str | None:
            verify_folder(self._store, name, checksums=depth == "checksums")
            sums = SampleSums()
            if depth == "full":
                content = self.decoded[name] = decode_object(self._store, name, observer=sums)
                self.sums[content] = sums.digests()  # of what is in the folder, whatever its name
            verify_place(self._store, name, decoded=self.decoded.get(name))
            return self.sums.get(name)

        try:
            return self._scope.verify(name, verify)
        except (BrainbrrError, OSError) as error:
            # whole, but another array than its name says: it was renamed, or swapped with another one
            whole = name in self.decoded or (depth != "full" and not is_digest(name, 64))
            (self.misplaced if whole else self.broken).append(Damage.of("object", name, error))
            return True


class SampleSums:
    """An observer of decoding: the statistics of an object's samples, and the crc32c of each tile."""

    def __init__(self) -> None:
        self._statistics: Statistics | None = None
        self._checks = bytearray()
        self._block, self._n = np.empty((0, 0), dtype=np.int16), 0

    def __call__(self, meta: ArrayMeta) -> Callable[[Int16], None]:
        """Begin with an array, and return what gets its tiles."""
        present = [i for i, name in enumerate(meta.channels) if name not in meta.absent]
        self._statistics = Statistics(meta.n_channels, present)
        self._block = np.empty((meta.n_channels, meta.tile * min(_TOGETHER, meta.n_tiles)), dtype=np.int16)

        def observe(tile: Int16) -> None:
            tile_of = len(self._checks) // CRC_BYTES * meta.tile
            there = recorded(tile, meta, first=tile_of)
            if self._n + there.shape[1] > self._block.shape[1]:
                self._count()
            self._block[:, self._n : self._n + there.shape[1]] = there
            self._n += there.shape[1]
            padding = ((0, 0), (0, meta.tile - tile.shape[1]))
            whole = np.pad(tile, padding, constant_values=FILL) if padding[1][1] else tile
            self._checks += crc32c(np.ascontiguousarray(whole))

        return observe

    def _count(self) -> None:
        """Add what was observed to the statistics: many tiles at once, since a call for each takes longer than they."""
        if self._statistics is not None:
            self._statistics.update(self._block[:, : self._n])
        self._n = 0

    def digests(self) -> str | None:
        """Return the SHA-256 of the statistics and of the checks, one after the other."""
        if self._statistics is None:
            return None
        self._count()
        return json_digest(self._statistics.result()) + sha256(self._checks)


class _Records:
    """The records of a store, and what is found out about them; `sums`: digests of the samples, by content."""

    def __init__(self, store: Store, sums: Mapping[str, str | None], broken: Collector, misplaced: Collector) -> None:
        self.names = sorted(store.keys())
        self.bound: dict[str, Bound] = {}
        self.without_object: dict[str, Bound] = {}
        self.foreign: dict[str, Bound] = {}
        self._store, self._sums, self._broken, self._misplaced = store, sums, broken, misplaced

    @property
    def whole(self) -> dict[str, Bound]:
        """Those that are whole, with their objects or without."""
        return {**self.without_object, **self.bound}

    def verify(self) -> None:
        """Verify each against its name and its object."""
        for name in self.names:
            damage = Collector()
            with damage.collecting("record", name):
                record = verify_record_file(self._store, name)
                self.without_object[name] = Bound.of(record)
                verify_binding(self._store, record)
                self.bound[name] = self.without_object.pop(name)
                check_sums(record, self._sums.get(record.content))
            collector = self._broken
            if damage and name not in self.without_object and name not in self.bound:
                foreign = self._foreign(name)
                if foreign is not None:
                    self.foreign[name] = Bound.of(foreign)
                    is_bound = succeeds(partial(verify_binding, self._store, foreign))
                    collector = self._misplaced if is_bound else self._broken
            collector += damage

    def _foreign(self, name: str) -> Record | None:
        """Return what a record file contains when only its name is wrong."""
        try:
            record = read_record(self._store, name)
            if record is not None:
                record.check_identity()
        except (BrainbrrError, OSError):
            return None
        return record


def check_sums(record: Record, sums: str | None) -> None:
    """Raise IntegrityError where a record's statistics or checks are not those of its object's samples.

    Statistics of other software are skipped.
    """
    if sums is None:
        return
    if record.statistics.keys() == _STATISTICS and json_digest(record.statistics) != sums[:64]:
        raise IntegrityError("its statistics are not those of its object's samples")
    if record.checks and sha256(bytes.fromhex(record.checks)) != sums[64:]:
        raise IntegrityError("its checks are not those of its object's tiles")


def copies(decoded: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Return the folders that hold one array more than once, each group with the one in its place first."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in sorted(decoded, key=lambda name: (decoded[name] != name, name)):
        folders[decoded[name]].append(name)
    return tuple(tuple(names) for names in folders.values() if len(names) > 1)
