"""`forget`: delete a corpus from the store at once, or only old generations of its catalog, with a receipt.

For data-use agreements that require deletion. Killed at any point, the same command finishes: what is to be deleted is
written down, durably, before the catalog that names it is deleted.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from brainbrr.core import files
from brainbrr.core.digest import sha256
from brainbrr.core.failpoints import reach
from brainbrr.core.models import Digest32, Digest64, Many
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import deletion, sidecars
from brainbrr.store.deletion import KINDS, Deletion, n_bytes_of, place, remove
from brainbrr.store.layout import Layout
from brainbrr.store.reachability import Reachability, frozen_corpus, generations
from brainbrr.store.sidecars import Receipt
from brainbrr.store.store import Store

_NOTE = re.compile(r"forget-[0-9a-f]{32}\.json\Z")
_LISTS = ("sources", "keys", "contents")
_BEGIN_BYTES = 128
"""Hold the name of the corpus in a file of a catalog: names are short."""


class _Note(sidecars.SmallFile):
    """What a run knew of a corpus before it deleted anything."""

    kind: Literal["forget note"] = "forget note"
    corpus: str
    created: str
    sources: Many[Digest64]
    keys: Many[Digest32]
    contents: Many[Digest64]


@dataclass(frozen=True)
class ForgetReport:
    """What is deleted, or in a dry run would be. `shared`: records that others reference too, and that stay.

    Generations are {corpus, seq, sha256_of}, findings KEY-VERSION.
    """

    store: Path
    corpus: str
    older_than_s: int | None
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
        fields = {name: value for name, value in vars(self).items() if name != "older_than_s"}
        return {
            **fields,
            **lists,
            "older_than": self.older_than_s,
            "store": str(self.store),
            "receipts": [receipt.to_json() for receipt in self.receipts],
            "out_of_reach": list(sidecars.OUT_OF_REACH),
            "seconds": round(self.seconds, 3),
        }


def forget(
    store: Store,
    corpus: str,
    *,
    older_than_s: int | None = None,
    yes: bool = False,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> ForgetReport:
    """List what only this corpus references; with `yes`, delete it at once and write a receipt.

    With `older_than_s` only catalog generations that were published longer ago, never the latest. Raises UsageError
    for a corpus that does not exist, IntegrityError, and deletes nothing, where part of the store cannot be read.
    """
    began = time.monotonic()
    receipts: list[Receipt] = []
    if yes:
        with files.writing(store.location, n_bytes=1):
            receipts += deletion.sweep(store.layout, "forget")
    plan = _Plan(store, corpus)
    if older_than_s is None:
        plan.add_all()
        attempt = _until_empty(plan)
    else:
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        plan.add_generations(before.isoformat(timespec="seconds"))
        attempt = plan.cut
    if yes:
        receipts += deletion.run(store.layout, "forget", attempt, progress)
    return ForgetReport(
        store=store.location,
        corpus=corpus,
        older_than_s=older_than_s,
        dry_run=not yes,
        generations=plan.generations,
        shared=plan.shared,
        n_bytes=plan.n_bytes,
        receipts=tuple(receipts),
        seconds=time.monotonic() - began,
        quarantine=plan.names["quarantine"],
        **{kind: plan.names[kind] for kind in KINDS},
    )


class _Plan:
    """What of a corpus exists now, or existed when an earlier run was killed, and is referenced by nothing else."""

    def __init__(self, store: Store, corpus: str) -> None:
        self.store, self.layout, self.corpus = store, store.layout, corpus
        self.reachability = Reachability(store.layout)
        self.generations: tuple[dict[str, Any], ...] = ()
        self.names: dict[str, tuple[str, ...]] = dict.fromkeys((*KINDS, "quarantine"), ())
        self.shared: tuple[str, ...] = ()
        self.n_bytes = 0
        self._first_seq: int | None = None
        self._begun = [note for _, note in _notes(store.layout, corpus)]
        self._known: dict[str, set[str]] = {name: set() for name in _LISTS}
        if not self._begun and corpus not in store.corpora():
            fix = f"there are: {', '.join(store.corpora()) or 'none'}"
            raise UsageError(f"no corpus is called {corpus!r}", where=store.location, fix=fix, code="no-such-corpus")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be deleted."""
        return not self.generations and not any(self.names.values())

    def add_generations(self, before: str) -> None:
        """Add the catalog's generations from before a time (ISO 8601, UTC), but never the latest rows.

        A delta cannot stay without its base: where one would be the first, the next base is, or a new one.
        """
        found = list(generations(self.layout, self.corpus))
        first = next((i for i, (_, _, catalog) in enumerate(found) if catalog.created > before), len(found))
        first = max(0, min(first, len(found) - 1))
        while 0 < first < len(found) and found[first][2].base is not None:
            first += 1
        self._first_seq = found[first][0] if first < len(found) else None
        self.generations = tuple(self._generation(seq, data) for seq, data, _ in found[:first])
        self.n_bytes = sum(map(n_bytes_of, self._paths()))

    def _generation(self, seq: int, data: bytes) -> dict[str, Any]:
        return {"corpus": self.corpus, "seq": seq, "sha256_of": sha256(data)}

    def add_all(self) -> None:
        """Add all that only this corpus references."""
        found = list(generations(self.layout, self.corpus))
        self.generations = tuple(self._generation(seq, data) for seq, data, _ in found)
        sources, keys, contents = self._known.values()
        for _, _, catalog in found:
            sources.update(row.source for row in catalog.rows.values() if row.source is not None)
            contents.update(content for row in catalog.rows.values() for content in row.contents.values())
        views = [digest for digest in self.layout.views() if frozen_corpus(self.layout, digest) == self.corpus]
        for digest in views:
            named = self.reachability.view(digest) or {}
            keys.update(named.keys())
            contents.update(named.values())
        for note in self._begun:
            for name, known in self._known.items():
                known.update(getattr(note, name))
        live = self.reachability.read(without_corpus=self.corpus, without_views=frozenset(views))
        ours = {key: each for key, each in live.records.items() if each.source in sources or key in keys}
        keys.update(ours.keys())
        contents.update(record.content for record in ours.values())
        records = {key for key, record in ours.items() if not live.has(key, record)}
        others = {record.content for key, record in live.records.items() if key not in records} | live.contents
        forgotten = keys - (live.keys | (live.records.keys() - records))
        self.shared = tuple(sorted(ours.keys() - records))
        self.names = {
            "views": tuple(views),
            "pins": tuple(digest for digest in self.layout.pins() if digest in views),
            "records": tuple(sorted(records)),
            "objects": tuple(sorted(each for each in contents - others if self.layout.object(each).exists())),
            "findings": tuple(name for name in self.store.found_findings() if name.partition("-")[0] in forgotten),
            "quarantine": tuple(self._quarantined(forgotten | (contents - others), views)),
        }
        self.n_bytes = sum(map(n_bytes_of, self._paths()))

    def _quarantined(self, digests: set[str], views: list[str]) -> Iterator[str]:
        """Yield files in quarantine that have one of these names, or whose text begins with the corpus."""
        begins = re.compile(rb'\{("base":(null|[0-9]+),)?"corpus":"%s",' % re.escape(self.corpus.encode()))
        for path in sorted((self.layout.root / "quarantine").glob("*")):
            if path.name[:64] in digests or path.name[:32] in digests or path.name.partition(".")[0] in views:
                yield path.name
            elif path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    if begins.match(file.read(_BEGIN_BYTES)):
                        yield path.name

    def _paths(self) -> Iterator[Path]:
        """Yield the path of everything that is to be deleted."""
        for kind in KINDS:
            yield from (place(self.layout, kind, name) for name in self.names[kind])
        yield from (self.layout.generation(self.corpus, each["seq"]) for each in self.generations)
        yield from (self.layout.root / "quarantine" / name for name in self.names["quarantine"])

    def cut(self, receipts: list[Receipt]) -> bool:
        """Let the catalog begin with the first generation that stays, then delete those before it."""
        layout, corpus = self.layout, self.corpus
        if self.generations:
            if self._first_seq is None:
                renewed = self.store.publish(corpus, _as_of_now, whole=True)
                self._first_seq = renewed.seq
            catalogs.cut(layout, corpus, self._first_seq, sidecars.now())
            running = Deletion(self.reachability, "forget", corpus)
            for each in self.generations:
                running.decide("catalog", layout.generation(corpus, each["seq"]), of=corpus)
            receipts += filter(None, [running.finish()])
        first = max((0, *layout.cuts(corpus)))
        for seq in layout.acknowledged(corpus):
            if seq < first:
                remove(layout.acknowledgement(corpus, seq))
        for seq in layout.with_columns(corpus):
            if seq < first:
                remove(layout.columns(corpus, seq))
        for seq in layout.cuts(corpus):
            if seq < first:
                remove(layout.cut(corpus, seq))
        return True

    def write_down(self) -> None:
        """Store what is known of the corpus until all of it is deleted."""
        path = self.layout.trash / f"forget-{uuid.uuid4().hex}.json"
        known: dict[str, Any] = {name: tuple(sorted(digests)) for name, digests in self._known.items()}
        fields = _Note(corpus=self.corpus, created=sidecars.now(), **known)
        sidecars.publish_checksummed(self.layout, path, fields, lambda: None)
        reach("forget written")

    def delete(self) -> Receipt | None:
        """Delete all of the plan. Raises DeletionCancelled when a writer made something reachable meanwhile."""
        running = Deletion(self.reachability, "forget", self.corpus)
        for kind in ("pins", "views"):
            for digest in self.names[kind]:
                running.decide(kind, place(self.layout, kind, digest))
        running.decide("catalog", self.layout.generation(self.corpus, 0).parent)
        for name in self.names["quarantine"]:
            running.decide("quarantine", self.layout.root / "quarantine" / name)
        running.records(self.names["records"])
        running.objects(self.names["objects"])
        running.findings(self.names["findings"])
        return running.finish()


