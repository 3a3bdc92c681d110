"""Any executor of `concurrent.futures` builds, and one that breaks leaves a store that the same again finishes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.works import Marked, build_beside, run

import brainbrr
from brainbrr.engines.engine import Futures
from brainbrr.errors import BrainbrrError, ExecutorError, SpaceError
from brainbrr.ingest.build import Builder, Built, Task
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

pytestmark = pytest.mark.slow


def test_ingest_builds_on_an_executor_of_the_callers_own(corpus: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        report = brainbrr.ingest(corpus, store=tmp_path / "store", executor=executor)
        assert (report.new, report.failed) == (18, ())
        assert brainbrr.ingest(corpus, store=tmp_path / "store", executor=executor).reused == 18
    assert verify(Store.open(tmp_path / "store")).verified == 18


def test_a_pool_that_breaks_is_an_error_and_the_same_again_completes(
    builder: Builder, tasks: list[Task], store: Store, tmp_path: Path
) -> None:
    told: dict[str, Built | BrainbrrError] = {}
    work = Marked(builder, "kill once", tasks[3].key, tmp_path / "aside")
    for attempt in range(2):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as pool:
            engine = Futures(pool)
            if attempt == 0:
                with pytest.raises(ExecutorError, match="the executor broke"):
                    for task, outcome in engine.run(work, tasks, lambda _: None):
                        told[task.path] = outcome
                assert set(told) == {task.path for task in tasks[:3]}
            else:
                told |= run(engine, work, tasks)
    assert len(told) == 6 and all(isinstance(built, Built) for built in told.values())
    assert [built.is_new for built in told.values() if isinstance(built, Built)] == [False] * 3 + [True] * 3
    assert verify(store).verified == 6


def test_a_full_disk_stops_what_has_not_begun(
    builder: Builder, all_tasks: list[Task], store: Store, tmp_path: Path
) -> None:
    work = Marked(builder, "full disk", all_tasks[1].key, tmp_path / "aside")
    with ThreadPoolExecutor(1) as executor, pytest.raises(SpaceError, match="the disk is full"):
        run(Futures(executor), work, all_tasks)
    assert len(list(store.records())) < 6


def test_what_another_process_builds_is_waited_for(builder: Builder, tasks: list[Task]) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as pool:
        build_beside(builder, tasks, Futures(pool))
