"""What a batch may also have looked like: other gains, another polarity, an electrode less. Keeps labels true.

A pure function of (seed, step), so that a training resumes exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from brainbrr.learn.train_config import AugmentConfig


def augment(signal: Tensor, config: AugmentConfig, *, seed: int, step: int) -> Tensor:
    """Return the windows of a step as they are trained on: same shape as signal (batch, channels, length)."""
    random = torch.Generator().manual_seed(seed << 32 | step)
    n_batch, n_channels, _ = signal.shape
    window_gain = torch.randn(n_batch, 1, 1, generator=random).mul(config.gain).exp()
    channel_gain = torch.randn(n_batch, n_channels, 1, generator=random).mul(config.channel_gain).exp()
    kept = torch.rand(n_batch, n_channels, 1, generator=random) >= config.drop_channel
    polarity = torch.randint(0, 2, (n_batch, 1, 1), generator=random) * 2 - 1
    factor = window_gain * channel_gain * kept
    if config.polarity:
        factor = factor * polarity
    return signal * factor.to(signal.device)
