"""What a batch may also have looked like: other gains, another polarity, an electrode less. Keeps labels true.

A pure function of (seed, step), so that a training resumes exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from brainbrr.learn.train_config import AugmentConfig

_STREAM = 1 << 63  # the order of windows draws from the lower half


def augment(signal: Tensor, config: AugmentConfig, *, seed: int, step: int) -> Tensor:
    """Return the windows of a step as they are trained on: same shape as signal (batch, channels, length)."""
    # a counter-based generator of its own: torch's takes the low 32 bits of a seed and drops the rest
    random = np.random.Generator(np.random.Philox(key=np.array([seed, _STREAM | step], dtype=np.uint64)))
    n_batch, n_channels, _ = signal.shape
    gain = np.exp(random.standard_normal((n_batch, 1, 1)) * config.gain)
    gain = gain * np.exp(random.standard_normal((n_batch, n_channels, 1)) * config.channel_gain)
    gain *= random.random((n_batch, n_channels, 1)) >= config.drop_channel
    polarity = random.choice([-1.0, 1.0], (n_batch, 1, 1))
    if config.polarity:
        gain *= polarity
    if config.shuffle_channels:
        shuffled = random.random(n_batch) < config.shuffle_channels
        order = np.argsort(random.random((n_batch, n_channels)), axis=1)
        order[~shuffled] = np.arange(n_channels)
        signal = torch.take_along_dim(signal, torch.from_numpy(order).to(signal.device)[..., None], dim=1)
    return signal * torch.from_numpy(gain.astype(np.float32)).to(signal.device)
