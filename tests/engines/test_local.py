"""Workers of this machine: one that dies, hangs or fails holds up nobody else."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.works import Marked, build_beside, run

from brainbrr.engines.engine import Ended, Engine, Notify
from brainbrr.engines.local import Here, Processes
from brainbrr.errors import BrainbrrError, ExecutorError, RecordingError, SpaceError
from brainbrr.ingest import build as building
from brainbrr.ingest.batches import Batch, build_all
from brainbrr.ingest.build import Builder, Built, Task
from brainbrr.store import layout, leases
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

pytestmark = pytest.mark.slow


def test_a_file_that_kills_its_worker_is_reported_and_all_others_are_stored(
    builder: Builder, tasks: list[Task], store: Store, tmp_path: Path
) -> None:
    told = run(Processes(2), Marked(builder, "kill", tasks[1].key, tmp_path / "aside"), tasks)
    error = told.pop(tasks[1].path)
    assert isinstance(error, RecordingError) and error.where == str(tasks[1].edf)
    assert "died, twice (signal SIGKILL)" in error.what
    assert len(told) == 5 and all(isinstance(built, Built) and built.is_new for built in told.values())
    assert verify(store).verified == 5


def test_a_slow_file_delays_no_other_even_while_another_kills_its_workers(
    builder: Builder, tasks: list[Task], tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    work = Marked(builder, "wait", tasks[0].key, go_on, also={tasks[1].key: "kill"})
    told: dict[str, Built | BrainbrrError] = {}
    for task, outcome in Processes(2).run(work, tasks, lambda _: None):
        told[task.path] = outcome
        if len(told) == 5:  # all but the slow one, among them the one whose worker died twice
            go_on.touch()
    assert isinstance(told[tasks[1].path], RecordingError)
    assert [type(told[task.path]) for task in tasks if task != tasks[1]] == [Built] * 5
    assert list(told)[-1] == tasks[0].path


def test_a_worker_killed_once_costs_nothing_but_time(builder: Builder, tasks: list[Task], tmp_path: Path) -> None:
    told = run(Processes(2), Marked(builder, "kill once", tasks[2].key, tmp_path / "aside"), tasks)
    assert (tmp_path / "aside").exists()
    assert len(told) == 6 and all(isinstance(built, Built) for built in told.values())


@pytest.mark.parametrize("engine", [Here(), Processes(2)])
def test_a_full_disk_stops_the_run_after_what_is_under_way(
    engine: Engine, builder: Builder, all_tasks: list[Task], tmp_path: Path
) -> None:
    told: dict[str, Built | BrainbrrError] = {}
    work = Marked(builder, "full disk", all_tasks[1].key, tmp_path / "aside")
    with pytest.raises(SpaceError, match="the disk is full"):
        for task, outcome in engine.run(work, all_tasks, lambda _: None):
            told[task.path] = outcome
    assert all_tasks[0].path in told and len(told) < 10 and all(isinstance(b, Built) for b in told.values())


def test_a_defect_that_one_file_shows_is_reported_with_its_place(
    builder: Builder, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = building.build
    monkeypatch.setattr(building, "build", lambda at, task, **to: 1 / 0 if task == tasks[1] else build(at, task, **to))
    told = run(Here(), builder, tasks[:3])
    error = told[tasks[1].path]
    assert isinstance(error, RecordingError) and error.where == str(tasks[1].edf)
    assert "ZeroDivisionError" in error.what and "test_local.py" in error.what
    assert [type(told[task.path]) for task in (tasks[0], tasks[2])] == [Built, Built]


def test_the_largest_files_go_first(builder: Builder, all_tasks: list[Task]) -> None:
    class Watches(Here):
        def run(self, work: object, tasks: Sequence[Batch], notify: Notify) -> Ended:  # type: ignore[override]
            self.sizes = [task.n_bytes for batch in tasks for task in batch.tasks]
            yield from ()

    engine = Watches()
    assert list(build_all(all_tasks, builder, engine=engine)) == []
    assert engine.sizes == sorted(engine.sizes, reverse=True) and len(set(engine.sizes)) > 3


def test_a_task_that_is_sent_twice_is_stored_once(builder: Builder, tasks: list[Task], store: Store) -> None:
    run(Processes(2), builder, [task for task in tasks[:3] for _ in range(2)])
    assert verify(store).verified == 3 and len(list(store.records())) == 3


def test_a_script_without_a_main_guard_is_told_so(generated: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import brainbrr\nbrainbrr.ingest({str(generated)!r}, store='store', workers=2)\n")
    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "ExecutorError: a worker process cannot start" in ended.stderr and "__main__" in ended.stderr


def test_work_names_the_machine_that_cannot_do_it(builder: Builder, tmp_path: Path) -> None:
    builder.check()
    for change, told in (
        ({"version": "0.0.9"}, "and 0.0.9 sent the work"),
        ({"recipe_digest": "0" * 32}, "another digest"),
        ({"root": tmp_path / "none"}, "cannot see the corpus"),
        ({"location": tmp_path / "none"}, "cannot see the store"),
        ({"store_made": builder.store_made - 1}, "sees another store"),
    ):
        with pytest.raises(ExecutorError, match=f"worker .*, process {os.getpid()}.*{told}") as caught:
            dataclasses.replace(builder, **change).check()
        assert caught.value.fix


@pytest.mark.parametrize("engine", [Here(), Processes(2)], ids=["here", "processes"])
def test_what_another_process_builds_is_waited_for(engine: Engine, builder: Builder, tasks: list[Task]) -> None:
    build_beside(builder, tasks, engine)


def test_a_lease_of_a_worker_that_was_killed_holds_nobody_up(
    builder: Builder, tasks: list[Task], tmp_path: Path
) -> None:
    script = tmp_path / "hold.py"
    script.write_text(
        "import sys, os, pathlib\nfrom brainbrr.store import create, leases\n"
        "layout = create.open_existing(pathlib.Path(sys.argv[1]))\n"
        "hold = leases.hold(layout, sys.argv[2])\nassert hold.__enter__()\nos.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.Popen([sys.executable, str(script), str(builder.location), tasks[0].key])
    while not layout.is_dead(f"{layout.own_name().split('-')[0]}-{killed.pid}-0"):
        time.sleep(0.02)
    assert list((builder.location / "leases").iterdir())
    began = time.monotonic()
    assert all(isinstance(built, Built) and built.is_new for built in run(Here(), builder, tasks).values())
    assert time.monotonic() - began < leases.TTL_S / 2 and killed.wait() == -9
