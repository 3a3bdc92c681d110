"""The strict base of what files say, and the JSON that goes through it."""

from __future__ import annotations

from typing import Any

import pytest

from brainbrr.core import models
from brainbrr.core.models import Count, Digest32, Many, Section, Stored
from brainbrr.errors import ConfigError, IntegrityError


class Inner(Stored):
    name: str


class Example(Stored):
    omitted_when_empty = ("later",)

    n: Count
    text: str | None
    digest: Digest32
    parts: Many[Inner] = ()
    opaque: dict[str, Any]
    later: str = ""


FIELDS: dict[str, Any] = {
    "n": 1, "text": None, "digest": "a" * 32, "parts": [{"name": "x"}], "opaque": {"a": [1]}
}  # fmt: skip


def test_a_model_is_read_and_written_back_the_same() -> None:
    found = models.parse(Example, FIELDS, where="here")
    assert found.parts == (Inner(name="x"),)
    assert found.to_json() == FIELDS
    assert models.parse(Example, {**FIELDS, "later": "x"}, where="here").to_json() == {**FIELDS, "later": "x"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"more": 1}, "unknown field 'more'"),
        ({"n": True}, "n = True: should be a valid integer"),
        ({"n": "1"}, "n = '1': should be a valid integer"),
        ({"n": 1.0}, "n = 1.0: should be a valid integer"),
        ({"n": -1}, "n = -1: should be greater than or equal to 0"),
        ({"text": "x" * 999, "n": None}, "n = None"),
        ({"digest": "A" * 32}, "should be 32 hex digits"),
        ({"digest": "a" * 32 + "\n"}, "should be 32 hex digits"),
        ({"parts": {"name": "x"}}, "parts = "),
        ({"parts": [{"name": 1}]}, r"parts\[0\].name = 1"),
        ({"parts": [{}]}, r"field 'parts\[0\].name' is missing"),
        ({"parts": ["x"]}, r"parts\[0\] = 'x': should be a JSON object"),
        ({"later": ""}, "later is empty"),
    ],
    ids=str,
)
def test_what_is_not_of_the_model_is_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(IntegrityError, match=reason) as caught:
        models.parse(Example, {**FIELDS, **change}, where="here")
    assert caught.value.where == "here"


@pytest.mark.parametrize("name", FIELDS)
def test_a_file_has_every_field_whatever_the_defaults_are(name: str) -> None:
    rest = {other: value for other, value in FIELDS.items() if other != name}
    with pytest.raises(IntegrityError, match=f"'{name}' is missing"):
        models.parse(Example, rest, where="here")
    assert models.parse(Example, {**rest, name: FIELDS[name]}, where="here").to_json() == FIELDS


def test_settings_are_explained_in_words_of_their_file() -> None:
    class Settings(Section):
        rate: float = 1.0
        sizes: tuple[int, ...] = ()

    assert models.parse(Settings, {"rate": 2, "sizes": [1]}, where=None) == Settings(rate=2.0, sizes=(1,))
    with pytest.raises(ConfigError, match=r"rate = 'fast': should be a valid number.*; unknown field 'size'"):
        models.parse(Settings, {"rate": "fast", "size": 1}, where=None, error=ConfigError)
    with pytest.raises(ConfigError, match="rate = inf"):
        models.parse(Settings, {"rate": float("inf")}, where=None, error=ConfigError)
