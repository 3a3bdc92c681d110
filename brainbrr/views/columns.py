"""The columns of a recording, as `ls` lists them and `--where` selects by them.

Each is computed when it is used: a selection by patient opens no record.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from brainbrr.core.digest import key_of
from brainbrr.eeg.quality import detector
from brainbrr.eeg.signal.montage import Label
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store.catalog import Row
from brainbrr.store.layers import LayeredStore
from brainbrr.store.records import Record
from brainbrr.store.store import Store

Value = str | int | float | None
Where = tuple[tuple[str, str], ...]
"""Conditions that all must hold: a column, and a value that may begin with >, >=, <, <= or !=."""

_CONDITION = re.compile(r"([a-z_]+)(>=|<=|!=|=|>|<)(.*)\Z", re.DOTALL)
_OPERATOR = re.compile(r"(>=|<=|!=|>|<)?(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Recording:
    """A row of a catalog under one recipe, with what the store has of it."""

    store: Store
    corpus: str
    row: Row
    recipe: str
    """The recipe's digest."""

    @cached_property
    def key(self) -> str | None:
        """Digest of source and recipe; None for a file that was never hashed."""
        return key_of(source=self.row.source, recipe=self.recipe) if self.row.source else None

    @cached_property
    def record(self) -> Record | None:
        """The record; None where there is none that can be read."""
        with suppress(IntegrityError):
            found = self.store.record(self.key) if self.key else None
            return found if found is None or self.store.has_object(found) else None
        return None

    @cached_property
    def state(self) -> str:
        """`stored`, `refused`, `omitted` (refused, and accepted as missing) or `not stored`."""
        refusal = self.row.refusals.get(self.recipe)
        if refusal is not None:
            return "omitted" if refusal.accepted else "refused"
        return "stored" if self.record else "not stored"

    @cached_property
    def edf(self) -> Mapping[str, Any]:
        """What the record says of the EDF's header."""
        found = self.record.signal.get("edf") if self.record else None
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def quality(self) -> int | None:
        """The score of this version's detector, from 0 to 100."""
        with suppress(IntegrityError):
            found = self.store.findings(self.key, detector.QUALITY_VERSION) if self.key else None
            return found["score"] if found else None
        return None

    @property
    def remote(self) -> str | None:
        """The remote that has it where the own store does not; None where no remote was needed, or has it."""
        return self.store.remote_of(self.key) if isinstance(self.store, LayeredStore) and self.key else None

    @property
    def labels(self) -> Mapping[str, Any] | None:
        """The labels; None where nothing is known."""
        found = self.row.annotations
        return found if found and found.get("labelled") else None

    @property
    def reason(self) -> str | None:
        """Why it was refused."""
        refusal = self.row.refusals.get(self.recipe)
        return refusal.reason if refusal else None


def _montage(each: Recording) -> str | None:
    """Return the reference that the EDF's labels name, "bipolar" for pairs; None where they name none."""
    labels = each.edf.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        return None
    if all("-" in str(channel) for channel in labels):
        return "bipolar"
    return "/".join(sorted({Label.of(str(label)).suffix for label in labels.values()} - {""})) or None


def _rate(each: Recording) -> float | None:
    """Return the highest rate of the channels in the EDF."""
    rates = each.edf.get("rates")
    with suppress(ValueError, TypeError, ZeroDivisionError):
        return max((_number(str(rate)) for rate in rates.values()), default=None) if rates else None
    return None


def _number(text: str) -> float:
    above, _, below = text.partition("/")
    number = float(above) / float(below or 1)
    return int(number) if number.is_integer() else number


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1e6


def _total(labels: Mapping[str, Any] | None) -> float | None:
    return None if labels is None else sum(stop - start for start, stop in labels["seizures"]) / 1e6


def _created(record: Record | None) -> str | None:
    return str(record.provenance.get("created") or "") or None if record else None


