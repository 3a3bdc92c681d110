"""Where recordings and their labels lie on disk: which corpus a folder is, and every recording in it.

Owns folder layouts and file names. Opens no recording and no label file: those are for `edf` and `annotations`.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from brainbrr.core.files import leads_to_folder
from brainbrr.eeg.corpus import census
from brainbrr.eeg.corpus.annotations import CHANNELS
from brainbrr.eeg.corpus.bids import NO_EEG, Tables, participants
from brainbrr.eeg.corpus.label_formats import FORMATS, ROLES, suffix_of
from brainbrr.eeg.corpus.lists import Lists
from brainbrr.eeg.corpus.patients import chosen_patient
from brainbrr.errors import AnnotationError, UsageError

SPLITS = ("train", "dev", "eval")

Layout = Literal["tusz", "bids", "plain"]

_RECORDINGS = (".edf", ".bdf")  # BDF is listed so that it is refused by name, not passed over
_CORPUS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
_TUSZ_STEM = re.compile(r"([A-Za-z0-9]+)_s\d+_t\d+")
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""In a table it would be another row, on a terminal anything; the last ones stand for bytes that are not UTF-8."""
_SESSION = re.compile(r"s\d+(_\d+)*|ses-[A-Za-z0-9]+")  # s001_2012, s001_2002_12_23, ses-01


@dataclass(frozen=True)
class Corpus:
    """A named tree of recordings and labels."""

    name: str
    root: Path
    layout: Layout


@dataclass(frozen=True)
class RecordingFile:
    """One recording of a corpus: what its place says about it, the label files beside it by role, what is odd.

    `refusal`: why it is not opened: its name (`path` has odd characters as escapes), its place or its format; `fix`:
    what to do then.
    """

    path: str
    edf: Path
    patient: str
    session: str | None
    split: str
    labels: Mapping[str, Path] = field(hash=False)
    notes: tuple[str, ...] = ()
    refusal: str | None = None
    fix: str = "rename it"

    def refused(self, why: str, *, fix: str) -> RecordingFile:
        """Return it as one that is not opened; one that is not opened already keeps its reason."""
        return self if self.refusal is not None else replace(self, notes=(), refusal=why, fix=fix)


@dataclass(frozen=True)
class Survey:
    """All recordings of a corpus, read or not, and the label files that are of none of them."""

    recordings: tuple[RecordingFile, ...]
    labels_unread: tuple[str, ...]


def locate(root: Path, *, name: str | None = None) -> Corpus:
    """Return the corpus that a folder is; `data/tusz` and `data/tusz/edf` are both corpus `tusz` at data/tusz.

    The name is the root folder's unless given. Raises UsageError when the folder is not there or cannot be
    read, when it is a part of a corpus (naming the root to give instead), or when the name will not do.
    """
    # Not resolve(): a corpus keeps the name it is reached by when that is a link to another disk.
    root = Path(os.path.normpath(root.absolute()))
    try:
        if not leads_to_folder(root):
            what = "this is a file, not a corpus" if root.exists() else "there is no such folder"
            raise UsageError(what, where=root, fix="give the folder that holds the corpus")
        if root.name == "edf" and _has_splits(root):
            root = root.parent
        whole = _corpus_around(root) or _corpus_around(root.resolve())
        layout = _layout(root)
        inner = [path for path in root.iterdir() if layout == "plain" and _has_splits(path / "edf")]
    except OSError as error:
        raise _unreadable(root, error) from None
    if whole is not None:
        raise UsageError(
            f"this is a part of a corpus, whose root is {whole}",
            where=root,
            fix=f"give {whole}; --profile and the view's --split and --patients choose a part of it",
        )
    if inner:  # as a plain tree all its patients would be one, and its splits none
        raise UsageError(
            f"this folder is not a corpus but holds {len(inner)}, {inner[0].name} for one",
            where=root,
            fix=f"ingest each on its own, beginning with {inner[0]}",
        )
    name = root.name if name is None else name
    if not _CORPUS_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} will not do as a corpus name",
            where=root,
            fix="choose letters, digits, '.', '_' and '-', at most 64: `--corpus NAME`",
        )
    return Corpus(name, root, layout)


def scan(corpus: Corpus, *, patient_from: str | None = None) -> tuple[RecordingFile, ...]:
    """Return every recording of a corpus, sorted by path, with the label files that lie beside it; see `survey`."""
    return survey(corpus, patient_from=patient_from).recordings


