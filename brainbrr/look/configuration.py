"""`config`: every setting with its value and where it came from, and the JSON Schemas of what people write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import UsageError
from brainbrr.learn.config import TrainConfig
from brainbrr.loading.windows import WindowSpec
from brainbrr.settings import Settings

SCHEMAS: dict[str, type[BaseModel]] = {"recipe": Recipe, "train": TrainConfig, "window": WindowSpec}
"""The models of files that people write."""


_NUMBER = {"type": "number"}
_AS_GIVEN: dict[str, dict[str, Any]] = {
    "bandpass_hz": {"anyOf": [{"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}, {"const": False}]},
    "notch_hz": {"anyOf": [_NUMBER, {"const": False}]},
    "aliases": {"type": "object", "additionalProperties": {"type": "string"}},
    **dict.fromkeys(("quantum_uv", "length_s", "stride_s", "scale_uv", "clip", "full_fraction"), _NUMBER),
}
"""What files may have beside what the models keep: numbers for decimal texts, a table for pairs."""


@dataclass(frozen=True)
class Configuration:
    """Settings as (name, value, origin)."""

    settings: tuple[tuple[str, str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {"settings": {name: {"value": value, "origin": origin} for name, value, origin in self.settings}}


def configuration(settings: Settings) -> Configuration:
    """Return every setting of this host."""
    return Configuration(tuple(settings.described()))


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of file. Raises UsageError for one that does not exist."""
    if name not in SCHEMAS:
        raise UsageError(f"no schema is called {name[:40]!r}", fix=f"schemas: {', '.join(SCHEMAS)}")
    found = SCHEMAS[name].model_json_schema()
    for field, given in _AS_GIVEN.items():
        if field in found["properties"]:
            found["properties"][field] = {"anyOf": [given, found["properties"][field]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
