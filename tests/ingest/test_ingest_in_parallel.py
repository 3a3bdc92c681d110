"""Several ingests of one tree into one store at the same time: each object stored once, seldom computed twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from torture.stampede import Stampede, begin, ended, left_in, stampede

from brainbrr.core.digest import key_of, source_digest
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.engines.local import Here
from brainbrr.ingest.batches import build_all
from brainbrr.ingest.build import Builder, Built, Task
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

pytestmark = pytest.mark.slow


def test_two_ingests_of_a_tree_share_the_work(tmp_path: Path) -> None:
    write_corpus(tmp_path / "demo", n_recordings=24, seed=0, seconds=(60, 80))
    store = tmp_path / "store"
    processes = [begin(tmp_path / "demo", store, tmp_path / f"host{n}", "--workers", "1") for n in range(2)]
    reports = ended(processes, timeout_s=180)
    found = left_in(store, reports)
    assert (found.objects, found.records, found.new, found.reused) == (24, 24, 24, 24)
    assert (found.leases, found.leftovers, found.quarantined, found.damaged) == (0, 0, 0, 0)
    assert found.computed_twice <= 1
    assert min(report["new"] for report in reports) > 0


def test_a_stampede_on_one_recording_computes_it_once(tmp_path: Path) -> None:
    found = stampede(tmp_path, 6)
    assert found.computed_twice <= 1
    assert found == Stampede(1, 5, found.computed_twice, 1, 1, 0, 0, 0, 0)


def test_a_stalled_process_loses_its_recording_to_another_when_its_lease_ends(generated: Path, tmp_path: Path) -> None:
    location = tmp_path / "store"
    Store.create(location)
    still = begin(generated, location, tmp_path / "host", "--workers", "1")
    deadline = time.monotonic() + 60
    while not list(location.glob("leases/*")) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(still.pid, signal.SIGSTOP)
    keys = [path.name for path in location.glob("leases/*")]
    tasks, told, said = tasks_of(generated), {}, []
    builder = Builder.for_ingest(location, generated, Recipe(), lease_s=2)

    for task, outcome in build_all(tasks, builder, engine=Here(), notify=said.append):
        told[task.key] = outcome
    assert all(isinstance(built, Built) for built in told.values()) and len(told) == len(tasks)
    if keys:  # none: it stood still between two recordings
        assert said == ["waiting for another process, which builds 1 of these recordings"]
        assert list(told)[-1] == keys[0]
    os.kill(still.pid, signal.SIGCONT)
    found = left_in(location, ended([still], timeout_s=60))
    assert (found.objects, found.records, found.damaged, found.leases, found.leftovers) == (18, 18, 0, 0, 0)
    assert verify(Store.open(location)).verified == 18


def tasks_of(root: Path) -> list[Task]:
    recipe, tasks = Recipe().digest, {}
    for edf in sorted(root.rglob("*.edf")):
        source = source_digest(edf)
        key = key_of(source=source, recipe=recipe)
        tasks[key] = Task(edf.name, edf, source, edf.stat().st_size, key)
    return list(tasks.values())
