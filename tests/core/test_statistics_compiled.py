"""Compiled statistics are those of numpy, for every length, block and amplitude."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.core import statistics
from brainbrr.core.arrays import Int16

pytest.importorskip("numba")


def result(block: Int16, present: list[int], cut: int, *, compiled: bool) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "has_numba", lambda: compiled)
        patch.setattr(statistics, "_WORTH", 0)
        found = statistics.Statistics(len(block), present)
        found.update(block[:, :cut])
        found.update(block[:, cut:])
        return found.result()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 3_000), st.sampled_from((1, 300, 6_000, 32_767)), st.integers(0, 2**32 - 1))
def test_statistics_are_those_of_numpy(n_rows: int, n: int, amplitude: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    block = rng.integers(-amplitude, amplitude + 1, (n_rows, n)).astype(np.int16)
    block[0] = rng.choice([-32_767, 32_767], n) if seed % 2 else 0
    present = sorted(set(rng.integers(0, n_rows, n_rows).tolist()))
    cut = int(rng.integers(0, n + 1))
    ours, numpys = (result(block, present, cut, compiled=compiled) for compiled in (True, False))
    assert ours == numpys
