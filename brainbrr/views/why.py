"""`why`: is this recording stored under this recipe, and if not, what differs from the nearest that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from brainbrr.core.digest import is_digest, key_of, source_digest
from brainbrr.core.models import explain
from brainbrr.core.statcache import Host
from brainbrr.eeg.quality import detector
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import Fix, IntegrityError, UsageError
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.columns import objects_of
from brainbrr.store.records import Record
from brainbrr.store.store import Store
from brainbrr.views.select import matching_rows
from brainbrr.views.today import Today, today


@dataclass(frozen=True)
class WhyReport:
    """A hit, or a miss with its reason and the fields in which the nearest stored key differs: [requested, stored]."""

    hit: bool
    key: str
    recording: str | None
    content: str | None
    nearest: dict[str, Any] | None
    reason: str | None = None
    quality: dict[str, Any] | None = None
    """What the detector of this version noticed; None for a miss, and where `unexamined` says why."""
    unexamined: str | None = None
    today: Today | None = None
    """What became of the file; None for a key, and where the corpus's folder is unknown."""

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "today": self.today.to_json() if self.today else None}


def why(
    store: Store,
    subject: str,
    *,
    recipe: Recipe,
    changes: Iterable[str] = (),
    corpus: str | None = None,
    among: Among = lambda corpus, row: True,
    host: Host | None = None,
) -> WhyReport:
    """Explain a key, or the key of a recording (an EDF file, or its path in a catalog) under a recipe.

    `changes` (`field=value`) are made to the recipe; a key brings its own recipe. `among` says which recordings of
    a catalog may be meant. `host` knows where the corpus is, whose file is then compared. Raises UsageError when the
    subject is neither, or names several recordings.
    """
    report = _explained(store, subject, recipe=recipe, changes=tuple(changes), corpus=corpus, among=among)
    if host is None or is_digest(subject, 32):
        return report
    return replace(report, today=_today(store, subject, corpus, among, host, recipe))


Among = Callable[[str, Row], bool]
"""Whether a row of a corpus may be meant."""


def _today(store: Store, subject: str, corpus: str | None, among: Among, host: Host, recipe: Recipe) -> Today | None:
    """Return what became of the file of the one recording that is meant, where this host knows the corpus's folder."""
    file = Path(subject)
    roots = {name: host.root(store.location, name) for name in store.corpora() if corpus in (None, name)}
    if file.is_file():
        within = {name: root for name, root in roots.items() if root and file.resolve().is_relative_to(root.resolve())}
        subjects = [(name, file.resolve().relative_to(root.resolve()).as_posix()) for name, root in within.items()]
    else:
        subjects = [(name, subject) for name in roots]
    found = [
        (name, row)
        for name, text in subjects
        for name, row in matching_rows(store, text, name)
        if among(name, row) and roots.get(name)
    ]
    if len({(name, row.path) for name, row in found}) != 1:
        return None
    name, row = found[0]
    root = roots[name]
    return today(store, root, name, row, recipe) if root else None


def _explained(
    store: Store, subject: str, *, recipe: Recipe, changes: tuple[str, ...], corpus: str | None, among: Among
) -> WhyReport:
    path = None
    if is_digest(subject, 32):
        record, reason = _stored(store, subject)
        if not changes:
            content = record.content if record is not None and reason is None else None
            examined = _findings(store, subject) if reason is None else (None, None)
            return WhyReport(reason is None, subject, None, content, None, reason, *examined)
        if record is None:
            raise UsageError(f"{reason}, so its recipe cannot be changed", fix="name the recording instead")
        source, recipe = record.source, _recipe_of(record)
    else:
        path, source = _source(store, subject, corpus, among)
    if changes:
        recipe = changed(recipe, changes)
    key = key_of(source=source, recipe=recipe.digest)
    record, reason = _stored(store, key)
    if record is not None:
        record.check_made_from(source=source, recipe=recipe.digest, where=store.path_of("record", key))
    if reason is None and record is not None:
        return WhyReport(True, key, path, record.content, None, None, *_findings(store, key))
    reason = _refusal(store, source, recipe) or reason
    return WhyReport(False, key, path, None, _nearest(store, {"source": source, **recipe.identity()}), reason)


def _findings(store: Store, key: str) -> tuple[dict[str, Any] | None, str | None]:
    """Return a key's findings, or why there are none."""
    try:
        found = store.findings(key, detector.QUALITY_VERSION)
    except IntegrityError as error:
        return None, Fix(
            f"its findings are damaged ({error.what}): ", ("ingest", "ROOT", "--rehash"), " writes new ones"
        )
    return found, None if found else Fix("not examined: ", ("ingest", "ROOT"), " examines it")


