"""Recordings that are gone from a corpus's root, or a store from its place: deleted, or only out of reach?

In doubt an ingest is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from brainbrr.eeg.corpus import Corpus
from brainbrr.errors import UsageError
from brainbrr.host import Host
from brainbrr.store.catalog import Catalog

_FIX = (
    "check that the whole corpus is mounted; another corpus needs --corpus NAME; "
    "if they are really deleted, say --accept-removed"
)


def refuse_lost_store(location: Path, host: Host | None) -> None:
    """Raise UsageError where this host had a store, and nothing but an empty folder is left: is its disk mounted?

    A new one would lie hidden below the mount point, and hold all the corpus a second time.
    """
    lost = False
    with suppress(OSError):  # what cannot be looked at says nothing
        folder = next(each for each in (location.absolute(), *location.absolute().parents) if each.exists())
        lost = host is not None and host.knows(location) and next(folder.iterdir(), None) is None
    if lost:
        raise UsageError(
            "the store that was here is gone, and its folder is empty, as a mount point without its disk",
            where=location,
            fix="mount it; if it is really deleted, `brainbrr store init` makes a new one",
        )


def refuse_removal(found: Corpus, base: Catalog | None, removed: Iterable[str], *, accepted: bool) -> None:
    """Raise UsageError where recordings may be gone only because a disk is: a gc would let go of what they became.

    That is where most of them are gone, or where one lies behind a link that leads nowhere, behind a folder that
    cannot be looked into, or was all that a folder held, as an empty mount point looks. `accepted` believes all of it
    but a folder that cannot be looked into.
    """
    removed = sorted(removed)
    empty: dict[Path, bool] = {}
    for path in removed:
        why = _out_of_reach(found.root, path, empty)
        if why is not None and not (accepted and why[1]):
            raise UsageError(f"recording {path} is out of reach: {why[0]}", where=found.root, fix=_FIX)
    if base and 2 * len(removed) > len(base.rows) and not accepted:
        raise UsageError(
            f"{len(removed)} of the {len(base.rows)} recordings of corpus {found.name!r} are not below this root",
            where=found.root,
            fix=_FIX,
        )


def _out_of_reach(root: Path, path: str, empty: dict[Path, bool]) -> tuple[str, bool] | None:
    """Return why a missing file may still be there, and whether that can be accepted; None where it is deleted."""
    try:
        (root / path).stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # no permission, a network that is gone
        return f"{error.strerror}", False
    for folder in [root / part for part in reversed(Path(path).parents[:-1])]:
        if not folder.exists():
            return ("a link leads nowhere", True) if folder.is_symlink() else None
        if folder not in empty:
            with os.scandir(folder) as entries:
                empty[folder] = next(entries, None) is None
        if empty[folder]:
            return f"folder {folder.relative_to(root)} is empty, as a mount point without its disk", True
    return None
