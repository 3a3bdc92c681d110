"""What this host remembers of corpora: where each one's root is, and which file had which source.

Lives in the user's own folders, never in a store. Losing it costs time, not truth.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.digest import is_digest, source_digest, xxh3_128

_SETTLED_NS = 2_000_000_000
"""A file whose times are younger than this when hashed may change again within the same clock tick."""


@dataclass(frozen=True)
class Host:
    """This host's memory in one folder; nothing is written before something is remembered."""

    folder: Path

    def root(self, store: Path, corpus: str) -> Path | None:
        """Return where a corpus of a store was last ingested from on this host."""
        text = _read(self.folder / "roots.json").get(f"{store.resolve()}::{corpus}")
        return Path(text) if isinstance(text, str) else None

    def remember_root(self, store: Path, corpus: str, root: Path) -> None:
        """Remember a corpus's root for the commands that brainbrr prints. Raises OSError."""
        roots = _read(self.folder / "roots.json")
        entry = {f"{store.resolve()}::{corpus}": str(root.absolute())}
        if roots | entry != roots:
            _write(self.folder / "roots.json", roots | entry)

    def sources(self, root: Path) -> Sources:
        """Return the remembered sources of the files below a root."""
        return Sources(self.folder / "sources" / f"{xxh3_128(os.fsencode(root.resolve()))}.json", root)


class Sources:
    """Sources of files by their path below a root and stat; a hash is trusted only while nothing about a file moved."""

    def __init__(self, file: Path, root: Path) -> None:
        self._file = file
        self._root = root
        self._known = _read(file)
        self._changed = False

    def known(self, path: Path) -> str | None:
        """Return a file's source when its stat is as it was when hashed, else None. Raises OSError."""
        entry = self._known.get(self._name(path))
        if isinstance(entry, list) and entry[:-1] == _stat(path) and is_digest(entry[-1], 32):
            return str(entry[-1])
        return None

    def hash(self, path: Path) -> str:
        """Hash a file and remember it if it stood still meanwhile. Raises OSError."""
        before = _stat(path)
        source = source_digest(path)
        after = _stat(path)
        settled = time.time_ns() - max(after[1], after[2]) > _SETTLED_NS
        if before == after and settled:
            self._known[self._name(path)] = [*after, source]
            self._changed = True
        return source

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self._root)  # the root may be reached through a link now and then

    def save(self) -> None:
        """Keep what was hashed for the next run. Raises OSError."""
        if self._changed:
            _write(self._file, self._known)
            self._changed = False


def _stat(path: Path) -> list[int]:
    s = path.stat()
    return [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino]


def _read(file: Path) -> dict[str, Any]:
    """Return a remembered table; a lost or torn one is empty, since it can be had again."""
    try:
        table = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def keep(remember: Callable[[], None]) -> str | None:
    """Remember something, or return why it cannot be: that costs the next run time and nothing else."""
    try:
        remember()
    except OSError as error:
        return f"this host remembers nothing of it for the next time: {error.strerror}: {error.filename}"
    return None


def _write(file: Path, table: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".tmp-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(table, stream)
    Path(temporary).replace(file)
