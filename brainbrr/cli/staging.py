"""Staging from the command line: the options, and what they mean together."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.errors import UsageError

if TYPE_CHECKING:
    from brainbrr.views.stage import StageOptions


_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?([kMGT]?)B?\Z")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

_OPTIONS = (
    click.option(
        "--stage",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Copy the view to this disk of the node first, proven; again copies only what is missing.",
    ),
    click.option("--stage-bytes", metavar="N[G|T]", help="With --stage: the most that may lie there, as 500G."),
    click.option(
        "--stage-clean", is_flag=True, help="With --stage: remove the copies that no other job uses, at the end."
    ),
)


def stage_options(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of staging."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def stage_of(*, stage: Path | None, stage_bytes: str | None, stage_clean: bool) -> StageOptions | None:
    """Return what the options mean, None without --stage. Raises UsageError where they disagree."""
    from brainbrr.views.stage import StageOptions

    if stage is None:
        for name, value in (("--stage-bytes", stage_bytes), ("--stage-clean", stage_clean)):
            if value:
                raise UsageError(f"{name} goes with --stage DIR")
        return None
    return StageOptions(stage, limit_bytes=None if stage_bytes is None else bytes_of(stage_bytes), clean=stage_clean)


def bytes_of(text: str) -> int:
    """Return the bytes that a text like 500G or 1.5T means, in the decimal units that disks are sold in."""
    match = _SIZE.match(text)
    if match is None:
        raise UsageError(f"--stage-bytes {text[:40]}: a size is meant", fix="as 500G or 1.5T")
    whole, part, unit = match.groups()
    return int(whole) * _UNITS[unit] + int((part or "0").ljust(3, "0")) * _UNITS[unit] // 1000
