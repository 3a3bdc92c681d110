"""What SzCORE's platform calls, run without a container: as the image's command, with its variables alone."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import edfio
import pytest
from helpers.support import ROOT, Cli

SZCORE = ROOT / "benchmarks" / "szcore"

pytestmark = pytest.mark.slow


def called(run: Path, data: Path, out: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the image's command in an environment as empty as the platform's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin"
    known = {"PATH": path, "HOME": str(out), "RUN": str(run), "DATA_DIR": str(data), "OUTPUT_DIR": str(out)}
    command = re.search(r'^CMD \["/usr/local/bin/(.+)"\]$', (SZCORE / "Dockerfile").read_text(), re.MULTILINE)
    assert command is not None
    return subprocess.run(
        [SZCORE / command[1]], env={**known, **variables}, capture_output=True, text=True, check=False, timeout=300
    )


def averaged(source: Path, target: Path) -> None:
    """Write a recording as SzCORE's platform gives it: electrodes against their average, `Fp1-Avg`."""
    edf = edfio.read_edf(source)
    electrodes = [signal for signal in edf.signals if re.match(r"EEG \w+-(REF|LE)$", signal.label)]
    mean = sum(signal.data for signal in electrodes) / len(electrodes)
    signals = [
        edfio.EdfSignal(
            signal.data - mean,
            signal.sampling_frequency,
            label=f"{signal.label.split()[1].split('-')[0].capitalize()}-Avg",
            physical_dimension="uV",
        )
        for signal in electrodes
    ]
    target.parent.mkdir(parents=True)
    edfio.Edf(signals).write(target)


def test_a_bids_tree_of_average_referenced_recordings_becomes_tables(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    run = Path(cli("train", "--config", tiny, "--json").json["run"])
    corpus = tiny.parent / "demo"
    sources = sorted(corpus.rglob("*.edf"))[:2]
    data, out = tmp_path / "data", tmp_path / "output"
    for n, source in enumerate(sources, 1):
        name = f"sub-{n:02}/ses-01/eeg/sub-{n:02}_ses-01_task-szMonitoring_run-00_eeg.edf"
        averaged(source, data / name)
        done = called(run, data, out, INPUT=name, OUTPUT=name.replace("_eeg.edf", "_events.tsv"))
        assert done.returncode == 0, done.stderr
        [table] = (out / f"sub-{n:02}").rglob("*_events.tsv")
        rows = list(csv.DictReader(table.read_text().splitlines(), delimiter="\t"))
        assert rows and set(rows[0]) >= {"onset", "duration", "eventType", "recordingDuration"}
        assert {row["eventType"] for row in rows} <= {"sz", "bckg"}


def test_without_its_variables_it_says_which(tmp_path: Path) -> None:
    done = called(tmp_path, tmp_path, tmp_path)
    assert done.returncode != 0 and "INPUT names a recording below /data" in done.stderr


def test_the_image_copies_what_is_there() -> None:
    for line in (SZCORE / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "$" not in line:
            assert [name for name in line.split()[1:-1] if not (ROOT / name).exists()] == []
