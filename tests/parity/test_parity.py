"""Our scans and layers against mamba-ssm's Triton kernels, module and references; float64 as the truth of all."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brainbrr.errors import DependencyError
from brainbrr.learn import scans
from brainbrr.learn.config import ModelConfig
from brainbrr.learn.model import Detector, Mamba2

pytestmark = [
    pytest.mark.skipif(find_spec("mamba_ssm") is None, reason="mamba-ssm is not installed: make parity"),
    pytest.mark.filterwarnings("ignore:Deterministic mode"),
]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

TOLERANCE = 1e-5
CASES = {  # batch, length, heads, headdim, state, and the steps of Triton's chunks
    "one chunk": (2, 40, 2, 16, 16, 64),
    "chunks, the last one short": (1, 150, 2, 16, 32, 64),
    "a smoke layer's heads": (1, 70, 8, 12, 16, 32),
    "as trained": (1, 300, 1, 64, 16, 256),
}


def arguments(shape: tuple[int, ...], device: torch.device) -> list[Tensor]:
    """x, dt, a, b, c, d as Mamba-2 begins with: steps of 1 to 100 ms, decays of 1 to 16."""
    n_batch, length, n_heads, headdim, n_state = shape
    random = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    x, b, c = (
        normal(n_batch, length, n_heads, headdim),
        normal(n_batch, length, n_state),
        normal(n_batch, length, n_state),
    )
    dt = torch.nn.functional.softplus(normal(n_batch, length, n_heads) - 4)
    a = -1 - 15 * torch.rand(n_heads, generator=random)
    return [t.to(device).requires_grad_() for t in (x, dt, a, b, c, normal(n_heads))]


def with_gradients(y: Tensor, of: list[Tensor]) -> list[Tensor]:
    """Return y and the gradients of a weighted sum of it."""
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y)
    return [y, *torch.autograd.grad((y * weights).sum(), of)]


def error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference, relative to the largest number that it is the difference of; NaN where one is."""
    pairs = zip(found, expected, strict=True)
    return torch.stack([(f.double() - e.double()).abs().max() / e.double().abs().max() for f, e in pairs]).max().item()


