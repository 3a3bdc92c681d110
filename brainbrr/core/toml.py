"""What people write: TOML files, refused by name where a key is obsolete, and what is wrong with their values.

Knows no setting that is current; who asked for the file checks those.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from brainbrr.errors import ConfigError

MAX_BYTES = 1 << 18
MAX_DOTS = 32
"""In a line: tomllib's memory grows with the square of the parts of a key."""

OBSOLETE_KEYS = dict.fromkeys(
    ("cache_dir", "data.cache_dir", "experiment.cache_dir"),
    "there is one store and no cache folder: say where it is with --store or BRAINBRR_STORE",
)


def read_toml(file: Path) -> dict[str, Any]:
    """Return a TOML file's table.

    Raises ConfigError for bad TOML, what is too large or cannot be read, and keys that are obsolete; FileNotFoundError.
    """
    try:
        with file.open("rb") as opened:  # a pipe will do: `--config <(...)`
            text = opened.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ConfigError(f"more than {MAX_BYTES:,} bytes", where=file)
        if max(line.count(b".") for line in text.split(b"\n")) > MAX_DOTS:
            raise ConfigError(f"a line with more than {MAX_DOTS} dots", where=file)
        table = tomllib.loads(text.decode())
    # TOMLDecodeError, UnicodeDecodeError, an integer of thousands of digits; RecursionError: a list in a list in ...
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not TOML: {error}", where=file) from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror}", where=file) from None
    for dotted, instead in OBSOLETE_KEYS.items():
        *outer, name = dotted.split(".")
        inner: Any = table
        for part in outer:
            inner = inner.get(part, {}) if isinstance(inner, dict) else {}
        if isinstance(inner, dict) and name in inner:
            raise ConfigError(f"{dotted} is obsolete: {instead}", where=file, fix=f"remove {dotted}")
    return table


def toml_value(text: str) -> Any:
    """Return what a person gave as one TOML value; anything that is none is text: a shell takes its quotes."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return table["value"] if set(table) == {"value"} else text