def _refusal(store: Store, source: str, recipe: Recipe) -> str | None:
    catalogs = (store.catalog(corpus) for corpus in store.corpora())
    rows = (row for catalog in catalogs if catalog for row in _of_source(store, catalog, source))
    return next((f"refused: {r.reason}" for row in rows if (r := row.refusals.get(recipe.digest))), None)


def _of_source(store: Store, catalog: Catalog, source: str) -> Iterable[Row]:
    columns = store.columns(catalog)
    if columns is None:
        return [row for row in catalog.rows.values() if row.source == source]
    same = (columns.arrays["source"] == np.frombuffer(bytes.fromhex(source), dtype=np.uint8)).all(axis=1)
    return [catalog.rows[columns.paths[i]] for i in np.flatnonzero(same & columns.arrays["has_source"])]


def _stored(store: Store, key: str) -> tuple[Record | None, str | None]:
    """Return the record of a key, and why it is no hit: None when it is one."""
    try:
        record = store.record(key)
    except IntegrityError as error:
        return None, f"its record is damaged: {error.what}"
    if record is None:
        return None, "no record has this key"
    return record, None if store.has_object(record) else "its object is gone from the store"


def _recipe_of(record: Record) -> Recipe:
    try:
        return Recipe.from_identity(record.recipe_fields, name="stored")
    except ValidationError as error:
        raise UsageError(
            f"this version of brainbrr cannot build the key's recipe: {explain(error)}",
            fix="name the recording instead",
        ) from None


def _source(store: Store, subject: str, corpus: str | None, among: Among) -> tuple[str, str]:
    if Path(subject).is_file():
        return subject, source_digest(Path(subject))
    matches = [row for name, row in matching_rows(store, subject, corpus) if among(name, row)]
    sources = {row.source for row in matches}
    if not matches:
        raise UsageError(f"{subject!r} is no EDF file, no recording of a catalog, and no key", where=store.where)
    if len(sources) > 1:
        raise UsageError(
            f"{subject!r} names {len(matches)} recordings", fix=f"give the whole path, e.g. {matches[0].path}"
        )
    source = matches[0].source
    if source is None:
        if refusal := next(iter(matches[0].refusals.values()), None):
            raise UsageError(f"{matches[0].path} is refused: {refusal.reason}", where=store.where)
        raise UsageError(
            f"{matches[0].path} was never ingested, so its source is not known", fix=Fix(("ingest", "ROOT"))
        )
    return matches[0].path, source


def _nearest(store: Store, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Return the stored key with the fewest differing fields; the same source wins a tie."""
    best: tuple[int, bool, str, dict[str, list[Any]]] | None = None
    for key, source, fields in _stored_keys(store, asked["source"]):
        theirs = {"source": source, **fields}
        differences = {
            name: [asked.get(name), theirs.get(name)]
            for name in sorted(asked.keys() | theirs.keys())
            if asked.get(name) != theirs.get(name)
        }
        candidate = (len(differences), "source" in differences, key, differences)
        if best is None or candidate[:3] < best[:3]:
            best = candidate
    return None if best is None else {"key": best[2], "differences": best[3]}


def _stored_keys(store: Store, source: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield key, source and recipe of every record that could be the nearest: of those that columns know, the first
    of each recipe and that of the source.
    """
    known: set[str] = set()
    there, _ = store.existing()
    for corpus in store.corpora():
        catalog = store.catalog(corpus)
        columns = store.columns(catalog) if catalog else None
        for stored, sources, keys, _ in objects_of(columns) if columns else ():
            existing = [(key, its) for key, its in zip(keys, sources, strict=True) if key in there]
            known.update(keys)
            same = [each for each in existing if each[1] == source]
            for key, its in (*same, *([min(existing)] if existing else [])):
                yield key, its, stored.fields
    for key in there - known:
        with suppress(IntegrityError):
            if is_digest(key, 32) and (record := store.record(key)) is not None:
                yield record.key, record.source, record.recipe_fields


def changed(recipe: Recipe, changes: Iterable[str]) -> Recipe:
    """Return a recipe with fields changed as `field=value` says (false or off: none; lists: commas).

    Raises UsageError naming what is not known or not possible.
    """
    fields: dict[str, Any] = {"name": "changed", **recipe.identity()}
    known = f"fields: {', '.join(name for name in fields if name != 'name')}"
    for text in changes:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: FIELD=VALUE is meant", fix=known)
        if name not in fields or name == "name":
            raise UsageError(f"--set {text}: a recipe has no field {name!r}", fix=known)
        if value in ("off", "false"):
            fields[name] = None
        elif name == "aliases":
            fields[name] = dict(pair.partition("=")[::2] for pair in value.split(","))
        elif isinstance(fields[name], int):
            fields[name] = int(value) if value.isascii() and value.isdigit() else value
        else:
            fields[name] = value.split(",") if name in ("channels", "bandpass_hz") else value
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"--set: {explain(error)}", fix=known) from None
