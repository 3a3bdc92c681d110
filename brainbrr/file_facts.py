"""What was once read from files, kept by stat: the only place that knows when a stat may be believed.

A table lives in the user's own folders, never in a store or a corpus. Losing it costs time, not truth.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

_SETTLED_NS = 2_000_000_000
"""A file whose times are younger than this when read may change again within the same clock tick."""

Fact = TypeVar("Fact")
Stat = Callable[[Path], os.stat_result]


class FileFacts:
    """Facts by name: what a file said, believed only while its size, both times and inode are as when it was read.

    A fact is whatever JSON holds; who asks checks that it is one. `stat` follows links, or not (os.lstat).
    """

    def __init__(self, table: Path, *, stat: Stat = os.stat) -> None:
        self._table = table
        self._stat = stat
        try:
            self._facts = read_table(table)
        except OSError:
            self._facts = {}  # as if lost: everything is read again
        self._changed = False

    def known(self, name: str, path: Path) -> Any:
        """Return what is known of a file after one stat of it; None when nothing is. Raises OSError."""
        status = self._stat(path)  # first: a file that is gone is an error, known or not
        entry = self._facts.get(name)
        return entry[-1] if isinstance(entry, list) and entry[:-1] == moves(status) else None

    def learn(self, name: str, path: Path, read: Callable[[], Fact]) -> Fact:
        """Return what `read` says of a file, and keep it if the file stood still meanwhile. Raises OSError."""
        before, began_ns = moves(self._stat(path)), time.time_ns()
        fact = read()
        # began, not now: an edit in the tick of the last one, while a slow read was under way, shows in no stat.
        # An mtime that somebody put into the future is as far from the tick of any edit as one in the past.
        _, mtime_ns, ctime_ns, _ = before
        settled = began_ns - ctime_ns > _SETTLED_NS and abs(began_ns - mtime_ns) > _SETTLED_NS
        if settled and before == moves(self._stat(path)):
            self._facts[name] = [*before, fact]
            self._changed = True
        return fact

    def forget(self, names: Iterable[str]) -> None:
        """Know nothing of some files any more."""
        for name in names:
            self._changed |= self._facts.pop(name, None) is not None

    def names(self) -> list[str]:
        """Return the names of all files of which anything is known."""
        return list(self._facts)

    def save(self) -> None:
        """Keep what was learnt for the next run. Raises OSError."""
        if self._changed:
            write_table(self._table, self._facts)
            self._changed = False


def moves(status: os.stat_result) -> list[int]:
    """Return what moves when a file is changed or replaced; ctime also when somebody puts its mtime back."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def read_table(file: Path) -> dict[str, Any]:
    """Return a remembered table; a lost or torn one is empty, since it can be had again. Raises OSError."""
    try:
        table = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def write_table(file: Path, table: Mapping[str, Any]) -> None:
    """Replace a remembered table, whole or not at all. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(table, separators=(",", ":")))  # dump() takes four times as long
        Path(temporary).replace(file)
    finally:
        Path(temporary).unlink(missing_ok=True)
