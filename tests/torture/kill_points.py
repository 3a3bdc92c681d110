"""SIGKILL at every failpoint of every operation that writes: `python tests/torture/kill_points.py` lists them.

Each time the store opens and verifies, nothing that was there is lost, and the same operation done again finishes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from helpers.killed import killed
from helpers.store_values import arguments, catalog_of, key_for, meta_of, overwrite, put_together, row_of, samples_of

from brainbrr.core import failpoints
from brainbrr.core.digest import sha256
from brainbrr.core.statcache import Host
from brainbrr.errors import NotReproducibleError
from brainbrr.ingest.repair import repair
from brainbrr.store import candidates, frozen_views
from brainbrr.store.forget import forget
from brainbrr.store.gc import gc
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

META = meta_of(2, 400)
VIEW = "c" * 64


@dataclass(frozen=True)
class Operation:
    """What is there before, what is done, and how it shows that it is done."""

    name: str
    prepare: Callable[[Store], object]
    run: Callable[[Store], object]
    done: Callable[[Store], bool]
    damaged: bool = False
    """Whether what is prepared is damage, which the operation mends."""
    again: bool = True
    """Whether it can be done once more when it is done."""


def put(store: Store, name: str = "an EDF", *, seed: int = 0) -> str:
    return store.put(samples_of(META, seed=seed), **arguments(META, source=name)).record.content


def put_another(store: Store) -> None:
    """Put another array under a key that has one."""
    try:
        put(store, seed=1)
    except NotReproducibleError:
        return
    raise AssertionError("a second content of a key was taken")


def publish(store: Store, *paths: str) -> None:
    store.publish("demo", lambda latest: catalog_of([*(latest.rows.values() if latest else ()), *map(row_of, paths)]))


def rot(store: Store) -> None:
    """Put an array, and flip a bit of it."""
    flip(store.layout.object(put(store)) / "c.0.0")


def kept_and_not(store: Store) -> None:
    """A recording that the catalog names, one that a frozen view names, and one that nothing names any more."""
    put(store)
    record = store.put(samples_of(META, seed=1), **arguments(META, source="in a view")).record
    put(store, "let go", seed=2)
    store.put_findings(key_for("let go"), 1, {"score": 1})
    row = row_of("a.edf", source=sha256(b"an EDF"))
    store.publish("demo", lambda _: catalog_of([row]))
    view = {"format": 1, "corpus": "demo", "recordings": [{"key": record.key, "content": record.content}]}
    frozen_views.freeze(store, VIEW, view)


def collect(store: Store) -> None:
    gc(store, yes=True, grace_s=0)


def condemn(store: Store) -> None:
    """Let a gc condemn what nothing names, after a grace that is over at once."""
    time.sleep(0.02)
    gc(store, yes=True, grace_s=0.01)  # type: ignore[arg-type]  # a part of a second: nobody waits longer in a test


def dead_gc(store: Store) -> None:
    """A gc that died when it had taken away what it was about to delete."""
    kept_and_not(store)
    child = os.fork()
    if child == 0:

        def die(point: str) -> None:
            if point == "taken away" and any(store.layout.trash.glob("*/objects/*")):
                os._exit(9)

        failpoints.listener = die
        collect(store)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def three_generations(store: Store) -> None:
    for path in ("a.edf", "b.edf", "c.edf"):
        publish(store, path)


def damaged_beside_a_good_one(store: Store) -> None:
    """Damage of each kind in a store, beside another store that has it all as it should be."""
    kept_and_not(store)
    named = row_of("b.edf", source=sha256(b"in a view"))  # else nothing here says what its record was made from
    store.publish("demo", lambda latest: catalog_of([*(latest.rows.values() if latest else ()), named]))
    good = store.location.parent / "good"
    shutil.copytree(store.location, good, dirs_exist_ok=True)
    first, second, _ = (store.record(key_for(name)) for name in ("an EDF", "in a view", "let go"))
    assert first is not None and second is not None
    flip(store.layout.object(first.content) / "c.0.0")
    flip(store.layout.record(second.key))
    flip(store.layout.view(VIEW))
    flip(next(store.layout.findings.glob("*/*.json")))
    flip(store.layout.generation("demo", 1))
    (store.layout.objects / second.content[:2] / "zarr.json").unlink()
    third = store.layout.object(second.content)
    third.rename(third.with_name(second.content[:2] + "f" * 62))  # whole, under another's name


def mend(store: Store) -> None:
    """Repair from the other store, on a host that remembers: what only damaged things named is else known to nobody."""
    host = Host(store.location.with_name(f"{store.location.name}-host"))
    repair(store, source=Store.open(store.location.parent / "good"), host=host, workers=1)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))


def nothing(store: Store) -> None:
    """Begin with an empty store."""


def counts(objects: int, records: int) -> Callable[[Store], bool]:
    return lambda store: (len(list(store.contents())), len(list(store.keys()))) == (objects, records)


OPERATIONS = (
    Operation("put", nothing, put, counts(1, 1)),
    Operation(
        "batch",
        put,
        lambda store: put_together(store, {"one": 1, "two": 2, "its copy": 0, "two again": 2}, META),
        counts(3, 5),
    ),
    Operation("put of what is there", put, put, counts(1, 1)),
    Operation("dedupe", put, lambda store: put(store, "its copy"), counts(1, 2)),
    Operation("put over damage", rot, put, counts(1, 1), damaged=True),
    Operation("put of another content", put, put_another, counts(1, 1)),
    Operation("first catalog", nothing, lambda store: publish(store, "a.edf"), lambda s: s.catalog("demo") is not None),
    Operation(
        "catalog advance",
        lambda store: publish(store, "a.edf"),
        lambda store: publish(store, "b.edf"),
        lambda store: sorted(store.catalog("demo").rows) == ["a.edf", "b.edf"],  # type: ignore[union-attr]
    ),
    Operation(
        "freeze",
        nothing,
        lambda store: store.freeze(VIEW, {"format": 1}),
        lambda store: store.frozen(VIEW) == {"format": 1},
    ),
    Operation(
        "findings",
        nothing,
        lambda store: store.put_findings("ab" * 16, 1, {"score": 100}),
        lambda store: store.findings("ab" * 16, 1) == {"score": 100},
    ),
    Operation("gc", kept_and_not, collect, counts(2, 2)),
    Operation(
        "gc that condemns",
        kept_and_not,
        condemn,
        lambda store: bool(candidates.read_all(store.layout)[0]) or counts(2, 2)(store),
    ),
    Operation("gc after one that died", dead_gc, collect, counts(2, 2)),
    Operation(
        "freeze beside a dead gc", dead_gc, lambda store: frozen_views.freeze(store, VIEW, {"format": 1}), counts(3, 2)
    ),
    Operation("pin", kept_and_not, lambda store: frozen_views.pin(store, VIEW), lambda s: s.layout.pins() == [VIEW]),
    Operation(
        "unpin",
        lambda store: (kept_and_not(store), frozen_views.pin(store, VIEW)),
        lambda store: frozen_views.unpin(store, VIEW),
        lambda store: store.layout.pins() == [],
    ),
    Operation(
        "retire",
        nothing,
        lambda store: frozen_views.retire(store, "ab" * 16, "x"),
        lambda s: s.layout.retired() == ["ab" * 16],
    ),
    Operation("forget", kept_and_not, lambda store: forget(store, "demo", yes=True), counts(0, 0), again=False),
    Operation(
        "forget what is older",
        three_generations,
        lambda store: forget(store, "demo", older_than_s=0, yes=True),
        lambda store: store.layout.generations("demo") == [3],
    ),
    Operation("repair", damaged_beside_a_good_one, mend, counts(3, 3), damaged=True),
)


def killed_at(operation: Operation, template: Path, folder: Path, n: int) -> str | None:
    """Kill the operation at the n-th failpoint that it reaches and return its name; None when it ends before."""
    shutil.copytree(template, folder, symlinks=True)
    try:
        return killed(lambda: operation.run(Store.open(folder)), n)
    except AssertionError as error:
        raise AssertionError(operation.name) from error


def check(operation: Operation, folder: Path, *, point: str | None) -> None:
    """The store opens, verifies and keeps what it had; the same operation finishes what was begun."""
    store = Store.open(folder)
    where = (operation.name, point)
    if not operation.damaged:
        assert verify(store).corrupt == (), where
    if point is None:
        assert operation.done(store), where
    if operation.again or not operation.done(store):
        operation.run(store)
    assert operation.done(Store.open(folder)), where
    assert verify(store).corrupt == (), where


def kill_everywhere(folder: Path) -> Counter[tuple[str, str]]:
    """Kill each operation at each of its failpoints; return how often each point of each operation was hit."""
    hits: Counter[tuple[str, str]] = Counter()
    for i, operation in enumerate(OPERATIONS):
        template = folder / f"{i}"
        operation.prepare(Store.create(template))
        n = 0
        point: str | None = ""
        while point is not None:
            n += 1
            point = killed_at(operation, template, folder / f"{i}-{n}", n)
            check(operation, folder / f"{i}-{n}", point=point)
            shutil.rmtree(folder / f"{i}-{n}")
            if point is not None:
                hits[operation.name, point] += 1
    return hits


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        hits = kill_everywhere(Path(folder))
    for (operation, point), n in hits.items():
        print(f"  {operation}: killed when {point!r} ({failpoints.POINTS[point]}), {n} x recovered")
    missed = failpoints.POINTS.keys() - {point for _, point in hits}
    there = len(failpoints.POINTS)
    said = f"{sum(hits.values())} kills at {there - len(missed)} of {there} failpoints in {len(OPERATIONS)} operations"
    print(f"kill points: {said}, all recovered")
    sys.exit(f"never reached: {', '.join(sorted(missed))}" if missed else 0)


if __name__ == "__main__":
    main()
