"""Locks: what a view is, in digests, to compare with one's own ingest or to hold a remote to.

A lock has no name in it. Each path is kept as a keyed hash, and the key itself, for each recording, under what only the
recording's own samples tell (`_secret`): a user who stores one of the recordings can tell which name differs, and one
who has none learns nothing.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from brainbrr.core import files, models
from brainbrr.core.access import Guard, write_file
from brainbrr.core.digest import canonical_json, key_of, keyed, sha256
from brainbrr.core.models import Count, Digest32, Digest64, Many, Stored
from brainbrr.eeg.corpus.terms import Terms
from brainbrr.errors import BrainbrrError, IntegrityError, UsageError
from brainbrr.loading.recordings import Missing
from brainbrr.share.terms import terms_of
from brainbrr.store.catalog import Catalog
from brainbrr.store.records import Record
from brainbrr.store.sidecars import SmallFile
from brainbrr.store.store import Store
from brainbrr.views.facts import Anonymous, Fact, anonymous, facts, lock_digest, refused
from brainbrr.views.report import ViewRequest
from brainbrr.views.report import view as view_of
from brainbrr.views.select import usual_recipe
from brainbrr.views.view import View

MAX_LOCK_BYTES = 1 << 26
EXTRA = "the lock does not name it"

_Tag = Annotated[str, Field(pattern=r"^[0-9a-f]{16}\z")]
_Entry = Annotated[tuple[Digest64, Digest64, Digest32, str, Count, _Tag, Digest32], Field(strict=False)]
"""Source, content, labels, split, number of the patient, keyed hash of the path, and the key, wrapped."""
_Omitted = Annotated[tuple[str, str, str], Field(strict=False)]


class _Recipe(Stored):
    name: str
    digest: Digest32
    fields: dict[str, Any]


class Lock(SmallFile):
    """What a view is. `narrowed`: more than profile and split chose its recordings."""

    kind: Literal["lock"] = "lock"
    corpus: str
    profile: str
    split: str | None
    narrowed: bool
    recipe: _Recipe
    terms: dict[str, str]
    counts: dict[str, int]
    recordings: Many[_Entry]
    omitted: Many[_Omitted]
    digest: Digest64

    def anonymous(self) -> list[Anonymous]:
        """Return what its digest covers of each recording."""
        return [entry[:5] for entry in self.recordings]

    @cached_property
    def by_source(self) -> Mapping[str, Sequence[Any]]:
        """Its entries by source; one that occurs twice in a corpus has several."""
        found = defaultdict(list)
        for entry in self.recordings:
            found[entry[0]].append(entry)
        return found

    def refuses(self, fact: Fact) -> str | None:
        """Return why a recording is not what the lock names, None for one that is; EXTRA for one that it lacks.

        Which patient it is of only shows beside others: see `regrouped`.
        """
        entries = self.by_source.get(fact.source, ())
        for place, name in ((slice(1, 2), "content"), (slice(2, 3), "labels"), (slice(3, 4), "split")):
            entries = [entry for entry in entries if entry[place] == fact[place]]
            if not entries:
                return f"its {name} differs from what the lock names" if fact.source in self.by_source else EXTRA
        return None


def lock_of(view: View, catalog: Catalog) -> Lock:
    """Return the lock of a ready view; the same for the same view. Raises ViewNotReadyError, IntegrityError."""
    view.require_ready()
    known = facts(view)
    secrets = [_secret(_record(view.store, fact, view.recipe.digest)) for fact in known]
    key = bytes.fromhex(sha256(b"".join(secrets))[:32])
    entries = [
        (*each, _tag(key, fact.path), _wrapped(key, secret).hex())
        for each, fact, secret in zip(anonymous(known), known, secrets, strict=True)
    ]
    omitted = refused(view.omitted)
    counts = {"recordings": len(known), "patients": view.totals.patients, "seizures": view.totals.seizures}
    splits = sorted(Counter(fact.split for fact in known).items())
    counts |= {"seconds": round(view.totals.seconds), **{f"split {name}": n for name, n in splits}}
    return Lock(
        corpus=view.corpus,
        profile=view.profile,
        split=view.split,
        narrowed=bool(view.selection),
        recipe=_Recipe(name=view.recipe.name, digest=view.recipe.digest, fields=view.recipe.identity()),
        terms=terms_of(catalog).settings(),
        counts=counts,
        recordings=tuple(entries),
        omitted=tuple(omitted),
        digest=lock_digest(view.recipe.digest, anonymous(known), omitted),
    )


def _record(store: Store, fact: Fact, recipe: str) -> Record:
    record = store.made_from(source=fact.source, recipe=recipe)
    if record is None:
        raise IntegrityError("its record is gone", where=fact.path)
    return record


def _secret(record: Record) -> bytes:
    """Return what only the samples of a recording tell: exact sums over them, and the checksums of its tiles."""
    return bytes.fromhex(sha256(canonical_json(["lock", record.statistics, record.checks])))


def _wrapped(key: bytes, secret: bytes) -> bytes:
    """Return a key under a secret, or the key again."""
    pad = keyed(secret, b"key")
    return bytes(a ^ b for a, b in zip(key, pad[:16], strict=True))


def _tag(key: bytes, path: str) -> str:
    return keyed(key, path.encode())[:8].hex()


def read_lock(path: Path) -> Lock:
    """Return the lock in a file. Raises UsageError where there is none, IntegrityError for anything else."""
    try:
        with os.fdopen(files.open_plain(path, follow=True), "rb") as file:
            data = file.read(MAX_LOCK_BYTES + 1)
    except FileNotFoundError:
        raise UsageError("there is no such lock", where=path) from None
    if len(data) > MAX_LOCK_BYTES:
        raise IntegrityError(f"more than {MAX_LOCK_BYTES:,} bytes, which no lock has", where=path)
    fields = models.from_checksummed(data, where=path)
    models.check_format(fields, 1, kind="a lock", where=path)
    found = models.parse(Lock, fields, where=path)
    given = {name: found.terms.get(setting, "") for name, setting in (("access", "access"), ("url", "terms"))}
    try:
        Terms(**given)  # type: ignore[arg-type]  # it checks that
    except BrainbrrError as error:
        raise IntegrityError(f"terms: {error.what}", where=path) from None
    if lock_digest(found.recipe.digest, found.anonymous(), found.omitted) != found.digest:
        raise IntegrityError("the lock's digest is not that of what it names", where=path)
    return found


# Comparison


@dataclass(frozen=True)
class Difference:
    """One recording that is not as the lock says; `recording` is a path where it is known, else the source."""

    recording: str
    kind: str
    reason: str


@dataclass(frozen=True)
class LockReport:
    """A lock, and what differs between it and a view: nothing where it was just made of it.

    `recipe`: fields of another recipe, as the lock and the store have them. `signed_by`: None where not asked for.
    """

    lock: Path
    digest: str
    corpus: str
    profile: str
    counts: Mapping[str, int]
    differences: tuple[Difference, ...] = ()
    recipe: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    signed_by: str | None = None

    @property
    def exit_code(self) -> int:
        """4 where something differs, 3 where recordings are only missing, as `check`."""
        if self.recipe or any(each.kind != "missing" for each in self.differences):
            return 4
        return 3 if self.differences else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        given = {
            "lock": str(self.lock),
            "counts": dict(self.counts),
            "differences": [vars(d) for d in self.differences],
        }
        return {**vars(self), **given, "recipe": {name: list(both) for name, both in self.recipe.items()}}


def write(view: View, catalog: Catalog, out: Path) -> LockReport:
    """Write the lock of a ready view, over an older file; it is no more readable than the store. Raises OSError."""
    lock = lock_of(view, catalog)
    write_file(out, models.to_checksummed(lock.to_json()), (Guard.of(view.store.location),))
    return LockReport(out, lock.digest, lock.corpus, lock.profile, lock.counts)


def check(store: Store, request: ViewRequest, lock: Lock, path: Path, *, signed_by: str | None = None) -> LockReport:
    """Compare a lock with what a store has of its profile and split, or of another selection."""
    view = view_of(store, request, location=store.location).view
    recipe = _recipe_differences(store, lock, view)
    narrower = lock.narrowed and not view.selection
    found = () if recipe else compare(lock, view, extras=not narrower)
    counts = {
        **lock.counts,
        "same": len(lock.recordings) - len({each.recording for each in found if each.kind != "extra"}),
    }
    return LockReport(path, lock.digest, lock.corpus, lock.profile, counts, found, recipe, signed_by)


def _recipe_differences(store: Store, lock: Lock, view: View) -> dict[str, tuple[Any, Any]]:
    """Return each field that differs between the lock's recipe and the one that the store has instead of it."""
    ours: Mapping[str, Any] = view.recipe.identity()
    catalog = store.catalog(view.corpus) if view.corpus in store.corpora() else None
    if catalog is not None and not view.recordings and ours == lock.recipe.fields:
        usual = usual_recipe(catalog)
        found = (store.record(key_of(source=row.source, recipe=usual)) for row in catalog.rows.values() if row.source)
        ours = next((record.recipe_fields for record in found if record), ours)
    theirs = lock.recipe.fields
    names = sorted({*theirs, *ours})
    return {name: (theirs.get(name), ours.get(name)) for name in names if theirs.get(name) != ours.get(name)}


