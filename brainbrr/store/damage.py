"""How damage is told: what it is about, why, and what mends it. Looks at nothing itself.

Catalogs, frozen views, pins and the other small files: each against its seal, and against what it speaks of.

What repair did about each damage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from brainbrr.core import files
from brainbrr.core.digest import is_digest, key_of
from brainbrr.errors import BrainbrrError, Fix, FormatError, IntegrityError
from brainbrr.store import catalog as the_catalog
from brainbrr.store import frozen_views as the_frozen_views
from brainbrr.store import sidecars
from brainbrr.store.catalog import Catalog
from brainbrr.store.frozen_views import frozen_digest
from brainbrr.store.records import Record
from brainbrr.store.store import Store, verify_findings

REPAIR = Fix(("repair",))
_FIX = {"recording": Fix(("ingest", "ROOT"), " reads it again")}

RECEIPTS_OF = {
    "object": "objects",
    "record": "records",
    "findings": "findings",
    "view": "views",
    "pin": "pins",
    "retired": "retired",
}
"""How receipts call what we call."""


Found = dict[str, str]
"""One damage: {kind: name, "reason": why, "fix": what mends it}.

Kinds: format, folder, object, group, record, findings, catalog (a file of it), recording (CORPUS/PATH), view, pin,
retired, receipt, stranger.
"""


def kind_and_name(found: Found) -> tuple[str, str]:
    """Return what a damage is about."""
    return next(iter(found.items()))


@dataclass(frozen=True, slots=True)
class Bound:
    """What of a record others are held against: the rest of it need not stay in memory."""

    key: str
    source: str
    recipe: str
    content: str
    n_samples: int
    rate_hz: int

    @classmethod
    def of(cls, record: Record) -> Bound:
        """Return it."""
        array = record.array
        return cls(record.key, record.source, record.recipe, record.content, array.n_samples, array.rate_hz)


class Notes:
    """What was found so far."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.unreadable: set[tuple[str, str]] = set()

    def note(self, kind: str, name: str, error: BrainbrrError | OSError) -> None:
        """Keep one damage."""
        why = error if isinstance(error, (OSError, FormatError)) else error.__cause__
        if isinstance(why, (OSError, FormatError)):
            self.unreadable.add((kind, name))
        reason = f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else error.what
        fix = None if isinstance(error, OSError) else error.fix
        self.say(kind, name, reason, fix)

    def say(self, kind: str, name: str, reason: str, fix: str | None = None) -> None:
        """Keep one damage that no error tells of."""
        self.found.append({kind: name, "reason": reason, "fix": fix or _FIX.get(kind, REPAIR)})

    @contextmanager
    def noting(self, kind: str, name: str) -> Iterator[None]:
        """Keep what is raised."""
        try:
            yield
        except (BrainbrrError, OSError) as error:
            self.note(kind, name, error)

    def names(self, kind: str) -> set[str]:
        """Return what is damaged of a kind."""
        return {found[kind] for found in self.found if kind in found}


def place_of(store: Store, kind: str, name: str) -> Path:
    """Return where a thing of a kind lies, or lay."""
    layout = store.layout
    match kind:
        case "object":
            return layout.found(layout.objects, name)
        case "group":
            return layout.objects / name
        case "record":
            return layout.found(layout.records, name)
        case "findings":
            key, _, version = name.partition("-")
            return layout.findings_of(key, int(version)) if is_digest(key, 32) else layout.findings / name
        case "catalog":
            return layout.root / "catalog" / name
        case "view":
            return layout.view(name)
        case "pin":
            return layout.pin(name)
        case "retired":
            return layout.retirement(name)
        case "receipt":
            return layout.receipt(name)
        case _:
            return layout.root / name


_PUT_BACK = "put it back from a copy of the store, or ingest again all that was in it"
_OURS = {"digest", "recipe", "window", "recordings", "omitted"}


def catalogs(
    store: Store, records: Mapping[str, Bound], keys: set[str], deleted: Mapping[str, str], broken: Notes
) -> dict[str, str]:
    """Hold catalogs against themselves and against records; return what each key should be, as far as they say."""
    wanted: dict[str, str] = {}
    retired = set(store.layout.retired())
    for corpus in store.corpora():
        bad = list(the_catalog.damage(store.layout, corpus))
        if bad:  # unless somebody has just forgotten it, or its older generations
            bad = list(the_catalog.damage(store.layout, corpus))
        for name, error in bad:
            broken.note("catalog", name, error)
        try:
            catalog = store.catalog(corpus)
        except (BrainbrrError, OSError):
            continue
        if catalog is None:
            continue
        for said in _rows(catalog, records, broken):
            if said.key not in keys and files.lies(store.layout.record(said.key)):
                continue  # stored since the records were listed: an ingest goes on beside us
            # one that was deleted before this was said must be there again
            if said.key not in keys and (said.recipe in retired or deleted.get(said.key, "") > catalog.created):
                continue
            if said.key not in keys:
                broken.say("record", said.key, f"{said.path} of {corpus} was stored under it, and it is gone")
            elif said.key in records and records[said.key].content != said.content and said.key not in wanted:
                theirs = records[said.key].content[:12]
                broken.say("record", said.key, f"it names content {theirs}, and the catalog {said.content[:12]}")
            wanted.setdefault(said.key, said.content)
            keys.add(said.key)  # told once
    return wanted


