"""What only a GPU can answer, in ten minutes: `make gpu`, or `make gpu DRY=1` to try the script on a CPU.

Each part runs in a process of its own under a time limit, and its rows are written as it ends, so that a part that
hangs costs its own rows only. Rows are appended to benchmarks/gpu.md with date, commit and device; not with --dry.

    python benchmarks/gpu.py [--dry] [--only tests,scans,...]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "benchmarks" / "gpu.md"
Row = tuple[str, str]
"""What was measured, and the figure."""


def tests(_: Path, device: str) -> Iterator[Row]:
    """CUDA's paths in the tests, and mamba-ssm's kernels where they are installed."""
    chosen = ["tests/learn/cuda", "tests/learn/test_scans.py"]
    if device == "cuda":
        chosen.append("tests/parity")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    yield " ".join(chosen), (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]


def scans(_: Path, device: str) -> Iterator[Row]:
    """Largest relative error of each scan against the recurrence in float64, in float32 and bfloat16."""
    import torch
    from bench_model import CHUNK, inputs

    from brainbrr.learn import scans as s

    given = [each.detach().to(device) for each in inputs()]
    exact = s.recurrence(*(each.double() for each in given))
    ways: dict[str, Callable[..., Any]] = {"torch": lambda *each: s.chunked(*each, chunk=CHUNK)}
    if device == "cuda":
        ways["triton"] = s.in_triton
    for name, way in ways.items():
        for halved in (False, True):
            with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=halved):
                found = way(*given).double()
            error = float((found - exact).abs().max() / exact.abs().max())
            finite = "" if bool(torch.isfinite(found).all()) else ", NOT FINITE"
            yield f"error of scan {name}, {'bfloat16' if halved else 'float32'}", f"{error:.1e}{finite}"


def repeat(folder: Path, device: str) -> Iterator[Row]:
    """Whether two trainings have the same weights, and a third that was stopped half way and resumed."""
    steps = 40 if device == "cuda" else 6
    common = ("train.deterministic=true", f"train.checkpoint_every={steps // 2}", "train.validate_every=0")
    weights = []
    for name in ("first", "second"):
        _train(folder, device, name, steps, *common)
        weights.append(_weights(folder, name))
    yield f"two trainings of {steps} steps have the same weights", _yes(weights[0] == weights[1])
    _killed(folder, device, steps, *common)
    _train(folder, device, "third", steps, *common)
    yield "killed half way and resumed: the same weights", _yes(weights[0] == _weights(folder, "third"))


def steps(_: Path, device: str) -> Iterator[Row]:
    """Time, windows per second and memory of a training step for each config and scan, eager and compiled."""
    import torch

    from brainbrr.learn.config import load_train_config
    from brainbrr.learn.model import Detector

    names = ("smoke", "local", "base", "large", "production", "upstream") if device == "cuda" else ("smoke",)
    for name in names:
        config = load_train_config(name)
        for scan in ("torch", "triton") if device == "cuda" else ("torch",):
            for compiled in (False, True) if device == "cuda" else (False,):
                label = f"step of {name}, scan {scan}{', compiled' if compiled else ''}"
                try:
                    model = Detector(19, config.model.model_copy(update={"scan": scan})).to(device)
                    yield label, _step_cost(torch, model, config, device, compiled)
                except Exception as error:  # noqa: BLE001  # a config that does not fit is a row, too
                    yield label, f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"


def _step_cost(torch: Any, model: Any, config: Any, device: str, compiled: bool) -> str:
    """Return ms, windows/s, memory, and whether loss and gradients are finite."""
    samples = config.window_spec().samples("length_s", 256)
    batch = config.train.batch if device == "cuda" else 2
    signal = torch.randn(batch, 19, samples, device=device)
    forward = torch.compile(model) if compiled else model
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=device == "cuda")
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def step() -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda" and config.train.bf16):
            loss = forward(signal).float().square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    finite = True
    for _ in range(3):
        finite &= bool(torch.isfinite(step()))
    wait()
    began, n = time.perf_counter(), 0
    while n < 3 or time.perf_counter() - began < (5 if device == "cuda" else 0.5):
        step()
        n += 1
    wait()
    seconds = (time.perf_counter() - began) / n
    finite &= all(bool(torch.isfinite(each.grad).all()) for each in model.parameters() if each.grad is not None)
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device == "cuda" else ""
    return f"{1000 * seconds:.1f} ms, {batch / seconds:,.0f} windows/s{memory}{'' if finite else ', NOT FINITE'}"


def loading(folder: Path, device: str) -> Iterator[Row]:
    """The loader's windows per second, against copying memory on this machine."""
    command = ["bench", "--profile", "full", "--device", device, "--seconds", "1" if device == "cuda" else "0.2"]
    report = _brainbrr(folder, *command)
    yield "copies in memory", f"{report['limit_gb_per_second']:.1f} GB/s"
    for pace in report["paces"]:
        yield pace["way"], f"{pace['windows_per_second']:,.0f} windows/s"


