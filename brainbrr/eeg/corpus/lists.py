"""Label files that hold the labels of many recordings, CHB-MIT's summaries and Siena's lists: which is a recording's.

Knows names and folders only, and opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_LISTS = {
    "summary.txt": re.compile(r"(chb)(\d+)[a-z]?-summary\.txt", re.IGNORECASE),
    "Seizures-list.txt": re.compile(r"seizures-list(?:-(pn)([\do]+))?\.txt", re.IGNORECASE),
}
_SUBJECT = re.compile(r"(chb|pn)([\do]+)", re.IGNORECASE)


class Lists:
    """The lists below a corpus's root, by folder. Folders are added from the top down."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[Path, dict[str, list[str]]] = {}

    def add(self, folder: Path, names: Iterable[str]) -> None:
        """Take the lists among the files of a folder."""
        for name in sorted(names, reverse=True):  # lower case first
            for role, pattern in _LISTS.items():
                if pattern.fullmatch(name):
                    self._found.setdefault(folder, {}).setdefault(role, []).append(name)

    def of(self, folder: Path, name: str, role: str) -> tuple[Path | None, str | None]:
        """Return the list that a recording of a folder is in, and a note where several have one name.

        That is the nearest one, up to the root, of the subject that the recording's name begins with; without one,
        the only list of its folder, unless it is another subject's.
        """
        subject = _subject(_SUBJECT.match(name))
        for place in self._up_from(folder):
            here = self._found.get(place, {}).get(role, [])
            same = [each for each in here if subject and _subject(_LISTS[role].fullmatch(each)) == subject]
            if not same and place == folder and len({each.lower() for each in here}) == 1:
                other = _subject(_LISTS[role].fullmatch(here[0]))
                same = here if None in (subject, other) else []
            if same:
                note = f"{', '.join(same)} differ only by case: {same[0]} is read" if len(same) > 1 else None
                return place / same[0], note
        return None, None

    def _up_from(self, folder: Path) -> Iterator[Path]:
        yield folder
        while folder != self._root and folder != folder.parent:
            folder = folder.parent
            yield folder


def _subject(match: re.Match[str] | None) -> tuple[str, int] | None:
    """Return whom a name is of: PN06, PNO6 and pn6 are one, since Siena writes a letter for a zero."""
    if match is None or not match[1]:
        return None
    digits = match[2].lower().replace("o", "0")
    return (match[1].lower(), int(digits)) if digits.isascii() else None
