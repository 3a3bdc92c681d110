"""What tests share beside fixtures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from brainbrr.profiles import SPLITS, Profile

ROOT = Path(__file__).resolve().parent.parent

EVERYTHING = Profile(name="full", quota=dict.fromkeys(SPLITS))
"""The profile of all recordings."""

TINY = """
name = "tiny"
profile = "full"
[window]
length_s = "4"
stride_s = "2"
[model]
d_model = 16
n_blocks = 1
d_state = 4
headdim = 8
stem = [8, 8]
stem_width = 4
[train]
steps = 4
batch = 4
lr = 0.003
checkpoint_every = 2
device = "cpu"
"""
"""A training config that is quick: four steps of the smallest detector."""


@dataclass(frozen=True)
class Told:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        fields = json.loads(self.out)
        assert fields["schema"] == 1
        return dict(fields)


Cli = Callable[..., Told]


def leaves(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its words: `view`, `store init`."""
    for name, found in sorted(group.commands.items()):
        if isinstance(found, click.Group):
            yield from leaves(found, *names, name)
        else:
            yield " ".join([*names, name]), found
