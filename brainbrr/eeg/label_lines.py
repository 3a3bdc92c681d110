"""The lines of a label file, one at a time, of bounded bytes and of nothing but text. Knows no format."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brainbrr.eeg.plain_files import open_plain
from brainbrr.errors import AnnotationError

MAX_LABEL_BYTES = 1 << 22
"""A day of rows for each of twenty channels is a quarter of it."""

_CONTROL = re.compile(r"[^\t\n\r -~\xa0-\U0010ffff]")


@dataclass(frozen=True)
class Line:
    """A line without the spaces around it, and where it stands."""

    path: Path
    number: int
    text: str

    def refuse(self, what: str, fix: str) -> AnnotationError:
        """Return the error that shows this line and where it stands; of many files with one mistake, the same words."""
        row = self.text if len(self.text) <= 120 else f"{self.text[:117]}..."
        what = f"{what}: {row!r}, line {self.number} of the {self.path.suffix}"
        return AnnotationError(what, where=f"{self.path}:{self.number}", fix=fix)


def read_lines(path: Path) -> Iterator[Line]:
    """Give the lines that are not empty, one at a time: a file may be nothing but lines."""
    try:
        with open_plain(path) as file:
            n_bytes = os.fstat(file.fileno()).st_size
            data = file.read(n_bytes) if n_bytes <= MAX_LABEL_BYTES else b""
    except OSError as error:
        raise unreadable(path, error) from None
    if n_bytes > MAX_LABEL_BYTES:
        raise AnnotationError(
            f"a label file of more than {MAX_LABEL_BYTES:,} bytes", where=path, fix="restore it from the corpus"
        )
    if data.startswith(b"version https://git-lfs"):
        raise AnnotationError("this is a git-LFS pointer, not a label file", where=path, fix="run `git lfs pull`")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise AnnotationError(
            f"byte 0x{data[error.start]:02x} is not UTF-8, line {number} of the {path.suffix}",
            where=f"{path}:{number}",
            fix="restore the file from the corpus, or save it as UTF-8",
        ) from None
    if not text.strip():
        raise AnnotationError("the label file is empty", where=path, fix="restore it from the corpus")
    if control := _CONTROL.search(text):
        number = text.count("\n", 0, control.start()) + 1
        raise AnnotationError(
            f"a control character, {control[0]!r}, line {number} of the {path.suffix}",
            where=f"{path}:{number}",
            fix="restore the file from the corpus",
        )
    # Not splitlines(): it also breaks at form feeds and the like, and line numbers would drift.
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if stripped := line.strip(" \r\n"):
            yield Line(path, number, stripped)


def unreadable(path: Path, error: OSError) -> AnnotationError:
    """Return the error that says why a label file cannot be read."""
    return AnnotationError(
        f"the label file cannot be read: {error.strerror}", where=path, fix="restore it, or make it readable"
    )
