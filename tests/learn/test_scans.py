"""The chunked scan against the recurrence that it stands for, and who chooses a scan."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from brainbrr.errors import DependencyError
from brainbrr.learn import scans


def arguments(length: int, dtype: torch.dtype) -> list[Tensor]:
    random = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    x, b, c, d = normal(2, length, 3, 4), normal(2, length, 5), normal(2, length, 5), normal(3)
    dt = torch.nn.functional.softplus(normal(2, length, 3) - 1)
    a = -torch.tensor([0.5, 2.0, 16.0], dtype=torch.float64)
    return [t.float().to(dtype).requires_grad_() for t in (x, dt, a, b, c, d)]


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 7, 64, 65, 200, 960])
def test_chunked_scan_equals_the_recurrence_in_outputs_and_gradients(length: int) -> None:
    exact, ours = arguments(length, torch.float64), arguments(length, torch.float32)
    truth, got = scans.recurrence(*exact), scans.chunked(*ours, chunk=64 if length == 960 else 16)
    assert got.shape == truth.shape
    weights = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = [truth, *torch.autograd.grad((truth * weights).sum(), exact, allow_unused=length == 1)]
    found = [got, *torch.autograd.grad((got * weights.float()).sum(), ours, allow_unused=length == 1)]
    for one, other in zip(found, expected, strict=True):
        if length > 1 or other is not None:
            assert (one.double() - other).abs().max() <= 1e-5 * other.abs().max()


def test_chunk_size_does_not_matter() -> None:
    x = arguments(100, torch.float64)
    assert torch.allclose(scans.chunked(*x, chunk=100), scans.chunked(*x, chunk=9), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda *given: scans.chunked(*given, chunk=4), arguments(9, torch.float64))


def test_strong_decay_gives_no_nan_gradient() -> None:
    x, dt, a, b, c, d = arguments(64, torch.float32)
    y = scans.chunked(x, dt * 100, a, b, c, d, chunk=64)  # exp of the upper triangle would overflow
    for gradient in torch.autograd.grad(y.sum(), (x, dt, a, b, c, d)):
        assert torch.isfinite(gradient).all()


@pytest.mark.slow
def test_half_precision_inputs_keep_decay_and_states_in_float32() -> None:
    x, dt, a, b, c, d = arguments(960, torch.float32)
    dt = dt / 100  # a long memory: states in bfloat16 would forget by rounding
    halves = [t.to(torch.bfloat16) for t in (x, b, c)]
    exact = scans.recurrence(*(t.double() for t in (halves[0], dt, a, *halves[1:], d)))
    with torch.autocast("cpu", torch.bfloat16):
        got = scans.chunked(halves[0], dt, a, *halves[1:], d, chunk=64)
    assert (got - exact).abs().max() < 0.01 * exact.abs().max()


def test_auto_is_torch_on_the_cpu() -> None:
    assert scans.chosen("auto", torch.device("cpu")) == scans.chosen("torch", torch.device("cpu")) == "torch"
    assert scans.chosen("torch", torch.device("cuda")) == "torch"


@pytest.mark.skipif(find_spec("mamba_ssm") is not None, reason="mamba-ssm is installed")
def test_triton_without_mamba_ssm_is_refused_with_what_to_install() -> None:
    with pytest.raises(DependencyError, match="needs mamba-ssm"):
        scans.chosen("triton", torch.device("cuda"))
    assert scans.chosen("auto", torch.device("cuda")) == "torch"
