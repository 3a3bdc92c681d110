"""What a view is without names: sources, contents, labels, splits, and who is the same patient. Its digest is a lock's.

Unlike a view's own digest it covers neither windows nor what patients are called: a copy without names has it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from brainbrr.core.digest import json_digest
from brainbrr.loading.columnar import StoredRecordings
from brainbrr.loading.recordings import Omission
from brainbrr.views.view import View


class Fact(NamedTuple):
    """One recording: `labels` is the digest of its labels, cut to 32 digits; `patient` and `path` are names."""

    source: str
    content: str
    labels: str
    split: str
    patient: str
    path: str


Anonymous = tuple[str, str, str, str, int]
"""Source, content, labels, split, and the number of the patient among those of the view."""


def facts(view: View) -> list[Fact]:
    """Return what is known of each recording of a view, sorted; no record is read where columns know it."""
    given = view.recordings
    if isinstance(given, StoredRecordings):
        rows: Iterable[tuple[str, str, str, str, str, str]] = given.facts()
    else:
        rows = ((r.path, r.source, r.content, r.split, r.patient, r.event_digest) for r in given)
    return sorted(
        Fact(source, content, labels[:32], split, patient, path)
        for path, source, content, split, patient, labels in rows
    )


def anonymous(known: Sequence[Fact]) -> list[Anonymous]:
    """Return facts without names; patients are counted as they come."""
    number: dict[str, int] = {}
    return [(*fact[:4], number.setdefault(fact.patient, len(number))) for fact in known]


def refused(omitted: Iterable[Omission]) -> list[tuple[str, str, str]]:
    """Return source, split and error of each recording whose omission was accepted, sorted."""
    return sorted((each.source or "", each.split, each.error) for each in omitted)


def lock_digest(recipe: str, recordings: Iterable[Anonymous], omitted: Iterable[tuple[str, str, str]]) -> str:
    """Return the SHA-256 of what a lock names, by the digest of its recipe."""
    those = {"recordings": [list(each) for each in recordings], "omitted": [list(each) for each in omitted]}
    return json_digest({"recipe": recipe, **those})


def lock_digest_of(view: View) -> str:
    """Return the digest that a lock of a view has."""
    return lock_digest(view.recipe.digest, anonymous(facts(view)), refused(view.omitted))
