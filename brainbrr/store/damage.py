"""The type of damage: the kind of thing, its name, what is wrong and what fixes it; and what a repair did about it.

Reads no store: `checks` finds damage, `brainbrr.ingest.repair` acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from brainbrr.errors import BrainbrrError, Fix, FormatError

Kind = Literal[
    "format",
    "folder",
    "object",
    "group",
    "record",
    "findings",
    "catalog",
    "recording",
    "view",
    "pin",
    "retired",
    "receipt",
    "stranger",
]
"""`catalog`: a file of one; `recording`: CORPUS/PATH; `stranger`: an unexpected file, by its name in JSON."""

REPAIR = Fix(("repair",))
REPAIR_LATER = Fix(("repair",), " again, when its disk or network answers")
_FIX: dict[Kind, str] = {"recording": Fix(("ingest", "ROOT"), " reads it again")}


@dataclass(frozen=True, order=True)
class Damage:
    """One damaged thing, ordered by kind and name.

    `unreadable`: the disk, the network, a permission or a newer format kept it from being read, so its content is
    unknown.
    """

    kind: Kind
    name: str
    reason: str
    fix: str
    unreadable: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, kind: Kind, name: str, error: BrainbrrError | OSError) -> Damage:
        """Return the damage that an error reports."""
        cause = error if isinstance(error, (OSError, FormatError)) else error.__cause__
        unreadable = isinstance(cause, (OSError, FormatError))
        if isinstance(error, OSError):
            reason, fix = f"it cannot be read: {error.strerror}", None
        else:
            reason, fix = error.what, error.fix
        return cls(kind, name, reason, fix or _FIX.get(kind, REPAIR), unreadable)

    @property
    def subject(self) -> tuple[Kind, str]:
        """The kind and name of the damaged thing."""
        return self.kind, self.name

    def to_json(self) -> dict[str, str]:
        """Return {kind: name, "reason": ..., "fix": ...}."""
        return {self.kind: self.name, "reason": self.reason, "fix": self.fix}


class Collector(list[Damage]):
    """Damage found so far."""

    def add(self, kind: Kind, name: str, reason: str, fix: str | None = None) -> None:
        """Add a damage that no error reports."""
        self.append(Damage(kind, name, reason, fix or _FIX.get(kind, REPAIR)))

    @contextmanager
    def collecting(self, kind: Kind, name: str) -> Iterator[None]:
        """Add an error of the block as damage."""
        try:
            yield
        except (BrainbrrError, OSError) as error:
            self.append(Damage.of(kind, name, error))

    def names(self, kind: Kind) -> set[str]:
        """Return the names of the damaged things of a kind."""
        return {each.name for each in self if each.kind == kind}


def succeeds(action: Callable[[], object]) -> bool:
    """Say whether an action raises nothing, and returns nothing or something true."""
    try:
        result = action()
    except (BrainbrrError, OSError):
        return False
    return result is None or bool(result)


Outcome = Literal["restored", "moved aside", "kept apart", "not restored", "left"]
"""`moved aside`: no replacement was needed. `left`: not touched, since it could not be read."""


class Restored(NamedTuple):
    """What came of restoring something: how, or why not, and what to do if something remains."""

    outcome: Outcome
    how: str
    fix: str | None = None


@dataclass(frozen=True)
class RepairResult:
    """One damage, and what came of repairing it, as Restored has it."""

    damage: Damage
    outcome: Outcome
    how: str
    fix: str | None = None

    @property
    def kind(self) -> Kind:
        """The kind of the damaged thing."""
        return self.damage.kind

    @property
    def name(self) -> str:
        """The name of the damaged thing."""
        return self.damage.name

    @property
    def repaired(self) -> bool:
        """Whether nothing remains of this damage."""
        return self.outcome in ("restored", "moved aside")

    def to_json(self) -> dict[str, Any]:
        """Return {kind: name, "reason": ..., "outcome": ..., "how": ..., "fix": ...}."""
        return {**self.damage.to_json(), "outcome": self.outcome, "how": self.how, "fix": self.fix}
