"""Break a put (of an array, of findings), a publish or a freeze at its n-th system call: by full disk, or by death."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.small_stores import verify_catalog
from helpers.store_values import arguments, catalog_of, meta_of, row_of, samples_of

from brainbrr.store.integrity import verify_object, verify_record
from brainbrr.store.references import verify_small_file
from brainbrr.store.store import Store

CALLS = ("write", "fsync", "fchmod", "link", "mkdir", "rename", "unlink")
META = meta_of(2, 400)
SAMPLES = samples_of(META)


def put(store: Store) -> None:
    store.put(SAMPLES, **arguments(META))


def publish(store: Store) -> None:
    store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))


def freeze(store: Store) -> None:
    store.freeze("c" * 64, {"format": 1})


def examine(store: Store) -> None:
    store.put_findings("ab" * 16, 1, {"score": 100})


ACTIONS = {"put": put, "publish": publish, "freeze": freeze, "examine": examine}


class Breaking:
    """Call `action` instead of the n-th call to the file system; count them all."""

    def __init__(self, n: int, action: Callable[[], None], *, calls: tuple[str, ...] = CALLS) -> None:
        self.n, self.action, self.calls, self.count = n, action, calls, 0

    def __enter__(self) -> Breaking:
        self.real = {name: getattr(os, name) for name in self.calls}
        for name, real in self.real.items():
            # the death of a process loses no written page: fsync counts as a point, but the disk need not work
            setattr(os, name, self.counting((lambda _: None) if name == "fsync" else real))
        return self

    def counting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.n:
                self.action()
            return real(*args, **kwargs)

        return call

    def __exit__(self, *_: object) -> None:
        for name, real in self.real.items():
            setattr(os, name, real)


def die_at_every_point(name: str, folder: Path) -> int:
    """Kill a process at each call in turn; after each death check the store and do the same again."""
    n = 0
    while True:
        n += 1
        store = Store.create(folder / f"{name}-{n}")
        child = os.fork()
        if child == 0:
            with Breaking(n, lambda: os._exit(9)):
                ACTIONS[name](store)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        check(Store.open(store.location), done=status == 0, name=name)
        if status == 0:
            return n - 1
        assert status == 9
        assert len(store.stale_tmp()) == len(list((store.location / "tmp").iterdir()))
        ACTIONS[name](store)
        check(store, done=True, name=name)


def check(store: Store, *, done: bool, name: str) -> None:
    """Everything that can be seen in the store is whole; what is done is there."""
    contents, keys = list(store.contents()), list(store.keys())
    for content in contents:
        verify_object(store, content)
    for key in keys:
        verify_record(store, key)
    verify_catalog(store, "demo")
    assert not list((store.location / "quarantine").iterdir())
    for findings in store.found_findings():
        verify_small_file(store, "findings", findings)
    found = {
        "put": len(keys),
        "publish": len(store.corpora()),
        "freeze": len(store.frozen_views()),
        "examine": len(list(store.found_findings())),
    }[name]
    assert found == 1 if done else found <= 1
    if name == "freeze" and found:
        assert store.frozen("c" * 64) == {"format": 1}


if __name__ == "__main__":
    for action in ACTIONS:
        sys.stdout.write(f"{action} {die_at_every_point(action, Path(sys.argv[1]))}\n")
