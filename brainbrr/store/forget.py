"""`forget`: delete a corpus from the store at once, or only old generations of its catalog, with a receipt.

For data-use agreements that require deletion. Killed at any point, the same command finishes: what is to be deleted is
written down, durably, before the catalog that names it is deleted.
"""

from __future__ import annotations

import re
import shlex
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from brainbrr.core import files, models
from brainbrr.core.digest import is_digest, sha256
from brainbrr.core.failpoints import reach
from brainbrr.core.models import Digest32, Digest64, Many
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import BrainbrrError, Fix, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import deletion, leases, reader, sidecars
from brainbrr.store.deletion import KINDS, Deletion, n_bytes_of, place, remove
from brainbrr.store.formats import SHARD_FILE
from brainbrr.store.layout import Layout
from brainbrr.store.reachability import LiveSet, Reachability, RecordSummary, frozen_corpus, generations
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

    Generations are {corpus, seq, sha256_of}, findings KEY-VERSION, `jobs` folders of SLURM jobs. `unproven`: what is
    left and may be of the corpus, each with the reason.
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
    unproven: tuple[str, ...]
    n_bytes: int
    receipts: tuple[Receipt, ...]
    seconds: float
    jobs: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 when something is left that may be of the corpus."""
        return BrainbrrError.exit_code if self.unproven and not self.dry_run else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        lists = {name: list(getattr(self, name)) for name in (*sidecars.KINDS, "shared", "unproven", "jobs")}
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
            for path in leases.writers(store.layout).dead:
                remove(path)
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
        unproven=plan.still_unproven(),
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
        self.unproven: dict[Path, str] = {}
        self.n_bytes = 0
        self._first_seq: int | None = None
        self._begun = [note for _, note in _notes(store.layout, corpus)]
        self._known: dict[str, set[str]] = {name: set() for name in _LISTS}
        if not self._begun and corpus not in store.corpora():
            there = f"there are: {', '.join(store.corpora()) or 'none'}; "
            fix = Fix(there, ("gc", "--yes", "--grace", "0s"), " deletes what a killed ingest left")
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
        writers = leases.writers(self.layout)
        self.unproven |= dict.fromkeys(writers.running, leases.RUNNING)
        self.unproven |= dict.fromkeys(writers.unknown, leases.UNKNOWN)
        unpublished, unnamed = self._unpublished(live, ours.keys(), contents)
        if writers.building:
            why = "no catalog names it yet, and an ingest runs: forget again when that has ended"
            self.unproven |= {self.layout.record(key): why for key in unpublished}
        else:
            ours |= unpublished
            keys.update(unpublished)
            contents |= unnamed | {record.content for record in unpublished.values()}
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
            "quarantine": tuple(self._quarantined(forgotten | (contents - others), views, others)),
        }
        self.n_bytes = sum(map(n_bytes_of, self._paths()))

    def _quarantined(self, digests: set[str], views: list[str], known: set[str]) -> Iterator[str]:
        """Yield what in quarantine has one of these names, or in it, or whose first line names the corpus.

        Samples that nothing attributes to a corpus, and that are not among the `known`, are `unproven`.
        """
        for path in sorted((self.layout.root / "quarantine").glob("*")):
            is_folder = files.is_folder(path)
            names = {path.name, *((each.name for each in path.rglob("*")) if is_folder else ())}
            digits = {name[:n] for name in names for n in (32, 64)} | {name.partition(".")[0] for name in names}
            if digits & digests or digits & set(views):
                yield path.name
            elif is_folder:
                contents = {_content_of(each.parent) for each in path.rglob(SHARD_FILE)}
                if contents & digests:
                    yield path.name
                elif contents - known:
                    self.unproven[path] = f"nothing says of what its samples were made: rm -r {shlex.quote(str(path))}"
            elif not path.is_symlink():
                with path.open("rb") as file:
                    line = file.readline(files.MAX_JSON_BYTES)
                if _corpus_of(line) == self.corpus:
                    yield path.name
                elif line[:1] != b"{" and not known & digits:
                    self.unproven[path] = f"nothing says of what it is a part: rm {shlex.quote(str(path))}"

    def still_unproven(self) -> tuple[str, ...]:
        """Return what may be of the corpus and is there still, each with the reason."""
        root = self.layout.root
        left = [(path, why) for path, why in self.unproven.items() if files.exists(path)]
        return tuple(f"{path.relative_to(root).as_posix()}: {why}" for path, why in left)

    def _unpublished(
        self, live: LiveSet, ours: Collection[str], known: set[str]
    ) -> tuple[dict[str, RecordSummary], set[str]]:
        """Return records and objects of ingests that were killed before they published: no generation names them.

        Those of other corpora, also older ones, name what is waiting for a gc there.
        """
        sources, contents = set[str](), {record.content for record in live.records.values()} | live.contents | known
        for corpus in self.layout.corpora():
            for _, _, catalog in generations(self.layout, corpus) if corpus != self.corpus else ():
                sources |= {row.source for row in catalog.rows.values() if row.source is not None}
                contents |= {content for row in catalog.rows.values() for content in row.contents.values()}
        records = {
            key: each
            for key, each in live.records.items()
            if key not in ours and each.source not in sources and not live.has(key, each)
        }
        return records, {name for name in self.store.contents() if is_digest(name, 64)} - contents

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
        catalogs.renew_index(layout)
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
        running = Deletion(self.reachability, "forget", self.corpus, self.still_unproven())
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


def _corpus_of(line: bytes) -> str | None:
    """Return the corpus that the first line of a file of the store names."""
    try:
        corpus = models.decode_json(line, where=None).get("corpus")
    except BrainbrrError:
        return None
    return corpus if isinstance(corpus, str) else None


def _content_of(folder: Path) -> str:
    """Return the content of the array in a folder, "" where that cannot be decoded."""
    try:
        return reader.decode(folder)
    except (BrainbrrError, OSError):
        return ""


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
                catalogs.renew_index(layout)
                for path in (*(written for written, _ in _notes(layout, plan.corpus)), *leases.writers(layout).dead):
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
