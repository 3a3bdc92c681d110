"""What BIDS says beside its recordings: which table applies to which recording, and what channels.tsv says of channels.

Knows the inheritance principle and tables of channels. Knows nothing of events, signals or other layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainbrr.eeg.corpus.label_rows import read_lines
from brainbrr.errors import UsageError

NO_EEG = frozenset({
    "derivatives", "sourcedata", "code", "stimuli", "phenotype", "anat", "beh", "dwi", "ecg", "emg", "eog", "fmap",
    "func", "meg", "micr", "motion", "mov", "mrs", "nirs", "perf", "pet", "physio",
})  # fmt: skip
"""Folders of a BIDS tree in which no recording of the corpus is: derived or original files, and other data types."""
_EEG = frozenset({"eeg", "n/a", ""})


class Tables:
    """The tables of one BIDS tree, each folder listed once. Raises OSError for a folder that cannot be read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[Path, list[str]] = {}

    def find(self, folders: Sequence[str], stem: str, suffix: str) -> Path | None:
        """Return the table (`suffix` is "events.tsv", ...) that applies to a recording, or None.

        By BIDS's inheritance principle that is the one of the nearest folder, up to the root, whose entities
        (task-rest, run-01, ...) are all in the recording's name; of one folder the one with most of them. `folders`
        lead from the root to the recording. Raises UsageError where two fit equally.
        """
        wanted = _entities(stem)
        for depth in range(len(folders), -1, -1):
            level = self._root.joinpath(*folders[:depth])
            fitting = {
                name: len(_entities(name))
                for name in self._listed(level)
                if name.lower().endswith(f"_{suffix}") and _entities(name) <= wanted
            }
            nearest = [name for name, n in fitting.items() if n == max(fitting.values())]
            if len(nearest) > 1:
                raise UsageError(
                    f"{' and '.join(nearest)} apply equally to {stem}",
                    where=level,
                    fix="BIDS allows one in a folder: merge them, or add entities to their names",
                )
            if nearest:
                return level / nearest[0]
        return None

    def _listed(self, folder: Path) -> list[str]:
        if folder not in self._names:
            names = sorted(path.name for path in folder.iterdir())
            self._names[folder] = [name for name in names if name.lower().endswith(".tsv") and name[0] != "."]
        return self._names[folder]


def _entities(name: str) -> frozenset[str]:
    """Return the key-value pairs of a BIDS file's name."""
    return frozenset(part for part in name.partition(".")[0].split("_") if "-" in part)


def participants(root: Path) -> tuple[str, ...]:
    """Return the subjects that participants.tsv names, as their folders are called; none where there is no such file.

    Raises AnnotationError for a file that is no text.
    """
    path = root / "participants.tsv"
    if not path.is_file():
        return ()
    rows = [[cell.strip() for cell in line.text.split("\t")] for line in read_lines(path)]
    columns = [name.lower() for name in rows[0]]
    if "participant_id" not in columns:
        return ()
    place = columns.index("participant_id")
    names = {row[place] for row in rows[1:] if len(row) > place} - {"", "n/a"}
    return tuple(sorted(name if name.startswith("sub-") else f"sub-{name}" for name in names))


@dataclass(frozen=True)
class ChannelTable:
    """What a channels.tsv says against channels, by the names that it gives them."""

    bad: tuple[str, ...]
    not_eeg: tuple[str, ...]


def read_channels(path: Path) -> ChannelTable:
    """Return the channels whose status is bad, and those whose type is not EEG. Raises AnnotationError.

    Columns and values may be in any case; a table without status or type says nothing of them.
    """
    rows = read_lines(path)
    first = next(rows)  # there is one: the file is not empty
    columns = [field.strip().lower() for field in first.text.split("\t")]
    if "name" not in columns or len(set(columns)) != len(columns):
        raise first.refuse("no column `name`, or a column twice", "write name, type, units, status separated by tabs")
    bad, not_eeg, seen = [], [], set()
    for line in rows:
        fields = [field.strip() for field in line.text.split("\t")]
        if len(fields) != len(columns):
            raise line.refuse(f"malformed row, {len(fields)} fields for {len(columns)} columns", "separate by tabs")
        row = dict(zip(columns, fields, strict=True))
        status, kind = row.get("status", "n/a").lower(), row.get("type", "n/a").lower()
        if status not in ("good", "bad", "n/a", ""):
            raise line.refuse(f"status {status[:40]!r}", "write good, bad or n/a")
        if row["name"] in seen:
            raise line.refuse(f"channel {row['name'][:40]!r} occurs twice", "keep one of the two")
        seen.add(row["name"])
        if status == "bad":
            bad.append(row["name"])
        elif kind not in _EEG:
            not_eeg.append(row["name"])
    return ChannelTable(tuple(bad), tuple(not_eeg))
