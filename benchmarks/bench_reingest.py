"""Ingesting an unchanged tree again, against a process that only stats every file of it.

    python benchmarks/bench_reingest.py [N] [--in FOLDER] [--profile NAME]

Generates N (7000) tiny recordings in TUSZ's layout, each with its .csv and .csv_bi, and ingests them once. Then
times whole processes: the second `brainbrr ingest`, and the median of five later ones, taking turns with the
peer. With --in, tree and store stay in FOLDER and are used again by the next run. Prints one row in markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from brainbrr.eeg.signal.montage import TEN_TWENTY

SECONDS, RATE_HZ = 2, 256
ROUNDS = 5
SETTLE_S = 2.5  # a file this young is hashed again: in life, a tree is older than its first ingest
PEER = """
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        os.stat(folder + "/" + name)
"""
CSV = """# version = csv_v1.0.0
# bname = {name}
# duration = {seconds}.0000 secs
# montage_file = nedc_eas_default_montage.txt
#
channel,start_time,stop_time,label,confidence
"""


def edf_header() -> bytes:
    n = len(TEN_TWENTY)
    fields: list[tuple[int, object]] = [
        (8, 0),
        (80, "X X X X"),
        (80, "Startdate 01-JAN-2012 X X X"),
        (16, "01.01.1200.00.00"),
        (8, 256 * (n + 1)),
        (44, ""),
        (8, SECONDS),
        (8, 1),
        (4, n),
        *((16, f"EEG {name.upper()}-REF") for name in TEN_TWENTY),
        *((width, value) for width, value in ((80, ""), (8, "uV"), (8, -5000), (8, 5000)) for _ in range(n)),
        *((width, value) for width, value in ((8, -32767), (8, 32767), (80, ""), (8, RATE_HZ)) for _ in range(n)),
        *((32, "") for _ in range(n)),
    ]
    return "".join(str(value).ljust(width) for width, value in fields).encode("ascii")


def labels(name: str, *, seizure: bool) -> Mapping[str, str]:
    """Return both label files' texts; a seizure takes the middle half, on six channels of the montage."""
    channels = [f"{a}-{b}" for a in ("FP1", "F7", "T3") for b in ("F7", "T3", "T5", "O1")]
    head = CSV.format(name=name, seconds=SECONDS)
    spans = [("0.0000", "0.5000", "bckg"), ("0.5000", "1.5000", "fnsz"), ("1.5000", "2.0000", "bckg")]
    if not seizure:
        spans = [("0.0000", "2.0000", "bckg")]
    details = [f"{channel},{a},{b},{label},1.0000" for channel in channels[:6] for a, b, label in spans]
    binary = [f"TERM,{a},{b},{'seiz' if label == 'fnsz' else label},1.0000" for a, b, label in spans]
    return {".csv": head + "\n".join(details) + "\n", ".csv_bi": head + "\n".join(binary) + "\n"}


def write_tree(root: Path, n_recordings: int) -> None:
    """Write recordings as TUSZ lays them: some ten a patient, about four a session; each signal differs."""
    rng = np.random.default_rng(0)
    header = edf_header()
    for i in range(n_recordings):
        patient = f"aaaa{i // 10:04d}"
        split = ("dev", "eval")[i // 10 % 2] if i // 10 % 9 < 2 else "train"
        session = f"s{i % 10 // 4 + 1:03d}"
        folder = root / "edf" / split / patient / f"{session}_2012" / "01_tcp_ar"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{patient}_{session}_t{i % 4:03d}"
        signal = rng.integers(-300, 300, size=(SECONDS, len(TEN_TWENTY) * RATE_HZ), dtype="<i2")
        (folder / f"{name}.edf").write_bytes(header + signal.tobytes())
        for suffix, text in labels(name, seizure=i % 3 == 0).items():
            (folder / f"{name}{suffix}").write_text(text, encoding="ascii")


def timed(command: list[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Return wall and CPU seconds of a whole process. Raises CalledProcessError when it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return wall_s, usage.ru_utime + usage.ru_stime


def measure(folder: Path, n_recordings: int, extra: list[str]) -> str:
    """Return the row of one run in a folder."""
    root = folder / "corpus"
    if not root.exists():
        write_tree(root, n_recordings)
        time.sleep(SETTLE_S)
    n_files = sum(len(names) for _, _, names in os.walk(root))
    environment = {**os.environ, "BRAINBRR_STORE": str(folder / "store"), "XDG_CACHE_HOME": str(folder / "host")}
    ingest = [sys.executable, "-m", "brainbrr", "ingest", str(root), *extra]
    first = timed(ingest, environment)
    time.sleep(SETTLE_S)
    second = timed(ingest, environment)
    peer = [sys.executable, "-S", "-c", PEER, str(root)]
    pairs = [(timed(ingest, environment), timed(peer, environment)) for _ in range(ROUNDS)]
    wall_s, cpu_s, peer_s, peer_cpu_s = (
        statistics.median(pair[who][what] for pair in pairs) for who in (0, 1) for what in (0, 1)
    )
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "none"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return (
        f"| {datetime.now(UTC):%Y-%m-%d} | {commit} | {machine} | {n_files // 3} | {first[0]:.1f} "
        f"| {second[0]:.2f} / {second[1]:.2f} | {wall_s:.2f} / {cpu_s:.2f} | {peer_s:.2f} / {peer_cpu_s:.2f} "
        f"| {wall_s / peer_s:.1f} |"
    )


def main() -> None:
    """Generate, ingest, ingest again, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("n_recordings", nargs="?", type=int, default=7000)
    parser.add_argument("--in", dest="folder", type=Path)
    parser.add_argument("--profile")
    arguments = parser.parse_args()
    extra = ["--profile", arguments.profile] if arguments.profile else []
    with tempfile.TemporaryDirectory() as temporary:
        row = measure(arguments.folder or Path(temporary), arguments.n_recordings, extra)
    print(
        "| date | commit | machine | recordings | first, s | second, wall / CPU s | later, wall / CPU s "
        "| stat alone, wall / CPU s | later / stat |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print(row)


if __name__ == "__main__":
    main()
