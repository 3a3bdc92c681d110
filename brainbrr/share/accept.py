"""What of a remote's view and catalog is accepted where a lock says what may come."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from brainbrr.eeg.corpus.annotations import UNLABELLED, Annotations
from brainbrr.eeg.corpus.terms import TERMS, strictest
from brainbrr.errors import UsageError
from brainbrr.loading.recordings import Members, Missing, event_digest
from brainbrr.share.locks import EXTRA, Lock, regrouped
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.send import Failed
from brainbrr.views.facts import Fact, facts, refused
from brainbrr.views.view import View

_CODE = "not-locked"


def named_by(lock: Lock, view: View) -> tuple[View, list[Failed]]:
    """Return what of a view a lock names, and the recordings that it names otherwise; others are left out.

    Raises UsageError for another recipe.
    """
    if view.recipe.digest != lock.recipe.digest:
        raise UsageError(
            f"the lock is of recipe {lock.recipe.digest}, not of {view.recipe.digest}", fix="leave --recipe out"
        )
    reasons = {fact: lock.refuses(fact) for fact in facts(view)}
    named = [fact for fact, reason in reasons.items() if reason is None]
    failed = [Failed(fact.path, _CODE, reason) for fact, reason in reasons.items() if reason not in (None, EXTRA)]
    failed += [Failed(each.recording, _CODE, each.reason) for each in regrouped(lock, named)]
    kept = {fact.path for fact in named} - {each.recording for each in failed}
    missing: tuple[Missing, ...] = ()
    if (view.profile, view.split, view.selection) == ("full", None, {}):
        there = {fact.source for fact in reasons}
        missing = tuple(Missing(f"source {source}", "not there") for source in lock.by_source if source not in there)
    members = Members(
        tuple(each for each in view.recordings if each.path in kept),
        missing=missing,
        omitted=tuple(each for each in view.omitted if refused([each])[0] in lock.omitted),
    )
    return View(view.store, members, scope=view.scope, recipe=view.recipe, window=view.window), failed


def rows_of(lock: Lock, view: View) -> Callable[[Catalog], Catalog]:
    """Return what a catalog becomes of which only rows are kept that say what a lock and a view of it say."""
    of = {each.path: each.patient for each in view.recordings}
    left_out = {each.recording for each in view.omitted}

    def named(row: Row) -> bool:
        if row.path not in of:
            return row.path in left_out
        said = UNLABELLED if row.annotations is None else Annotations.from_json(row.annotations)
        content = row.contents.get(lock.recipe.digest, "")
        fact = Fact(row.source or "", content, event_digest(said)[:32], row.split, row.patient, row.path)
        return of[row.path] == row.patient and lock.refuses(fact) is None

    def keep(catalog: Catalog) -> Catalog:
        rows = {path: row for path, row in catalog.rows.items() if named(row)}
        terms = {name: text for name, text in catalog.settings.items() if name in TERMS}
        return dataclasses.replace(catalog, rows=rows, settings=strictest(lock.terms, terms))

    return keep
