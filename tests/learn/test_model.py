"""The chunked scan against the recurrence it stands for, and mamba-ssm's names and shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from brainbrr.learn.model import BiMamba2, Detector, Mamba2, ssd
from brainbrr.learn.train_config import ModelConfig


def naive(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The recurrence, one step at a time."""
    state = torch.zeros(*x.shape[:1], *x.shape[2:], b.shape[-1], dtype=x.dtype)
    steps = []
    for t in range(x.shape[1]):
        into = (dt[:, t, :, None] * x[:, t])[..., None] * b[:, t, None, None, :]
        state = state * (dt[:, t] * a).exp()[..., None, None] + into
        steps.append(state @ c[:, t, None, :, None])
    return torch.stack(steps, 1).squeeze(-1)


def arguments(length: int, dtype: torch.dtype) -> list[Tensor]:
    random = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    x, b, c = normal(2, length, 3, 4), normal(2, length, 5), normal(2, length, 5)
    dt = torch.nn.functional.softplus(normal(2, length, 3) - 1)
    a = -torch.tensor([0.5, 2.0, 16.0], dtype=torch.float64)
    return [t.to(dtype).requires_grad_() for t in (x, dt, a, b, c)]


@pytest.mark.parametrize("length", [1, 7, 64, 65, 200])
def test_chunked_scan_equals_the_recurrence_in_outputs_and_gradients(length: int) -> None:
    exact, ours = arguments(length, torch.float64), arguments(length, torch.float32)
    truth, got = naive(*exact), ssd(*ours, chunk=16)
    assert got.shape == truth.shape
    weights = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = [truth, *torch.autograd.grad((truth * weights).sum(), exact)]
    found = [got, *torch.autograd.grad((got * weights.float()).sum(), ours)]
    for one, other in zip(found, expected, strict=True):
        assert (one.double() - other).abs().max() <= 1e-5 * other.abs().max()


def test_chunk_size_does_not_matter() -> None:
    x = arguments(100, torch.float64)
    assert torch.allclose(ssd(*x, chunk=100), ssd(*x, chunk=9), rtol=1e-12, atol=1e-12)


def test_strong_decay_gives_no_nan_gradient() -> None:
    x, dt, a, b, c = arguments(64, torch.float32)
    y = ssd(x, dt * 100, a, b, c, chunk=64)  # exp of the upper triangle would overflow
    for gradient in torch.autograd.grad(y.sum(), (x, dt, a, b, c)):
        assert torch.isfinite(gradient).all()


def test_mamba2_has_the_names_and_shapes_of_mamba_ssm() -> None:
    layer = Mamba2(ModelConfig(d_model=64, d_state=16, headdim=16))
    # from mamba_ssm.modules.mamba2.Mamba2(64, d_state=16, headdim=16)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "dt_bias": (8,),
        "A_log": (8,),
        "D": (8,),
        "in_proj.weight": (2 * 128 + 2 * 16 + 8, 64),
        "conv1d.weight": (128 + 2 * 16, 1, 4),
        "conv1d.bias": (128 + 2 * 16,),
        "norm.weight": (128,),
        "out_proj.weight": (64, 128),
    }


def test_mamba2_is_causal_and_the_detector_is_not() -> None:
    config = ModelConfig(d_model=16, n_blocks=1, stem=(4, 4), stem_width=4)
    torch.manual_seed(0)
    u = torch.randn(1, 40, 16)
    later = u.clone()
    later[:, 30:] += 1
    layer = Mamba2(config)
    assert torch.equal(layer(u)[:, :30], layer(later)[:, :30])
    assert not torch.equal(layer(u)[:, 30:], layer(later)[:, 30:])

    detector = Detector(3, config)
    signal = torch.randn(1, 3, 640)
    other = signal.clone()
    other[..., 600:] += 1
    assert not torch.equal(detector(signal)[:, :100], detector(other)[:, :100])


def test_the_backward_layer_sees_what_comes_after_and_nothing_before() -> None:
    torch.manual_seed(0)
    block = BiMamba2(ModelConfig(d_model=16, n_blocks=1))
    with torch.no_grad():
        block.fuse.weight[:, :16] = 0  # the forward layer's half
    u = torch.randn(1, 40, 16)
    earlier = u.clone()
    earlier[:, :10] += 1
    changed = (block(u) != block(earlier)).any(-1)[0]
    assert changed[:10].all() and not changed[10:].any()
    later = u.clone()
    later[:, 30:] += 1
    assert (block(u) != block(later)).any(-1)[0].all()


@pytest.mark.parametrize("length", [640, 650, 1])
def test_detector_gives_one_logit_per_sample(length: int) -> None:
    detector = Detector(3, ModelConfig(d_model=16, n_blocks=1, stem=(4, 4), stem_width=4))
    assert detector(torch.zeros(2, 3, length)).shape == (2, length)


def test_every_parameter_learns() -> None:
    detector = Detector(3, ModelConfig(d_model=16, n_blocks=1, stem=(4, 4), stem_width=4))
    detector(torch.randn(2, 3, 640)).square().sum().backward()
    assert [name for name, p in detector.named_parameters() if p.grad is None or not p.grad.any()] == []
