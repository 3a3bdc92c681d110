"""Durations on the command line: 24h, 7d, 600s, 0s."""

from __future__ import annotations

import re

import click

_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[int]):
    """A number and its unit, as 24h; the command gets seconds."""

    name = "duration"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what help shows."""
        return "N[s|m|h|d]"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds. Fails for a text without a unit: hours would be taken for seconds."""
        if isinstance(value, int):
            return value
        match = _DURATION.match(value)
        if match is None:
            self.fail(f"{value[:40]!r} is no duration: a whole number and s, m, h or d, as 24h", param, ctx)
        return int(match[1]) * _SECONDS[match[2]]


DURATION = Duration()