class _Said(NamedTuple):
    """What a catalog says that a source became."""

    key: str
    content: str
    recipe: str
    path: str


def _rows(catalog: Catalog, records: Mapping[str, Bound], broken: Notes) -> Iterator[_Said]:
    """Yield all that a catalog says was stored; hold lengths against records."""
    for path, row in catalog.rows.items():
        if row.source is None:
            continue
        known = []
        for recipe, content in row.contents.items():
            key = key_of(source=row.source, recipe=recipe)
            if key in records:
                known.append(records[key])
            yield _Said(key, content, recipe, path)
        if known and row.signal_us is not None and not any(_lasts(each, row.signal_us) for each in known):
            what = f"the catalog says {row.signal_us / 1e6:g} s, and its record another length"
            broken.say("recording", f"{catalog.corpus}/{path}", what)


def _lasts(record: Bound, signal_us: int) -> bool:
    # within one sample; microseconds are rounded down
    return abs(signal_us * record.rate_hz - record.n_samples * 1_000_000) <= 1_000_000 + record.rate_hz


def views(store: Store, records: Mapping[str, Bound], keys: set[str], wanted: dict[str, str], broken: Notes) -> None:
    """Hold frozen views against themselves and against records, pins against views."""
    pins = store.layout.pins()  # first: the view of a pin was there before it
    for digest in store.frozen_views():
        with broken.noting("view", digest):
            for key, (content, path) in _read_by(store, digest).items():
                if key not in keys and files.lies(store.layout.record(key)):
                    continue
                if key not in keys:
                    broken.say("record", key, f"the frozen view {digest[:12]} reads {path} by it, and it is gone")
                    keys.add(key)
                    wanted.setdefault(key, content)
                elif key in records and records[key].content != content:
                    raise IntegrityError(f"it names content {content[:12]} of {path}, whose record says another")
    there = set(store.frozen_views())
    for digest in pins:
        with broken.noting("pin", digest):
            said(store, "pin", digest)
            if digest not in there:
                raise IntegrityError("it keeps a frozen view that is not there")


def _read_by(store: Store, digest: str) -> dict[str, tuple[str, str]]:
    """Return content and path by key of what a frozen view reads, after proving it by itself. Raises IntegrityError."""
    frozen = store.frozen(digest)
    if frozen is None or not frozen.keys() >= _OURS:
        return {}  # deleted meanwhile, or somebody else's, whose digest is his own word
    try:
        named = {entry["key"]: (entry["content"], entry["path"]) for entry in frozen["recordings"]}
        found = frozen_digest(frozen)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"it is no view as brainbrr writes it: {error!r}") from None
    if found != digest or frozen["digest"] != digest:
        raise IntegrityError(f"it says what has digest {found[:12]}")
    return named


def said(store: Store, kind: str, name: str) -> bool:
    """Prove a view, pin, mark of retirement or receipt by itself; say whether it is there. Raises IntegrityError."""
    if kind == "view":
        _read_by(store, name)
        return store.frozen(name) is not None
    if kind == "receipt":
        return bool(sidecars.read_receipt(store.layout, name))
    return (the_frozen_views.pinned if kind == "pin" else the_frozen_views.retired)(store, name) is not None


def small_files(store: Store, broken: Notes) -> dict[str, list[str]]:
    """Prove findings, marks of retirement and receipts; return the names of these, and of catalogs, views and pins."""
    layout = store.layout
    for folder in layout.lost_folders():
        # what lies in the place of records is told as a record or a stranger, and what they were, catalogs say
        if folder.parent != layout.records and (folder.is_symlink() or not folder.exists()):
            broken.say("folder", folder.relative_to(layout.root).as_posix(), "this folder is not there", _PUT_BACK)
    names: dict[str, list[str]] = defaultdict(list)
    for name in store.found_findings():
        names["findings"].append(name)
        with broken.noting("findings", name):
            verify_findings(store, name)
    for recipe in layout.retired():
        names["retired"].append(recipe)
        with broken.noting("retired", recipe):
            said(store, "retired", recipe)
    for name in layout.receipts():
        names["receipt"].append(name)
        with broken.noting("receipt", name):
            said(store, "receipt", name)
    for corpus in store.corpora():
        names["catalog"] += the_catalog.names(layout, corpus)
    names["view"], names["pin"] = layout.views(), layout.pins()
    return names


Outcome = Literal["restored", "moved aside", "kept apart", "not restored", "left"]
"""`moved aside`: nothing had to come in its place. `left`: not touched, since it could not be read."""

WHOLE: tuple[Outcome, ...] = ("restored", "moved aside")


@dataclass(frozen=True)
class Mended:
    """One damage, what became of it, how or why not, and what to do where something remains."""

    kind: str
    name: str
    reason: str
    outcome: Outcome
    how: str
    fix: str | None = None

    @classmethod
    def of(cls, found: Found, outcome: Outcome, how: str, fix: str | None = None) -> Mended:
        """Return it for a damage."""
        return cls(*kind_and_name(found), found["reason"], outcome, how, fix)

    @property
    def whole(self) -> bool:
        """Whether nothing remains of this damage."""
        return self.outcome in WHOLE

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            self.kind: self.name,
            "reason": self.reason,
            "outcome": self.outcome,
            "how": self.how,
            "fix": self.fix,
        }
