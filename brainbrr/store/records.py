"""The record: the small immutable file that binds a key to a content, with provenance.

Recipe fields, statistics, signal and provenance are opaque here: whatever canonical JSON can hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.digest import is_digest, key_of, recipe_digest
from brainbrr.errors import IntegrityError
from brainbrr.store.formats import ArrayMeta

RECORD_FORMAT = 1

_DIGESTS = {"key": 32, "source": 32, "recipe": 32, "content": 64}
_OPAQUE = ("recipe_fields", "statistics", "signal", "provenance")
_CHECKS = re.compile(r"(?:[0-9a-f]{8})+\Z")
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    **dict.fromkeys(_DIGESTS, (str,)),
    "array": (Mapping,),
    **dict.fromkeys(_OPAQUE, (Mapping,)),
}


@dataclass(frozen=True)
class Record:
    """What was stored, what it was made from and how. `statistics` and `signal` hold no floats.

    `checks`: the crc32c of the samples of each tile, 8 hex digits each, so that tiles keep their places; "" in records
    of before they were kept.
    """

    key: str
    source: str
    recipe: str
    content: str
    recipe_fields: Mapping[str, Any]
    array: ArrayMeta
    statistics: Mapping[str, Any]
    signal: Mapping[str, Any]
    provenance: Mapping[str, Any]
    checks: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON without floats."""
        said = {"format": RECORD_FORMAT, **vars(self), "array": self.array.attributes()}
        if not self.checks:
            del said["checks"]
        return said

    @classmethod
    def from_json(cls, value: object, *, where: object = None) -> Record:
        """Return what to_json gave. Strict: raises IntegrityError naming the field that differs."""
        files.check_format(value, RECORD_FORMAT, kind="a record", where=where)
        with_checks = isinstance(value, Mapping) and "checks" in value
        found = files.fields(value, {**_FIELDS, "checks": (str,)} if with_checks else _FIELDS, where=where)
        for name, n_digits in _DIGESTS.items():
            if not is_digest(found[name], n_digits):
                raise IntegrityError(f"{name} is not a digest of {n_digits} hex digits", where=where)
        array = ArrayMeta.from_attributes(found["array"], where=where)
        checks = found.get("checks", "")
        if with_checks and not (_CHECKS.match(checks) and len(checks) == 8 * array.n_tiles):
            raise IntegrityError(f"checks: not 8 hex digits for each of {array.n_tiles} tiles", where=where)
        return cls(**{name: found[name] for name in (*_DIGESTS, *_OPAQUE)}, array=array, checks=checks)

    def check_identity(self, *, where: object = None) -> None:
        """Raise IntegrityError unless key and recipe are the digests of what they name."""
        try:
            recipe = recipe_digest(self.recipe_fields)
        except (TypeError, ValueError, RecursionError) as error:
            raise IntegrityError(f"recipe_fields: {error}", where=where) from None
        if recipe != self.recipe:
            raise IntegrityError("the record's recipe is not the digest of its recipe_fields", where=where)
        if key_of(source=self.source, recipe=self.recipe) != self.key:
            raise IntegrityError("the record's key is not the key of its source and recipe", where=where)


def read(path: Path) -> Record | None:
    """Return what a file says, whatever its name; None where there is none. Raises IntegrityError for a damaged one."""
    try:
        data = files.read(path)
    except FileNotFoundError:
        return None
    return Record.from_json(files.unseal(data, where=path), where=path)
