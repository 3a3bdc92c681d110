"""Files changed in place, at the same size, in the tick of the clock in which they were hashed, their mtime put back.

`python tests/torture/stat_cache.py --files 2000`. A stat that has not moved may be believed only when the file had
settled before it was read. Asked with the clock of this file system, which may be too fine to be caught, and with one
that ticks once a second.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from brainbrr.core.digest import source_digest
from brainbrr.core.statcache import FileFacts

_SECOND_NS = 1_000_000_000


def once_a_second(path: Path) -> Any:
    """Stat a file as a file system does whose times are whole seconds."""
    found = path.stat()
    mtime, ctime = (ns - ns % _SECOND_NS for ns in (found.st_mtime_ns, found.st_ctime_ns))
    return SimpleNamespace(st_size=found.st_size, st_ino=found.st_ino, st_mtime_ns=mtime, st_ctime_ns=ctime)


def torture(folder: Path, *, n_files: int, seconds: float, seed: int = 0) -> dict[str, int]:
    """Hash, change and ask for files for a while; return counts. Raises AssertionError for a stale answer."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"{i}.edf" for i in range(n_files)]
    for i, file in enumerate(files):
        file.write_bytes(i.to_bytes(8, "little") * 8)
    chance = random.Random(seed)
    tables = {stat.__name__: FileFacts(folder / stat.__name__, stat=stat) for stat in (os.stat, once_a_second)}
    counts = {"questions": 0, "answered by stat": 0, "edits": 0, "stale": 0}

    def edit(file: Path) -> None:
        before = file.stat()
        with file.open("r+b", buffering=0) as opened:
            opened.write(counts["edits"].to_bytes(8, "big"))  # another text of the same length
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        counts["edits"] += 1

    def ask(facts: FileFacts, file: Path) -> None:
        known = facts.known(file.name, file)
        counts["questions"] += 1
        counts["answered by stat"] += known is not None
        counts["stale"] += known is not None and known != source_digest(file)

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        # most files rest, so that their stats come to be believed; a tenth of them is changed all the time
        file = files[chance.randrange(n_files)]
        for facts in tables.values():
            ask(facts, file)
            facts.learn(file.name, file, lambda file=file: source_digest(file))
        if int(file.stem) % 10 == 0 or chance.random() < 0.01:
            edit(file)
            for facts in tables.values():
                ask(facts, file)
    assert counts["stale"] == 0, counts
    assert counts["answered by stat"] > 0, "no stat was ever believed: more seconds, or fewer files"
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=30)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = torture(Path(folder), n_files=asked.files, seconds=asked.seconds)
    print(f"stat cache: {', '.join(f'{n:,} {name}' for name, n in counts.items())}")


if __name__ == "__main__":
    main()
