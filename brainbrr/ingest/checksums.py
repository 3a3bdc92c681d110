"""What a recording's publisher says its bytes are: a list of SHA-256, or the key of a git-annex link.

A source is a SHA-256 too, so that both are compared with what an ingest hashes anyway.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from brainbrr.core import files
from brainbrr.errors import ConfigError, EdfError

_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_ANNEX_KEY = re.compile(r"SHA256E?-s\d+--([0-9a-f]{64})(?:\..*)?\Z")
_MAX_BYTES = 1 << 28


def read_checksums(path: Path) -> dict[Path, str]:
    """Return the SHA-256 of each file that a list in the form of `sha256sum` names, as PhysioNet's SHA256SUMS.txt.

    Parameters
    ----------
    path : Path
        The list; its names are relative to its own folder.

    Returns
    -------
    dict
        Digest by absolute path.

    Raises
    ------
    ConfigError
        The file cannot be read, names no file, or holds a line of another form or a name with two digests.
    """
    try:
        text = files.read(path, limit=_MAX_BYTES, folders=0).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigError(f"the checksums cannot be read: {why}", where=path) from None
    folder, digests = path.absolute().parent, dict[Path, str]()
    for n, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigError(f"line {n} is no checksum: {line[:60]!r}", where=path, fix="SHA-256, two spaces, name")
        digest, name = match[1].lower(), Path(os.path.normpath(folder / match[2]))
        if digests.setdefault(name, digest) != digest:
            raise ConfigError(f"line {n} gives {match[2][:60]!r} another checksum than before", where=path)
    if not digests:
        raise ConfigError("the list names no file", where=path)
    return digests


def check_published(edf: Path, source: str, checksums: Mapping[Path, str] | None) -> None:
    """Raise EdfError, naming both digests, where a file is not what its publisher's list or its git-annex key says.

    With a list, a file that it does not name is refused too: nothing says what it should be.
    """
    published = annex_key(edf)
    if published is not None and published != source:
        raise EdfError(
            f"its git-annex key is SHA-256 {published[:12]}, and its bytes have {source[:12]}",
            fix="`git annex fsck` the file, and get it again",
        )
    if checksums is None:
        return
    listed = checksums.get(normal(edf))
    if listed is None:
        raise EdfError(
            f"the list of checksums does not name it, and it has SHA-256 {source[:12]}",
            fix="leave it out with --accept refused, or ingest without --checksums",
        )
    if listed != source:
        raise EdfError(
            f"its publisher's SHA-256 is {listed[:12]}, and its bytes have {source[:12]}",
            fix="download it again; the list may be of another version of the corpus",
        )


def normal(path: Path) -> Path:
    """Return an absolute path without dots, as lists of checksums are kept by."""
    return Path(os.path.normpath(path.absolute()))


def annex_key(edf: Path) -> str | None:
    """Return the SHA-256 in the key of a file that git-annex links to, None for any other file."""
    try:
        match = _ANNEX_KEY.match(edf.readlink().name)
    except OSError:  # no link
        return None
    return match[1] if match else None
