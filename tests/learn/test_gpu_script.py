"""`make gpu DRY=1`: the script that runs on a GPU, tried on a CPU."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from helpers.support import ROOT


@pytest.mark.slow
def test_its_parts_run_on_a_cpu_and_append_nothing() -> None:
    table = (ROOT / "benchmarks" / "gpu.md").read_bytes()
    script = ROOT / "benchmarks" / "gpu.py"
    done = subprocess.run(
        [sys.executable, script, "--dry", "--only", "scans,loading"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(line.split("\t") for line in done.stdout.splitlines())
    assert float(rows["error of scan torch, float32"]) < 1e-5 and float(rows["error of scan torch, bfloat16"]) < 0.1
    assert any(re.match(r"stream, \d+ threads", name) for name in rows)
    assert (ROOT / "benchmarks" / "gpu.md").read_bytes() == table


@pytest.mark.slow
def test_without_a_gpu_it_says_how_to_try_it() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "gpu.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 8 and "make gpu DRY=1" in done.stderr
