"""Durations as people type them."""

from __future__ import annotations

import click
import pytest

from brainbrr.cli.durations import DURATION


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("600s", 600), ("5m", 300), ("24h", 86_400), ("7d", 604_800)])
def test_a_number_and_its_unit_are_seconds(text: str, seconds: int) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "1w", "24h ", " 24h", "24h\n", "٣h"])
def test_what_has_no_unit_or_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="as 24h"):
        DURATION.convert(text, None, None)
