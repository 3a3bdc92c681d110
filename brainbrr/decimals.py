"""Decimal numbers as text: one number has one text, so that a digest of it means something.

Knows nothing of what the numbers measure.
"""

from __future__ import annotations

import re
from decimal import Decimal

_WHOLE_DIGITS, _FRACTION_DIGITS = 9, 18  # what the store takes for a quantum
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")


def decimal_text(value: object) -> str:
    """Return the shortest text of a number: "60", "0.5", "0"; never "60.0", "5E-1" or "-0".

    Takes an int, a float (as Python writes it) or ASCII text. Raises ValueError for anything else, for what is
    not finite, and beyond 9 digits before or 18 after the point.
    """
    text = str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    if _NUMBER.fullmatch(text):
        # neither abs nor Decimal.normalize: they round to 28 digits
        whole, _, fraction = f"{Decimal(text.lstrip('+-')):f}".partition(".")
        whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
        if len(whole) <= _WHOLE_DIGITS and len(fraction) <= _FRACTION_DIGITS:
            sign = "-" if text.startswith("-") and (whole or fraction) else ""
            return f"{sign}{whole or '0'}{'.' if fraction else ''}{fraction}"
    raise ValueError(
        f"{value!r:.60} is not a decimal number (finite, at most {_WHOLE_DIGITS} digits before the point "
        f"and {_FRACTION_DIGITS} after)"
    )
