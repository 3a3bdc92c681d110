"""Several processes that train together: one batch in parts, equal weights everywhere, exact resume, one writer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.support import ROOT, TINY
from helpers.trainings import StopAfter, changed, same_bits, with_recordings

from brainbrr.core.progress import Silent
from brainbrr.errors import BrainbrrError, DependencyError, IntegrityError
from brainbrr.learn import runs as r
from brainbrr.learn import train as trainer
from brainbrr.learn.config import TrainConfig
from brainbrr.learn.distributed import World, joined, this_world
from brainbrr.learn.train import train
from brainbrr.settings import Launch
from brainbrr.store.store import Store
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]


def train_twice(rank: int, view: View, dev: View, config: TrainConfig, folder: Path) -> None:
    """As one process of two: train to the end; train, let a signal reach one process only, and go on.

    Rank 0 is slow to write, so whoever does not wait for it looks for a checkpoint too early.
    """
    states: list[trainer.State] = []
    initial, write = trainer._initial, r.write_tensors

    def kept(*arguments: Any) -> trainer.State:
        states.append(initial(*arguments))
        return states[-1]

    def slowly(*arguments: Any) -> None:
        time.sleep(0.2)
        write(*arguments)

    trainer._initial, r.write_tensors = kept, slowly
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(minutes=5)
    )
    try:
        train(view, config, runs=folder, name="whole", dev=dev)
        assert (folder / "whole" / "model.safetensors").exists()
        stops = StopAfter(2, signal.SIGUSR1) if rank == 1 else Silent()
        with pytest.raises(KeyboardInterrupt):
            train(view, config, runs=folder, name="parts", dev=dev, progress=stops)
        if rank == 1:
            shutil.copytree(folder / "parts", folder / "behind", ignore=shutil.ignore_patterns("checkpoint*"))
        with pytest.raises(IntegrityError, match="different steps: 2, 0 by rank"):
            train(view, config, runs=folder, resume=folder / ("behind" if rank else "parts"))
        fewer = with_recordings(view, view.recordings[:-1])
        for others in (
            {"view": view, "config": config, "resume": folder / "parts"},
            {"view": fewer, "config": config, "name": "torn"},
            {"view": view, "config": changed(config, "train", lr=1), "name": "torn"},
        ):
            asked: dict[str, Any] = others if rank else {"view": view, "config": config, "name": "torn"}
            with pytest.raises(IntegrityError, match="the processes find different runs, views or configs"):
                train(**asked, runs=folder, dev=dev)
        assert not (folder / "torn").exists()
        report = train(view, config, runs=folder, resume=folder / "parts")
        assert report.metrics["processes"] == 2
        (folder / f"{rank}.txt").write_text(f"{report.loss!r} {report.run.name} {report.metrics['weights']}")
        tensors = states[-1].tensors()  # rank 0 alone keeps the best weights
        write(folder / f"{rank}.safetensors", {k: v for k, v in tensors.items() if not k.startswith("best.")}, {})
    finally:
        torch.distributed.destroy_process_group()


def lose_the_other(rank: int, folder: Path) -> None:
    """As one process of two: rank 1 dies after they met, and rank 0 waits for it."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(minutes=5)
    )
    world = this_world(torch.device("cpu"))
    if rank == 1:
        world.meet()
    else:
        with pytest.raises(BrainbrrError, match="another process of the training has ended"):
            for _ in range(2):
                world.meet()
        (folder / "told").touch()
    os._exit(0)  # gloo may abort a process that ends after it lost another


def test_a_process_that_is_left_alone_says_so(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(lose_the_other, args=(tmp_path,), nprocs=2)
    assert (tmp_path / "told").exists()


def test_two_processes_learn_what_one_learns_and_resume_exactly(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    half = changed(config, "train", batch=2, ema=0.9, validate_every=2)
    torch.multiprocessing.spawn(train_twice, args=(view_of("train"), view_of("dev"), half, tmp_path), nprocs=2)
    assert same_bits(tmp_path / "0.safetensors", tmp_path / "1.safetensors")
    for name in ("model.safetensors", "checkpoint.safetensors", "best.safetensors", "validation.json"):
        assert same_bits(tmp_path / "whole" / name, tmp_path / "parts" / name)
    told = [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)]
    assert told[0] == told[1] and "the best by event_f1 on" in told[0], "both know the same best weights"
    alone = train(view_of("train"), changed(half, "train", batch=4), runs=tmp_path, name="alone").run
    for ours, theirs in zip(r.open_run(tmp_path / "whole").history(), r.open_run(alone).history(), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-3)


def test_torchrun_trains_and_one_process_speaks(stored: Store, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "brainbrr"]
    words += ["train", "--config", "tiny.toml", "--name", "both", "--runs", "runs", "--store", str(stored.location)]
    told = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("both") == 1 and "× 2 processes" in told.stdout
    [run] = (tmp_path / "runs").iterdir()
    assert r.read_tensors(run / "model.safetensors")[1]["world"] == 2
    assert [row["step"] for row in r.open_run(run).history()] == list(range(4))


def test_one_process_is_a_world_that_changes_nothing() -> None:
    world = World(0, 1, torch.device("cpu"))
    value = torch.ones(3)
    world.add([value])
    assert (value == 1).all() and world.writes
    assert world.any(True) and not world.any(False) and world.name("a") == "a"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_process_without_a_device_of_its_own_says_so() -> None:
    with pytest.raises(DependencyError, match="process 1 of this node"), joined(Launch(1, 2, 1), cuda=True):
        pass
