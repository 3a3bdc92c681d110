"""A program that has numpy and no torch gets the windows of the view."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

import brainbrr
from brainbrr.views.view import View


@pytest.mark.parametrize("mode", ["stream", "resident", "auto"])
@pytest.mark.parametrize(
    "fields",
    [
        {"tail": "shift", "normalise": "robust", "clip": "3"},
        {"normalise": "none", "missing": "zero", "channels": ["Cz", "Fp1"]},
        {"reference": "bipolar", "missing": "nan"},
    ],
    ids=str,
)
def test_numpy_batches_hold_the_windows_of_the_view(
    view_of: Callable[..., View], fields: dict[str, Any], mode: str
) -> None:
    view = view_of(**fields)
    with brainbrr.loader(view, batch=5, seed=1, mode=mode, as_numpy=True) as batches:
        for batch in islice(batches, 4):
            assert batch.signal.dtype == np.float32 and batch.signal.shape == (5, len(view.channels), view.length)
            for row, window in enumerate(batch.index):
                item = view[int(window)]
                assert np.array_equal(batch.signal[row], item.signal, equal_nan=True)
                assert np.array_equal(batch.label[row], item.label)
