"""Which of how many processes this is, as a launcher said. Values only; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """One process of a training by several: `rank` of `size`, and `local_rank` among those of its node."""

    rank: int
    size: int
    local_rank: int
