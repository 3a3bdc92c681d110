"""What people write: TOML files, refused by name where a key is obsolete, and what is wrong with their values.

Knows no setting that is current; who asked for the file checks those.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainbrr.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import ValidationError

OBSOLETE_KEYS = dict.fromkeys(
    ("cache_dir", "data.cache_dir", "experiment.cache_dir"),
    "there is one store and no cache folder: say where it is with --store or BRAINBRR_STORE",
)


def read_toml(file: Path) -> dict[str, Any]:
    """Return a TOML file's table. Raises ConfigError for bad TOML and for keys that are obsolete, FileNotFoundError."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError, an integer of thousands of digits
        raise ConfigError(f"not TOML: {error}", where=file) from None
    for dotted, instead in OBSOLETE_KEYS.items():
        *outer, name = dotted.split(".")
        inner: Any = table
        for part in outer:
            inner = inner.get(part, {}) if isinstance(inner, dict) else {}
        if isinstance(inner, dict) and name in inner:
            raise ConfigError(f"{dotted} is obsolete: {instead}", where=file, fix=f"remove {dotted}")
    return table


def explain(error: ValidationError) -> str:
    """Return all that a model found wrong, field by field, in words of the file rather than of the model."""
    plain = {"extra_forbidden": "is not known", "missing": "is missing"}
    said = []
    for problem in error.errors():
        field = ".".join(map(str, problem["loc"]))
        if problem["type"] in plain:
            said.append(f"{field} {plain[problem['type']]}")
        else:
            said.append(": ".join(filter(None, (field, problem["msg"].removeprefix("Value error, ")))))
    return "; ".join(said)
