"""TOML files that people write: read, and refused by name where a key is obsolete.

Knows no setting that is current; who asked for the file checks those.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from brainbrr.errors import ConfigError

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
