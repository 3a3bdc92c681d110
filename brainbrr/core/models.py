"""Typed values of JSON and TOML files: one strict base, one reader and one writer of JSON.

JSON as brainbrr writes it has no floats, integers of 63 bits, each name once, and often its own SHA-256. Knows no
path and no field of any file.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainbrr.core.digest import canonical_json, sha256
from brainbrr.errors import BrainbrrError, FormatError, IntegrityError, UsageError

MAX_DEPTH = 64
"""Lists and objects inside each other: a parser that recurses must not be led further."""

_DIGEST_32, _DIGEST_64 = r"^[0-9a-f]{32}\z", r"^[0-9a-f]{64}\z"
_PATTERNS = {_DIGEST_32: "should be 32 hex digits", _DIGEST_64: "should be 64 hex digits"}

T = TypeVar("T")
Digest32 = Annotated[str, Field(pattern=_DIGEST_32)]
Digest64 = Annotated[str, Field(pattern=_DIGEST_64)]
Count = Annotated[int, Field(ge=0)]
Many = Annotated[tuple[T, ...], Field(strict=False)]
"""A list in JSON; its items are checked as strictly as everything else."""


class Model(BaseModel):
    """Frozen and closed fields of exact types; NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Section(Model):
    """A table that a person wrote: a number may be written as an integer, and a list stands for a tuple."""

    model_config = ConfigDict(strict=False)


class Stored(Model):
    """What brainbrr wrote. A file has every field, whatever the defaults of the model are."""

    omitted_when_empty: ClassVar[tuple[str, ...]] = ()
    """Fields that younger versions added: a file has them only where they say something."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        # not mode="json": that would make text of bytes, which no file may hold
        fields = {name: list(each) if isinstance(each, tuple) else each for name, each in self.model_dump().items()}
        for name in self.omitted_when_empty:
            if not fields[name]:
                del fields[name]
        return fields


M = TypeVar("M", bound=BaseModel)


def parse(
    model: type[M], data: bytes | Mapping[str, Any], *, where: object, error: type[BrainbrrError] = IntegrityError
) -> M:
    """Return a model of JSON bytes, or of a table that was read before. Raises `error` naming each wrong field."""
    value = decode_json(data, where=where) if isinstance(data, bytes) else data
    try:
        found = model.model_validate(value)
    except ValidationError as problems:
        raise error(explain(problems), where=where) from None
    if isinstance(found, Stored):
        _check_complete(found, where)
    return found


@contextlib.contextmanager
def many() -> Iterator[None]:
    """Collect no garbage while thousands of values are read: it takes a third of the time and finds none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _check_complete(found: Stored, where: object) -> None:
    """Raise IntegrityError for a field that is missing, or there without need: one value has one text."""
    there = found.model_fields_set
    if missing := _required(type(found)) - there:
        raise IntegrityError(f"field {min(missing)!r} is missing", where=where)
    for name in there.intersection(found.omitted_when_empty):
        if not getattr(found, name):
            raise IntegrityError(f"{name} is empty, and a file leaves it out then", where=where)


@cache
def _required(model: type[Stored]) -> frozenset[str]:
    return frozenset(model.model_fields).difference(model.omitted_when_empty)


def explain(problems: ValidationError) -> str:
    """Return what a model found wrong, field by field, in words of the file rather than of the model."""
    return f"{'; '.join(map(_explained, problems.errors(include_url=False))):.500}"


def _explained(problem: Any) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).removeprefix(".")
    kind, message = problem["type"], problem["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"unknown field {name!r}"
    if kind == "missing":
        return f"field {name!r} is missing"
    if kind in ("value_error", "assertion_error"):
        return f"{name}: {message}" if name else message
    if kind == "model_type":
        message = "should be a JSON object"
    pattern = _PATTERNS.get(problem.get("ctx", {}).get("pattern"))
    said = pattern or message.removeprefix("Input ")
    return f"{name} = {_short(problem['input'])}: {said}" if name else f"{_short(problem['input'])} {said}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_format(value: object, known: int, *, kind: str, where: object) -> None:
    """Raise FormatError for an intact file of a newer format: it is not damaged and must not be moved aside.

    Raises IntegrityError for a number that no format ever had.
    """
    number = value.get("format") if isinstance(value, Mapping) else None
    if type(number) is not int or number == known:
        return
    what = f"{kind} of format {number}; this brainbrr reads {known}"
    if number > known:
        raise FormatError(what, where=where, fix="upgrade brainbrr")
    raise IntegrityError(what, where=where)


_CHECKSUM = "sha256"
_CHECKSUM_START = f',"{_CHECKSUM}":"'.encode()
_CHECKSUM_BYTES = len(_CHECKSUM_START) + 64 + 2


def to_checksummed(fields: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of fields with its own SHA-256 as last member, so that damage shows.

    Raises UsageError for what is not JSON without floats.
    """
    if not fields or _CHECKSUM in fields:
        raise UsageError(f"{_CHECKSUM!r} is the name of the checksum, and there must be another field")
    try:
        text = canonical_json(fields)
    except (TypeError, ValueError) as error:
        raise UsageError(f"this cannot be stored: {error}") from None
    return text[:-1] + _CHECKSUM_START + sha256(text).encode() + b'"}'


def from_checksummed(data: bytes, *, where: object) -> dict[str, Any]:
    """Return the fields that to_checksummed() wrote. Raises IntegrityError when a single bit differs."""
    text, tail = data[:-_CHECKSUM_BYTES] + b"}", data[-_CHECKSUM_BYTES:]
    if tail != _CHECKSUM_START + sha256(text).encode() + b'"}':
        raise IntegrityError("the file is not what its own SHA-256 says", where=where)
    return decode_json(text, where=where)


def decode_json(data: bytes, *, where: object) -> dict[str, Any]:
    """Return a JSON object without floats, with integers of 63 bits, names that occur once, and texts of Unicode.

    Raises IntegrityError for anything else, and for what is nested more than MAX_DEPTH deep.
    """
    try:
        if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
            _refuse_deep(data)
        value = _DECODER.decode(data.decode())
        if _HALF_PAIR.search(data):
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair has no bytes
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"the file is not JSON as brainbrr writes it: {error!s:.200}", where=where) from None
    if not isinstance(value, dict):
        raise IntegrityError("the file is not a JSON object", where=where)
    return value


def _refuse_deep(data: bytes) -> None:
    brackets = _TEXT.sub(b"", data).translate(_ALIKE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):  # each time the innermost go
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return
    raise ValueError(f"lists and objects are not closed, or more than {MAX_DEPTH} deep")


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"{text:.40} is not an integer")


def _integer(text: str) -> int:
    if len(text) < 19:  # nearly all
        return int(text)
    if len(text) > 20 or not -(2**63) < (value := int(text)) < 2**63:
        raise ValueError(f"{text:.40} does not fit in 63 bits")
    return value


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) != len(members):
        raise ValueError("a name occurs twice in an object")
    return value


_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_DECODER = json.JSONDecoder(  # one for all: a catalog has many lines
    parse_float=_no_float, parse_constant=_no_float, parse_int=_integer, object_pairs_hook=_each_once
)
