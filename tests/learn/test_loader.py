"""Batches of real windows: what is in them, and that they are the same from any step and with any threads."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from brainbrr.errors import IntegrityError, UsageError
from brainbrr.learn.loader import Batch, loader
from brainbrr.store.store import Store
from brainbrr.views import View
from brainbrr.windows import UNKNOWN

ViewOf = Callable[..., View]


def copies(batches: object, n: int) -> list[Batch]:
    """Keep `n` batches: the loader fills its buffers again."""
    return [
        Batch(b.signal.clone(), b.label.clone(), b.valid.clone(), b.index, b.step)
        for b in islice(batches, n)  # type: ignore[call-overload]
    ]


def test_a_batch_holds_the_views_windows(view_of: ViewOf) -> None:
    view = view_of("train")
    for batch in copies(loader(view, batch=5, seed=1), 4):
        assert batch.signal.shape == (5, 19, 4 * 256) and batch.signal.dtype == torch.float32
        for row, index in enumerate(batch.index.tolist()):
            window = view[index]
            assert np.array_equal(batch.signal[row].numpy(), window.signal)
            assert np.array_equal(batch.label[row].numpy(), window.label == 1)
            assert np.array_equal(batch.valid[row].numpy(), window.valid)
            assert (window.label[window.valid] != UNKNOWN).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_from_any_step_and_with_any_threads_the_same_batches_come(view_of: ViewOf, threads: int) -> None:
    view = view_of("train")
    whole = copies(loader(view, batch=3, seed=1), 9)
    later = copies(loader(view, batch=3, seed=1, start_step=5, threads=threads), 4)
    assert [batch.step for batch in later] == [5, 6, 7, 8]
    for ours, theirs in zip(later, whole[5:], strict=True):
        for field in ("signal", "label", "valid"):
            assert torch.equal(getattr(ours, field), getattr(theirs, field))


def test_seizures_are_in_every_balanced_batch(view_of: ViewOf) -> None:
    for batch in copies(loader(view_of("train"), batch=4, seed=0), 6):
        assert (batch.label.sum(1) > 0).sum() == 2


def test_an_abandoned_loader_leaves_no_thread(view_of: ViewOf) -> None:
    batches = loader(view_of("train"), batch=2, seed=0)
    next(batches)
    assert any("brainbrr-loader" in thread.name for thread in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not any("brainbrr-loader" in thread.name for thread in threading.enumerate())


def test_damage_stops_the_loader(view_of: ViewOf, tmp_path: Path) -> None:
    view = view_of("train")
    location = Path(shutil.copytree(view.store.location, tmp_path / "store"))
    for shard in location.glob("objects.zarr/*/*/c.0.0"):
        shard.chmod(0o644)
        content = bytearray(shard.read_bytes())
        content[1000] ^= 1
        shard.write_bytes(content)
    damaged = View.from_json(Store.open(location), view.to_json())
    with pytest.raises(IntegrityError):
        copies(loader(damaged, batch=8, seed=0), 20)


def test_nonsense_is_refused_at_once(view_of: ViewOf) -> None:
    for wrong in ({"batch": 0}, {"threads": 0}, {"start_step": -1}):
        with pytest.raises(UsageError):
            loader(view_of("train"), **{"batch": 1, "seed": 0, **wrong})
