"""`brainbrr demo`: its first part, as on a machine without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import sys
for name in {absent!r}:
    sys.modules[name] = None  # an import of it fails, as where it is not installed
from importlib import util
found = util.find_spec
util.find_spec = lambda name, package=None: None if name in {absent!r} else found(name, package)
sys.argv = ["brainbrr", "demo", "--into", {into!r}, "--json"]
from brainbrr.cli.main import main
main()
"""


def demo(into: Path, *absent: str) -> subprocess.CompletedProcess[str]:
    script = WITHOUT.format(absent=absent, into=str(into))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_without_torch_the_store_is_filled_broken_repaired_read_and_scored(tmp_path: Path) -> None:
    done = demo(tmp_path / "demo", "torch", "safetensors", "numba")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    steps = told["steps"]
    assert [steps[f"ingest {profile}"]["new"] for profile in ("smoke", "dev", "full")] == [6, 6, 6]
    assert [steps[f"view {profile}"]["ready"] for profile in ("smoke", "dev", "full")] == [6, 12, 18]
    assert all(steps[f"view {profile}"]["synthetic"] for profile in ("smoke", "dev", "full"))
    assert steps["ingest again"]["new"] == 0 and steps["ingest again"]["reused"] == 18
    assert [next(iter(each)) for each in steps["verify damaged"]["corrupt"]] == ["object"]
    assert [each["outcome"] for each in steps["repair"]["results"]] == ["restored"]
    assert steps["verify repaired"]["corrupt"] == [] and steps["verify repaired"]["verified"] == 18
    assert Path(steps["show"]["file"]).read_bytes().startswith(b"\x89PNG")
    assert steps["bench"]["paces"] and steps["baseline"]["metrics"]["auroc"] > 0.6
    assert "train" not in steps and told["report"] is None and "--part training" in told["next"]


@pytest.mark.slow
def test_without_the_scorer_the_baseline_is_skipped_with_the_line_that_adds_it(tmp_path: Path) -> None:
    done = demo(tmp_path / "demo", "torch", "timescoring")
    assert done.returncode == 0 and "baseline" not in json.loads(done.stdout)["steps"]
    assert "pip install 'brainbrr[demo]'" in done.stderr
