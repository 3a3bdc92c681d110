"""On a GPU: windows per second of the resident view, its share of copy bandwidth, and what a training step waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from loader_corpus import Corpus
from measuring import Row

import brainbrr

_STEPS = 200
_MEASURES = ("resident on CUDA / device copy bandwidth", "loader stall of a training step")


def gpu_rows(corpus: Corpus, batch: int) -> Iterator[Row | str]:
    """Give the rows, or say that they are unmeasured."""
    try:
        import torch
    except ModuleNotFoundError:
        torch = None
    if torch is None or not torch.cuda.is_available():
        for measure in _MEASURES:
            yield f"{measure}\tunmeasured\t-\t-\tno CUDA device"
        return
    options = {"balance": "balanced", "labels": "binary", "mode": "resident", "device": "cuda"}
    with brainbrr.loader(corpus.view, batch=batch, **options) as batches:
        first = next(batches)
        wrong = (first.signal.cpu().numpy() != corpus.expected(first.index.tolist())).any()
        if wrong:
            raise SystemExit("the resident loader on CUDA delivers other windows than it says")
        loading_s = _seconds(lambda: next(batches))
        source = torch.empty(1 << 28, dtype=torch.float32, device="cuda")
        target = torch.empty_like(source)
        copying_s = _seconds(lambda: target.copy_(source))
        bandwidth = 2 * 4 * (1 << 28) / copying_s
        moved = batch * corpus.n_channels * corpus.length * (2 + 4) / loading_s
        detail = (
            f"{batch / loading_s:,.0f} windows/s, {moved / 1e9:.0f} of {bandwidth / 1e9:.0f} GB/s, float32, "
            f"batch {batch}; {torch.cuda.get_device_name()}"
        )
        yield Row(_MEASURES[0], moved / bandwidth, "×", detail, 0.5)
        yield _stall(batches, first.signal.clone(), torch)


def _stall(batches: Any, constant: Any, torch: Any) -> Row:
    """Compare training steps on fresh batches with steps on the same one again and again."""
    model = torch.nn.Sequential(
        torch.nn.Conv1d(constant.shape[1], 256, 15, stride=4, padding=7),
        torch.nn.GELU(),
        *(each for _ in range(4) for each in (torch.nn.Conv1d(256, 256, 15, padding=7), torch.nn.GELU())),
        torch.nn.Conv1d(256, 1, 1),
    ).cuda()
    optimiser = torch.optim.AdamW(model.parameters())

    def step(signal: Any) -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(signal).square().mean()
        loss.backward()
        optimiser.step()

    alone, fed = [], []
    for _ in range(3):  # in turns
        alone.append(_seconds(lambda: step(constant)))
        fed.append(_seconds(lambda: step(next(batches).signal)))
    alone_s, fed_s = sorted(alone)[1], sorted(fed)[1]
    detail = f"{1000 * fed_s:.2f} ms a step, {1000 * alone_s:.2f} without a loader; 6 convolutions, bfloat16"
    return Row(_MEASURES[1], 100 * max(fed_s - alone_s, 0.0) / fed_s, "%", detail, 2.0, at_most=True)


def _seconds(work: Callable[[], object]) -> float:
    """Return the seconds of one call, over many that the device has finished."""
    import torch

    for _ in range(10):
        work()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(_STEPS):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / _STEPS