def compare(lock: Lock, view: View, *, extras: bool = True) -> tuple[Difference, ...]:
    """Return what differs between a lock and a view of another store, sorted. `extras`: also what only the view has."""
    known = facts(view)
    key = _key(lock, view, known)
    name_of = {_tag(key, fact.path): fact for fact in known} if key else {}
    lacking = {_tag(key, each.recording): each for each in view.missing} if key else {}
    ours, found = defaultdict(list), list[Difference]()
    for fact in known:
        ours[fact.source].append(fact)
    pairs, reissued = [], set[str]()
    for source, entries in lock.by_source.items():
        mine = ours.get(source, [])
        pairs += list(zip(entries, mine, strict=False))
        found += [Difference(fact.path, "extra", "the lock names it fewer times") for fact in mine[len(entries) :]]
        for entry in entries[len(mine) :]:
            other = name_of.get(entry[5])
            if other is not None and other.source not in lock.by_source:
                reissued.add(other.path)
                found.append(
                    Difference(
                        other.path, "source", f"the EDF was re-issued: {source} in the lock, {other.source} here"
                    )
                )
            else:
                unknown = Missing(f"source {source}", "no recording here has these bytes")
                those = lacking.get(entry[5], unknown)
                found.append(Difference(those.recording, "missing", those.reason))
    for entry, fact in pairs:
        found += _differences(entry, fact)
    found += _regrouped([(entry[4], fact) for entry, fact in pairs])
    if extras:
        more = [fact for fact in known if fact.source not in lock.by_source and fact.path not in reissued]
        found += [Difference(fact.path, "extra", EXTRA) for fact in more]
    found += _omissions(lock, view)
    return tuple(sorted(found, key=lambda each: (each.recording, each.kind)))


