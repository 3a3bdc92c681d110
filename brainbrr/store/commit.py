"""Store several finished drafts with few syncs: what one step of each has written becomes durable by one call for all.

The steps are those of a single draft, in the same order: files, object into place, record. Nothing is acknowledged
before the last of them is durable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TypeAlias

from brainbrr.core import files
from brainbrr.core.failpoints import reach
from brainbrr.errors import RecordingError
from brainbrr.store.filesystem import syncs_together
from brainbrr.store.store import Deleted, Finished, Put, Store

Result: TypeAlias = Put | RecordingError | Deleted
"""What became of a draft: `Deleted` asks for the same draft again."""


def can_keep_together(store: Store) -> bool:
    """Return whether the store's file system can make everything durable by one call."""
    return syncs_together(store.location)


def keep_together(store: Store, finished: Sequence[Finished]) -> list[Result]:
    """Store finished drafts and return what became of each; they are durable when this returns.

    Raises what `Store.keep` raises of the store as a whole: then none of them is acknowledged.
    """
    results: dict[int, Result] = {}
    with contextlib.ExitStack() as stack, files.writing(store.location, n_bytes=sum(each.n_bytes for each in finished)):
        sync = stack.enter_context(files.synced_later(store.location))
        under_way: dict[int, Generator[None, None, Put]] = {}
        for i, each in enumerate(finished):
            temporary = stack.enter_context(store.layout.scratch())
            under_way[i] = _steps(store, each, temporary)
        while under_way:
            for i, steps in list(under_way.items()):
                try:
                    next(steps)
                    continue
                except StopIteration as ended:
                    results[i] = ended.value
                except (RecordingError, Deleted) as error:
                    results[i] = error
                del under_way[i]
            sync()
            reach("step durable")
    return [results[i] for i in range(len(finished))]


def _steps(store: Store, finished: Finished, temporary: Path) -> Generator[None, None, Put]:
    """Write and name a draft and its record, step by step."""
    with finished.draft.expected():
        finished.draft.sync()
    files.write(temporary, finished.data)
    yield
    return (yield from store.keeping(finished, temporary))
