"""Moving what is damaged out of the way, and what is whole to where it belongs. Deletes and overwrites nothing.

Knows nothing of what is damaged, nor of EEG: verbs/repair.py decides.
"""

from __future__ import annotations

import os
from pathlib import Path

from brainbrr.store import catalog as catalogs
from brainbrr.store import files
from brainbrr.store.failpoints import reach
from brainbrr.store.layout import Layout


def place_object(layout: Layout, folder: Path, content: str) -> bool:
    """Move a folder that holds an array, whole, to where its content belongs; False when something lies there."""
    place = layout.object(content)
    layout.ensure_fan_out(place.parent, group=True)
    if os.path.lexists(place):
        return False
    if not files.rename_folder(folder, place):
        return False
    reach("put in place")
    for each in (place.parent, folder.parent):
        files.sync_folder(each)
    return True


def place_file(layout: Layout, file: Path, place: Path) -> bool:
    """Move a whole file to where it belongs; False when something lies there."""
    layout.ensure_fan_out(place.parent)
    if not files.link(file, place):
        return False
    reach("put in place")
    files.sync_folder(place.parent)
    file.unlink()
    files.sync_folder(file.parent)
    return True


def replace_generation(layout: Layout, corpus: str, seq: int, data: bytes) -> None:
    """Put a generation's own bytes where it lies damaged or lacks; what lies there moves to quarantine."""
    path = layout.generation(corpus, seq)
    layout.quarantine(path)
    layout.ensure_fan_out(path.parent)
    with layout.scratch() as temporary:
        files.publish(temporary, path, data)
    catalogs.acknowledge(layout, corpus, seq, catalogs.generation(layout, corpus, seq)[1])
