"""What repair did about each damage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from brainbrr.verbs.found import Found, kind_and_name

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
