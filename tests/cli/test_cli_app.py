"""Values of options as people type them."""

from __future__ import annotations

import click
import pytest

from brainbrr.cli.app import DURATION, Kinds, Pair


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("600s", 600), ("5m", 300), ("24h", 86_400), ("7d", 604_800)])
def test_a_number_and_its_unit_are_seconds(text: str, seconds: int) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "1w", "24h ", " 24h", "24h\n", "٣h"])
def test_what_has_no_unit_or_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="as 24h"):
        DURATION.convert(text, None, None)


def test_kinds_are_words_with_commas_between_them() -> None:
    kinds = Kinds("refused", "removed")
    assert kinds.convert("removed, refused", None, None) == {"refused", "removed"}
    for text in ("", "gone", "refused,", "refused removed"):
        with pytest.raises(click.BadParameter, match="is not one of refused, removed"):
            kinds.convert(text, None, None)


def test_a_pair_has_a_name() -> None:
    assert Pair("FIELD=VALUE").convert("split=a=b", None, None) == ("split", "a=b")
    for text in ("split", "=dev"):
        with pytest.raises(click.BadParameter, match="should be FIELD=VALUE"):
            Pair("FIELD=VALUE").convert(text, None, None)
