"""Recordings to measure with: EDF files shaped as TUSZ's are, generated, nothing in them was ever measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from edfio import Edf, EdfSignal, Recording

from brainbrr.core.arrays import Float32
from brainbrr.eeg.signal.montage import EAR_LOBES, TEN_TWENTY
from brainbrr.eeg.synthetic.corpus import MARK
from brainbrr.eeg.synthetic.signal import ELECTRODES, Scene, Seizure, potentials

RATES_HZ = (250, 256, 400, 512, 1000)
MANY = (*TEN_TWENTY, *EAR_LOBES, *("-".join(pair) for pair in combinations(TEN_TWENTY, 2)))[:64]
"""64 channels that a recipe can name: the electrodes, and pairs of them."""

_BESIDE = ("EEG EKG1-REF", "EEG ROC-REF", "EEG LOC-REF", "EEG T1-REF", "EEG T2-REF", "EEG 26-REF", "PHOTIC-REF")
_SLOW = ("IBI", "BURSTS", "SUPPR")  # 1 Hz, and zero throughout, as most of TUSZ's are
_RANGES = {"physical_range": (-5482.28, 5482.28), "digital_range": (-32767, 32767), "physical_dimension": "uV"}
_RECORDS_FIELD = slice(236, 244)
_BLOCK_S = 60


def tusz_like(folder: Path, rate_hz: int, *, seconds: int = 1200) -> Path:
    """Write one recording of 31 signals, of which a recipe keeps 19, in records of 1 s; return its path."""
    x = _potentials(rate_hz, seconds)
    beside = [0.5 * (x[i] - x[-1 - i]) for i in range(len(_BESIDE))]
    rows = [(f"EEG {name.upper()}-REF", row) for name, row in zip(ELECTRODES, x, strict=True)]
    rows += zip(_BESIDE, beside, strict=True)
    slow = [EdfSignal(np.zeros(seconds), 1, label=name, **_RANGES) for name in _SLOW]
    return _write(folder / f"{rate_hz}Hz.edf", [EdfSignal(r, rate_hz, label=n, **_RANGES) for n, r in rows] + slow)


def copies(edf: Path, n: int) -> list[Path]:
    """Write n recordings as large as the one given, each with other bytes: its records, begun elsewhere."""
    data = edf.read_bytes()
    n_header, n_records = int(data[184:192]), int(data[_RECORDS_FIELD])
    records = np.frombuffer(data, "<i2", offset=n_header).reshape(n_records, -1)
    paths = [edf.with_name(f"{edf.stem}-{i:03d}.edf") for i in range(n)]
    for i, path in enumerate(paths):
        path.write_bytes(data[:n_header] + np.roll(records, 7 * i + 1, axis=0).tobytes())
    return paths


def long_recording(folder: Path, *, hours: int, rate_hz: int = 1000) -> Path:
    """Write a recording of 64 channels; a minute of signal repeats, so that it can be of any length."""
    x = _potentials(rate_hz, _BLOCK_S)
    rows = [x[ELECTRODES.index(name.split("-")[0])] for name in MANY]
    rows = [r - x[ELECTRODES.index(n.split("-")[1])] if "-" in n else r for n, r in zip(MANY, rows, strict=True)]
    signals = [EdfSignal(row, rate_hz, label=f"EEG {n.upper()}", **_RANGES) for n, row in zip(MANY, rows, strict=True)]
    path = _write(folder / "long.edf", signals)
    data = path.read_bytes()
    n_header = int(data[184:192])
    with path.open("r+b") as file:
        file.seek(_RECORDS_FIELD.start)
        file.write(f"{hours * 3600:<8}".encode())
        file.seek(n_header)
        for _ in range(hours * 3600 // _BLOCK_S):
            file.write(data[n_header:])
    return path


def long_bytes(hours: int, rate_hz: int = 1000) -> int:
    """Return the size of a long recording's samples."""
    return len(MANY) * 2 * rate_hz * 3600 * hours


def _potentials(rate_hz: int, seconds: int) -> Float32:
    seizure = Seizure(seconds / 3, seconds / 3 + min(45.0, seconds / 4), "T3")
    return potentials(Scene(seconds, rate_hz, alpha_hz=10.0, seizures=(seizure,)), np.random.default_rng(rate_hz))


def _write(path: Path, signals: Sequence[EdfSignal]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Edf(signals, data_record_duration=1, recording=Recording(additional=(MARK,))).write(path)
    return path
