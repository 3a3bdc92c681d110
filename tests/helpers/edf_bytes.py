"""Small EDF files, byte by byte, as right or as wrong as a test wants them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Made:
    """One signal: int16 samples, and what its header fields say (0.1 µV a step)."""

    label: str
    samples: Array
    per_record: int
    unit: str | bytes = "uV"
    physical: tuple[str, str] = ("-3276.8", "3276.7")
    digital: tuple[str, str] = ("-32768", "32767")
    n_samples: str | None = None


@dataclass(frozen=True)
class File:
    """A whole file. `stamps` adds an annotation channel that keeps the time: `note_bytes` of text for each record."""

    signals: Sequence[Made]
    record_s: str = "1"
    reserved: str = ""
    declared: str | None = None
    version: bytes = b"0"
    patient: str = "X X X X"
    recording: str = "Startdate X X X X"
    date: str = "02.03.04"
    time: str = "05.06.07"
    n_header: int | None = None
    trailing: bytes = b""
    stamps: Sequence[bytes] | None = None
    note_bytes: int = 32

    def bytes(self) -> bytes:
        signals = list(self.signals)
        n_records = len(signals[0].samples) // max(signals[0].per_record, 1)
        if self.stamps is not None:
            texts = b"".join(text.ljust(self.note_bytes, b"\0") for text in self.stamps)
            samples = np.frombuffer(texts, "<i2")
            signals.append(Made("EDF Annotations", samples, self.note_bytes // 2, "", ("-1", "1")))
        records = np.hstack([s.samples.reshape(n_records, s.per_record).astype("<i2") for s in signals])
        n_header = 256 * (len(signals) + 1) if self.n_header is None else self.n_header
        fields = [
            (8, self.version), (80, self.patient), (80, self.recording), (8, self.date), (8, self.time),
            (8, n_header), (44, self.reserved), (8, n_records if self.declared is None else self.declared),
            (8, self.record_s), (4, len(signals)),
            *((16, s.label) for s in signals), *((80, "AgAgCl") for _ in signals), *((8, s.unit) for s in signals),
            *((8, s.physical[0]) for s in signals), *((8, s.physical[1]) for s in signals),
            *((8, s.digital[0]) for s in signals), *((8, s.digital[1]) for s in signals),
            *((80, "HP:0Hz") for _ in signals), *((8, s.n_samples or s.per_record) for s in signals),
            *((32, "") for _ in signals),
        ]  # fmt: skip
        return b"".join(_field(width, value) for width, value in fields) + records.tobytes() + self.trailing

    def write(self, folder: Path, name: str = "made.edf") -> Path:
        path = folder / name
        path.write_bytes(self.bytes())
        return path


def _field(width: int, value: object) -> bytes:
    raw = value if isinstance(value, bytes) else str(value).encode("latin-1")
    assert len(raw) <= width, (raw, width)
    return raw.ljust(width)


def noise(label: str, *, rate: int = 256, seconds: int = 4, record_s: str = "1", seed: int = 0, **fields: Any) -> Made:
    """A signal of noise of 20 µV."""
    rng = np.random.default_rng([seed, *label.encode()])
    samples = np.rint(rng.normal(0, 200, rate * seconds)).astype(np.int16)
    return Made(label, samples, int(rate * Fraction(record_s)), **fields)


def with_fields(signal: Made, **fields: Any) -> Made:
    return replace(signal, **fields)
