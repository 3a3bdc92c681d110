"""What is in a corpus and is not read: recordings in other formats, and label files that belong to no recording.

Knows names only, and opens nothing. What is counted here is refused by name in `tree`, never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from brainbrr.eeg.corpus.label_formats import FORMATS, suffix_of
from brainbrr.profiles import C, Profile, choose

WITHOUT_RECORDING = "subject without a recording"
"""The format of a subject that participants.tsv names and that has no recording; its path is the subject's name."""
LABELS_UNREAD = "labels_unread"
"""The catalog's setting that names them, one on each line."""
FOLDERS = (".mff", ".mefd")
"""Folders that are one recording."""
PASSED_OVER = (".zarr",)
"""Folders of arrays, as of a store: no recording is in them, and they have many files."""

_FORMATS = {
    ".bdf": "BDF",
    ".vhdr": "BrainVision",
    ".set": "EEGLAB",
    ".fif": "FIF",
    ".cnt": "CNT",
    ".eeg": "EEG (Nihon Kohden or BrainVision)",
    ".fdt": "EEGLAB data without its .set",
    ".nwb": "NWB",
    ".mff": "EGI MFF",
    ".raw": "EGI raw",
    ".xdf": "XDF",
    ".xdfz": "XDF",
    ".gdf": "GDF",
    ".rec": "REC",
    ".mefd": "MEF3",
    ".nedf": "Neuroelectrics",
    ".easy": "Neuroelectrics",
    ".trc": "Micromed",
    ".e": "Nicolet",
    ".cdt": "Curry",
    ".lay": "Persyst",
    ".rhd": "Intan",
    ".rhs": "Intan",
    ".acq": "Biopac",
    ".egi": "EGI raw",
    ".hea": "WFDB",
    ".mef": "MEF",
    ".sig": "Stellate",
    ".smr": "Spike2",
    ".smrx": "Spike2",
}
_READ = {".edf": "EDF"}
_PARTS = {".vhdr": (".eeg", ".vmrk"), ".set": (".fdt",), ".nedf": (".easy",), ".edf": (".hea",)}
"""By the file that stands for a recording: the others of its set, which are counted with it."""
_WRAPPED = {
    **dict.fromkeys(("gz", "bz2", "xz", "zst", "zip", "7z"), "compressed"),
    **dict.fromkeys(("part", "partial", "filepart", "crdownload", "download", "aria2", "tmp"), "unfinished"),
    **dict.fromkeys(("bak", "backup", "old", "orig"), "renamed"),
}
_FIX = {
    "compressed": "decompress it",
    "unfinished": "finish its download, or delete it",
    "renamed": "delete it, or give it the name of its format back",
    "REC": "rename it to .edf if it is an EDF",
}
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
_FIF_PART = re.compile(r"_split-\d+|(?<=raw|eeg|meg|sss)-\d+(?=\.fif)", re.IGNORECASE)
_DERIVED_FIF = re.compile(
    r".*[-_](epo|ave|cov|fwd|inv|ica|trans|src|bem|sol|proj|dig|layout)\.fif(\.gz)?", re.IGNORECASE
)
_LABEL_WORDS = re.compile(
    r".*(summary|seizure|annotation|label)s?.*\.(txt|tsv|csv|xlsx?|ods|xml|docx?|rtf)|.*_a\d\.tsv", re.IGNORECASE
)


def format_of(path: str) -> str | None:
    """Return the format of what is not read, by its name; None for an EDF, and for what is no recording."""
    if _SUBJECT.fullmatch(path):
        return WITHOUT_RECORDING
    stem, dot, suffix = path.rpartition("/")[2].lower().rpartition(".")
    if suffix.endswith("~"):
        stem, suffix = f"{stem}.{suffix[:-1]}", "old"
    how = "renamed" if suffix.isdecimal() else _WRAPPED.get(suffix)
    if how is not None:
        inner = {**_READ, **_FORMATS}.get(f".{stem.rpartition('.')[2]}") if "." in stem else None
        return inner and f"{how} {inner}"
    found = _FORMATS.get(dot + suffix) if stem else None
    return None if found == "FIF" and _DERIVED_FIF.fullmatch(path) else found


def unread(names: Sequence[str]) -> dict[str, str]:
    """Return the recordings among the files of a folder that no reader is there for, with their formats.

    A BrainVision triple, an EEGLAB .set with its .fdt and the parts of a FIF are one recording.
    """
    there = {name.lower() for name in names}
    found: dict[str, str] = {}
    wholes: set[str] = set()
    for name in sorted(names, key=lambda name: (len(name), name)):
        form = format_of(name)
        if form is None or form in ("BDF", WITHOUT_RECORDING):  # a BDF is opened, and refused for what it is
            continue
        stem, suffix = name[: name.rindex(".")].lower(), name[name.rindex(".") :].lower()
        if any(suffix in parts and stem + main in there for main, parts in _PARTS.items()):
            continue
        whole = _FIF_PART.sub("", name) if form == "FIF" else name
        if whole not in wholes:
            wholes.add(whole)
            found[name] = form
    return found


def fix_of(form: str) -> str:
    """Return what makes a recording of a format one that is read."""
    return _FIX.get(form.split()[0], "convert it to EDF")


def by_format(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return what is not read among the paths of a corpus, by format."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        if form := format_of(path):
            found.setdefault(form, []).append(path)
    return dict(sorted(found.items()))


def labels_unread(settings: Mapping[str, str]) -> list[str]:
    """Return the label files that an ingest found and that belong to no recording, from a catalog's settings."""
    return settings.get(LABELS_UNREAD, "").splitlines()


def choose_with_unread(rows: Iterable[C], profile: Profile, *, has_seizures: Mapping[str, bool]) -> tuple[C, ...]:
    """Return a profile's rows, and after them all that are not read: they are in every profile, and in no quota."""
    readable: list[C] = []
    others: list[C] = []
    for row in rows:
        (readable if format_of(row.path) is None else others).append(row)
    return (*choose(readable, profile, has_seizures=has_seizures), *sorted(others, key=lambda row: row.path))


def label_files(names: Iterable[str], recordings: Iterable[str], *, nedc: bool) -> list[str]:
    """Return the files of a folder that look like labels and are named after none of its `recordings`.

    A .csv may be anything: it counts only in a tree of NEDC's, `nedc`.
    """
    stems = {name.rpartition(".")[0] for name in recordings}
    stems |= {stem.removesuffix("_eeg") for stem in stems}
    suffixes = [suffix_of(role) for role, form in FORMATS.items() if not form.shared and (nedc or role != ".csv")]
    found = []
    for name in names:
        suffix = next((each for each in suffixes if name.lower().endswith(each)), None)
        if (suffix is not None and name[: -len(suffix)] not in stems) or (
            suffix is None and _LABEL_WORDS.fullmatch(name)
        ):
            found.append(name)
    return found
