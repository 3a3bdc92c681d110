"""How damage is told: what it is about, why, and what mends it. Looks at nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from brainbrr.digest import is_digest
from brainbrr.errors import BrainbrrError, FormatError
from brainbrr.store.records import Record
from brainbrr.store.store import Store

REPAIR = "brainbrr repair"
_FIX = {"recording": "brainbrr ingest ROOT reads it again"}

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
