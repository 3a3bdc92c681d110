"""How long ago, as people write it: 7d, 12h, 30m, 45s."""

from __future__ import annotations

import re

_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_AGE = re.compile(r"([0-9]{1,6})([dhms])\Z")


def age(text: str) -> float:
    """Return seconds. Raises ValueError for anything else, which the command line shows."""
    match = _AGE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no age: a number and d, h, m or s, as in 7d")
    return int(match[1]) * _SECONDS[match[2]]