def survey(corpus: Corpus, *, patient_from: str | None = None) -> Survey:
    """Return what a corpus holds: its recordings, sorted by path, and the label files that are of none of them.

    Links to files and folders are followed, each folder once; hidden files are no recordings. A refusal have those
    whose name is not UTF-8 or holds control characters, those of another format or in no place where the layout has
    recordings, and subjects of participants.tsv without any. `patient_from` names patients: "folder", the one that
    holds the recording; "file", its name up to the first "_"; or a regular expression, searched for in its path, of
    which the first group counts. By default the layout does. Raises UsageError when there is no EDF, when a folder
    cannot be read, since a part of the list would pass for the whole, and when an expression does not match a path.
    """
    root, survey = corpus.root, _Surveyor(corpus, Tables(corpus.root), Lists(corpus.root))
    seen: set[tuple[int, int]] = set()
    if corpus.layout == "tusz" and _has_splits(root / "edf"):
        survey.add(_folders(root / "edf", [""], seen), prefix="edf/")
        survey.add(_folders(root, [""], seen), elsewhere="it is outside edf/")
    elif corpus.layout == "bids":
        survey.add(_folders(root, _subjects(root), seen, NO_EEG))
        survey.add(_folders(root, [""], seen, NO_EEG), elsewhere=_IN_NO_EEG)
        survey.add_participants()
    else:
        survey.add(_folders(root, [""], seen))
    found = _without_targets(survey.found)
    if not any(each.path.lower().endswith(_RECORDINGS) for each in found):
        more = ", ".join(
            f"{len(paths)} {form}" for form, paths in census.by_format(each.path for each in found).items()
        )
        raise UsageError(
            "no EDF file below this folder" + (f", only what is not read: {more}" if more else ""),
            where=root,
            fix="convert them to EDF" if more else "give the folder that holds the recordings; is its disk mounted?",
        )
    used = {path for recording in found for path in recording.labels.values()}
    unread = [_shown(path.relative_to(root).as_posix()) for path in survey.loose if path not in used]
    if patient_from is not None:
        found = name_patients(found, patient_from)
    found = [each if each.refusal is None else replace(each, labels={}) for each in _each_once(found)]
    return Survey(tuple(sorted(found, key=lambda recording: recording.path)), tuple(sorted(unread)))


def _without_targets(found: Sequence[RecordingFile]) -> list[RecordingFile]:
    """Return recordings without those that are not opened under this name because a link to them is."""
    if all(each.refusal is None for each in found):
        return list(found)
    targets = {each.edf.resolve() for each in found if each.refusal is None and each.edf.is_symlink()}
    return [each for each in found if each.refusal is None or not targets or each.edf.resolve() not in targets]


_IN_NO_EEG = "it is in no eeg folder of a subject"


@dataclass
class _Surveyor:
    """Collects the recordings of folders, and label files that are named after none of them."""

    corpus: Corpus
    tables: Tables
    lists: Lists
    found: list[RecordingFile] = field(default_factory=list)
    loose: list[Path] = field(default_factory=list)

    def add(
        self, folders: Iterator[tuple[Path, str, list[str]]], *, prefix: str = "", elsewhere: str | None = None
    ) -> None:
        """Add what folders hold; `elsewhere`: why no recording should be there."""
        layout = self.corpus.layout
        for place, folder, names in folders:
            recordings = [name for name in names if name.lower().endswith(_RECORDINGS)]
            unread = census.unread(names)
            self.lists.add(place, names)
            if elsewhere is None or layout != "tusz":  # what is beside edf/ describes the corpus
                loose = census.label_files(names, [*recordings, *unread], nedc=layout == "tusz")
                self.loose += [place / name for name in loose]
            if not (recordings or unread):
                continue
            above = folder.split("/") if folder else []
            labels = _labels(names)
            why = elsewhere or (_IN_NO_EEG if layout == "bids" and above[-1:] != ["eeg"] else None)
            for name in (*recordings, *unread):
                file = _recording(self.corpus, prefix, place, [*above, name], labels, self.tables, self.lists)
                if name in unread:
                    file = file.refused(f"{unread[name]} is not read", fix=census.fix_of(unread[name]))
                elif why is not None:
                    file = file.refused(why, fix="move it to where this layout has recordings")
                self.found.append(file)

    def add_participants(self) -> None:
        """Add the subjects that participants.tsv names and that have no recording."""
        there = {recording.path.partition("/")[0] for recording in self.found}
        why, fix = "participants.tsv names it, and it has no recording", "restore its folder, or delete its row"
        for name in participants(self.corpus.root):
            if census.format_of(name) == census.WITHOUT_RECORDING and name not in there:
                place = self.corpus.root / name
                self.found.append(RecordingFile(name, place, name, None, "none", {}, refusal=why, fix=fix))


