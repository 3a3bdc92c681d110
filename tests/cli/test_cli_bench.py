"""`brainbrr bench` measures a view that is ready, and `view --index` writes what a loader opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.support import Cli

import brainbrr


@pytest.fixture
def ingested(cli: Cli, corpus: Path) -> Cli:
    assert cli("ingest", corpus, "--profile", "smoke").code == 0
    return cli


@pytest.mark.slow
def test_bench_says_pace_limit_bound_and_advice(ingested: Cli) -> None:
    told = ingested("bench", "--profile", "smoke", "--batch", "4", "--seconds", "0.1", "--json")
    assert told.code == 0
    found = told.json
    ways = {pace["way"]: pace for pace in found["paces"]}
    assert {"one reader, no loader", "stream, 1 threads", "cold cache, global shuffle"} <= set(ways)
    assert found["limit_windows_per_second"] > 0 and found["bound"] and found["advice"]
    for pace in ways.values():
        assert pace["windows_per_second"] > 0
        share = pace["windows_per_second"] / found["limit_windows_per_second"]
        assert pace["share"] == pytest.approx(share, abs=0.01)


@pytest.mark.slow
def test_bench_reads_a_frozen_view_and_prints_a_table(ingested: Cli, tmp_path: Path) -> None:
    assert ingested("view", "--profile", "smoke", "--out", tmp_path / "view.json").code == 0
    told = ingested("bench", "--view", tmp_path / "view.json", "--batch", "2", "--seconds", "0.1")
    assert told.code == 0 and "windows/s\tof the limit" in told.out and "advice\t" in told.out


@pytest.mark.slow
def test_bench_refuses_what_it_cannot_read(ingested: Cli, tmp_path: Path) -> None:
    (tmp_path / "view.json").write_text("not JSON")
    assert ingested("bench", "--view", tmp_path / "view.json").code == 2
    told = ingested("bench", "--profile", "full")
    assert told.code == 3 and "brainbrr ingest" in told.err


@pytest.mark.slow
def test_a_loader_reads_by_the_index_that_view_writes(ingested: Cli, tmp_path: Path) -> None:
    assert ingested("view", "--profile", "smoke", "--index", tmp_path / "view.npz").code == 0
    index = brainbrr.Index.load(tmp_path / "view.npz")
    view = brainbrr.view(tmp_path / "store", profile="smoke")
    with brainbrr.loader(index, store=tmp_path / "store", batch=3, as_numpy=True) as batches:
        batch = next(batches)
        for row, window in enumerate(batch.index):
            assert np.array_equal(batch.signal[row], view[int(window)].signal)
