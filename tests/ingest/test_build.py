"""One build: an EDF that cannot be read is a refused recording, a store that cannot be written is not."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from brainbrr.core.digest import key_of, source_digest
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.engine import Ended, Notify
from brainbrr.engines.local import Here
from brainbrr.errors import CollisionError, EdfError, ExecutorError, SpaceError
from brainbrr.ingest import batches
from brainbrr.ingest import build as build_module
from brainbrr.ingest.build import Builder, Built, Busy, Identified, Task, build
from brainbrr.ingest.missing import compile_kernels
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

RECIPE = Recipe()


def failing(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def task(generated: Path) -> Task:
    edf = next(generated.rglob("*.edf"))
    source = source_digest(edf)
    return Task(edf.name, edf, source, edf.stat().st_size, key_of(source=source, recipe=RECIPE.digest))


def test_a_disk_error_of_the_store_is_not_the_recordings_fault(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Store.create(tmp_path / "store").location
    for call in ("write", "fsync", "rename"):
        with monkeypatch.context() as broken, pytest.raises(OSError, match="Input/output error"):
            broken.setattr(os, call, failing)
            build(location, task, RECIPE)
    assert build(location, task, RECIPE).is_new


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES, errno.ENOSPC])
def test_a_disk_error_of_the_edf_is_a_refusal_that_names_it(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def unreadable(*_: Any) -> NoReturn:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "preadv", unreadable)
    with pytest.raises(EdfError, match=f"cannot be read: {os.strerror(error)}") as raised:
        build(Store.create(tmp_path / "store").location, task, RECIPE)
    assert raised.value.where == str(task.edf)


@pytest.mark.parametrize(("takes_s", "said"), [(0.0, 0), (0.3, 1)])
def test_compiling_kernels_is_said_where_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, takes_s: float, said: int
) -> None:
    words: list[str] = []
    monkeypatch.setitem(compile_kernels.__globals__, "_LONG_S", 0.1)
    monkeypatch.setitem(compile_kernels.__globals__, "prove", lambda: time.sleep(takes_s))
    compile_kernels(words.append)
    assert len(words) == said and all("once" in each for each in words)


def test_a_batch_is_stored_as_its_tasks_are_one_by_one(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "_TOGETHER_S", 60)
    recipe, edfs = RECIPE, sorted(generated.rglob("*.edf"), key=lambda edf: edf.stat().st_size)[:3]
    copy = tmp_path / "copy.edf"
    copy.write_bytes(edfs[0].read_bytes())
    broken = tmp_path / "broken.edf"
    broken.write_bytes(b"no EDF")
    tasks = [Task(edf.name, edf, None, edf.stat().st_size, f"{n:032x}") for n, edf in enumerate([*edfs, copy, broken])]
    stores = [Store.create(tmp_path / name) for name in ("single", "batch")]
    single, batch = (Builder.for_ingest(store.location, generated, recipe) for store in stores)
    alone, together = [single(task) for task in tasks], batch.several(tasks)
    for task, a, b in zip(tasks, alone, together, strict=True):
        assert isinstance(a, Identified) and isinstance(b, Identified)
        assert (
            replace(a.task, seen=()) == replace(b.task, seen=())
            and a.task.source == source_digest(task.edf)
            and a.task.path == task.path
        )
    assert [type(each.outcome) for each in alone] == [Built, Built, Built, Built, EdfError]  # type: ignore[union-attr]
    assert [type(each.outcome) for each in together] == [Built, Built, Built, Busy, EdfError]  # type: ignore[union-attr]
    assert set(stores[0].keys()) == set(stores[1].keys())
    assert verify(stores[1]).verified == 3 and not list((stores[1].location / "tmp").iterdir())
    again = batch.several([together[3].task])  # type: ignore[union-attr]
    assert isinstance(again[0], Built) and again[0].existed
    line = json.loads(json.dumps([batch.outcome_to_json(each) for each in together]))
    assert [batch.outcome_of(each).task for each in line] == [each.task for each in together]  # type: ignore[union-attr]


@pytest.mark.parametrize("together", [True, False])
def test_a_full_disk_in_a_batch_keeps_what_was_built_before(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    monkeypatch.setattr(build_module, "can_keep_together", lambda _: together)
    edfs = sorted(generated.rglob("*.edf"), key=lambda edf: edf.stat().st_size)[:3]
    tasks = [Task(edf.name, edf, None, edf.stat().st_size, f"{n:032x}") for n, edf in enumerate(edfs)]
    builder = Builder.for_ingest(Store.create(tmp_path / "store").location, generated, RECIPE)
    draft, n = build_module.draft, iter(range(3))

    def full(*given: Any, **more: Any) -> Any:
        if next(n) == 1:
            raise SpaceError("the disk is full")
        return draft(*given, **more)

    monkeypatch.setattr(build_module, "draft", full)
    first, second, third = builder.several(tasks)
    assert isinstance(first, Identified) and (type(second), type(third)) == (Busy, Busy)
    assert builder.existing(first.task) is not None


@pytest.mark.parametrize("n_together", [1, 3])
def test_after_a_lost_job_a_key_of_another_source_fails_its_recording_alone(
    stored: Store, generated: Path, monkeypatch: pytest.MonkeyPatch, n_together: int
) -> None:
    class Lost(Here):
        def run(self, work: Any, tasks: Sequence[Any], notify: Notify) -> Ended[Any, Any]:
            for each in tasks:
                found = work.existing(each)
                yield each, ExecutorError("lost") if found is None else found

    def existing(self: Builder, task: Task, store: Store | None = None) -> Built | None:
        if task.path == "other":
            raise CollisionError("its key is another source's")
        return proper(self, task, store)

    proper = Builder.existing
    monkeypatch.setattr(Builder, "existing", existing)
    monkeypatch.setattr(batches, "_n_together", lambda *_: n_together)
    first = next(iter(stored.records()))
    made = {"there": (first.source, first.key), "other": ("ab" * 32, "cd" * 16), "not there": ("ef" * 32, "01" * 16)}
    tasks = [Task(name, generated / name, source, 1, key) for name, (source, key) in made.items()]
    builder = Builder.for_ingest(stored.location, generated, RECIPE)
    ended = {task.path: type(outcome) for task, outcome in batches.build_all(tasks, builder, engine=Lost())}
    assert ended == {"there": Built, "other": CollisionError, "not there": ExecutorError}
