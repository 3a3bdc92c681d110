"""What becomes of each real EDF file: stored, or refused and why. `python tests/eeg/real_files.py FOLDER` shows it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from brainbrr.eeg.signal.preprocess import Preprocessed, preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import RecordingError


@dataclass(frozen=True)
class Outcome:
    """Of one file, called by its path below the folder: what is stored of it, or the error that refuses it."""

    file: str
    made: Preprocessed | None
    error: RecordingError | None

    def __str__(self) -> str:
        if self.made is None:
            what = "" if self.error is None else shorten(self.error.what, 64, placeholder=" …")
            return f"refused  {type(self.error).__name__}: {what}"
        n_absent, facts = len(self.made.absent), self.made.facts["edf"]
        rates = ", ".join(sorted(set(facts["rates"].values())))
        absent = f" ({', '.join(self.made.absent)} absent)" if n_absent else ""
        return (
            f"stored   {len(self.made.channels) - n_absent} channels{absent}, {facts['duration_s']} s from {rates} Hz"
        )


def edf_files(folder: Path) -> list[str]:
    """Every file below a folder that calls itself EDF or BDF."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in (".edf", ".bdf"))
    return sorted(path.relative_to(folder).as_posix() for path in found)


def outcome(folder: Path, file: str, recipe: Recipe) -> Outcome:
    """What `recipe` makes of a file; any error but a refusal is raised."""
    try:
        return Outcome(file, preprocess(folder / file, recipe), None)
    except RecordingError as error:
        return Outcome(file, None, error)


def table(folder: Path, recipe: Recipe) -> str:
    """One line for each file, or for all files of a tree that share their outcome."""
    rows: Counter[tuple[str, str]] = Counter()
    for file in edf_files(folder):
        parts = file.split("/")
        rows["/".join(parts[:2]) + ("/…" if len(parts) > 2 else ""), str(outcome(folder, file, recipe))] += 1
    return "\n".join(f"{n:3}  {name:40}  {what}" for (name, what), n in rows.items())


if __name__ == "__main__":
    sys.stdout.write(table(Path(sys.argv[1]), Recipe()) + "\n")
