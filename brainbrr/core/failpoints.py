"""Named moments between the steps of a write, where a test stops or kills the process. Otherwise they cost nothing."""

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
    "object renamed": "it is in its place",
    "object durable": "its place is on the disk",
    "step durable": "what one step of each recording of a batch wrote is on the disk",
    "record linked": "its record is durable, and it is not yet looked for again",
    "moved aside": "something damaged is in quarantine",
    "damage noted": "a repair knows what is damaged, and has moved nothing",
    "put in place": "something complete is where it belongs, perhaps not yet on the disk",
    "damage repaired": "one damaged thing is replaced, or given up, and the next one is not begun",
    "generation linked": "a catalog's generation is durable, and not yet acknowledged",
    "list written": "a list of deletion candidates is durable",
    "deletion begun": "a deletion has its folder in trash/, and has not yet read what is alive",
    "taken away": "things of one kind lie in its folder, durably, to be looked at again",
    "put back": "one of them is in its place again",
    "decided": "those that nothing keeps are decided upon",
    "receipt written": "a receipt names them, durably, and they are there",
    "removed": "one file of them is gone",
    "deletion called off": "a writer, or the next gc, has renamed a deletion's folder",
    "forget written": "it is durable what a forget deletes, and all of it is there",
}
"""Every point, and what is true when it is reached."""

listener: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Tell the listener, if there is one, that a point is reached."""
    if listener is not None:
        listener(point)
