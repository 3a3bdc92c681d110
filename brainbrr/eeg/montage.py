"""Electrode names: one alias table, one rule for what a label means. No signals, no files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from brainbrr.errors import MontageError

TEN_TWENTY = (
    "Fp1", "F3", "C3", "P3", "F7", "T3", "T5", "O1", "Fz", "Cz",
    "Pz", "Fp2", "F4", "C4", "P4", "F8", "T4", "T6", "O2",
)  # fmt: skip
"""The 19 electrodes of the 10-20 system in the order of brain-go-brr, the usual one for TUSZ."""

EAR_LOBES = ("A1", "A2")

DOUBLE_BANANA = (
    "Fp1-F7", "F7-T3", "T3-T5", "T5-O1", "Fp2-F8", "F8-T4", "T4-T6", "T6-O2", "T3-C3", "C3-Cz",
    "Cz-C4", "C4-T4", "Fp1-F3", "F3-C3", "C3-P3", "P3-O1", "Fp2-F4", "F4-C4", "C4-P4", "P4-O2",
)  # fmt: skip
"""The 20 pairs of TUSZ's TCP montage that need the 19 electrodes only (its A1-T3 and T4-A2 left out)."""

CHB_MIT = (
    "Fp1-F7", "F7-T3", "T3-T5", "T5-O1", "Fp1-F3", "F3-C3", "C3-P3", "P3-O1", "Fp2-F4",
    "F4-C4", "C4-P4", "P4-O2", "Fp2-F8", "F8-T4", "T4-T6", "T6-O2", "Fz-Cz", "Cz-Pz",
)  # fmt: skip
"""The 18 native bipolar channels that CHB-MIT's recordings share, in 10-20 names."""

# 10-10 names of the same electrodes (American Clinical Neurophysiology Society, guideline 2).
_SAME_ELECTRODE = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6", "M1": "A1", "M2": "A2"}
_KNOWN = {name.upper(): name for name in (*TEN_TWENTY, *EAR_LOBES)}
_REFERENCES = {"REF", "LE", "AR", "AVG", "CAR", "REFERENCE"}
_PREFIX = re.compile(r"^(EEG|POL)\s+", re.IGNORECASE)


def electrode_of(label: str) -> str | None:
    """Return the electrode or native bipolar pair that an EDF label names, or None.

    "EEG FP1-REF", "Fp1.", "fp1-avg" → "Fp1"; "T7-P7" → "T3-T5"; "ECG EKG1" → None.
    """
    text = _PREFIX.sub("", label.strip().strip("\0").strip())
    parts = [part.strip(". ") for part in text.split("-")]
    if len(parts) == 2 and parts[1].upper() in _REFERENCES:
        parts = parts[:1]
    names = [_electrode(part) for part in parts]
    if not 1 <= len(names) <= 2 or None in names:
        return None
    return "-".join(str(name) for name in names)


def _electrode(text: str) -> str | None:
    upper = text.upper()
    return _KNOWN.get(_SAME_ELECTRODE.get(upper, upper).upper())


def find_channels(labels: Sequence[str], wanted: Sequence[str]) -> dict[str, list[int]]:
    """Return for each wanted channel the indices of the EDF signals that name it, in file order.

    An empty list is an absent channel. More than one is for the caller to settle by the samples.
    Raises MontageError when fewer than half of the wanted channels are there.
    """
    found: dict[str, list[int]] = {name: [] for name in wanted}
    for index, label in enumerate(labels):
        name = electrode_of(label)
        if name in found:
            found[name].append(index)
    absent = [name for name, indices in found.items() if not indices]
    if 2 * len(absent) > len(wanted):
        raise MontageError(
            f"{len(absent)} of {len(wanted)} channels are missing: {', '.join(absent)}",
            fix="choose a recipe with this corpus's channels (`--recipe chb-mit` for native bipolar ones), "
            "or leave it out with `brainbrr ingest ROOT --accept-refused`",
        )
    return found
