"""Electrode names: one alias table, one rule for what a label means. No signals, no files.

Space as one linear operator: order, subset, reference, interpolation. Knows names, not files.

An operator is a float64 matrix (output rows, recorded rows), applied to microvolts when reading.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from brainbrr.core.arrays import Float64
from brainbrr.errors import ConfigError, Fix, MontageError

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

_SIDES = (*DOUBLE_BANANA[:8], *DOUBLE_BANANA[12:])
PAIRS = {
    "tcp-22": (*DOUBLE_BANANA[:8], "A1-T3", *DOUBLE_BANANA[8:12], "T4-A2", *DOUBLE_BANANA[12:]),
    "tcp-20": DOUBLE_BANANA,
    "tcp-18": (*_SIDES, "Fz-Cz", "Cz-Pz"),
    "tcp-16": _SIDES,
}
"""Lists of pairs by name: TUSZ's TCP montage with and without ears; the chains with and without the midline."""

# 10-10 names of the same electrodes (American Clinical Neurophysiology Society, guideline 2).
_SAME_ELECTRODE = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6", "M1": "A1", "M2": "A2"}
_KNOWN = {name.upper(): name for name in (*TEN_TWENTY, *EAR_LOBES)}
_REFERENCES = {"REF", "LE", "AR", "AVG", "CAR", "REFERENCE"}
_NO_ALIASES: Mapping[str, str] = MappingProxyType({})
_PREFIX = re.compile(r"^(EEG|POL)[\s:_.(-]+", re.IGNORECASE)
_SPLIT = re.compile(r"\s*[-_:/]\s*|\s+|\.(?=\w)")
_AROUND = ". ()'\""
_HALF = re.compile(r"\)?/2?$")  # (A1+A2)/2, of which 16 characters may leave (A1+A2)/
_COPY = re.compile(r"(?:^|-)\d$")  # MNE numbers labels that occur twice: T8-P8-0, T8-P8-1
_NUMBERED = re.compile(r"([A-Z]+)(\d+)", re.ASCII)
# The numbers behind each letter in the 10-10 system and its usual additions, for the letters of the 10-20 electrodes.
_TEN_TEN = {
    "FP": range(1, 3), "F": range(1, 11), "C": range(1, 7), "T": range(1, 11), "P": range(1, 11),
    "O": (1, 2, 9, 10), "A": (1, 2), "M": (1, 2),
}  # fmt: skip
_MIDLINE = {"Fz", "Cz", "Pz"}
_SHOWN = 12
_LEAST_OF_A_REFERENCE = 4


@dataclass(frozen=True)
class Label:
    """An EDF label, taken apart: electrode, what follows it (`suffix`, upper case), whether POL precedes it.

    `word` is the electrode as the file writes it, in upper case; "" for an alias of the whole label.
    """

    electrode: str | None
    suffix: str = ""
    is_pol: bool = False
    word: str = ""

    @classmethod
    def of(cls, text: str, aliases: Mapping[str, str] = _NO_ALIASES) -> Label:
        """Take a label apart: "EEG FP1-REF" or "Fp1 Ref" is Fp1 and REF, "EEG:Fp1" Fp1 alone, "T7-P7" T3 and P7.

        An alias is the whole label or the electrode in it, in upper case.
        """
        text = text.strip().strip("\0").strip().strip("'\"")
        if text.upper() in aliases:
            return cls(aliases[text.upper()])
        prefix = _PREFIX.match(text)
        first, suffix = [*_SPLIT.split(text[prefix.end() if prefix else 0 :], maxsplit=1), ""][:2]
        is_pol = prefix is not None and prefix[1].upper() == "POL"
        first = first.strip(_AROUND)
        electrode = aliases.get(first.upper()) or _electrode(first)
        reference = _HALF.sub("", suffix.strip()).strip(_AROUND)
        return cls(electrode, _COPY.sub("", reference.upper()), is_pol, first.upper())

    def channel(self, references: Collection[str]) -> str | None:
        """Return the electrode or the native bipolar pair that is meant, where these suffixes are references."""
        if self.electrode is None or not self.suffix or self.suffix in references:
            return self.electrode
        other = _electrode(self.suffix)
        return None if other is None else f"{self.electrode}-{other}"


