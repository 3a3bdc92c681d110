from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.small_stores import verify_catalog

from brainbrr.store.integrity import verify_object, verify_record
from brainbrr.store.store import Store

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
N_PROCESSES = 8


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[dict[str, list[list[object]]]]]:
    """A store that eight processes created and filled at the same moment, and what each of them was told."""
    location = tmp_path_factory.mktemp("crowd") / "store"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    start = str(time.time() + 1.5)
    processes = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "helpers" / "store_writer.py"), str(location), str(n), start],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for n in range(N_PROCESSES)
    ]
    told = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        told.append(json.loads(out))
    return Store.open(location), told


def test_many_writers_of_one_array_leave_one_object_and_one_record(crowded) -> None:  # type: ignore[no-untyped-def]
    store, told = crowded
    records = list(store.records())
    assert len(records) == len(list(store.contents())) == 4 + N_PROCESSES
    made = [put for writer in told for put in writer["puts"]]
    for record in records:
        assert sum(new_object for key, new_object, _ in made if key == record.key) == 1
        assert sum(new_record for key, _, new_record in made if key == record.key) == 1
        assert verify_record(store, record.key) == record
        verify_object(store, record.content)


def test_every_acknowledged_generation_stays(crowded) -> None:  # type: ignore[no-untyped-def]
    store, told = crowded
    acknowledged = sorted((seq, path) for writer in told for seq, path in writer["generations"])
    assert [seq for seq, _ in acknowledged] == list(range(1, 3 * N_PROCESSES + 1))
    catalog = store.catalog("demo")
    assert sorted(catalog.rows) == sorted(path for _, path in acknowledged)
    verify_catalog(store, "demo")


def test_a_crowd_leaves_nothing_in_tmp_or_quarantine(crowded) -> None:  # type: ignore[no-untyped-def]
    store, _ = crowded
    assert not list((store.location / "tmp").iterdir())
    assert not list((store.location / "quarantine").iterdir())
