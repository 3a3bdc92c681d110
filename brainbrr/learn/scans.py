"""The scan of Mamba-2 (Dao & Gu 2024, arXiv 2405.21060) in three forms: as a recurrence, in chunks, in Triton.

All compute h_t = exp(dt_t a) h_(t-1) + dt_t b_t x_t and y_t = c_t h_t + d x_t, so each may replace another.
Shapes: x (batch, length, heads, headdim), dt (batch, length, heads) above 0, a (heads,) below 0, b and c
(batch, length, state), shared by all heads, d (heads,). Knows no model.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from brainbrr.errors import DependencyError

TRITON_CHUNK = 256
"""Steps of a chunk in mamba-ssm's kernels, which are tuned for it. The result does not depend on it."""


Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""y of x's shape, from x, dt, a, b, c and d."""


def scan_on(device: torch.device, *, by: str, chunk: int) -> Scan:
    """Return the scan that `by` means on a device: see `chosen`. `chunk` is for torch's."""
    return in_triton if chosen(by, device) == "triton" else partial(chunked, chunk=chunk)


def chosen(by: str, device: torch.device) -> Literal["torch", "triton"]:
    """Return which scan `auto`, `torch` or `triton` means on a device: `auto` is Triton on CUDA, where installed.

    Raises DependencyError for `triton` where it cannot run: without mamba-ssm, or on a CPU but in the interpreter.
    """
    there = installed("triton") and installed("mamba_ssm")
    if by == "triton" and not there:
        raise DependencyError('model.scan = "triton" needs mamba-ssm', fix="pip install 'brainbrr[cuda]'")
    if by == "triton" and device.type != "cuda" and not _interpreted():
        raise DependencyError(f'model.scan = "triton" cannot run on {device}', fix='set model.scan = "auto"')
    return "triton" if by == "triton" or (by == "auto" and there and device.type == "cuda") else "torch"


@cache
def installed(package: str) -> bool:
    """Say whether a package is there. Looked up once: every layer of every step asks."""
    return find_spec(package) is not None


def recurrence(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Return y step by step, as it is defined: slow, and the reference for the others in float64."""
    state = x.new_zeros(*x.shape[:1], *x.shape[2:], b.shape[-1])  # (batch, heads, headdim, state)
    steps = []
    for t in range(x.shape[1]):
        arrives = (dt[:, t, :, None] * x[:, t])[..., None] * b[:, t, None, None, :]
        state = state * (dt[:, t] * a).exp()[..., None, None] + arrives
        steps.append((state @ c[:, t, None, :, None]).squeeze(-1))
    return torch.stack(steps, 1) + x * d.unsqueeze(-1)


def chunked(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, *, chunk: int) -> Tensor:
    """Return y chunk by chunk, in matrix products; chunks are of equal size, at most `chunk`.

    Decays and states are at least float32, also under autocast; logarithms of decays are summed in float64, since a
    small difference of large sums would cost two digits.
    """
    length = x.shape[1]
    n_chunks = -(-length // chunk)
    size = -(-length // n_chunks)
    skipped = x * d.unsqueeze(-1)
    dt = dt.to(torch.promote_types(dt.dtype, torch.float32))
    if rest := n_chunks * size - length:  # a step with dt = 0 changes no state
        x = F.pad(x, (0, 0, 0, 0, 0, rest))
        dt, b, c = (F.pad(t, (0, 0, 0, rest)) for t in (dt, b, c))
    x, dt, b, c = (t.reshape(len(t), n_chunks, size, *t.shape[2:]) for t in (x, dt, b, c))
    x = x * dt.unsqueeze(-1)  # (batch, chunk, step, head, headdim)
    upto = torch.ones(size, size, dtype=torch.float64, device=x.device).tril()
    decay = upto @ (dt * a).double()  # (batch, chunk, step, head), a logarithm; cumsum adds in any order on CUDA
    y = _within(x, decay, b, c)
    if n_chunks > 1:
        state = _carried(x, decay, b)
        y = y + (c @ state.flatten(-2)).view_as(x) * _exp(decay, x.dtype)
    return (y.flatten(1, 2)[:, :length] + skipped).to(skipped.dtype)


def _within(x: Tensor, decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return what steps give to later steps of their own chunk: attention with their decay as its mask."""
    by_head = decay.transpose(2, 3)
    later = torch.ones(x.shape[2], x.shape[2], dtype=torch.bool, device=x.device).triu(1)
    between = (by_head.unsqueeze(-1) - by_head.unsqueeze(-2)).to(x.dtype).masked_fill_(later, -math.inf).exp_()
    weights = (c @ b.transpose(-1, -2)).unsqueeze(2) * between  # (batch, chunk, head, step, earlier step)
    return (weights @ x.transpose(2, 3)).transpose(2, 3)


def _carried(x: Tensor, decay: Tensor, b: Tensor) -> Tensor:
    """Return the state before each chunk, (batch, chunk, state, head, headdim)."""
    kept = x * _exp(decay[:, :, -1:] - decay, x.dtype)
    left = (b.transpose(-1, -2) @ kept.flatten(-2)).to(x.dtype).reshape(*b.shape[:2], -1, *x.shape[-2:])
    totals = _exp(decay[:, :, -1:], x.dtype)
    states = [torch.zeros_like(left[:, 0])]
    # unbind, not slices: the backward of n slices would allocate n tensors of full size
    for leaves, total in zip(left.unbind(1)[:-1], totals.unbind(1)[:-1], strict=True):
        states.append(states[-1] * total + leaves)
    return torch.stack(states, 1)


def _exp(decay: Tensor, dtype: torch.dtype) -> Tensor:
    return decay.to(dtype).exp().unsqueeze(-1)


def in_triton(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Return y by mamba-ssm's Triton kernels. Raises DependencyError where they are not installed."""
    y: Tensor = _kernels()(x, dt, a, b.unsqueeze(2), c.unsqueeze(2), TRITON_CHUNK, D=d)
    return y


@cache
def _kernels() -> Callable[..., Any]:
    """Return mamba_chunk_scan_combined, whose package may lack the CUDA extension that only Mamba-1 needs."""
    name = "mamba_ssm.ops.triton.ssd_combined"
    try:
        module = import_module(name)
    except ImportError:
        module = _without_its_front(name)
    return module.mamba_chunk_scan_combined  # type: ignore[no-any-return]


def _without_its_front(name: str) -> ModuleType:
    """Import a module of a package without running the package's own `__init__`."""
    package = name.partition(".")[0]
    spec = find_spec(package)
    if spec is None:
        raise DependencyError(f"{name} needs {package}", fix="pip install 'brainbrr[cuda]'")
    sys.modules[package] = module_from_spec(spec)
    try:
        return import_module(name)
    except ImportError as error:
        del sys.modules[package]
        raise DependencyError(f"mamba-ssm cannot be used: {error}", fix="pip install 'brainbrr[cuda]'") from error


def _interpreted() -> bool:
    """Return whether Triton runs on the CPU, in its interpreter."""
    knobs = getattr(import_module("triton"), "knobs", None)
    return knobs is not None and bool(knobs.runtime.interpret)