def electrode_of(label: str) -> str | None:
    """Return the electrode or native bipolar pair that an EDF label names by itself, or None.

    "EEG FP1-REF", "Fp1.", "fp1-avg" → "Fp1"; "T7-P7" → "T3-T5"; "ECG EKG1" → None.
    """
    return Label.of(label).channel(_REFERENCES)


def _electrode(text: str) -> str | None:
    upper = text.upper()
    return _KNOWN.get(_SAME_ELECTRODE.get(upper, upper).upper())


def find_channels(
    labels: Sequence[str],
    wanted: Sequence[str],
    *,
    aliases: Mapping[str, str] = _NO_ALIASES,
    accept_contacts: bool = False,
) -> dict[str, list[int]]:
    """Return for each wanted channel the indices of the EDF signals that name it, in file order.

    One suffix that follows every wanted electrode is the reference, whatever its word (Fp1-A1A2, Fp1-CLE, ...);
    suffixes that differ make bipolar pairs. An empty list is an absent channel. More than one is for the caller to
    settle by the samples. `aliases` are labels, or electrodes in them, in upper case, and what they name.
    Raises MontageError when fewer than half of the wanted channels are there, and, unless `accept_contacts`, for
    contacts of depth or grid electrodes that are named like scalp electrodes.
    """
    parts = [Label.of(label, aliases) for label in labels]
    references = _REFERENCES | _shared_reference(parts, wanted)
    found: dict[str, list[int]] = {name: [] for name in wanted}
    for index, part in enumerate(parts):
        name = part.channel(references)
        if name in found:
            found[name].append(index)
    need_half([name for name, indices in found.items() if not indices], wanted, labels)
    if not accept_contacts:
        _refuse_contacts(parts, [index for indices in found.values() for index in indices])
    return found


def _refuse_contacts(parts: Sequence[Label], taken: Sequence[int]) -> None:
    """Raise MontageError where taken electrodes seem to be contacts of depth or grid electrodes.

    Their numbers go on past those of the 10-10 system (C7, P11), or they are polygraph inputs without a midline.
    """
    letters = {match[1] for index in taken if (match := _NUMBERED.fullmatch(parts[index].word))}
    numbered = [(part.word, match) for part in parts if (match := _NUMBERED.fullmatch(part.word))]
    beyond = [word for word, match in numbered if match[1] in letters and int(match[2]) not in _TEN_TEN[match[1]]]
    if beyond:
        why = f"the 10-10 system has no {', '.join(dict.fromkeys(beyond))}"
    elif any(parts[index].is_pol for index in taken) and not _MIDLINE & {part.electrode for part in parts}:
        why = "they are labelled POL, and Fz, Cz and Pz are not there"
    else:
        return
    raise MontageError(
        f"the electrodes seem to be contacts of depth or grid electrodes, not on the scalp: {why}",
        fix=Fix(
            "leave the file out with ",
            ("ingest", "ROOT", "--accept", "refused"),
            "; if they are on the scalp, ",
            ("ingest", "ROOT", "--accept", "contacts"),
        ),
    )


def _shared_reference(parts: Sequence[Label], wanted: Sequence[str]) -> set[str]:
    """Return the one suffix that follows all wanted electrodes, where it can only be their reference; else nothing.

    It must follow several electrodes: F7-T3 or Pz-Oz alone is a pair.
    """
    followed: dict[str, set[str]] = {}
    for part in parts:
        if part.electrode:
            followed.setdefault(part.suffix, set()).add(part.electrode)
    there = {name for names in followed.values() for name in names}.intersection(wanted)
    every = {suffix for suffix, names in followed.items() if names >= there}
    if len(every) != 1 or any("-" in suffix for suffix in every):
        return set()
    return every if len(followed[next(iter(every))]) >= _LEAST_OF_A_REFERENCE else set()