def _as_of_now(latest: catalogs.Catalog | None) -> catalogs.Catalog:
    assert latest is not None
    return replace(latest, created=sidecars.now())


def _until_empty(plan: _Plan) -> Callable[[list[Receipt]], bool]:
    """Return an attempt at deleting a plan, and what is added to the corpus meanwhile, until nothing of it is left."""
    layout, first = plan.layout, True

    def attempt(receipts: list[Receipt]) -> bool:
        nonlocal plan, first
        if first:
            plan.write_down()
        else:
            plan = _Plan(plan.store, plan.corpus)
            plan.add_all()
            if plan.is_empty:
                for path in (*(written for written, _ in _notes(layout, plan.corpus)), *layout.stale_tmp()):
                    remove(path)
                return True
        first = False
        receipts += filter(None, [plan.delete()])
        return False

    return attempt


def _notes(layout: Layout, corpus: str) -> Iterator[tuple[Path, _Note]]:
    """Yield what earlier runs had begun to forget of a corpus. Raises IntegrityError for a damaged note."""
    for path in sorted(path for path in layout.trash.glob("forget-*.json") if _NOTE.match(path.name)):
        note = sidecars.read_checksummed(path, _Note, limit=sidecars.MAX_CATALOG_BYTES)
        if note is not None and note.corpus == corpus:
            yield path, note
