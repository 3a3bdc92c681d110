"""Space as one linear operator: order, subset, reference, interpolation. Knows names, not files.

An operator is a float64 matrix (output rows, recorded rows), applied to microvolts when reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brainbrr.eeg.montage import DOUBLE_BANANA
from brainbrr.errors import ConfigError, MontageError

Matrix = np.ndarray[Any, np.dtype[np.float64]]

# Idealised 10-20 sphere: polar angle from Cz and azimuth from the right ear towards the nose, degrees.
_ANGLES = {
    "Fp1": (90, 108), "Fp2": (90, 72), "F7": (90, 144), "F8": (90, 36), "T3": (90, 180), "T4": (90, 0),
    "T5": (90, 216), "T6": (90, 324), "O1": (90, 252), "O2": (90, 288), "Fz": (45, 90), "Cz": (0, 0),
    "Pz": (45, 270), "C3": (45, 180), "C4": (45, 0), "F3": (60, 129), "F4": (60, 51), "P3": (60, 231),
    "P4": (60, 309), "A1": (112, 180), "A2": (112, 0),
}  # fmt: skip


def positions(channels: Sequence[str]) -> Matrix:
    """Return unit vectors (n, 3) of electrodes: x to the right ear, y to the nose, z up.

    Raises MontageError for a name without a position, such as a bipolar pair.
    """
    unknown = [name for name in channels if name not in _ANGLES]
    if unknown:
        raise MontageError(f"no electrode position is known for {', '.join(unknown)}")
    polar, azimuth = np.deg2rad(np.array([_ANGLES[name] for name in channels], dtype=float)).T
    return np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)


def _spline(cosines: Matrix, *, stiffness: int = 4, n_terms: int = 50) -> Matrix:
    """Return g(cos θ) of Perrin et al. 1989, equation 3, for unit vectors' cosines."""
    n = np.arange(1, n_terms + 1, dtype=float)
    factors = (2 * n + 1) / (n**stiffness * (n + 1) ** stiffness * 4 * np.pi)
    return np.asarray(np.polynomial.legendre.legval(cosines, np.concatenate([[0.0], factors])), dtype=float)


def spherical_spline(source: Sequence[str], target: Sequence[str], *, regularisation: float = 1e-5) -> Matrix:
    """Return the matrix (target, source) that interpolates electrodes by spherical splines.

    Perrin, Pernier, Bertrand, Echallier, Electroenceph. clin. Neurophysiol. 72 (1989) 184-187.
    """
    a, b = positions(source), positions(target)
    n = len(source)
    system = np.ones((n + 1, n + 1))
    system[:n, :n] = _spline(np.clip(a @ a.T, -1, 1)) + regularisation * np.eye(n)
    system[n, n] = 0.0
    rows = np.ones((len(target), n + 1))
    rows[:, :n] = _spline(np.clip(b @ a.T, -1, 1))
    return np.asarray(rows @ np.linalg.pinv(system)[:, :n], dtype=float)


def operator(
    recorded: Sequence[str], absent: Sequence[str], *, channels: Sequence[str] | None, reference: str, missing: str
) -> tuple[tuple[str, ...], Matrix]:
    """Return the output row names and the matrix (output, recorded) of a view on one recording.

    `missing` is "interpolate" (spherical spline), "nan" (rows that need an absent channel are NaN)
    or "zero". `reference` is "recorded", "average" or "bipolar" (the 20 pairs of the 19 electrodes).
    `channels` picks and orders the output rows. Raises ConfigError for a name that is not there,
    MontageError where interpolation has no electrode positions.
    """
    names = list(recorded)
    present = [name for name in names if name not in set(absent)]
    fill = np.eye(len(names))
    for name in absent:
        row = names.index(name)
        fill[row] = 0.0
        if missing == "interpolate":
            weights = spherical_spline(present, [name])[0]
            fill[row, [names.index(other) for other in present]] = weights
        elif missing == "nan":
            fill[row, row] = np.nan
    if reference == "average":
        step = np.eye(len(names)) - 1.0 / len(names)
        labels = names
    elif reference == "bipolar":
        unpaired = [pair for pair in DOUBLE_BANANA for name in pair.split("-") if name not in names]
        if unpaired:
            raise ConfigError(
                "the bipolar reference needs the 19 electrodes of the 10-20 system", fix='choose reference = "recorded"'
            )
        labels = list(DOUBLE_BANANA)
        step = np.zeros((len(labels), len(names)))
        for row, pair in enumerate(labels):
            plus, minus = pair.split("-")
            step[row, names.index(plus)], step[row, names.index(minus)] = 1.0, -1.0
    else:
        labels, step = names, np.eye(len(names))
    picked = list(channels) if channels is not None else labels
    unknown = [name for name in picked if name not in labels]
    if unknown:
        raise ConfigError(f"the view asks for channels that are not there: {', '.join(unknown)}", fix=", ".join(labels))
    step = step[[labels.index(name) for name in picked]]
    return tuple(picked), _product(step, fill)


def _product(step: Matrix, fill: Matrix) -> Matrix:
    """Return step @ fill where 0 times NaN is 0: an unused absent channel spoils nothing."""
    out = step @ np.where(np.isnan(fill), 0.0, fill)
    lost = np.isnan(fill).any(axis=1)
    out[(step[:, lost] != 0).any(axis=1)] = np.nan
    return np.asarray(out, dtype=float)