COLUMNS: dict[str, tuple[type, Callable[[Recording], Value], str]] = {
    "corpus": (str, lambda r: r.corpus, "its name"),
    "path": (str, lambda r: r.row.path, "below the corpus's folder"),
    "patient": (str, lambda r: r.row.patient, ""),
    "session": (str, lambda r: r.row.session, ""),
    "split": (str, lambda r: r.row.split, "train, dev, eval or none"),
    "state": (str, lambda r: r.state, "stored, refused, omitted or not stored"),
    "length_s": (float, lambda r: _seconds(r.row.signal_us), "seconds of signal"),
    "rate_hz": (float, _rate, "samples per second in the EDF"),
    "montage": (str, _montage, "reference in the EDF's labels, or bipolar"),
    "absent": (str, lambda r: ", ".join(r.record.array.absent) or None if r.record else None, "missing channels"),
    "labelled": (str, lambda r: "no" if r.labels is None else "yes", "yes or no"),
    "seizures": (int, lambda r: None if r.labels is None else len(r.labels["seizures"]), "how many"),
    "seizure_s": (float, lambda r: _total(r.labels), "their seconds"),
    "quality": (int, lambda r: r.quality, "score from 0 to 100"),
    "bytes": (int, lambda r: r.store.object_bytes(r.record.content) if r.record else None, "in the store"),
    "edf_bytes": (int, lambda r: r.row.n_bytes, "of the EDF"),
    "since": (str, lambda r: _created(r.record), "when it was stored, ISO 8601 in UTC"),
    "synthetic": (str, lambda r: "yes" if r.row.synthetic else "no", "yes or no"),
    "remote": (str, lambda r: r.remote, "which one has it, if this store does not"),
    "reason": (str, lambda r: r.reason, "why it was refused"),
    "source": (str, lambda r: r.row.source, "SHA-256 of the EDF"),
    "key": (str, lambda r: r.key, "digest of source and recipe"),
    "content": (str, lambda r: r.record.content if r.record else None, "digest of the samples"),
}
"""Each column's type, value and meaning. A value is None where it is not known."""


_FAR = {"state", "rate_hz", "montage", "absent", "quality", "bytes", "since", "content"}
"""Columns that more than a catalog's row is read for."""


def prefetch(store: Store, recordings: Iterable[Recording], where: Where) -> None:
    """Announce that what conditions look at will be read; with none, that every column will be."""
    if not where or any(field in _FAR for field, _ in where):
        keys = (each.key for each in recordings)
        store.prefetch(filter(None, keys), findings=detector.QUALITY_VERSION)


def values(recording: Recording) -> dict[str, Value]:
    """Return every column of a recording."""
    return {name: value(recording) for name, (_, value, _) in COLUMNS.items()}


def parse_condition(text: str) -> tuple[str, str]:
    """Return the column and the value of a condition such as split=eval or seizures>0. Raises UsageError."""
    match = _CONDITION.match(text)
    if match is None or match[3].startswith(("=", ">", "<")):
        raise UsageError(f"--where {text[:40]}: FIELD=VALUE is meant, or !=, <, <=, >, >=", fix=_fields())
    return match[1], match[3] if match[2] == "=" else match[2] + match[3]


def condition_text(field: str, value: str) -> str:
    """Return a condition as it is written."""
    return field + value if _OPERATOR.match(value)[1] else f"{field}={value}"  # type: ignore[index]


def check_conditions(where: Where) -> None:
    """Raise UsageError for a column that does not exist, and for a value that its column cannot have."""
    for field, value in where:
        if field not in COLUMNS:
            raise UsageError(f"--where {field}: no such field", fix=_fields())
        sign, text = _split(value)
        if COLUMNS[field][0] is not str and text:
            try:
                float(text)
            except ValueError:
                what = f"--where {condition_text(field, value)}: {field} is a number"
                raise UsageError(what, fix=f"{field}=N, or with !=, <, <=, >, >=") from None
        if not text and sign not in ("=", "!="):
            raise UsageError(f"--where {condition_text(field, value)}: a value is missing")


def holds(recording: Recording, where: Where) -> bool:
    """Say whether every condition holds. What is not known is equal to the empty value alone."""
    return all(_holds(COLUMNS[field][1](recording), COLUMNS[field][0], *_split(value)) for field, value in where)


def _split(value: str) -> tuple[str, str]:
    match = _OPERATOR.match(value)
    assert match is not None  # it matches any text
    return match[1] or "=", match[2]


def _holds(value: Value, kind: type, sign: str, text: str) -> bool:
    if kind is str and sign in ("=", "!="):
        return fnmatchcase(str(value or ""), text) == (sign == "=")
    if not text:
        return (value is None) == (sign == "=")
    if value is None:
        return False
    compare = _COMPARE[sign]
    return bool(compare(str(value), text) if kind is str else compare(float(value), float(text)))


_COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


def _fields() -> str:
    return f"fields: {', '.join(COLUMNS)}"
