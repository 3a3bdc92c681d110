"""Named moments between the steps of a write, where a test stops or kills the process. Free while nobody listens."""

from __future__ import annotations

from collections.abc import Callable

POINTS = {
    "folder made": "a folder is there, perhaps not yet on the disk",
    "file written": "a small file is whole and durable under a temporary name",
    "file linked": "it has its name too",
    "file unlinked": "it has no other name",
    "file durable": "its name is on the disk",
    "object begun": "both files of an object are open in tmp/, with its zarr.json",
    "object written": "all its tiles and its index are written",
    "object flushed": "its files are read-only and on the disk",
    "object renamed": "it lies in its place",
    "object durable": "its place is on the disk",
    "record linked": "its record is durable, and it is not yet looked for again",
    "moved aside": "something damaged lies in quarantine",
    "damage noted": "a repair knows what is damaged, and has moved nothing",
    "put in place": "something whole lies where it belongs, perhaps not yet on the disk",
    "damage mended": "one damaged thing is replaced, or given up, and the next one is not begun",
    "generation linked": "a catalog's generation is durable, and not yet acknowledged",
}
"""Every point, and what is true when it is reached."""

listener: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Tell whoever listens that a point is reached."""
    if listener is not None:
        listener(point)
