"""Windows from resident int16: the same bits by torch, by Triton (interpreted, compiled) and by plain numpy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, reload
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import gather_reference
from helpers.gather_reference import FILL, Tables, bits, cut
from helpers.support import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainbrr.errors import DependencyError, UsageError
from brainbrr.learn.cuda.gather import mix

HAS_TRITON = find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
WAYS = ["torch", pytest.param("triton", marks=needs_triton)]
CARDS = [
    pytest.param(way, marks=[needs_cuda, *([needs_triton] if way == "triton" else [])]) for way in ("torch", "triton")
]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int16]


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run Triton's kernels on the CPU, in its interpreter."""
    if not HAS_TRITON:
        yield
        return
    kernels = import_module("brainbrr.learn.cuda.gather_triton")
    with monkeypatch.context() as changed:
        changed.setenv("TRITON_INTERPRET", "1")
        reload(kernels)
        yield
    reload(kernels)


def tables(seed: int, *, length: int = 2500, n_windows: int = 6, n_rows: int = 4) -> Tables:
    """Three recordings of odd lengths and full range; windows on and off the grid of 8; one missing row, one NaN."""
    random = np.random.default_rng(seed)
    recordings = [random.integers(-32767, 32768, (5, n), dtype=np.int16) for n in (4003, 1024, 2600)]
    windows = [(0, 0), (2, 96), (1, 0)]
    while len(windows) < n_windows:
        recording = int(random.integers(3))
        windows.append((recording, int(random.integers(recordings[recording].shape[1]))))
    sources = random.integers(0, 5, (n_windows, n_rows), dtype=np.int32)
    sources[:, 1] = np.where(random.random(n_windows) < 0.5, -1, sources[:, 1])
    gain = (random.standard_normal((n_windows, n_rows)) / 300).astype(np.float32)
    gain[2, 0], gain[1, 2], gain[0, 3], gain[0, 0] = np.nan, 0, 1e-42, 40
    centre = random.integers(-32767, 32768, (n_windows, n_rows), dtype=np.int32)
    return Tables(recordings, windows[:n_windows], length, sources, centre, gain)


def agree(got: torch.Tensor, made: Tables, clip: float | None, *, cut_allowed: bool = False) -> None:
    """Assert equal bits. Triton's interpreter cuts bfloat16 where a device rounds: there, either is right."""
    expected, found = made.expected(got.dtype, clip), bits(got)
    if cut_allowed and got.dtype == torch.bfloat16:
        cut = (made.expected(torch.float32, clip) >> 16).astype(np.uint16)
        expected = np.where(found == cut, cut, expected)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("interpreted")
def test_windows_have_the_bits_of_plain_numpy(by: str, clip: float | None, dtype: torch.dtype) -> None:
    made = tables(1)
    if by == "triton" and dtype == torch.bfloat16:
        made.gain[0, 3] = 0  # the interpreter garbles subnormal bfloat16
    with np.errstate(over="ignore"):  # float16 of more than 65504, in the interpreter
        got = cut(*made.arguments(), length=made.length, clip=clip, dtype=dtype, by=by)
    agree(got, made, clip, cut_allowed=by == "triton")
    if dtype == torch.float32 and clip is None:
        assert got.isnan().any()
        assert (got.abs() > 65504).any(), "large enough to overflow float16"


@pytest.mark.slow
@pytest.mark.parametrize("by", WAYS)
@pytest.mark.usefixtures("interpreted")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.sampled_from([1, 7, 8, 1023, 1024, 1025, 2048, 3000]),
    n_windows=st.integers(3, 5),
    n_rows=st.integers(4, 6),
)
def test_any_windows_agree(by: str, seed: int, length: int, n_windows: int, n_rows: int) -> None:
    made = tables(seed, length=length, n_windows=n_windows, n_rows=n_rows)
    agree(cut(*made.arguments(), length=length, clip=10.0, by=by), made, 10.0)
    raw = cut(*made.arguments(rows=False), length=length, dtype=torch.int16, by=by)
    agree(raw, made, None)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.usefixtures("interpreted")
