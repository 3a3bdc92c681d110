"""Whether the digests are the same under other BLAS kernels, threads, library versions, Pythons and machines.

    python tests/eeg/signal/digest_matrix.py [--installs] [--python PYTHON]... [--run 'NAME=COMMAND']...

Runs digests.py in each environment and compares with this Python as it is. Without options: what needs no
installation. `--installs` adds the oldest and the newest numpy that pyproject.toml allows, each in a
virtual environment of its own, and every PYTHON (those on the PATH, if none is given). COMMAND stands for a Python
that has the dependencies: another machine's, or an emulated one, as in
    --run 'arm64=env PYTHONPATH=.:arm/site qemu-aarch64-static -cpu neoverse-n1 -L arm arm/usr/bin/python3.11'
Prints a row for each; exits 1 when any differs.
"""

# ruff: noqa: T201 - a script: it prints
from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("digests.py")

# What a kernel is compiled for is the wheel's choice: the row says as what it ran.
CORES = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids")
NO_INSTRUCTIONS = "this processor lacks the kernel's instructions"
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")


@dataclass(frozen=True)
class Environment:
    """A Python to run the script with, and the variables to set for it."""

    name: str
    python: Sequence[str] = (sys.executable,)
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The digests by name and where they were made, or why there are none."""

    digests: Mapping[str, str]
    where: str = ""
    failure: str = ""

    def against(self, other: Outcome) -> str:
        """Return "equal", or what differs."""
        if self.failure:
            return f"could not run: {self.failure}"
        names = sorted({*self.digests, *other.digests})
        differing = [name for name in names if self.digests.get(name) != other.digests.get(name)]
        return f"differs in {len(differing)} of {len(names)}: {' '.join(differing)}" if differing else "equal"


def run(environment: Environment) -> Outcome:
    """Make all digests in an environment, on one thread of BLAS unless it says otherwise."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", **environment.variables}
    told = subprocess.run([*environment.python, SCRIPT], env=variables, cwd=ROOT, capture_output=True, text=True)
    if told.returncode == -signal.SIGILL and "OPENBLAS_CORETYPE" in environment.variables:
        return Outcome({}, failure=NO_INSTRUCTIONS)
    if told.returncode != 0:
        return Outcome({}, failure=(told.stderr.strip().splitlines() or [f"exit status {told.returncode}"])[-1])
    where, *lines = told.stdout.splitlines()
    return Outcome(dict(line.split(" ", 1) for line in lines), where.removeprefix("# "))


def here() -> Environment:
    """Return this Python with what is installed for it."""
    return Environment("here")


def quick() -> list[Environment]:
    """Return the environments that need no installation on this machine."""
    threads = Environment("2 BLAS threads", variables={"OPENBLAS_NUM_THREADS": "2"})
    features = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    plain = Environment("numpy without SIMD dispatch", variables={"NPY_DISABLE_CPU_FEATURES": " ".join(features)})
    cores = CORES if platform.machine() in ("x86_64", "AMD64") else ()
    kernels = [Environment(f"OpenBLAS for {core}", variables={"OPENBLAS_CORETYPE": core}) for core in cores]
    return [threads, *([plain] if features else []), *kernels]


def installed(pythons: Sequence[str], folder: Path) -> Iterator[Environment | tuple[str, str]]:
    """Yield environments with their own installations, or the name of one and why it cannot be made.

    This Python gets the oldest numpy that pyproject.toml allows, every one the newest.
    """
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    oldest = [re.sub(r"^numpy>=", "numpy==", requirement) for requirement in wanted]
    for i, (python, versions, requirements) in enumerate(
        [(sys.executable, "oldest", oldest), *((python, "newest", wanted) for python in pythons)]
    ):
        name = f"{python}, {versions} numpy"
        venv = folder / str(i)
        try:
            _quietly(python, "-m", "venv", venv)
            _quietly(venv / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements)
        except (subprocess.CalledProcessError, OSError) as error:
            said = getattr(error, "stderr", None) or str(error)
            yield name, said.strip().splitlines()[-1]
        else:
            yield Environment(name, [str(venv / "bin" / "python")])


def _quietly(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def main() -> int:
    """Run, print the table, and say by the exit status whether all that ran agree."""
    summary, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--installs", action="store_true", help="also other versions of Python and numpy")
    parser.add_argument("--python", action="append", metavar="PYTHON", help="a Python for --installs")
    parser.add_argument("--run", action="append", default=[], metavar="NAME=COMMAND", help="any other Python")
    arguments = parser.parse_args()
    base = run(here())
    if base.failure:
        sys.exit(base.failure)
    print(f"environment\tdigests\tran as\nhere\t{len(base.digests)} recordings\t{base.where}", flush=True)
    differ = False

    def row(environment: Environment) -> None:
        nonlocal differ
        outcome = run(environment)
        differ |= outcome.digests != base.digests and not outcome.failure
        print(f"{environment.name}\t{outcome.against(base)}\t{outcome.where}", flush=True)

    others = [text.partition("=") for text in arguments.run]
    for environment in [*quick(), *(Environment(name, shlex.split(command)) for name, _, command in others)]:
        row(environment)
    if arguments.installs:
        pythons = arguments.python or [python for python in PYTHONS if shutil.which(python)]
        with tempfile.TemporaryDirectory() as folder:
            for made in installed(pythons, Path(folder)):
                if isinstance(made, Environment):
                    row(made)
                else:
                    print(f"{made[0]}\tcould not be installed: {made[1]}\t", flush=True)
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