def need_half(absent: Sequence[str], wanted: Sequence[str], labels: Sequence[str]) -> None:
    """Raise MontageError, with the labels that are there, where more than half of the wanted channels are absent."""
    if 2 * len(absent) <= len(wanted):
        return
    pairs = {electrode_of(label) for label in labels}.intersection(CHB_MIT)
    is_bipolar = 2 * len(pairs) >= len(CHB_MIT) and not any("-" in name for name in wanted)
    there = ", ".join(label.strip() for label in labels[:_SHOWN]) + (", ..." if len(labels) > _SHOWN else "")
    raise MontageError(
        f"{len(absent)} of {len(wanted)} channels are missing: {', '.join(absent)}; labels in the file: {there}",
        fix=Fix(
            "these are bipolar pairs: choose `--recipe chb-mit`, or" if is_bipolar else "choose",
            " a recipe with this corpus's channels, or with `aliases` for its labels, or leave it out with ",
            ("ingest", "ROOT", "--accept", "refused"),
        ),
    )


# Idealised 10-20 sphere: polar angle from Cz and azimuth from the right ear towards the nose, degrees.
_ANGLES = {
    "Fp1": (90, 108), "Fp2": (90, 72), "F7": (90, 144), "F8": (90, 36), "T3": (90, 180), "T4": (90, 0),
    "T5": (90, 216), "T6": (90, 324), "O1": (90, 252), "O2": (90, 288), "Fz": (45, 90), "Cz": (0, 0),
    "Pz": (45, 270), "C3": (45, 180), "C4": (45, 0), "F3": (60, 129), "F4": (60, 51), "P3": (60, 231),
    "P4": (60, 309), "A1": (112, 180), "A2": (112, 0),
}  # fmt: skip


def has_position(name: str) -> bool:
    """Say whether a name is an electrode whose position is known, so that splines can interpolate it."""
    return name in _ANGLES


def positions(channels: Sequence[str]) -> Float64:
    """Return unit vectors (n, 3) of electrodes: x to the right ear, y to the nose, z up.

    Raises MontageError for a name without a position, such as a bipolar pair.
    """
    unknown = [name for name in channels if name not in _ANGLES]
    if unknown:
        raise MontageError(f"no electrode position is known for {', '.join(unknown)}")
    polar, azimuth = np.deg2rad(np.array([_ANGLES[name] for name in channels], dtype=float)).T
    return np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)


def _spline(cosines: Float64, *, stiffness: int = 4, n_terms: int = 50) -> Float64:
    """Return g(cos θ) of Perrin et al. 1989, equation 3, for unit vectors' cosines."""
    n = np.arange(1, n_terms + 1, dtype=float)
    factors = (2 * n + 1) / (n**stiffness * (n + 1) ** stiffness * 4 * np.pi)
    return np.asarray(np.polynomial.legendre.legval(cosines, np.concatenate([[0.0], factors])), dtype=float)


def spherical_spline(source: Sequence[str], target: Sequence[str], *, regularisation: float = 1e-5) -> Float64:
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
) -> tuple[tuple[str, ...], Float64]:
    """Return the output row names and the matrix (output, recorded) of a view on one recording.

    `missing` is "interpolate" (spherical spline), "nan" (rows that need an absent channel are NaN)
    or "zero". `reference` is "recorded", "average" or "bipolar" (the 20 pairs of the 19 electrodes).
    The average is over the recorded rows; a row that is NaN or zero stays so. `channels` picks and orders the output
    rows; with the bipolar reference they may be any pairs of electrodes. Raises ConfigError for a name that is not
    there, MontageError where interpolation has no electrode positions.
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
        step, labels = np.eye(len(names)), names
        there = [names.index(name) for name in present]
        kept = there if missing != "interpolate" else list(range(len(names)))
        step[np.ix_(kept, there)] -= 1.0 / len(there)
    elif reference == "bipolar":
        labels = list(DOUBLE_BANANA if channels is None else channels)
        unpaired = [pair for pair in labels if pair.count("-") != 1 or not set(pair.split("-")) <= set(names)]
        if unpaired:
            raise ConfigError(
                f"the bipolar reference needs pairs of recorded electrodes, and these are none: {', '.join(unpaired)}",
                fix=f'choose reference = "recorded", or pairs of {", ".join(names)}',
            )
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


def _product(step: Float64, fill: Float64) -> Float64:
    """Return step @ fill where 0 times NaN is 0: an unused absent channel spoils nothing."""
    out = step @ np.where(np.isnan(fill), 0.0, fill)
    lost = np.isnan(fill).any(axis=1)
    out[(step[:, lost] != 0).any(axis=1)] = np.nan
    return np.asarray(out, dtype=float)
