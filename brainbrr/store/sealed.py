"""Small sealed files, each by its own name: read whole or refused, written once, never replaced.

Knows nothing of what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from brainbrr.errors import IntegrityError
from brainbrr.store import files
from brainbrr.store.layout import Layout

Kinds = Mapping[str, tuple[type, ...]]


def read(
    path: Path, kinds: Kinds | None = None, *, limit: int = files.MAX_JSON_BYTES, number: int = 1
) -> dict[str, Any] | None:
    """Return what a file says, None where there is none.

    Raises FormatError for another format than `number`, IntegrityError when it is damaged or has other fields than
    `kinds`.
    """
    try:
        found = files.unseal(files.read(path, limit=limit), where=path)
    except FileNotFoundError:
        return None
    files.check_format(found, number, kind="a file", where=path)
    return found if kinds is None else dict(files.fields(found, kinds, where=path))


def publish(
    layout: Layout,
    path: Path,
    fields: Mapping[str, Any],
    standing: Callable[[], object],
    *,
    durable: bool = True,
) -> int:
    """Make a file be there, and return the bytes written: 0 where a whole one stands, which stays.

    `standing` reads what is there: None when nothing is, IntegrityError when it is damaged, which moves it to
    quarantine. Raises UsageError for what is not JSON without floats, SpaceError.
    """
    data = files.seal(fields)
    with files.writing(layout.root, n_bytes=len(data)):
        try:
            if standing() is not None:
                return 0
        except IntegrityError:
            layout.quarantine(path)
        layout.ensure_fan_out(path.parent, durable=durable)
        with layout.scratch() as temporary:
            return len(data) if files.publish(temporary, path, data, durable=durable) else 0
