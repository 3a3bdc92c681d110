"""numpy batches as torch tensors of the same memory."""

from __future__ import annotations

import torch

from brainbrr.loading.batches import Batch


def tensors(batch: Batch, dtype: str) -> Batch:
    """Return a batch as tensors; nothing is copied. bfloat16 comes as its bits."""
    signal = torch.from_numpy(batch.signal)
    return Batch(
        signal=signal.view(torch.bfloat16) if dtype == "bfloat16" else signal,
        label=torch.from_numpy(batch.label),
        valid=torch.from_numpy(batch.valid),
        index=torch.from_numpy(batch.index),
    )
