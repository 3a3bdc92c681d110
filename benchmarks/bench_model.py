"""The detector's cost: the chunked scan against the recurrence and mamba-ssm's references, steps, the loader's share.

    python benchmarks/bench_model.py [--only scan,memory,error,length,loader,cuda] [--quick]

Contenders run in turns, forward and backward, and a ratio is the median of the ratios of each round. Memory is what the
peak of a process of its own grows by while one contender runs. mamba-ssm's references are in the environment that
`make bench-model` makes; elsewhere their rows say "unmeasured".
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from measuring import Row, cost_of, heading, peak_mb, words
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name
from torch.utils.flop_counter import FlopCounterMode

import brainbrr
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import DependencyError
from brainbrr.learn import scans
from brainbrr.learn.config import ModelConfig, load_train_config
from brainbrr.learn.distributed import device_of
from brainbrr.learn.model import Detector

PARTS = ("scan", "memory", "error", "length", "loader", "cuda")
D_MODEL, TOKENS, BATCH, CHUNK = 128, 960, 2, 64
BASE = load_train_config("base")
UNMEASURED = "unmeasured\t-\t-"


def inputs(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return x, dt, a, b, c, d of a layer of `base` as it begins: d_model 128, 8 heads of 32, 64 states."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    config = BASE.model
    n_heads = config.expand * D_MODEL // config.headdim
    x = normal(BATCH, TOKENS, n_heads, config.headdim)
    b, c = normal(BATCH, TOKENS, config.d_state), normal(BATCH, TOKENS, config.d_state)
    dt, a = F.softplus(normal(BATCH, TOKENS, n_heads) - 4), -1 - 15 * torch.rand(n_heads, generator=random)
    return [t.to(dtype).requires_grad_() for t in (x, dt, a, b, c, torch.ones(n_heads))]


def recurrence(*given: Tensor) -> Tensor:
    return scans.recurrence(*given)


def chunked(*given: Tensor) -> Tensor:
    return scans.chunked(*given, chunk=CHUNK)


def combined_ref(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    ours: Tensor = _theirs("mamba_ssm.ops.triton.ssd_combined").ssd_chunk_scan_combined_ref(
        x, dt, a, b.unsqueeze(2), c.unsqueeze(2), CHUNK, D=d
    )
    return ours


def minimal(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    heads = [t.unsqueeze(2).expand(-1, -1, x.shape[2], -1) for t in (b, c)]
    y, _ = _theirs("mamba_ssm.modules.ssd_minimal").ssd_minimal_discrete(x * dt.unsqueeze(-1), dt * a, *heads, CHUNK)
    return y + x * d.unsqueeze(-1)  # type: ignore[no-any-return]


def _theirs(module: str) -> Any:
    scans._kernels()
    return import_module(module)


SCANS = {
    "chunked": chunked,
    "recurrence": recurrence,
    "ssd_chunk_scan_combined_ref": combined_ref,
    "ssd_minimal_discrete": minimal,
}
NAMES = ("y", "x", "dt", "a", "b", "c", "d")
GOALS = {"recurrence": 8.0, "ssd_chunk_scan_combined_ref": 1.0, "ssd_minimal_discrete": 1.0}


def with_gradients(scan: Callable[..., Tensor], given: list[Tensor]) -> list[Tensor]:
    """Return y and the gradients of its sum of squares."""
    y = scan(*given)
    return [y, *torch.autograd.grad(y.square().sum(), given)]


def available() -> dict[str, Callable[..., Tensor]]:
    """Return the scans that are installed here; each is held against the chunked one first."""
    given, found = inputs(), {}
    expected = chunked(*given)
    for name, scan in SCANS.items():
        try:
            y = scan(*given)
        except (DependencyError, ImportError):
            continue
        assert torch.allclose(y, expected, rtol=1e-4, atol=1e-4), name
        found[name] = scan
    return found


def in_turns(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round; the first does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for n in range(rounds + 1):
        for name, run in contenders.items():
            cost = cost_of(run).wall_s
            if n:
                seconds[name].append(cost)
    return seconds


def ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def scan_rows(rounds: int) -> Iterator[Row | str]:
    """Compare times of forward and backward."""
    given = inputs()
    found = available()
    seconds = in_turns({name: lambda scan=scan: with_gradients(scan, given) for name, scan in found.items()}, rounds)
    ours = 1000 * statistics.median(seconds["chunked"])
    for name, goal in GOALS.items():
        if name not in found:
            yield f"{name} / chunked, time\t{UNMEASURED}\tmamba-ssm is not installed: make bench-model"
            continue
        detail = f"{1000 * statistics.median(seconds[name]):.0f} and {ours:.0f} ms; {_shape()}"
        yield Row(f"{name} / chunked, time", ratio(seconds[name], seconds["chunked"]), "×", detail, goal)


def memory_rows(_: int) -> Iterator[Row]:
    """Compare the memory that forward and backward need beside their inputs."""
    extra = {name: _extra_mb(name) for name in available()}
    for name in list(extra)[1:]:
        detail = f"{extra['chunked']:.0f} and {extra[name]:.0f} MB; {_shape()}"
        goal = 0.25 if name == "recurrence" else None
        yield Row(f"chunked / {name}, extra memory", extra["chunked"] / extra[name], "×", detail, goal, at_most=True)


def _extra_mb(name: str) -> float:
    """Ask a process of its own, which gives back what it frees: its peak is then what is alive at once."""
    command = [sys.executable, __file__, "--alone", name]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_ARENA_MAX": "1"}
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def alone(name: str) -> None:
    """Print by how many MB the peak of this process grows while one scan runs."""
    given, scan = inputs(), SCANS[name]
    short = [t[:, :CHUNK].detach().requires_grad_() if t.ndim > 1 else t for t in given]
    with_gradients(scan, short)  # threads and libraries are loaded
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = peak_mb()
    with_gradients(scan, given)
    print(peak_mb() - before)


def error_rows(_: int) -> Iterator[Row]:
    """Compare float32 with the recurrence in float64: the largest error over the largest value, of y and gradients."""
    truth = with_gradients(recurrence, [t.detach().double().requires_grad_() for t in inputs()])
    for name, scan in available().items():
        found = with_gradients(scan, inputs())
        errors = [((f - t).abs().max() / t.abs().max()).item() for f, t in zip(found, truth, strict=True)]
        detail = " ".join(f"{of} {value:.1e}" for of, value in zip(NAMES, errors, strict=True))
        goal = 10.0 if name == "chunked" else None
        yield Row(
            f"{name}, error against the float64 recurrence",
            1e6 * torch.tensor(errors).max().item(),
            "ppm",
            detail,
            goal,
            at_most=True,
        )


def _step(config: ModelConfig, samples: int, *, batch: int) -> Callable[[], object]:
    model = Detector(19, config)
    signal = torch.randn(batch, 19, samples)
    return lambda: F.softplus(model(signal)).mean().backward()


def length_rows(rounds: int) -> Iterator[Row]:
    """Compare a step of `base` on one long sequence with one on as many tokens in 16 sequences."""
    samples = TOKENS * BASE.model.samples_per_token
    runs = {"long": _step(BASE.model, 16 * samples, batch=1), "short": _step(BASE.model, samples, batch=16)}
    seconds = in_turns(runs, max(rounds // 3, 2))
    long, short = (statistics.median(seconds[name]) for name in runs)
    detail = f"{long:.2f} s, and {short:.2f} s for 16 sequences; `base`"
    value = 16 * ratio(seconds["long"], seconds["short"])
    yield Row("step of 15,360 tokens / of 960, per sequence", value, "×", detail, 18.0, at_most=True)


def loader_rows(rounds: int) -> Iterator[Row]:
    """Measure how much of a CPU training step of `base` is spent on waiting for its batch."""
    batch = 4
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder) / "demo", n_recordings=6, seed=0)
        brainbrr.ingest(Path(folder) / "demo", store=Path(folder) / "store")
        view = brainbrr.view(brainbrr.open_store(Path(folder) / "store"), profile="full", window=BASE.window_spec())
        model = Detector(len(view.channels), BASE.model)
        optimiser = torch.optim.AdamW(model.parameters())
        augment = brainbrr.Augment(**BASE.augment.model_dump())
        waited = total = 0.0
        with brainbrr.loader(view, batch=batch, seed=0, augment=augment, balance="balanced") as batches:
            for n in range(rounds + 1):
                began = time.perf_counter()
                signal, label, valid, _ = next(batches)
                got = time.perf_counter()
                losses = F.binary_cross_entropy_with_logits(model(signal), (label == 1).float(), reduction="none")
                ((losses * valid).sum() / valid.sum()).backward()
                optimiser.step()
                optimiser.zero_grad()
                if n:  # the first waits for the loader to begin
                    waited, total = waited + got - began, total + time.perf_counter() - began
    detail = f"{1000 * waited / rounds:.1f} ms of {total / rounds:.2f} s a step, batch {batch}, augmented, 1 thread"
    yield Row("waiting for a batch / step", 100 * waited / total, "%", detail, 2.0, at_most=True)


def cuda_rows(rounds: int) -> Iterator[Row | str]:
    """Measure steps of the sizes on CUDA in bf16, with either scan."""
    if not torch.cuda.is_available():
        yield f"steps on CUDA\t{UNMEASURED}\tthere is no GPU here"
        return
    device = device_of("cuda")
    for name in ("base", "large", "upstream"):
        for by in ("torch", "triton"):
            config = load_train_config(name).model.model_copy(update={"scan": by})
            try:
                scans.chosen(by, device)
            except DependencyError as error:
                yield f"{name}, {by}\t{UNMEASURED}\t{error}"
                continue
            yield from _on_cuda(f"{name}, scan in {by}", config, device, rounds)


def _on_cuda(name: str, config: ModelConfig, device: torch.device, rounds: int, batch: int = 32) -> Iterator[Row]:
    model, signal = Detector(19, config).to(device), torch.randn(batch, 19, 15_360, device=device)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            logits = model(signal)
        F.softplus(logits.float()).mean().backward()
        torch.cuda.synchronize()

    with FlopCounterMode(display=False) as flops:
        _ = Detector(19, config.model_copy(update={"scan": "torch"})).to(device)(signal).sum().backward()
    torch.cuda.reset_peak_memory_stats()
    seconds = statistics.median(in_turns({name: step}, rounds)[name])
    peak = torch.cuda.max_memory_allocated() / 1e9
    rate = flops.get_total_flops() / seconds / 1e12
    detail = f"{torch.cuda.get_device_name()}, bf16, batch {batch}, {rate:.1f} TFLOP/s, {peak:.1f} GB at its peak"
    yield Row(f"{name}, step", batch / seconds, "windows/s", detail)


def _shape() -> str:
    config = BASE.model
    return f"forward + backward, batch {BATCH}, L {TOKENS}, d {D_MODEL}, {config.d_state} states, chunk {CHUNK}"


def main() -> None:
    """Measure the parts that are asked for and print a row for each value."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", type=words(PARTS), default=list(PARTS), metavar="PARTS", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count")
    parser.add_argument("--quick", action="store_true", help="3 rounds: does it run at all?")
    parser.add_argument("--alone", choices=SCANS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        alone(options.alone)
        return
    rounds = 3 if options.quick else options.rounds
    print(heading(("numpy", "torch", "mamba-ssm", "triton")), flush=True)
    print(f"# {torch.get_num_threads()} threads", flush=True)
    print("measure\tvalue\tgoal\treached\tdetail", flush=True)
    for part in options.only:
        for row in globals()[f"{part}_rows"](rounds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
