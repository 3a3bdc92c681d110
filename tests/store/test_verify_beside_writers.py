"""verify and repair while others write: whatever they list, something may come right after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from helpers.small_stores import publish, put, view_of

from brainbrr.ingest.repair import repair
from brainbrr.store import frozen_views
from brainbrr.store.forget import forget
from brainbrr.store.gc import gc
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

LISTDIR, SCANDIR = os.listdir, os.scandir


class Scanned(ExitStack):
    """Entries of a folder that were read at once, as os.scandir gives them one by one."""

    def __init__(self, entries: list[os.DirEntry[str]]) -> None:
        super().__init__()
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        return self._entries

    def __next__(self) -> os.DirEntry[str]:
        return next(self._entries)


def write_more(store: Store) -> None:
    """Do all that makes files: an ingest with a corpus of its own, a training, a pin, a retired recipe, a gc."""
    own = Store.open(store.location)
    old = [record for record in own.records() if record.recipe not in own.layout.retired()]
    new = [put(own, f"new {n}") for n in range(3)]
    publish(own, *old, *new)
    publish(own, new[0], corpus="another")
    digest, said = view_of(*new)
    frozen_views.freeze(own, digest, said)
    frozen_views.pin(own, digest)
    put(own, "lost")
    gc(own, yes=True, grace_s=0)
    retired = put(own, "retired", recipe_fields={"revision": 9})
    frozen_views.retire(own, retired.recipe, "old")
    own.layout.make_folder(own.layout.lease("a" * 32).parent)
    own.layout.lease("a" * 32).write_bytes(b"{}")


def delete(store: Store) -> None:
    """Let go of a corpus and its view, and of what nothing names."""
    own = Store.open(store.location)
    gc(own, yes=True, grace_s=0)
    forget(own, "old", yes=True)


def after_each_listing(
    folder: Path,
    run: Callable[[Store], None],
    monkeypatch: pytest.MonkeyPatch,
    others: Callable[[Store], None] = write_more,
) -> Iterator[tuple[int, Store]]:
    """Run something again and again; others act after its first listing of a folder, then after its second, ..."""
    n, count = 0, 1
    while n < count:
        n, count = n + 1, 0
        store = Store.create(folder / str(n))
        publish(store, put(store, "a"), put(store, "b"))
        if others is delete or run is let_go:
            old = put(store, "old")
            for kept in ((), (old,)):
                publish(store, *kept, corpus="old")
            store.freeze(*view_of(old, corpus="old"))
            put(store, "lost")

        def after(n: int = n, store: Store = store) -> None:
            nonlocal count
            count += 1
            if count == n:
                with monkeypatch.context() as patch:
                    patch.setattr(os, "listdir", LISTDIR)
                    patch.setattr(os, "scandir", SCANDIR)
                    others(store)

        def listed(path: Any, after: Callable[[], None] = after) -> list[str]:
            found = LISTDIR(path)
            after()
            return found

        def scanned(path: Any, after: Callable[[], None] = after) -> Scanned:
            with SCANDIR(path) as entries:
                found = Scanned(list(entries))
            after()
            return found

        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", listed)  # which Path.iterdir calls, too
            patch.setattr(os, "scandir", scanned)
            run(store)
        yield n, store


def let_go(store: Store) -> None:
    forget(store, "old", yes=True)


@pytest.mark.slow
@pytest.mark.parametrize("others", [write_more, delete])
def test_what_others_do_beside_a_verify_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: Callable[[Store], None]
) -> None:
    def prove(store: Store) -> None:
        assert verify(store, depth="quick").corrupt == ()

    for n, store in after_each_listing(tmp_path, prove, monkeypatch, others):
        assert verify(store).corrupt == (), n
    assert n > 40


@pytest.mark.slow
def test_a_gc_may_end_what_a_forget_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n, store in after_each_listing(tmp_path, let_go, monkeypatch):
        assert verify(store).corrupt == () and "old" not in store.corpora(), n
    assert n > 40


@pytest.mark.slow
def test_what_is_written_beside_a_repair_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mend(store: Store) -> None:
        (store.layout.objects / "zarr.json").unlink()
        assert {(each.kind, each.outcome) for each in repair(store, depth="quick").results} <= {("group", "restored")}

    for n, store in after_each_listing(tmp_path, mend, monkeypatch):
        assert verify(store).corrupt == (), n
        assert [path.name for path in (store.location / "quarantine").iterdir()] == []
    assert n > 40
