"""The only place that hashes. Knows nothing of EEG and nothing of paths in a store.

XXH3-128 finds (keys); SHA-256 proves (sources, recipes, contents, views). See store/README.md.

Decimal numbers as text: one number has one text, so that a digest of it means something.

Knows nothing of what the numbers measure.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    from brainbrr.core.arrays import AnyArray


_WHOLE_DIGITS, _FRACTION_DIGITS = 9, 18  # what the store takes for a quantum
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")


Number = float | str | Decimal
"""What may be given for a decimal number. A float is read by its shortest text, so that 0.1 is exactly 0.1."""


def decimal_text(value: object) -> str:
    """Return the shortest text of a number: "60", "0.5", "0"; never "60.0", "5E-1" or "-0".

    Takes an int, a float (its shortest text, as Python writes it), a Decimal or ASCII text. Raises ValueError for
    anything else, for what is not finite, and beyond 9 digits before or 18 after the point.
    """
    text = str(value) if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool) else ""
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


_BLOCK = 1 << 20  # stays in the processor's cache between read and hash
_MAX_INT = 2**63 - 1
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, ASCII, no floats.

    Raises TypeError for floats and other types, ValueError for integers beyond 63 bits.
    """
    _refuse_inexact(value)
    return _CANONICAL.encode(value).encode()


def _refuse_inexact(value: Any) -> None:
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            raise ValueError(f"{value} does not fit in 63 bits")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"canonical JSON takes text as names, not {name!r}")
            _refuse_inexact(item)
    elif type(value) is list and value and set(map(type, value)) == {int}:  # thousands in a record
        _refuse_inexact(max(value))
        _refuse_inexact(min(value))
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for item in value:
            _refuse_inexact(item)
    else:
        raise TypeError(f"canonical JSON has no {type(value).__name__}: {value!r}")


def xxh3_128(data: bytes) -> str:
    """Return the XXH3-128 of bytes as 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(data)


class SourceHasher:
    """The SHA-256 of bytes that arrive in pieces: a recording's *source*, taken while its samples are read."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, data: AnyArray) -> None:
        """Take the next bytes."""
        self._digest.update(data.data)

    def hexdigest(self) -> str:
        """Return the digest so far as 64 hex digits."""
        return self._digest.hexdigest()


def source_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes: a recording's *source*, as `sha256sum` prints it. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        window = memoryview(bytearray(min(n_bytes + 1, _BLOCK)))  # one more, so that one read finds the end
        while n := file.readinto(window):
            digest.update(window[:n])
        return digest.hexdigest()


def files_digest(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of several small files by role (".csv_bi" and its own SHA-256, ...)."""
    return json_digest(files)


def recipe_digest(fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a recipe's canonical JSON, cut to 32 digits."""
    return json_digest(fields)[:32]


def key_of(*, source: str, recipe: str) -> str:
    """Return the key: what an object is made from, known before the work is done.

    XXH3-128 finds and proves nothing, since anyone can compute a second preimage: who finds a record by its key
    compares source and recipe with the record's.
    """
    return xxh3_128(canonical_json({"recipe": recipe, "source": source}))


def sha256(data: bytes | bytearray | memoryview) -> str:
    """Return the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def keyed(key: bytes, data: bytes) -> bytes:
    """Return the HMAC-SHA-256 of bytes."""
    return hmac.digest(key, data, "sha256")


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return sha256(canonical_json(value))


def content_digest(attributes: Mapping[str, Any], rows: Iterable[bytes]) -> str:
    """Return the content: SHA-256 of the attributes' canonical JSON and each row's SHA-256."""
    digest = hashlib.sha256(canonical_json(attributes))
    for row in rows:
        digest.update(row)
    return digest.hexdigest()


class RowHasher:
    """The SHA-256 of each row of an int16 array whose columns arrive in blocks."""

    _new: Callable[[], Any] = staticmethod(hashlib.sha256)

    def __init__(self, n_rows: int) -> None:
        self._rows = [self._new() for _ in range(n_rows)]

    def update(self, block: AnyArray) -> None:
        """Take the next columns: int16, (rows, any)."""
        for digest, row in zip(self._rows, block.astype("<i2", order="C", copy=False), strict=True):
            digest.update(row.data)

    def digests(self) -> list[bytes]:
        """Return each row's digest so far."""
        return [digest.digest() for digest in self._rows]


class RowSums(RowHasher):
    """The same by XXH3-128: finds accidents, at a twentieth of the price."""

    _new = staticmethod(xxhash.xxh3_128)


_HEX = {32: re.compile(r"[0-9a-f]{32}\Z"), 64: re.compile(r"[0-9a-f]{64}\Z")}


def is_digest(text: object, n_digits: int) -> bool:
    """Say whether a text is a digest of 32 or 64 lower-case hex digits: check before it names a file."""
    return isinstance(text, str) and _HEX[n_digits].match(text) is not None
