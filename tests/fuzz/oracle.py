"""What every fuzz test asks: only our own errors come out, memory stays bounded, nothing else is written."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from brainbrr.errors import BrainbrrError

FLOOR_BYTES = 1 << 21
"""What any reading may take, buffers and messages; the rest goes by the size of what is read."""

PER_BYTE = 256

Result = TypeVar("Result")

_WRITES = {"os.mkdir": (0,), "os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (1,), "os.remove": (0,),
           "os.rmdir": (0,), "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,)}  # fmt: skip
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "exec")
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watched: list[tuple[Path, list[str]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    within, seen = _watched[-1]
    if event == "open":
        path, _, flags = arguments
        touched = (path,) if isinstance(flags, int) and flags & _FLAGS and not isinstance(path, int) else ()
    elif event in _WRITES:
        touched = tuple(arguments[i] for i in _WRITES[event])
    elif event in _STARTS and event != "exec":
        seen.append(event)
        return
    else:
        return
    for path in touched:
        text = os.path.abspath(os.fsdecode(path)) if not isinstance(path, int) else str(path)
        if not Path(text).is_relative_to(within) and "__pycache__" not in text:
            seen.append(f"{event} {text}")


sys.addaudithook(_hook)  # there is no way to take it out again: it looks at nothing while nobody watches


@contextmanager
def watched(within: Path) -> Iterator[None]:
    """Fail when anything outside of a folder is made, written, moved or removed, or a process is started."""
    seen: list[str] = []
    _watched.append((within, seen))
    try:
        yield
    finally:
        _watched.pop()
    assert seen == []


def survives(reading: Callable[[], Result], *, n_bytes: int, within: Path, floor: int = FLOOR_BYTES) -> Result | None:
    """Return what a reading gives, None where it raises an error of ours; fail for anything else.

    It may take `floor` bytes of memory and PER_BYTE for each of n_bytes, numpy's arrays included, touched or not.
    """
    with watched(within):
        tracemalloc.start()
        try:
            return reading()
        except BrainbrrError as error:
            assert error.what
            assert len(str(error)) < 4000
            return None
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak <= floor + PER_BYTE * n_bytes, f"{peak:,} bytes of memory for {n_bytes:,} of input"
