"""What this host remembers: where each corpus's root is, which file had which bytes, what its stores hold.

Lives in the user's own folders, never in a store. Losing it costs time, not truth.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from brainbrr.digest import is_digest, source_digest, xxh3_128
from brainbrr.file_facts import FileFacts, read_table, write_table


@dataclass(frozen=True)
class Host:
    """This host's memory in one folder; nothing is written before something is remembered."""

    folder: Path

    def root(self, store: Path, corpus: str) -> Path | None:
        """Return where a corpus of a store was last ingested from on this host."""
        text = read_table(self.folder / "roots.json").get(f"{store.resolve()}::{corpus}")
        return Path(text) if isinstance(text, str) else None

    def remember_root(self, store: Path, corpus: str, root: Path) -> None:
        """Remember a corpus's root for the commands that brainbrr prints. Raises OSError."""
        roots = read_table(self.folder / "roots.json")
        entry = {f"{store.resolve()}::{corpus}": str(root.absolute())}
        if roots | entry != roots:
            write_table(self.folder / "roots.json", roots | entry)

    def sources(self, root: Path) -> Sources:
        """Return the remembered digests of the files below a root, recordings and labels."""
        return Sources(FileFacts(self._table("sources", root)), root)

    def records(self, store: Path) -> FileFacts:
        """Return what is remembered of a store's records, by key.

        Not by what the store is: one that was deleted and made again has other inodes and times.
        """
        return FileFacts(self._table("records", store), stat=os.lstat)

    def _table(self, kind: str, place: Path) -> Path:
        return self.folder / kind / f"{xxh3_128(os.fsencode(place.resolve()))}.json"


class Sources:
    """XXH3-128 of files by their path below a root; a hash is believed only while nothing about a file moved."""

    def __init__(self, facts: FileFacts, root: Path) -> None:
        self._facts = facts
        self._root = root
        self._prefix = f"{root}{os.sep}"

    def known(self, path: Path) -> str | None:
        """Return a file's digest when its stat is as it was when hashed, else None. Raises OSError."""
        digest = self._facts.known(self._name(path), path)
        return str(digest) if is_digest(digest, 32) else None

    def hash(self, path: Path) -> str:
        """Hash a file and remember it if it stood still meanwhile. Raises OSError."""
        return self._facts.learn(self._name(path), path, lambda: source_digest(path))

    def digest(self, path: Path) -> str:
        """Return a file's digest, known or hashed. Raises OSError."""
        return self.known(path) or self.hash(path)

    def _name(self, path: Path) -> str:
        """Return the path below the root, which may be reached through a link now and then."""
        text = str(path)
        if text.startswith(self._prefix):
            return text[len(self._prefix) :]
        return os.path.relpath(path, self._root)

    def save(self) -> None:
        """Keep what was hashed for the next run. Raises OSError."""
        self._facts.save()


def keep(remember: Callable[[], None]) -> str | None:
    """Remember something, or return why it cannot be: that costs the next run time and nothing else."""
    try:
        remember()
    except OSError as error:
        return f"this host remembers nothing of it for the next time: {error.strerror}: {error.filename}"
    return None
