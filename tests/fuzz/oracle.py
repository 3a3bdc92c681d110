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

FLOOR_BYTES = 1 << 22
"""What any reading may take, buffers and messages; the rest goes by the size of what is read."""

PER_BYTE = 256

Result = TypeVar("Result")

_WRITES = {
    "os.mkdir": (0,), "os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (1,), "os.remove": (0,), "os.rmdir": (0,),
    "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,),
}  # fmt: skip
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class")
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watching: list[tuple[Path, list[str]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    within, seen = _watching[-1]
    if event in _STARTS:
        seen.append(event)
    elif event == "open":
        if isinstance(arguments[2], int) and arguments[2] & _FLAGS:
            _note(event, arguments[0], within, seen)
    elif event in _WRITES:
        for i in _WRITES[event]:
            _note(event, arguments[i], within, seen)


def _note(event: str, path: Any, within: Path, seen: list[str]) -> None:
    if isinstance(path, int):  # a descriptor that was opened before, and seen then
        return
    text = os.path.abspath(os.fsdecode(path))
    if not text.startswith(f"{within}{os.sep}") and "__pycache__" not in text:
        seen.append(f"{event} {text}")


sys.addaudithook(_hook)  # there is no way to take it out again: it looks at nothing while nobody watches


@contextmanager
def watched(within: Path) -> Iterator[None]:
    """Fail when anything outside of a folder is made, written, moved or removed, or a process is started."""
    seen: list[str] = []
    _watching.append((within, seen))
    try:
        yield
    finally:
        _watching.pop()
    assert seen == []


def survives(
    reading: Callable[[], Result], *, n_bytes: int, within: Path, measured: bool = True
) -> Result | BrainbrrError:
    """Return what a reading gives, or the error of ours that it raises; fail for anything else.

    It may take FLOOR_BYTES of memory and PER_BYTE for each of n_bytes, numpy's arrays included, touched or not.
    """
    if measured:
        tracemalloc.start()
    try:
        with watched(within):
            return reading()
    except BrainbrrError as error:
        assert error.what
        assert len(str(error)) < 8000
        return error
    finally:
        peak = tracemalloc.get_traced_memory()[1]  # 0 where it is not measured
        tracemalloc.stop()
        assert peak <= FLOOR_BYTES + PER_BYTE * n_bytes, f"{peak:,} bytes of memory for {n_bytes:,} of input"
