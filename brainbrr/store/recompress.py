"""`recompress`: the same store with another codec. Contents, keys and views stay; the store that is read stays too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.core.digest import is_digest
from brainbrr.core.progress import Progress, Silent
from brainbrr.core.threads import cores
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import deletion
from brainbrr.store.copy import (
    check_catalog,
    copy_catalog,
    copy_findings,
    copy_object,
    copy_pin,
    copy_receipt,
    copy_record,
    copy_retirement,
    copy_view,
)
from brainbrr.store.damage import kind_and_name
from brainbrr.store.formats import Codec
from brainbrr.store.store import Store

_THREADS = 8


@dataclass(frozen=True)
class RecompressReport:
    """What lies in the new store, and what could not be copied: {kind: name, "reason": why}."""

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
        """Bytes of the objects there, by bytes of the same objects here; None without any."""
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
    """Copy everything that a store holds into one of the other codec, each object proven again after writing.

    `to`: a new folder, or one that an earlier call has begun: what is there is not written again. What is damaged is
    left out and listed. `codec` None: the one that the store does not have. Raises UsageError for the same store, the
    same codec, or a store that holds another catalog of the same corpus; SpaceError.
    """
    began = time.monotonic()
    target = _target(store, to, codec)
    corpora = store.corpora()
    for corpus in corpora:
        check_catalog(store, target, corpus)
    failed: list[dict[str, str]] = []
    names = sorted(store.contents())
    before = {name: store.object_bytes(name) for name in names}
    written = dict(_copied(store, target, before, failed, progress))

    def each(kind: str, found: Iterable[str], copy: Callable[[Store, Store, str], object]) -> int:
        """Copy small files one by one; return how many of them are in the target now."""
        n_there = 0
        for name in sorted(found):
            try:
                copy(store, target, name)
                n_there += 1
            except (IntegrityError, UsageError) as error:
                failed.append({kind: name, "reason": error.what})
        return n_there

    records = each("record", store.keys(), copy_record)
    findings = each("findings", store.found_findings(), copy_findings)
    views = each("view", store.frozen_views(), copy_view)
    each("pin", store.layout.pins(), copy_pin)
    each("retired", store.layout.retired(), copy_retirement)
    each("receipt", store.layout.receipts(), copy_receipt)
    each("catalog", corpora, copy_catalog)
    # what a gc took away there before all this was published comes back, and what it had deleted is copied again
    deletion.call_off(target.layout)
    told = {kind_and_name(bad) for bad in failed}
    gone = [name for name in written if not target.layout.object(name).exists()]
    written |= _copied(store, target, {name: before[name] for name in gone}, failed, progress)
    keys = [key for key in store.layout.found_records() if is_digest(key, 32) and ("record", key) not in told]
    each("record", [key for key in keys if not target.layout.record(key).exists()], copy_record)
    return RecompressReport(
        store=store.location,
        to=target.location,
        codec=target.codec,
        objects=len(written),
        copied=sum(n_bytes > 0 for n_bytes in written.values()),
        records=records,
        findings=findings,
        generations=sum(len(target.layout.generations(corpus)) for corpus in corpora),
        views=views,
        bytes_before=sum(before[name] for name in written),
        bytes_after=sum(target.object_bytes(name) for name in written),
        failed=tuple(failed),
        seconds=time.monotonic() - began,
    )


def _target(store: Store, to: Path, codec: Codec | None) -> Store:
    here, there = store.location.resolve(), to.resolve()
    if here == there:
        raise UsageError("this is the store itself", where=to, fix="--to names another folder; nothing is deleted here")
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise UsageError("one store cannot lie inside another one", where=to)
    other: Codec = "none" if store.codec == "zstd" else "zstd"
    if codec is not None and codec != other:
        raise UsageError(f"the store has codec {codec} already", where=store.location, fix=f"--codec {other}")
    return Store.create(to, codec=other)


def _copied(
    store: Store, target: Store, sizes: dict[str, int], failed: list[dict[str, str]], progress: Progress
) -> Iterator[tuple[str, int]]:
    """Copy objects, several at a time; yield what is in the target now with the bytes that were written for it."""

    def copy(name: str) -> int | IntegrityError:
        try:
            return copy_object(store, target, name)
        except IntegrityError as error:
            return error

    progress.start("recompressing", sum(sizes.values()), "B")
    pool = ThreadPoolExecutor(min(_THREADS, cores()))
    try:
        for (name, n_bytes), done in zip(sizes.items(), pool.map(copy, sizes), strict=True):
            if isinstance(done, IntegrityError):
                failed.append({"object": name, "reason": done.what})
            else:
                yield name, done
            progress.advance(n_bytes)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C: what is being written is finished, what waits is not begun
        progress.stop()
