"""Print the digests of a fixed set of recordings: the same lines wherever brainbrr runs.

    python tests/eeg/signal/digests.py

Each line is a name, the content, and the SHA-256 of the statistics. Every sample comes from integers alone (no
random stream of a library, no libm), so that only the pipeline can make a difference. The first line, a comment,
says where it ran. Needs brainbrr's own dependencies and nothing else.
"""

# ruff: noqa: T201 - a script: it prints
from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from brainbrr.core.digest import json_digest
from brainbrr.eeg.signal.montage import TEN_TWENTY
from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.store.formats import ArrayMeta

sys.path.append(str(Path(__file__).resolve().parents[2]))
from helpers.edf_bytes import File, Made
from helpers.store_values import content_of

Integers = np.ndarray[Any, np.dtype[np.int64]]

RATES_HZ = (128, 160, 200, 250, 256, 400, 500, 512, 1000, 2048)
PLAIN = Recipe()
RESAMPLED = Recipe(bandpass_hz=None, notch_hz=None)
OTHER = Recipe(rate_hz=200, bandpass_hz=("1", "70"), notch_hz="50", quantum_uv="0.03")
FINE = Recipe(bandpass_hz=("0.3", "35"), notch_hz=None, quantum_uv="0.0001")


@dataclass(frozen=True)
class Scale:
    """How a signal's header scales it, and the rms of its samples in digital steps."""

    unit: str
    physical: tuple[str, str]
    digital: tuple[str, str]
    rms: int


SCALES = (
    Scale("uV", ("-3276.8", "3276.7"), ("-32768", "32767"), 200),
    Scale("uV", ("-5482.28", "5482.28"), ("-32767", "32767"), 90),
    Scale("uV", ("3276.7", "-3276.8"), ("-32768", "32767"), 3000),  # reversed, which turns the signal over
    Scale("mV", ("-1.4971", "1.7003"), ("-2048", "2047"), 70),  # an odd gain, and an offset
    Scale("uV", ("-19999.7", "20001.1"), ("-32768", "32767"), 40_000),  # full scale, clipped, beyond ±4 mV
    Scale("nV", ("-9999999", "9999998"), ("-32768", "32767"), 130),
    Scale("V", ("-.001001", ".0009999"), ("-20000", "20000"), 1100),
)
TIE = Scale("uV", ("-1000", "1000"), ("-16000", "16000"), 0)  # 1/16 µV a step: odd samples are ties in 1/8 µV


def integers(seed: int, n: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return n words of 64 bits from a seed: SplitMix64 (Steele, Lea & Flood 2014)."""
    z = (np.arange(1, n + 1, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def noise(seed: int, n: int, scale: Scale) -> Integers:
    """Return n samples of noise that is stronger the slower it is, clipped to the digital range."""
    slowest = 256
    words = integers(seed, n + slowest)
    quarters = [(words >> np.uint64(shift) & np.uint64(0xFFFF)).astype(np.int64) for shift in (0, 16, 32, 48)]
    white: Integers = np.sum(quarters, axis=0) - 2 * 0xFFFF  # of rms 37,837
    total = np.concatenate(([0], np.cumsum(white)))
    parts = [(total[slowest:-1] - total[slowest - width : -1 - width]) // root for width, root in ((1, 1), (256, 8))]
    samples: Integers = (parts[0] + parts[1]) * scale.rms // 84_600
    return samples.clip(int(scale.digital[0]), int(scale.digital[1]))


def plateaus(seed: int, n: int, rate: int) -> Integers:
    """Return a staircase of odd samples, each step a second long: resampled, they lie between two quanta."""
    steps = (integers(seed, -(-n // rate)) % np.uint64(8000)).astype(np.int64)
    return np.repeat(2 * steps - 7999, rate)[:n]


def signal(row: int, seed: int, rate: int, n_records: int, *, tie: bool = False) -> Made:
    """Return the signal of one electrode, `rate` samples in each record."""
    scale = TIE if tie else SCALES[row % len(SCALES)]
    seed, n = 64 * seed + row, rate * n_records
    samples = plateaus(seed, n, rate) if tie else noise(seed, n, scale)
    label = f"EEG {TEN_TWENTY[row].upper()}-REF"
    return Made(label, samples.astype(np.int16), rate, scale.unit, scale.physical, scale.digital)


def recordings() -> Iterator[tuple[str, File, Recipe]]:
    """Yield each recording with its name and the recipe to make it by."""
    every = range(len(TEN_TWENTY))
    for rate in RATES_HZ:
        for seconds in (2, 37):
            yield f"{rate}Hz-{seconds}s", File([signal(i, rate, rate, seconds) for i in every]), PLAIN
        stairs = [signal(i, rate + 1, rate, 37, tie=True) for i in every]
        yield f"{rate}Hz-ties", File(stairs), RESAMPLED
    for seconds in (2, 37):
        slow_clock = [signal(i, 3, 256, seconds) for i in every]
        yield f"256/1.0004Hz-{seconds}s", File(slow_clock, record_s="1.0004"), PLAIN
    mixed = [signal(i, 5, (250, 256, 512)[i % 3], 37) for i in every if i not in (8, 10)]
    yield "mixed-absent", File(mixed), PLAIN
    flat = [signal(i, 6, 400, 37) for i in every]
    flat[4].samples[:] = -77
    yield "flat-200Hz", File(flat), OTHER
    yield "unfiltered", File([signal(i, 7, 256, 37) for i in every]), RESAMPLED
    yield "fine", File([signal(i, 8, 512, 37) for i in every]), FINE


def line(name: str, file: File, recipe: Recipe, folder: Path) -> str:
    """Return what one recording becomes."""
    made = preprocess(file.write(folder), recipe)
    meta = ArrayMeta(made.channels, made.absent, made.samples.shape[1], made.rate_hz, made.quantum_uv, made.k)
    return f"{name} {content_of(made.samples, meta)} {json_digest(made.statistics)}"


def where() -> str:
    """Return what this ran on: versions, and the kernels that BLAS chose."""
    words = [platform.machine(), f"python {platform.python_version()}"]
    for name in ("numpy",):
        try:
            words.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            words.append(f"no {name}")
    found = {(pool.get("architecture", pool["internal_api"]), pool["num_threads"]) for pool in threadpool_info()}
    words += [f"{kernel} × {threads}" for kernel, threads in sorted(found)]
    return ", ".join(words)


def main() -> None:
    """Print where, then a line for each recording."""
    print(f"# {where()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, file, recipe in recordings():
            print(line(name, file, recipe, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