def _key(lock: Lock, view: View, known: Sequence[Fact]) -> bytes | None:
    """Return the key of the lock's names, None where none of its recordings is stored here."""
    contents = {entry[:2]: entry[6] for entry in lock.recordings}
    for fact in known:
        if (wrapped := contents.get(fact[:2])) is not None:
            return _wrapped(bytes.fromhex(wrapped), _secret(_record(view.store, fact, view.recipe.digest)))
    return None


def _differences(entry: Sequence[Any], fact: Fact) -> list[Difference]:
    reasons = {
        "content": f"other samples of the same EDF: {entry[1]} in the lock, {fact.content} here",
        "labels": "the labels changed",
        "split": f"split {entry[3]} in the lock, {fact.split} here",
    }
    named = zip(reasons.items(), entry[1:4], fact[1:4], strict=True)
    return [Difference(fact.path, kind, reason) for (kind, reason), theirs, ours in named if theirs != ours]


def _regrouped(pairs: Sequence[tuple[int, Fact]]) -> list[Difference]:
    """Return the recordings that belong to another patient than most of those of the lock's patient."""
    of: dict[int, Counter[str]] = defaultdict(Counter)
    for number, fact in pairs:
        of[number][fact.patient] += 1
    taken: dict[str, int] = {}
    for number, names in sorted(of.items(), key=lambda each: (-max(each[1].values()), each[0])):
        free = [name for name, _ in names.most_common() if name not in taken]
        if free:
            taken[free[0]] = number
    what = "its patient is another one than in the lock"
    return [Difference(fact.path, "patient", what) for number, fact in pairs if taken.get(fact.patient) != number]


def _omissions(lock: Lock, view: View) -> list[Difference]:
    theirs, ours = Counter(lock.omitted), Counter(refused(view.omitted))
    path = {(each.source or "", each.split, each.error): each.recording for each in view.omitted}
    found = [
        Difference(path[each], "extra", f"it is omitted here ({each[2]}), and not in the lock")
        for each in (ours - theirs).elements()
    ]
    what = "the lock omits it as refused ({}), and it is not omitted here"
    return found + [
        Difference(f"source {each[0]}", "missing", what.format(each[2])) for each in (theirs - ours).elements()
    ]


def regrouped(lock: Lock, known: Sequence[Fact]) -> list[Difference]:
    """Return the recordings that the lock gives to other patients; all of them are as it names them otherwise."""
    number = {entry[:4]: entry[4] for entry in lock.recordings}
    return _regrouped([(number[fact[:4]], fact) for fact in known])
