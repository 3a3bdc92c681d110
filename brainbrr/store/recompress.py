"""`recompress`: copy a store into a new one of the other codec. Contents, keys and views stay the same."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.access import Guard
from brainbrr.core.digest import is_digest
from brainbrr.core.progress import Progress, Silent
from brainbrr.core.threads import cores
from brainbrr.errors import BrainbrrError, IntegrityError, UsageError
from brainbrr.store import deletion
from brainbrr.store.copy import check_catalog, copy_catalog, copy_object, copy_record, copy_small_file
from brainbrr.store.damage import Kind
from brainbrr.store.formats import Codec
from brainbrr.store.store import Store

_THREADS = 8


@dataclass(frozen=True)
class RecompressReport:
    """What the new store holds, and what could not be copied: {kind: name, "code": ..., "reason": ...}."""

    store: Path
    to: Path
    codec: Codec
    objects: int
    copied: int
    records: int
    findings: int
    generations: int
    views: int
    bytes_before: int
    bytes_after: int
    failed: tuple[dict[str, str], ...]
    seconds: float

    @property
    def ratio(self) -> float | None:
        """Bytes of the objects in the new store, by bytes of the same objects in the old one; None without any."""
        return self.bytes_after / self.bytes_before if self.bytes_before else None

    @property
    def exit_code(self) -> int:
        """4 when anything could not be copied, since all of it was whole once."""
        return IntegrityError.exit_code if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            **vars(self),
            "store": str(self.store),
            "to": str(self.to),
            "failed": list(self.failed),
            "ratio": None if self.ratio is None else round(self.ratio, 4),
            "seconds": round(self.seconds, 3),
        }


def recompress(
    store: Store,
    to: Path,
    *,
    codec: Codec | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> RecompressReport:
    """Copy everything in a store into one of the other codec, each object verified again after writing.

    `to`: a new folder, or one that an earlier call has begun: what exists is not written again. What is damaged is
    left out and listed; what is deleted on purpose meanwhile is not. `codec` None: the one that the store does not
    have. Raises UsageError for the same store, the same codec, or a store that holds another catalog of the same
    corpus; SpaceError.
    """
    began = time.monotonic()
    target = _target(store, to, codec)
    corpora = store.corpora()
    for corpus in corpora:
        check_catalog(store, target, corpus)
    copying = _Copying(store, target, progress)
    copying.objects(copying.sizes)
    copying.small_files(corpora)
    # what a gc took away there before all this was published comes back, and what it had deleted is copied again
    target.cancel_deletions()
    copying.objects([name for name in copying.written if not target.path_of("object", name).exists()])
    copying.missing_records()
    copying.settle()
    counts = copying.counts
    return RecompressReport(
        store=store.location,
        to=target.location,
        codec=target.codec,
        objects=len(copying.written),
        copied=sum(n_bytes > 0 for n_bytes in copying.written.values()),
        records=counts["record"],
        findings=counts["findings"],
        generations=sum(len(target.layout.generations(corpus)) for corpus in corpora),
        views=counts["view"],
        bytes_before=sum(copying.sizes[name] for name in copying.written),
        bytes_after=sum(target.object_bytes(name) for name in copying.written),
        failed=tuple({k: name, "code": e.code, "reason": e.what} for (k, name), e in copying.failed.items()),
        seconds=time.monotonic() - began,
    )


def _target(store: Store, to: Path, codec: Codec | None) -> Store:
    here, there = store.location.resolve(), to.resolve()
    if here == there:
        raise UsageError("this is the store itself", where=to, fix="--to names another folder; nothing is deleted here")
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise UsageError("one store cannot be inside another one", where=to)
    other: Codec = "none" if store.codec == "zstd" else "zstd"
    if codec is not None and codec != other:
        raise UsageError(f"the store has codec {codec} already", where=store.location, fix=f"--codec {other}")
    return Store.create(to, codec=other, within=(Guard.of(store.location),))


class _Copying:
    """One copy of a store into another: what was written, and what failed."""

    def __init__(self, store: Store, target: Store, progress: Progress) -> None:
        self._before = deletion.deleted(store.layout)
        self.sizes = {name: store.object_bytes(name) for name in sorted(store.contents())}
        self.written: dict[str, int] = {}
        """By object in the target: the bytes that were written for it."""
        self.failed: dict[tuple[Kind, str], BrainbrrError] = {}
        self.counts: Counter[Kind] = Counter()
        """By kind: what is in the target now of what was asked for."""
        self._store, self._target, self._progress = store, target, progress

    def objects(self, names: Iterable[str]) -> None:
        """Copy objects, several at a time."""
        sizes = {name: self.sizes[name] for name in names}
        self._progress.start("recompressing", sum(sizes.values()), "B")
        pool = ThreadPoolExecutor(min(_THREADS, cores()))
        try:
            for (name, n_bytes), copied in zip(sizes.items(), pool.map(self._object, sizes), strict=True):
                if isinstance(copied, IntegrityError):
                    self.failed["object", name] = copied
                else:
                    self.written[name] = copied
                self._progress.advance(n_bytes)
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C: what is being written is finished, what waits is not begun
            self._progress.stop()

    def _object(self, name: str) -> int | IntegrityError:
        try:
            return copy_object(self._store, self._target, name)
        except IntegrityError as error:
            return error

    def small_files(self, corpora: Iterable[str]) -> None:
        """Copy records before what references them."""
        store = self._store
        kinds: tuple[tuple[Kind, Iterable[str]], ...] = (
            ("record", store.keys()),
            ("findings", store.found_findings()),
            ("view", store.frozen_views()),
            ("pin", store.pinned_views()),
            ("retired", store.retired_recipes()),
            ("receipt", store.layout.receipts()),
            ("catalog", corpora),
        )
        for kind, names in kinds:
            self.counts[kind] += self._each(kind, names)

    def missing_records(self) -> None:
        """Copy records again that a gc deleted in the target meanwhile."""
        keys = [key for key in self._store.layout.found_records() if is_digest(key, 32)]
        keys = [key for key in keys if ("record", key) not in self.failed]
        gone = [key for key in keys if not files.exists(self._target.path_of("record", key))]
        self._each("record", gone)

    def settle(self) -> None:
        """Try again what failed, since a deletion may have put it back, and drop what one has deleted meanwhile."""
        failed, self.failed = list(self.failed), {}
        if objects := [name for kind, name in failed if kind == "object"]:
            self.objects(objects)
        for kind, name in failed:
            if kind != "object":
                self.counts[kind] += self._each(kind, [name])
        now, layout = deletion.deleted(self._store.layout), self._store.layout
        for subject in list(self.failed):
            if deletion.deleted_meanwhile(layout, *subject, self._before, now):
                del self.failed[subject]

    def _each(self, kind: Kind, names: Iterable[str]) -> int:
        n_copied = 0
        for name in sorted(names):
            try:
                if kind in _COPY:
                    _COPY[kind](self._store, self._target, name)
                else:
                    copy_small_file(self._store, self._target, kind, name)
                n_copied += 1
            except (IntegrityError, UsageError) as error:
                self.failed[kind, name] = error
            except FileNotFoundError:
                self.failed[kind, name] = IntegrityError("it disappeared while it was copied")
        return n_copied


_COPY: dict[Kind, Callable[[Store, Store, str], object]] = {"record": copy_record, "catalog": copy_catalog}
