"""Around the Mamba-2 blocks, the U-Net and the residual convolutions of the upstream project. Knows tensors only.

Encoder: stages that halve the time and double the width; decoder: back up, each stage beside what the encoder saw there
(Ronneberger et al. 2015, arXiv 1505.04597). Group norms where upstream has batch norms: no running statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # its usual name

from brainbrr.learn.train_config import ModelConfig

_KERNEL, _FIRST_KERNEL = 5, 7
_RESIDUAL_KERNELS = (3, 5, 7)
_N_GROUPS = 8


def _conv(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2), nn.GroupNorm(_N_GROUPS, n_out), nn.ReLU())


def _two_convs(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(*_conv(n_in, n_out, _KERNEL), *_conv(n_out, n_out, _KERNEL))


class ResidualConvs(nn.Module):
    """One residual block: convolutions of three lengths side by side, fused; (batch, width, tokens) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        part = width // len(_RESIDUAL_KERNELS)
        widths = [part, part, width - 2 * part]
        self.branches = nn.ModuleList(
            nn.Conv1d(width, n_out, kernel, padding=kernel // 2)
            for n_out, kernel in zip(widths, _RESIDUAL_KERNELS, strict=True)
        )
        self.norm = nn.GroupNorm(_N_GROUPS, width)
        self.fuse = nn.Sequential(nn.Conv1d(width, width, 1), nn.GroupNorm(_N_GROUPS, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape as x."""
        several = F.relu(self.norm(torch.cat([branch(x) for branch in self.branches], dim=1)))
        return F.relu(x + self.fuse(several))


class UNetEncoder(nn.Module):
    """Tokens from samples by one stage per stride of `config.stem`, then `config.residual_convs` residual blocks."""

    def __init__(self, n_channels: int, config: ModelConfig) -> None:
        super().__init__()
        widths = config.unet_widths
        self.samples_per_token = config.samples_per_token
        self.first = _conv(n_channels, widths[0], _FIRST_KERNEL)
        self.stages = nn.ModuleList(
            _two_convs(n_in, n_out) for n_in, n_out in zip((widths[0], *widths), widths, strict=False)
        )
        self.down = nn.ModuleList(
            nn.Conv1d(width, width, stride, stride) for width, stride in zip(widths, config.stem, strict=True)
        )
        self.residual = nn.Sequential(*(ResidualConvs(widths[-1]) for _ in range(config.residual_convs)))

    def forward(self, signal: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return (batch, tokens, d_model), and what each stage saw: (batch, width, its samples).

        A signal that is no whole number of tokens is filled up with zeros.
        """
        x = self.first(F.pad(signal, (0, -signal.shape[-1] % self.samples_per_token)))
        skips = []
        for stage, down in zip(self.stages, self.down, strict=True):
            x = stage(x)
            skips.append(x)
            x = down(x)
        return self.residual(x).transpose(1, 2), skips


class UNetDecoder(nn.Module):
    """Logits from tokens: one stage per stride, in reverse, each beside the encoder's."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = config.unet_widths
        narrower = (widths[0], *widths[:-1])
        stages = list(zip(narrower, widths, config.stem, strict=True))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose1d(wide, narrow, stride, stride) for narrow, wide, stride in stages)
        self.stages = nn.ModuleList(_two_convs(narrow + wide, narrow) for narrow, wide, _ in stages)
        self.last = nn.Conv1d(widths[0], 1, 1)

    def forward(self, tokens: Tensor, skips: list[Tensor], n_samples: int) -> Tensor:
        """Return (batch, samples) from (batch, tokens, d_model) and the encoder's skips."""
        x = tokens.transpose(1, 2)
        for up, stage, skip in zip(self.up, self.stages, reversed(skips), strict=True):
            x = stage(torch.cat([up(x), skip], dim=1))
        logits: Tensor = self.last(x)
        return logits[..., :n_samples].squeeze(1)