def detector(folder: Path, device: str) -> Iterator[Row]:
    """Scores of the smoke detector that was trained on this device; on a CPU it has AUROC above 0.9."""
    _train(folder, device, "smoke", 500 if device == "cuda" else 20)
    metrics = _brainbrr(folder, "evaluate", "smoke")["metrics"]
    yield "smoke detector, trained here: AUROC", f"{metrics['auroc']:.3f}"
    yield "event F1", "-" if metrics["event_f1"] is None else f"{metrics['event_f1']:.3f}"


PARTS: dict[str, tuple[Callable[[Path, str], Iterator[Row]], int]] = {
    "tests": (tests, 120),
    "scans": (scans, 60),
    "repeat": (repeat, 120),
    "steps": (steps, 150),
    "loading": (loading, 60),
    "detector": (detector, 90),
}
"""Each part, and the seconds that it may take."""


def _brainbrr(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a command on the folder's store and return its JSON. Raises RuntimeError with what it says."""
    import json

    command = [sys.executable, "-m", "brainbrr", *arguments, "--store", str(folder / "store"), "--json"]
    environment = {**os.environ, "BRAINBRR_RUNS": str(folder / "runs")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.stdout[-300:])
    return json.loads(done.stdout)


def _arguments(device: str, name: str, steps: int, *changes: str) -> list[str]:
    every = (f"train.steps={steps}", f"train.device={device}", "profile=full", *changes)
    return ["train", "--config", "smoke", "--name", name, *(part for each in every for part in ("--set", each))]


def _train(folder: Path, device: str, name: str, steps: int, *changes: str) -> None:
    _brainbrr(folder, *_arguments(device, name, steps, *changes))


def _killed(folder: Path, device: str, steps: int, *changes: str) -> None:
    """Begin the third training, and kill it once its first checkpoint is there."""
    command = [sys.executable, "-m", "brainbrr", *_arguments(device, "third", steps, *changes)]
    environment = {**os.environ, "BRAINBRR_RUNS": str(folder / "runs"), "BRAINBRR_STORE": str(folder / "store")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((folder / "runs" / "third").glob("checkpoint*")):
        time.sleep(0.01)
    process.kill()
    process.wait()


def _weights(folder: Path, name: str) -> bytes:
    return (folder / "runs" / name / "model.safetensors").read_bytes()


def _yes(holds: bool) -> str:
    return "yes" if holds else "NO"


def _part(name: str, folder: Path, device: str) -> None:
    for measure, value in PARTS[name][0](folder, device):
        print(f"{measure}\t{value}", flush=True)


def _run(name: str, folder: Path, device: str) -> Iterator[Row]:
    """Yield a part's rows as its process prints them; one more that says so where time ran out or it failed."""
    command = [sys.executable, __file__, "--part", name, "--folder", str(folder), "--device", device]
    log = folder / f"{name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        limit = time.monotonic() + PARTS[name][1]
        try:
            out, _ = process.communicate(timeout=PARTS[name][1])
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    for line in out.splitlines():
        measure, _, value = line.partition("\t")
        yield measure, value
    if time.monotonic() >= limit:
        yield f"part {name}", f"stopped after {PARTS[name][1]} s"
    elif process.returncode:
        yield f"part {name}", f"FAILED: {log.read_text().strip().splitlines()[-1][:120]}"


def _corpus(folder: Path) -> None:
    from brainbrr.eeg.synthetic.corpus import write_corpus

    write_corpus(folder / "demo", n_recordings=18, seed=0)
    _brainbrr(folder, "ingest", str(folder / "demo"))


def _named() -> tuple[str, str]:
    """Return the commit, and what torch calls the device."""
    import torch

    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return git.stdout.strip() or "unknown", f"{name}, torch {torch.__version__}"


def main() -> int:
    """Run all parts, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="on the CPU, a few steps each; appends nothing")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--device", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        _part(given.part, given.folder, given.device)
        return 0
    import torch

    if not given.dry and not torch.cuda.is_available():
        print("no CUDA device here; `make gpu DRY=1` tries the script on the CPU", file=sys.stderr)
        return 8
    device, (commit, machine) = "cpu" if given.dry else "cuda", _named()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _corpus(folder)
        for part in given.only.split(","):
            for measure, value in _run(part, folder, device):
                print(f"{measure}\t{value}", flush=True)
                failed |= "FAILED" in value
                if not given.dry:
                    with TABLE.open("a") as table:
                        table.write(f"| {datetime.now(UTC):%Y-%m-%d} | {commit} | {machine} | {measure} | {value} |\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
