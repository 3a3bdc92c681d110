"""The record: the small immutable file that binds a key to a content, with provenance.

Recipe fields, statistics, signal and provenance are opaque here: whatever canonical JSON can hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import field_serializer, field_validator, model_validator

from brainbrr.core import files, models
from brainbrr.core.digest import key_of, recipe_digest
from brainbrr.core.models import Digest32, Digest64, Stored
from brainbrr.errors import CollisionError, IntegrityError
from brainbrr.store.formats import ArrayMeta

RECORD_FORMAT = 1

_CHECKS = re.compile(r"(?:[0-9a-f]{8})+\Z")


class Record(Stored):
    """What was stored, what it was made from and how. `statistics` and `signal` hold no floats.

    `checks`: the crc32c of the samples of each tile, 8 hex digits each, so that tiles keep their places; "" in records
    of before they were kept.
    """

    omitted_when_empty = ("checks",)

    format: Literal[1] = 1
    kind: Literal["record"] = "record"
    key: Digest32
    source: Digest64
    recipe: Digest32
    content: Digest64
    recipe_fields: dict[str, Any]
    array: ArrayMeta
    statistics: dict[str, Any]
    signal: dict[str, Any]
    provenance: dict[str, Any]
    checks: str = ""

    @field_validator("array", mode="plain")
    @classmethod
    def _array(cls, value: Any) -> ArrayMeta:
        try:
            return ArrayMeta.from_attributes(value)
        except IntegrityError as error:
            raise ValueError(error.what) from None

    @field_serializer("array")
    def _attributes(self, array: ArrayMeta) -> dict[str, Any]:
        return array.attributes()

    @model_validator(mode="after")
    def _checks_of_each_tile(self) -> Record:
        if self.checks and not (_CHECKS.match(self.checks) and len(self.checks) == 8 * self.array.n_tiles):
            raise ValueError(f"checks: not 8 hex digits for each of {self.array.n_tiles} tiles")
        return self

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: object = None) -> Record:
        """Return the record that to_json() gave. Raises FormatError, and IntegrityError naming each wrong field."""
        models.check_format(value, RECORD_FORMAT, kind="a record", where=where)
        return models.parse(cls, value, where=where)

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

    def check_made_from(self, *, source: str, recipe: str, where: object = None) -> None:
        """Raise CollisionError unless the record was made from this source by this recipe; it names both."""
        if (self.source, self.recipe) != (source, recipe):
            raise CollisionError(
                f"key {self.key[:12]} has a record made from source {self.source[:12]} by recipe {self.recipe[:8]}, "
                f"and it is also the key of source {source[:12]} under recipe {recipe[:8]}: one of the two is forged",
                where=where,
                fix="compare both files with the SHA-256 that their publisher gives; forget the forged one's corpus",
            )


def read(path: Path) -> Record | None:
    """Return the record in a file, whatever its name; None where there is none. Raises IntegrityError for damage."""
    try:
        data = files.read(path)
    except FileNotFoundError:
        return None
    return Record.from_json(models.from_checksummed(data, where=path), where=path)