def test_a_buffer_is_filled_again_wholly(by: str) -> None:
    made = tables(3)
    out = torch.full((*made.sources.shape, made.length), 5.0)
    assert cut(*made.arguments(), length=made.length, out=out, by=by) is out
    agree(out, made, None)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.usefixtures("interpreted")
def test_offsets_beyond_32_bits_are_followed(by: str) -> None:
    channel = 2**30 + 24
    flat = torch.empty(3 * channel, dtype=torch.int16)  # 6.4 GB that nobody touches but for its last samples
    flat[-10:] = torch.arange(10, dtype=torch.int16)
    one = torch.ones((1, 1), dtype=torch.int32)
    place = [torch.tensor([value]) for value in (channel - 10, channel, 10)]
    out = cut(flat, *place, 2 * one, 0 * one, one.float(), length=16, by=by)
    assert out.flatten().tolist() == [*range(10), 0, 0, 0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("by", WAYS)
def test_padding_is_not_read(by: str) -> None:
    script = Path(gather_reference.__file__)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path}
    told = subprocess.run([sys.executable, str(script), by], env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("table, value", [(1, -1), (1, 10**7), (2, 2**40), (3, -1), (3, 2501), (4, 10**6)])
def test_windows_outside_are_refused(by: str, table: int, value: int) -> None:
    made = tables(4)
    arguments = made.arguments()
    arguments[4][1, 2] = 3
    arguments[table][1] = value
    with pytest.raises(UsageError, match="window 1 reaches outside of the"):
        cut(*arguments, length=made.length, by=by)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.usefixtures("interpreted")
def test_the_last_sample_may_be_read_and_the_next_may_not(by: str) -> None:
    flat, one = torch.arange(40, dtype=torch.int16), torch.ones((1, 1), dtype=torch.int32)
    rest = [torch.tensor([20]), torch.tensor([8]), one, 0 * one, one.float()]
    assert cut(flat, torch.tensor([12]), *rest, length=8, by=by).flatten().tolist() == list(range(32, 40))
    with pytest.raises(UsageError, match="outside of the 40 samples"):
        cut(flat, torch.tensor([13]), *rest, length=8, by=by)
    rest[1] = torch.tensor([0])
    assert cut(flat, torch.tensor([33]), *rest, length=8, by=by).eq(0).all(), "padding alone lies nowhere"


@needs_triton
@pytest.mark.usefixtures("interpreted")
def test_the_kernel_alone_gives_nan_for_rows_outside_and_never_zeros() -> None:
    kernels = import_module("brainbrr.learn.cuda.gather_triton")
    made = tables(5)
    flat, base, *rest = made.arguments()
    for wrong in (-1, flat.numel() - 1, 2**40, None):
        moved, n_real = base.clone(), rest[1].clone()
        if wrong is None:
            n_real[1] = -1
        else:
            moved[1] = wrong
        out = torch.zeros(*made.sources.shape, made.length)
        kernels.launch((flat, moved, rest[0], n_real), tuple(rest[2:]), out, clip=None)
        there = torch.from_numpy(made.sources[1] >= 0)
        outside = there if wrong != -1 else there & torch.from_numpy(made.sources[1] == 0)
        assert out[1][outside].isnan().all()
        assert outside.any() or wrong == -1
        np.testing.assert_array_equal(bits(out)[2:], made.expected(torch.float32, None)[2:])


@pytest.mark.parametrize(
    "change, told",
    [
        ({"dtype": torch.float64}, "dtype torch.float64"),
        ({"gain": None}, "need centre and gain"),
        ({"flat": torch.zeros(4, dtype=torch.int32)}, "flat is torch.int32"),
        ({"flat": torch.zeros(8, dtype=torch.int16)[::2]}, "must be int16, contiguous"),
        ({"length": 0}, "length = 0"),
        ({"clip": -1.0}, "clip = -1.0"),
        ({"clip": float("nan")}, "clip = nan"),
        ({"stride": torch.zeros(6, dtype=torch.int32)}, r"stride is torch.int32 \(6,\)"),
        ({"centre": torch.zeros(6, 3, dtype=torch.int32)}, r"centre is .* must be torch.int32 \(6, 4\)"),
        ({"out": torch.zeros(6, 4, 2499)}, r"out is \(6, 4, 2499\)"),
        ({"out": torch.zeros(6, 4, 5000)[..., ::2]}, "and contiguous"),
    ],
)
def test_a_wrong_form_is_told(change: dict[str, Any], told: str) -> None:
    names = ("flat", "base", "stride", "n_real", "sources", "centre", "gain")
    arguments = {**dict(zip(names, tables(6).arguments(), strict=True)), "length": 2500, **change}
    tensors, options = [arguments.pop(name) for name in names], arguments
    with pytest.raises(UsageError, match=told):
        cut(*tensors, **options)


def test_triton_where_it_cannot_run_is_an_error_and_not_another_path() -> None:
    made = tables(6)
    with pytest.raises(DependencyError, match="Triton cannot"):
        cut(*made.arguments(), length=made.length, by="triton")


@needs_triton
@pytest.mark.parametrize(
    "name, converts", [("fp32", None), ("bf16", "cvt.rn.bf16x2.f32"), ("fp16", "cvt.rn.f16x2.f32"), ("i16", None)]
)
def test_the_compiled_kernel_multiplies_once_and_loads_16_bytes(
    name: str, converts: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Compiled for sm_90 without any device: what the assembly must and must not hold."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = import_module("brainbrr.learn.cuda.gather_triton")
    kernel, raw = kernels.gather_kernel, name == "i16"
    constants = {"CLIPPED": True, "RAW": raw, "BLOCK": kernels.BLOCK} | ({"centre": None, "gain": None} if raw else {})
    types = {"flat": "*i16", "sources": "*i32", "centre": "*i32", "gain": "*fp32", "out": f"*{name}", "limit": "fp32"}
    types |= {"base": "*i64", "stride": "*i64", "n_real": "*i64", "n_flat": "i64", "n_rows": "i32", "length": "i32"}
    aligned = {(kernel.arg_names.index(each),): [["tt.divisibility", 16]] for each in ("flat", "out", "length")}
    compiled = triton.compile(
        ASTSource(kernel, {**types, **dict.fromkeys(constants, "constexpr")}, constants, aligned),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": kernels.N_WARPS, "enable_fp_fusion": False},
    )
    ptx = compiled.asm["ptx"]
    per_thread = kernels.BLOCK // (32 * kernels.N_WARPS)
    assert not re.findall(r"\bfma\b|\.ftz|\bmad\.[\w.]*f32|cvt\.rz", ptx)
    assert len(re.findall(r"\bmul(?:\.rn)?\.f32", ptx)) == (0 if raw else per_thread)
    assert len(re.findall(r"\bsub\.s32", ptx)) == (0 if raw else per_thread)
    assert len(re.findall(r"ld\.global\.v4\.b32", ptx)) == 1
    assert len(re.findall(r"st\.global\.v4\.b32", ptx)) == (2 if name == "fp32" else 1)
    assert converts is None or ptx.count(converts) == per_thread // 2


def mixing(seed: int) -> tuple[torch.Tensor, ...]:
    """Return raw, weights, offset, rows and n_real of three windows: one without, one with a row unknown (NaN)."""
    random = np.random.default_rng(seed)
    raw = random.integers(-32767, 32768, (3, 6, 500), dtype=np.int16)
    n_real = np.array([500, 500, 333])
    raw[2, :, 333:] = FILL
    weights, offset = random.standard_normal((3, 4, 6)), random.standard_normal((3, 4)) * 1e5
    rows = np.array([[True, False, True, False], [False] * 4, [False, True, True, True]])
    weights[2, 3, 2] = np.nan
    return tuple(torch.from_numpy(each) for each in (raw, weights, offset, rows, n_real))


def test_mixed_rows_are_within_the_stated_tolerance_of_a_fixed_order() -> None:
    raw, weights, offset, rows, n_real = mixing(1)
    untouched = 7.0
    out = mix(raw, weights, offset, rows, n_real=n_real, out=torch.full((3, 4, 500), untouched))
    w, x, o = weights.numpy(), raw.numpy().astype(np.float64), offset.numpy()
    ordered = np.zeros((3, 4, 500))
    for channel in range(6):
        ordered += w[:, :, channel, None] * x[:, None, channel]
    ordered -= o[..., None]
    size = (np.abs(w) @ np.abs(x)) + np.abs(o)[..., None]
    allowed = np.spacing(np.abs(ordered).astype(np.float32)) / 2 + 2 * (6 + 2) * 2.0**-53 * size
    real = np.arange(500) < n_real.numpy()[:, None, None]
    got, chosen = out.numpy(), np.broadcast_to(rows.numpy()[..., None], ordered.shape)
    finite = chosen & real & ~np.isnan(ordered)
    assert (np.abs(got - ordered) <= allowed)[finite].all()
    assert np.isnan(got[2, 3, :333]).all(), "a row with an unknown weight is unknown, not zero"
    assert (got[chosen & ~real] == 0).all()
    assert (got[~chosen] == untouched).all()
    assert finite.sum() == 2 * 500 + 2 * 333


def test_mixed_rows_are_clipped_and_rounded_into_what_is_given() -> None:
    raw, weights, offset, rows, n_real = mixing(2)
    wide = mix(raw, weights, offset, rows, n_real=n_real)
    narrow = mix(raw, weights, offset, rows, n_real=n_real, clip=2e4, out=torch.zeros(3, 4, 500, dtype=torch.bfloat16))
    assert (wide.abs() > 2e4).any()
    assert torch.equal(narrow.nan_to_num(9), wide.clamp(-2e4, 2e4).bfloat16().nan_to_num(9))


@pytest.mark.parametrize("by", CARDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("host_tables", [True, False])
def test_a_cuda_device_gives_the_same_bits(by: str, dtype: torch.dtype, host_tables: bool) -> None:
    made = tables(7)
    arguments = made.arguments(device="cpu" if host_tables else "cuda")
    got = cut(arguments[0].cuda(), *arguments[1:], length=made.length, clip=0.1, dtype=dtype, by=by)
    agree(got, made, 0.1)


@needs_cuda
def test_a_cuda_device_mixes_within_the_tolerance() -> None:
    raw, weights, offset, rows, n_real = mixing(3)
    here = mix(raw, weights, offset, rows, n_real=n_real)
    there = mix(raw.cuda(), weights, offset, rows, n_real=n_real).cpu()
    size = weights.abs() @ raw.double().abs() + offset.abs()[..., None]
    allowed = np.spacing(here.abs().nan_to_num(1).numpy()) + 32 * 2.0**-53 * size.nan_to_num(0).numpy()
    assert ((here - there).abs().nan_to_num(0).numpy() <= allowed).all()
    assert torch.equal(here.isnan(), there.isnan())


@needs_cuda
@needs_triton
def test_a_cuda_device_follows_offsets_beyond_32_bits() -> None:
    channel = 2**30 + 24
    flat = torch.zeros(3 * channel, dtype=torch.int16, device="cuda")
    flat[-10:] = torch.arange(10, dtype=torch.int16)
    one = torch.ones((1, 1), dtype=torch.int32)
    place = [torch.tensor([value]) for value in (channel - 10, channel, 10)]
    out = cut(flat, *place, 2 * one, 0 * one, one.float(), length=16)
    assert out.flatten().tolist() == [*range(10), 0, 0, 0, 0, 0, 0]
