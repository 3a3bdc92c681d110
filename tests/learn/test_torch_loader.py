"""Under torch.distributed each process reads its own part of each global batch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

import brainbrr
from brainbrr.views.view import View


def read_part(rank: int, view: View, folder: str) -> None:
    """Take three batches as one process of two."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        with brainbrr.loader(view, batch=3, seed=4, balance="balanced") as batches:
            found = [(batch.index.clone(), batch.signal.clone()) for batch in islice(batches, 3)]
    finally:
        distributed.destroy_process_group()
    torch.save(found, f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_two_processes_read_what_one_reads_in_batches_of_twice_the_size(view_of: Any, tmp_path: Path) -> None:
    view = view_of("train")
    torch.multiprocessing.spawn(read_part, args=(view, str(tmp_path)), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    with brainbrr.loader(view, batch=6, seed=4, balance="balanced") as batches:
        for step, whole in enumerate(islice(batches, 3)):
            index, signal = (torch.cat([part[step][i] for part in parts]) for i in range(2))
            assert np.array_equal(index, whole.index) and torch.equal(signal, whole.signal)
