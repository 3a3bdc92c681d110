"""A view in a device's memory gives the bits that its shards give; here the device is the processor."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch

from brainbrr.errors import SpaceError
from brainbrr.learn.cuda.resident import OnDevice, dequantised
from brainbrr.learn.torch_loader import tensors
from brainbrr.loading.augment import Augment
from brainbrr.loading.loader import Batch, Choices, filler_of, order_of, plans_of, stream
from brainbrr.loading.order import Sampling
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

VARIED = Augment(gain=0.3, drop_channel=0.2, polarity=True, mirror=0.5, shift_s=1.0)
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"tail": "pad", "normalise": "robust", "clip": "2"}, {"augment": VARIED, "labels": "type", "per": "window"}),
    ({"tail": "pad"}, {"dtype": "int16"}),
    ({"missing": "nan", "length_s": "30"}, {"dtype": "bfloat16", "labels": "per-channel"}),
    ({"reference": "bipolar", "clip": "3"}, {"augment": VARIED}),
    ({"reference": "average", "tail": "pad"}, {"dtype": "float16"}),
]


def copied(batch: Batch) -> Batch:
    return Batch(*(each.clone() for each in batch))


def both(view: View, device: str, n: int = 4, **options: Any) -> list[tuple[Batch, Batch]]:
    """Return batches from the device's memory beside those from the shards."""
    choices = Choices(batch=5, sampling=Sampling(seed=2), **options)
    order, filler = order_of(view.index, choices), filler_of(view.index, view.store, choices)
    memory = OnDevice.upload(filler, torch.device(device))
    ours = islice(memory.batches(filler, plans_of(view.index, order, 0, None)), n)
    theirs = islice(stream(filler, order), n)
    return [(b, copied(tensors(c, choices.dtype))) for b, c in zip(ours, theirs, strict=True)]


def window(**fields: Any) -> Any:
    from brainbrr.loading.windows import WindowSpec

    return WindowSpec.model_validate({"length_s": "4", "stride_s": "1.5", **fields})


def _close(a: torch.Tensor, b: torch.Tensor, *, mixes: bool) -> None:
    """Hold signals against each other: every bit, or where rows mix channels the last one."""
    assert a.dtype == b.dtype
    if mixes:  # sums run in another order: the last bit of float32, or of what it is rounded to
        torch.testing.assert_close(a, b, rtol=2 * torch.finfo(a.dtype).eps, atol=1e-6, equal_nan=True)
    else:
        assert torch.equal(a.nan_to_num(9), b.nan_to_num(9)) and torch.equal(a.isnan(), b.isnan())


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))],
)
@pytest.mark.parametrize(("fields", "options"), CASES, ids=str)
def test_a_device_gives_the_bits_of_the_shards(
    view_of: Any, device: str, fields: dict[str, Any], options: dict[str, Any]
) -> None:
    view = view_of("train", window=window(**fields))
    mixes = "reference" in fields
    for ours, theirs in both(view, device, **options):
        for name in ("label", "valid", "index"):
            assert torch.equal(getattr(ours, name).cpu(), getattr(theirs, name))
        _close(ours.signal.cpu(), theirs.signal, mixes=mixes)


@pytest.mark.parametrize(("fields", "options"), CASES, ids=str)
def test_integers_that_are_streamed_to_a_device_become_the_same_there(
    view_of: Any, fields: dict[str, Any], options: dict[str, Any]
) -> None:
    index, store = (view := view_of("train", window=window(**fields))).index, view.store
    choices = Choices(batch=5, sampling=Sampling(seed=2), **options)
    order, filler = order_of(index, choices), filler_of(index, store, choices)
    raw = (tensors(batch, "int16") for batch in stream(replace(filler, dtype="int16"), order))
    ours = dequantised(filler, plans_of(index, order, 0, None), raw, choices.dtype)
    for a, b in zip(islice(ours, 4), stream(filler, order), strict=False):
        theirs = copied(tensors(b, choices.dtype))
        assert torch.equal(a.label, theirs.label) and torch.equal(a.valid, theirs.valid)
        _close(a.signal, theirs.signal, mixes="reference" in fields)


def test_a_view_that_does_not_fit_a_device_is_refused_with_the_figure(
    view_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainbrr.learn.cuda.resident.free_on", lambda _: 10**6)
    with pytest.raises(SpaceError, match=r"takes 0\.0 GB as int16, and 0\.0 GB of cpu are free"):
        both(view_of("train"), "cpu")