@pytest.mark.parametrize("case", CASES)
def test_tritons_and_our_scan_agree_in_outputs_and_gradients(
    case: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    *shape, chunk = CASES[case]
    monkeypatch.setattr(scans, "TRITON_CHUNK", chunk)
    inputs = arguments(tuple(shape), device)
    exact = [t.detach().double().requires_grad_() for t in inputs]
    truth = with_gradients(scans.recurrence(*exact), exact)
    ours = with_gradients(scans.scan_on(inputs[0].device, by="torch", chunk=48)(*inputs), inputs)
    triton = with_gradients(scans.scan_on(inputs[0].device, by="triton", chunk=48)(*inputs), inputs)
    for name, value in (
        ("ours", error(ours, truth)),
        ("triton", error(triton, truth)),
        ("between", error(ours, triton)),
    ):
        print(f"{case}: {name} {value:.1e}")
        assert value <= TOLERANCE


def layers(device: torch.device) -> tuple[Any, Mamba2]:
    """Return mamba-ssm's layer and ours, of one shape and with different weights."""
    scans._kernels()
    theirs = import_module("mamba_ssm.modules.mamba2").Mamba2(
        32, d_state=16, headdim=8, chunk_size=64, use_mem_eff_path=False, device=device
    )
    return theirs, Mamba2(ModelConfig(d_model=32, d_state=16, headdim=8, scan="torch")).to(device)


@pytest.mark.parametrize("way", ["theirs to ours", "ours to theirs"])
def test_state_dicts_load_both_ways_and_mean_the_same(way: str, device: torch.device) -> None:
    torch.manual_seed(0)
    theirs, ours = layers(device)
    source, target = (theirs, ours) if way == "theirs to ours" else (ours, theirs)
    target.load_state_dict(source.state_dict(), strict=True)
    u = torch.randn(1, 80, 32, device=device)
    with torch.device(device):
        found, expected = (_learned(layer, u) for layer in (ours, theirs))
    assert found.keys() == expected.keys()
    assert error(list(found.values()), list(expected.values())) <= TOLERANCE


def _learned(layer: nn.Module, u: Tensor) -> dict[str, Tensor]:
    u = u.clone().requires_grad_()
    names, parameters = zip(*layer.named_parameters(), strict=True)
    return dict(zip(("y", "u", *names), with_gradients(layer(u), [u, *parameters]), strict=True))


def test_a_detector_learns_the_same_by_either_scan(device: torch.device) -> None:
    fields = {"d_model": 16, "n_blocks": 1, "headdim": 4, "stem": (4, 4), "stem_width": 4}
    torch.manual_seed(0)
    one, other = (Detector(3, ModelConfig(**fields, scan=by)).to(device) for by in ("torch", "triton"))
    other.load_state_dict(one.state_dict())
    signal = torch.randn(1, 3, 640, device=device)
    assert error(list(_learned(one, signal).values()), list(_learned(other, signal).values())) <= TOLERANCE


def test_mamba_ssms_own_references_agree(device: torch.device) -> None:
    scans._kernels()
    inputs = arguments((2, 192, 4, 16, 16), device)
    x, dt, a, b, c, d = inputs
    ours = with_gradients(scans.chunked(*inputs, chunk=64), inputs)
    combined = import_module("mamba_ssm.ops.triton.ssd_combined")
    y = combined.ssd_chunk_scan_combined_ref(x, dt, a, b.unsqueeze(2), c.unsqueeze(2), 64, D=d)
    theirs = with_gradients(y, inputs)
    theirs[2:4] = ours[2:4]  # of dt and a: theirs are NaN where exp of what is masked afterwards overflows
    assert error(ours, theirs) <= TOLERANCE
    minimal = import_module("mamba_ssm.modules.ssd_minimal")
    heads = [t.unsqueeze(2).expand(-1, -1, 4, -1) for t in (b, c)]
    y, _ = minimal.ssd_minimal_discrete(x * dt.unsqueeze(-1), dt * a, *heads, 64)
    assert error(ours, with_gradients(y + x * d.unsqueeze(-1), inputs)) <= TOLERANCE


def test_auto_is_triton_on_cuda_and_forcing_it_on_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = pytest.importorskip("triton", reason="Triton is not installed: make parity")
    assert scans.chosen("auto", torch.device("cuda")) == "triton"
    assert scans.chosen("auto", torch.device("cpu")) == scans.chosen("torch", torch.device("cuda")) == "torch"
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(DependencyError, match="cannot run on cpu"):
        scans.chosen("triton", torch.device("cpu"))


def test_every_kernel_of_a_step_compiles_for_sm_90_without_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed: make parity")
    script = Path(__file__).with_name("ahead_of_time.py")
    told = subprocess.run([sys.executable, script, str(tmp_path)], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    print(told.stdout)
    kernels = {line.split("\t")[0] for line in told.stdout.splitlines()}
    assert {"_chunk_cumsum_fwd_kernel", "_chunk_scan_fwd_kernel", "_chunk_scan_chunk_state_bwd_dx_kernel"} <= kernels


@needs_cuda
def test_bf16_on_cuda_is_as_near_as_bf16_can_be(device: torch.device) -> None:
    x, dt, a, b, c, d = arguments((2, 960, 8, 32, 32), device)
    halves = [t.detach().bfloat16() for t in (x, b, c)]
    exact = scans.recurrence(*(t.double() for t in (halves[0], dt, a, *halves[1:], d)))
    for by in ("torch", "triton"):
        with torch.autocast("cuda", torch.bfloat16):
            y = scans.scan_on(dt.device, by=by, chunk=64)(halves[0], dt, a, *halves[1:], d)
        assert error([y], [exact]) < 2e-2