def name_patients(recordings: Sequence[RecordingFile], patient_from: str) -> list[RecordingFile]:
    """Return recordings with their patients named by the rule of `survey`. Raises UsageError."""
    return [
        each if each.refusal is not None else replace(each, patient=chosen_patient(each.path, patient_from))
        for each in recordings
    ]


def _each_once(found: Sequence[RecordingFile]) -> Iterator[RecordingFile]:
    """Give recordings with paths that differ: an escaped name may be another file's."""
    taken = {recording.path for recording in found if recording.refusal is None}
    for recording in sorted(found, key=lambda each: os.fsencode(each.edf)):
        path, n = recording.path, 1
        while recording.refusal is not None and path in taken:
            path, n = f"{recording.path} ({n})", n + 1
        taken.add(path)
        yield recording if path == recording.path else replace(recording, path=path)


def refuse_outside(corpus: Corpus, labels: Mapping[str, Path]) -> None:
    """Raise AnnotationError for a label file that is a link out of the corpus: errors and the catalog show its text.

    Links to git-annex's objects may lead there, also where the corpus is a part of the dataset that has them.
    """
    for path in labels.values():
        if not path.is_symlink():  # folders may be links: they are on other disks
            continue
        real = path.resolve()
        inside = (corpus.root.resolve(), path.parent.resolve())
        annexes = [folder / ".git" / "annex" / "objects" for folder in (inside[0], *inside[0].parents)]
        if not any(real.is_relative_to(folder) for folder in (*inside, *annexes)):
            raise AnnotationError(
                "the label file is a link out of the corpus, and was not read",
                where=path,
                fix="put the file itself there, or `--labels none`",
            )


def _layout(root: Path) -> Layout:
    if _has_splits(root / "edf") or _is_split_root(root):
        return "tusz"
    return "bids" if _is_bids(root) else "plain"


def _has_splits(folder: Path) -> bool:
    return any(leads_to_folder(folder / split) for split in SPLITS)


def _is_split_root(folder: Path) -> bool:
    """Say whether the splits lie right here, without `edf`: two of them, since `dev` alone is often something else."""
    return sum(leads_to_folder(folder / split) for split in SPLITS) > 1


def _is_bids(root: Path) -> bool:
    return any(
        leads_to_folder(root / subject / "eeg") or any((root / subject).glob("ses-*/eeg"))
        for subject in _subjects(root)
    )


def _subjects(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if _SUBJECT.fullmatch(path.name) and leads_to_folder(path))


def _corpus_around(root: Path) -> Path | None:
    """Return the root of the corpus that a folder is only a part of: a split, a patient, a session; or None."""
    for folder in (root, *root.parents):
        if folder.name in SPLITS and folder.parent.name == "edf":
            return folder.parent.parent
        if _SUBJECT.fullmatch(folder.name) and _is_bids(folder.parent):
            return folder.parent
    return root.parent if root.name in SPLITS and _is_split_root(root.parent) else None


def _folders(
    top: Path, starts: Sequence[str], seen: set[tuple[int, int]], passed_over: Collection[str] = ()
) -> Iterator[tuple[Path, str, list[str]]]:
    """Give each folder below `top` once: itself, its path from there, "" for the top, and the names of its files.

    Links come last, so that a folder that is reached both ways goes by its own path; one that leads back to
    a folder seen before, or above the top, is not followed; nor are those of a name in `passed_over`.
    """
    above = {_identity(folder) for folder in top.resolve().parents}
    folders, links = list(starts), list[str]()
    while folders or links:
        if not folders:
            links.sort(reverse=True)
        relative = folders.pop() if folders else links.pop()
        place = top / relative
        names: list[str] = []
        try:
            identity = _identity(place)
            if identity in seen or identity in above:
                continue
            seen.add(identity)
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    lower = entry.name.lower()
                    if lower.endswith(census.FOLDERS):
                        names.append(entry.name)
                    elif _is_folder(entry):
                        if lower in passed_over or lower.endswith(census.PASSED_OVER):
                            continue
                        below = f"{relative}/{entry.name}" if relative else entry.name
                        (links if entry.is_symlink() else folders).append(below)
                    elif _is_file(entry):
                        names.append(entry.name)
        except OSError as error:
            raise _unreadable(place, error) from None
        yield place, relative, names


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link to itself; what else is unreadable may be a folder of recordings
            raise
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Say whether a name is a file's: no pipe's, no device's. A broken link is a recording that fails, by name."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110
    except OSError:  # a link to itself
        return True


