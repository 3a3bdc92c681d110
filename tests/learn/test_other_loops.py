"""Other people's loops, the real ones: with two processes of Accelerate or Lightning every window is seen once."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import brainbrr
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]
BATCH = 4


def loaders(view: View) -> Iterator[tuple[str, DataLoader[Any]]]:
    """Give the ways in which a DataLoader reads a view."""
    yield "plain", DataLoader(brainbrr.loader(view, batch=1, mode="map"), batch_size=BATCH, shuffle=True)
    windows = brainbrr.loader(view, batch=BATCH, mode="map")
    yield "ours", DataLoader(windows, batch_sampler=windows.batches, collate_fn=windows.whole)  # type: ignore[union-attr]


def by_accelerate(rank: int, view: View, folder: Path, port: int) -> None:
    """Read each loader as one process of two."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(even_batches=False))
    assert accelerator.num_processes == 2
    seen = {name: [int(i) for batch in accelerator.prepare(loaded) for i in batch[3]] for name, loaded in loaders(view)}
    with brainbrr.loader(view, batch=BATCH, epochs=1) as batches:
        seen["stream"] = [int(i) for batch in batches for i in batch.index]
    torch.save(seen, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def seen_by_both(folder: Path) -> dict[str, list[list[int]]]:
    parts = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return {name: [part[name] for part in parts] for name in parts[0]}


def test_accelerate_sees_every_window_once(view_of: ViewOf, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="pip install accelerate")
    view = view_of("train")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(by_accelerate, args=(view, tmp_path, port), nprocs=2)
    for name, (one, other) in seen_by_both(tmp_path).items():
        assert sorted(one + other) == list(range(len(view))), name
        assert len(one) > len(view) / 3 < len(other), name


def lightning_here() -> Any:
    """Return Lightning under either of its names; skip without."""
    for name in ("lightning.pytorch", "pytorch_lightning"):
        with suppress(ImportError):
            return import_module(name)
    pytest.skip("Lightning is not installed: pip install 'brainbrr[lightning]'")


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_sees_every_window_once(view_of: ViewOf, tmp_path: Path) -> None:
    lightning = lightning_here()
    view = view_of("train")

    class Seeing(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name, self.seen = name, []
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, batch: Any, _: int) -> Any:
            self.seen += batch[3].tolist()
            return self.weight * batch[0].mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def on_train_end(self) -> None:
            torch.save({self.name: self.seen}, tmp_path / f"{self.global_rank}.pt")

    for name, loaded in loaders(view):
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=2,
            strategy="ddp_fork",
            max_epochs=1,
            use_distributed_sampler=name == "plain",
            default_root_dir=tmp_path,
            **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
        )
        trainer.fit(Seeing(name), loaded)
        one, other = seen_by_both(tmp_path)[name]
        times = Counter(one + other)
        assert times.keys() == set(range(len(view))), name
        assert sum(times.values()) - len(view) < 2 * BATCH, f"{name}: only what makes the processes even is repeated"
