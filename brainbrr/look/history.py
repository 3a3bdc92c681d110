"""`log`: what each generation of a catalog changed, when, by whom and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainbrr.core.access import owner_name
from brainbrr.errors import UsageError
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.store import Store
from brainbrr.views.recipes import describe_difference, recipe_fields
from brainbrr.views.select import matching_rows


@dataclass(frozen=True)
class Change:
    """What happened to one recording.

    `change`: added, removed, moved, replaced, relabelled, reassigned, stored, rebuilt, deleted, refused or accepted.
    """

    recording: str
    change: str
    why: str


@dataclass(frozen=True)
class Entry:
    """One generation of a corpus's catalog; `damaged` says why it cannot be read."""

    corpus: str
    generation: int
    created: str | None
    by: str | None
    changes: tuple[Change, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What an ingest chose for the corpus and is new since the generation before."""
    damaged: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "settings": dict(self.settings), "changes": [vars(each) for each in self.changes]}


@dataclass(frozen=True)
class Log:
    """Generations, the newest first. `subject`: the corpus or recording that was requested."""

    store: Path
    subject: str | None
    entries: tuple[Entry, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {"store": str(self.store), "subject": self.subject, "log": [each.to_json() for each in self.entries]}


def log(store: Store, subject: str | None = None, *, last: int | None = None) -> Log:
    """Return the history of a corpus, of a recording, or of every corpus.

    `last`: how many generations, the newest ones. Raises UsageError for a name that is neither, or of several.
    """
    corpora, path = store.corpora(), None
    if subject is not None and subject not in corpora:
        found = [(name, row.path) for name, row in matching_rows(store, subject)]
        if len(found) != 1:
            what = f"{subject!r} names {len(found)} recordings" if found else f"no corpus or recording is {subject!r}"
            fix = f"give the whole path, e.g. {found[0][1]}" if found else f"corpora: {', '.join(corpora) or 'none'}"
            raise UsageError(what, where=store.location, fix=fix)
        corpora, path = (found[0][0],), found[0][1]
    elif subject is not None:
        corpora = (subject,)
    entries = [entry for corpus in corpora for entry in _entries(store, corpus, path)]
    entries.sort(key=lambda entry: (entry.created or "", entry.generation), reverse=True)
    return Log(store.location, subject, tuple(entries[:last]))


def _entries(store: Store, corpus: str, path: str | None) -> Iterator[Entry]:
    """Yield the generations of a corpus; with a path only those that changed that recording, under its older names."""
    names = {path}
    for entry in reversed(list(_oldest_first(store, corpus))):
        mine = tuple(each for each in entry.changes if path is None or each.recording in names)
        names |= {each.why.removeprefix("from ") for each in mine if each.change == "moved"}
        if path is None or mine or entry.damaged:
            yield replace(entry, changes=mine)


def _oldest_first(store: Store, corpus: str) -> Iterator[Entry]:
    fields = recipe_fields(store)
    before: Catalog | None = None
    for seq, catalog in store.generations(corpus):
        if isinstance(catalog, Exception):
            yield Entry(corpus, seq, None, None, damaged=getattr(catalog, "what", str(catalog)))
            continue
        yield _entry(store, seq, catalog, before, tuple(changes_between(before, catalog, fields)))
        before = catalog


def _entry(store: Store, seq: int, catalog: Catalog, before: Catalog | None, changes: tuple[Change, ...]) -> Entry:
    known = {"labelled": "yes" if before.labelled else "no", **before.settings} if before else {}
    now = {"labelled": "yes" if catalog.labelled else "no", **catalog.settings}
    by = None
    with suppress(OSError):
        by = owner_name(store.path_of("catalog", f"{catalog.corpus}/{seq:08d}.jsonl"))
    settings = {name: value for name, value in now.items() if known.get(name) != value}
    return Entry(catalog.corpus, seq, catalog.created, by, changes, settings)


def changes_between(before: Catalog | None, now: Catalog, fields: Mapping[str, Mapping[str, Any]]) -> Iterator[Change]:
    """Yield what changed from one generation to the next. `fields`: those of each recipe, by digest."""
    old = before.rows if before else {}
    gone = {row.source: path for path, row in old.items() if path not in now.rows and row.source}
    for path, row in now.rows.items():
        if path in old:
            yield from _changed(old[path], row, fields)
        elif row.source in gone:
            yield Change(path, "moved", f"from {gone.pop(row.source)}")
        else:
            yield Change(path, "added", _refusal(row) or _stored(row, fields) or "not ingested yet")
    taken = {old[path].source for path in gone.values()}
    for path, row in old.items():
        if path not in now.rows and (row.source is None or row.source in taken):
            yield Change(path, "removed", "it is not in the corpus's folder any more")


def _changed(old: Row, row: Row, fields: Mapping[str, Mapping[str, Any]]) -> Iterator[Change]:
    path = row.path
    before, replaced = old.source or "", old.source is not None and row.source != old.source
    if replaced:
        yield Change(path, "replaced", f"the EDF changed: {before[:12]} → {(row.source or 'not read')[:12]}")
    if row.labels != old.labels:
        yield Change(path, "relabelled", "the label files changed")
    elif row.annotations != old.annotations:
        yield Change(path, "relabelled", "the same label file was read in another way")
    for name in ("patient", "session", "split"):
        if getattr(row, name) != getattr(old, name):
            yield Change(path, "reassigned", f"{name} {getattr(old, name)} → {getattr(row, name)}")
    for digest, content in row.contents.items():
        if digest not in old.contents:
            others = [each for each in old.contents if each in fields and digest in fields]
            why = describe_difference(fields[others[-1]], fields[digest]) if others else "first build"
            yield Change(path, "stored", "the EDF changed" if replaced else why)
        elif old.contents[digest] != content:
            yield Change(path, "rebuilt", f"other samples: {old.contents[digest][:12]} → {content[:12]}")
    if not replaced and old.contents.keys() - row.contents.keys():
        yield Change(path, "deleted", "its object was deleted from the store")
    for digest, refusal in row.refusals.items():
        known = old.refusals.get(digest)
        if known is None or known.reason != refusal.reason:
            yield Change(path, "refused", refusal.reason)
        elif refusal.accepted and not known.accepted:
            yield Change(path, "accepted", f"its omission: {refusal.reason}")


def _refusal(row: Row) -> str | None:
    return next((f"refused: {refusal.reason}" for refusal in row.refusals.values()), None)


def _stored(row: Row, fields: Mapping[str, Mapping[str, Any]]) -> str | None:
    names = [str(fields[digest]["name"]) if digest in fields else digest[:8] for digest in row.contents]
    return f"recipe {', '.join(names)}" if names else None