def _unreadable(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"the folder cannot be read: {error.strerror}", where=folder, fix="make it readable, run again")


def _labels(names: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """Return the label files of a folder by (stem, role); the suffix is taken in any case, the stem as it is."""
    labels: dict[tuple[str, str], list[str]] = {}
    suffixes = [(role, suffix_of(role)) for role, form in FORMATS.items() if not form.shared]
    for name in sorted(names, reverse=True):  # lower case first
        lower = name.lower()
        for role, suffix in suffixes:
            if lower.endswith(suffix):
                labels.setdefault((name[: -len(suffix)], role), []).append(name)
    return labels


def _recording(
    corpus: Corpus,
    prefix: str,
    place: Path,
    parts: Sequence[str],
    labels: Mapping[tuple[str, str], Sequence[str]],
    tables: Tables,
    lists: Lists,
) -> RecordingFile:
    path = prefix + "/".join(parts)
    if odd := _ODD.search(path):
        why = "is not UTF-8" if "\ud800" <= odd[0] <= "\udfff" else "holds a control character"
        shown = [_shown(part) for part in parts]
        *folders, name = shown
        patient, split = _patient(corpus.layout, folders, name.rpartition(".")[0], [])
        refusal = f"a file name {why}"
        return RecordingFile(prefix + "/".join(shown), place / parts[-1], patient, None, split, {}, refusal=refusal)
    *folders, name = parts
    stem = name.rpartition(".")[0]
    notes: list[str] = []
    beside: dict[str, Path] = {}
    for role in ROLES:
        if FORMATS[role].shared:
            found, note = lists.of(place, name, role)
            # a list of many recordings says nothing of one with a label file of its own
            if found is not None and not beside.keys() - {".edf.seizures"}:
                beside[role] = found
                notes += [note] if note else []
            continue
        names = labels.get((stem.removesuffix("_eeg") if role == "events.tsv" else stem, role), ())
        if names:
            beside[role] = place / names[0]
        if len(names) > 1:
            notes.append(f"{', '.join(names)} differ only by case: {names[0]} is read")
    if corpus.layout == "bids":
        beside |= _bids_tables(corpus.root, folders, stem.removesuffix("_eeg"), tables, beside, notes)
    patient, split = _patient(corpus.layout, folders, stem, notes)
    session = None
    if corpus.layout != "plain":
        session = next((folder for folder in folders if _SESSION.fullmatch(folder)), None)
    return RecordingFile(path, place / name, patient, session, split, beside, tuple(notes))


def _shown(text: str) -> str:
    return _ODD.sub(lambda char: char[0].encode("unicode_escape").decode(), text)


def _bids_tables(
    root: Path, folders: Sequence[str], stem: str, tables: Tables, beside: Mapping[str, Path], notes: list[str]
) -> dict[str, Path]:
    """Return the events that a recording without its own inherits and, where it has any, what is said of channels."""
    found = {}
    try:
        if "events.tsv" not in beside:
            table = tables.find(folders, stem, "events.tsv")
            if table is not None:
                found["events.tsv"] = table
                notes.append(f"its events are those of {table.relative_to(root)}")
        if beside or found:
            table = tables.find(folders, stem, CHANNELS)
            if table is not None:
                found[CHANNELS] = table
    except OSError as error:
        raise _unreadable(root.joinpath(*folders), error) from None
    return found


def _patient(layout: Layout, folders: Sequence[str], stem: str, notes: list[str]) -> tuple[str, str]:
    """Return the patient and the split, with a note where name and place do not agree."""
    if layout == "plain":
        return (folders[0] if folders else stem), "none"
    if layout == "bids":
        patient = folders[0] if folders else stem.partition("_")[0]
        if stem.partition("_")[0] != patient:
            notes.append(f"the file is in {patient}, which is taken as its patient")
        return patient, "none"
    split = folders[0] if folders and folders[0] in SPLITS else "none"
    if split == "none":
        notes.append("the file is in none of train, dev and eval")
    if match := _TUSZ_STEM.fullmatch(stem):
        if match[1] not in folders:
            notes.append(f"the file's name says patient {match[1]}, its folders do not; the name is taken")
        return match[1], split
    patient = folders[1] if split != "none" and len(folders) > 1 else stem.partition("_")[0]
    notes.append(f"not named PATIENT_sNNN_tNNN: {patient} is taken as the patient")
    return patient, split
