"""`forget`: a corpus leaves the store for good, or the older generations of its catalog do, with a receipt.

For data-use agreements that ask for deletion. Killed at any point, the same command finishes: what is to be deleted
is written down, durably, before the catalog that names it goes.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.digest import is_digest, sha256
from brainbrr.core.failpoints import reach
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import BrainbrrError, IntegrityError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import sidecars
from brainbrr.store.deletion import KINDS, CalledOff, Deletion, place, remove, sweep
from brainbrr.store.layout import Layout
from brainbrr.store.reachability import Reader, frozen_corpus, generations
from brainbrr.store.sidecars import Receipt
from brainbrr.store.store import Store

FORGET_FORMAT = 1

_ATTEMPTS = 20
_AGAIN = "an ingest or a training made something alive meanwhile: looking again"
_WRITTEN_DOWN = re.compile(r"forget-[0-9a-f]{32}\.json\Z")
_LISTS = ("sources", "keys", "contents")
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "corpus": (str,),
    "created": (str,),
    **dict.fromkeys(_LISTS, (list,)),
}


@dataclass(frozen=True)
class ForgetReport:
    """What goes, or in a dry run would go. `shared`: records that something else keeps alive, and that stay.

    Generations are {corpus, seq, sha256_of}, findings KEY-VERSION.
    """

    store: Path
    corpus: str
    older_than: int | None
    dry_run: bool
    generations: tuple[dict[str, Any], ...]
    views: tuple[str, ...]
    pins: tuple[str, ...]
    records: tuple[str, ...]
    objects: tuple[str, ...]
    findings: tuple[str, ...]
    quarantine: tuple[str, ...]
    shared: tuple[str, ...]
    n_bytes: int
    receipts: tuple[Receipt, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        lists = {name: list(getattr(self, name)) for name in (*sidecars.KINDS, "shared")}
        return {
            **vars(self),
            **lists,
            "store": str(self.store),
            "receipts": [receipt.to_json() for receipt in self.receipts],
            "out_of_reach": list(sidecars.OUT_OF_REACH),
            "seconds": round(self.seconds, 3),
        }


def forget(
    store: Store,
    corpus: str,
    *,
    older_than: int | None = None,
    yes: bool = False,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> ForgetReport:
    """List what a corpus alone keeps in a store; with `yes`, delete it at once and write a receipt.

    With `older_than` only catalog generations below that number go. Raises UsageError for a corpus or generation that
    is not there, IntegrityError, and deletes nothing, where the store cannot be read wholly.
    """
    began = time.monotonic()
    found: list[Receipt] = []
    if yes:
        with files.writing(store.location, n_bytes=1):
            found += sweep(store.layout, "forget")
    plan = _Plan(store, corpus, older_than)
    if yes:
        with files.writing(store.location, n_bytes=1):
            found += _delete_all(plan, progress) if older_than is None else plan.cut(progress)
    return ForgetReport(
        store=store.location,
        corpus=corpus,
        older_than=older_than,
        dry_run=not yes,
        generations=plan.generations,
        views=plan.views,
        pins=plan.pins,
        records=plan.records,
        objects=plan.objects,
        findings=plan.findings,
        quarantine=plan.quarantine,
        shared=plan.shared,
        n_bytes=plan.n_bytes,
        receipts=tuple(found),
        seconds=time.monotonic() - began,
    )


class _Plan:
    """What of a corpus is there now, or was when an earlier run was cut off, and is kept by nothing else."""

    def __init__(self, store: Store, corpus: str, older_than: int | None) -> None:
        self.store, self.layout, self.corpus, self.older_than = store, store.layout, corpus, older_than
        self.reader = Reader(store.layout)
        self.views = self.pins = self.records = self.objects = self.findings = ()  # type: tuple[str, ...]
        self.quarantine = self.shared = ()  # type: tuple[str, ...]
        self._sources, self._keys, self._contents = set[str](), set[str](), set[str]()
        self._begun = [said for _, said in _written_down(store.layout, corpus)]
        known = store.layout.generations(corpus)
        if not known and not self._begun and corpus not in store.corpora():
            fix = f"there are: {', '.join(store.corpora()) or 'none'}"
            raise UsageError(f"no corpus is called {corpus!r}", where=store.location, fix=fix)
        if older_than is not None and (older_than not in known or older_than < 2):
            first, last = min(known, default=0) + 1, max(known, default=0)
            fix = f"a number from {first} to {last}" if first <= last else f"there is only generation {last}"
            raise UsageError(f"no generation is older than {older_than}, or it is not there", where=corpus, fix=fix)
        self.generations = tuple(self._generations())
        if older_than is None:
            self._look()
        self.n_bytes = sum(_n_bytes(path) for path in self._paths())

    def _generations(self) -> Iterator[dict[str, Any]]:
        for seq, data, catalog in generations(self.layout, self.corpus):
            if self.older_than is None or seq < self.older_than:
                yield {"corpus": self.corpus, "seq": seq, "sha256_of": sha256(data)}
                self._sources |= {row.source for row in catalog.rows.values() if row.source is not None}
                self._contents |= {content for row in catalog.rows.values() for content in row.contents.values()}

    def _look(self) -> None:
        self.views = tuple(d for d in self.layout.views() if frozen_corpus(self.layout, d) == self.corpus)
        self.pins = tuple(digest for digest in self.layout.pins() if digest in self.views)
        for digest in self.views:
            named = self.reader.view(digest) or {}
            self._keys |= named.keys()
            self._contents |= set(named.values())
        for said in self._begun:
            self._sources |= set(said["sources"])
            self._keys |= set(said["keys"])
            self._contents |= set(said["contents"])
        roots = self.reader.read(without_corpus=self.corpus, without_views=frozenset(self.views))
        ours = {k: n for k, n in roots.records.items() if n.source in self._sources or k in self._keys}
        self._keys |= ours.keys()
        self._contents |= {named.content for named in ours.values()}
        self.records = tuple(sorted(key for key, named in ours.items() if not roots.keeps(key, named)))
        self.shared = tuple(sorted(ours.keys() - set(self.records)))
        gone = set(self.records)
        others = {named.content for key, named in roots.records.items() if key not in gone} | roots.contents
        there = {content for content in self._contents if self.layout.object(content).exists()}
        self.objects = tuple(sorted(there - others))
        kept = roots.keys | (roots.records.keys() - gone)
        forgotten = self._keys - kept
        self.findings = tuple(n for n in self.store.found_findings() if n.partition("-")[0] in forgotten)
        self.quarantine = tuple(self._quarantined(forgotten | (self._contents - others)))

    def _quarantined(self, digests: set[str]) -> Iterator[str]:
        """Yield what lies in quarantine under one of these names, or says that it is of the corpus."""
        said = f'{{"corpus":"{self.corpus}",'.encode()
        for path in sorted((self.layout.root / "quarantine").glob("*")):
            if path.name[:64] in digests or path.name[:32] in digests or path.name.partition(".")[0] in self.views:
                yield path.name
            elif path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    if file.read(len(said)) == said:
                        yield path.name

    def _paths(self) -> Iterator[Path]:
        for kind in KINDS:
            for name in getattr(self, kind):
                yield place(self.layout, kind, name)
        yield from (self.layout.generation(self.corpus, each["seq"]) for each in self.generations)
        yield from (self.layout.root / "quarantine" / name for name in self.quarantine)

    def cut(self, progress: Progress) -> list[Receipt]:
        """Let the catalog begin with a later generation, then delete those before it."""
        seq, found = self.older_than or 0, list[Receipt]()
        catalogs.cut(self.layout, self.corpus, seq, sidecars.now())
        for _ in range(_ATTEMPTS):
            try:
                found += filter(None, [self._delete_generations()])
                break
            except CalledOff:
                progress.say(_AGAIN)
                found += sweep(self.layout, "forget")
        else:
            raise _always_called_off(self.corpus)
        for number in self.layout.acknowledged(self.corpus):
            if number < seq:
                remove(self.layout.acknowledgement(self.corpus, number))
        for number in self.layout.cuts(self.corpus):
            if number < seq:
                remove(self.layout.cut(self.corpus, number))
        return found

    def _delete_generations(self) -> Receipt | None:
        deletion = Deletion(self.reader, "forget", self.corpus)
        for each in self.generations:
            deletion.decide("catalog", self.layout.generation(self.corpus, each["seq"]), of=self.corpus)
        return deletion.finish()

    def write_down(self) -> None:
        """Keep what is known of the corpus until all of it is gone."""
        said = {name: sorted(getattr(self, f"_{name}")) for name in _LISTS}
        path = self.layout.trash / f"forget-{uuid.uuid4().hex}.json"
        fields = {"format": FORGET_FORMAT, "corpus": self.corpus, "created": sidecars.now(), **said}
        sidecars.publish_checksummed(self.layout, path, fields, lambda: None)
        reach("forget written")

    def delete(self) -> Receipt | None:
        """Delete what the plan names. Raises CalledOff when a writer made something alive meanwhile."""
        deletion = Deletion(self.reader, "forget", self.corpus)
        for kind in ("pins", "views"):
            for digest in getattr(self, kind):
                deletion.decide(kind, place(self.layout, kind, digest))
        deletion.decide("catalog", self.layout.generation(self.corpus, 0).parent)
        for name in self.quarantine:
            deletion.decide("quarantine", self.layout.root / "quarantine" / name)
        deletion.records(self.records)
        deletion.objects(self.objects)
        deletion.findings(self.findings)
        return deletion.finish()


def _delete_all(plan: _Plan, progress: Progress) -> list[Receipt]:
    """Delete what a plan names, and what came to be of the corpus meanwhile, until nothing of it is left."""
    layout, found = plan.layout, list[Receipt]()
    plan.write_down()
    for _ in range(_ATTEMPTS):
        try:
            found += filter(None, [plan.delete()])
        except CalledOff:
            progress.say(_AGAIN)
        found += sweep(layout, "forget")
        plan = _Plan(plan.store, plan.corpus, None)
        if not any(getattr(plan, kind) for kind in sidecars.KINDS):
            break
    else:
        raise _always_called_off(plan.corpus)
    for path in (*(written for written, _ in _written_down(layout, plan.corpus)), *layout.stale_tmp()):
        remove(path)
    return found


def _always_called_off(corpus: str) -> BrainbrrError:
    return BrainbrrError("writers called this off each time", where=corpus, fix="stop them, and run it again")


def _written_down(layout: Layout, corpus: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield what earlier runs had begun to forget of a corpus. Raises IntegrityError for a damaged one."""
    for path in sorted(layout.trash.glob("forget-*.json")):
        said = (
            sidecars.read_checksummed(path, _FIELDS, limit=sidecars.MAX_CATALOG_BYTES)
            if _WRITTEN_DOWN.match(path.name)
            else None
        )
        if said is not None and said["corpus"] == corpus:
            sizes = {"sources": 32, "keys": 32, "contents": 64}
            if not all(is_digest(each, n) for name, n in sizes.items() for each in said[name]):
                raise IntegrityError("this is no list of what is forgotten", where=path)
            yield path, said


def _n_bytes(path: Path) -> int:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            return sum(_n_bytes(each) for each in path.iterdir())
        return path.lstat().st_size
    return 0
