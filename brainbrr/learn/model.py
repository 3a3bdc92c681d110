"""The detector: an encoder, bidirectional Mamba-2 blocks, a decoder to one logit per sample. Knows tensors only.

`Mamba2` has mamba-ssm's parameter names and shapes (Dao & Gu 2024, arXiv 2405.21060), so state dicts load both ways.
Encoder and decoder are a stem and a linear layer, or the U-Net of the upstream project (Ronneberger et al. 2015, arXiv
1505.04597) with residual convolutions, and with group norms where that has batch norms: no running statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # its usual name
from torch.utils.checkpoint import checkpoint

from brainbrr.errors import IntegrityError
from brainbrr.learn.config import ModelConfig
from brainbrr.learn.scans import scan_on

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
        """Return (batch, tokens, d_model), and each stage's output before it is halved: (batch, width, its samples).

        A signal that is not a multiple of a token is padded with zeros.
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


_DT_MIN, _DT_MAX, _DT_FLOOR = 1e-3, 1e-1, 1e-4
_A_RANGE = (1.0, 16.0)


class GatedRMSNorm(nn.Module):
    """Root-mean-square norm of x · silu(z), as mamba-ssm's with norm_before_gate=False."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the same shape as x."""
        return F.rms_norm((x * F.silu(z)).float(), self.weight.shape, self.weight, eps=1e-5)


class Mamba2(nn.Module):
    """One Mamba-2 layer, (batch, length, d_model) to the same; ngroups is 1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.d_inner = config.expand * config.d_model
        self.d_state, self.headdim = config.d_state, config.headdim
        self.chunk, self.scan = config.chunk, config.scan
        n_heads = self.d_inner // config.headdim
        conv_dim = self.d_inner + 2 * config.d_state
        self.in_proj = nn.Linear(config.d_model, self.d_inner + conv_dim + n_heads, bias=False)
        self.conv1d = nn.Conv1d(conv_dim, conv_dim, config.d_conv, groups=conv_dim, padding=config.d_conv - 1)
        dt = torch.exp(torch.rand(n_heads) * math.log(_DT_MAX / _DT_MIN) + math.log(_DT_MIN)).clamp(min=_DT_FLOOR)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
        self.A_log = nn.Parameter(torch.empty(n_heads).uniform_(*_A_RANGE).log())
        self.D = nn.Parameter(torch.ones(n_heads))
        self.norm = GatedRMSNorm(self.d_inner)
        self.out_proj = nn.Linear(self.d_inner, config.d_model, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """Return (batch, length, d_model); step t sees steps up to t."""
        length = u.shape[1]
        widths = [self.d_inner, self.d_inner + 2 * self.d_state, len(self.D)]
        z, xbc, dt = torch.split(self.in_proj(u), widths, dim=-1)
        xbc = F.silu(self.conv1d(xbc.transpose(1, 2))[..., :length].transpose(1, 2))
        x, b, c = torch.split(xbc, [self.d_inner, self.d_state, self.d_state], dim=-1)
        x, dt = torch.unflatten(x, -1, (-1, self.headdim)), F.softplus(dt.float() + self.dt_bias)
        scan = scan_on(x.device, by=self.scan, chunk=self.chunk)
        y = scan(x, dt, -self.A_log.exp(), b, c, self.D)
        return self.out_proj(self.norm(y.flatten(-2), z))  # type: ignore[no-any-return]


class BiMamba2(nn.Module):
    """A residual block of two layers, one of them on the reversed sequence, fused by a linear layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, eps=1e-5)
        self.forwards, self.backwards = Mamba2(config), Mamba2(config)
        self.fuse = nn.Linear(2 * config.d_model, config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, u: Tensor) -> Tensor:
        """Return (batch, length, d_model); every step sees the complete sequence."""
        normed = self.norm(u)
        backward = self.backwards(normed.flip(1).contiguous()).flip(1)
        fused: Tensor = self.fuse(torch.cat([self.forwards(normed), backward], dim=-1))
        return u + self.dropout(fused)  # type: ignore[no-any-return]


class Stem(nn.Module):
    """Tokens from samples: filters that all channels share, their power over time, then the channels together.

    A seizure changes rhythm and power, on few channels or on all; shared filters learn that from few patients,
    and mean and maximum over channels keep the focal from drowning in the rest.
    """

    def __init__(self, n_channels: int, config: ModelConfig) -> None:
        super().__init__()
        width = config.stem_width
        widths = [1, *[width] * len(config.stem)]
        self.convs = nn.ModuleList(
            nn.Conv1d(n_in, n_out, 2 * stride + 1, stride=stride, padding=stride)
            for n_in, n_out, stride in zip(widths, widths[1:], config.stem, strict=False)
        )
        self.mix = nn.Linear(n_channels * width, config.d_model)
        self.pool = nn.Linear(2 * width, config.d_model, bias=False)

    def forward(self, signal: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return (batch, tokens, d_model) from (batch, channels, samples), and nothing that skips the blocks."""
        n_batch, n_channels, n_samples = signal.shape
        x = signal.reshape(n_batch * n_channels, 1, n_samples)
        for conv in self.convs:
            x = F.gelu(conv(x))
        x = torch.unflatten(x, 0, (n_batch, n_channels)).permute(0, 3, 1, 2)  # (batch, token, channel, filter)
        pooled = torch.cat([x.mean(2), x.amax(2)], dim=-1)
        return self.mix(x.flatten(2)) + self.pool(pooled), []


class LinearDecoder(nn.Linear):
    """One logit per token, held at the token's middle and linear between middles."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.d_model, 1)
        self.samples_per_token = config.samples_per_token

    def forward(self, tokens: Tensor, _: list[Tensor], n_samples: int) -> Tensor:  # type: ignore[override]
        """Return (batch, samples) from (batch, tokens, d_model)."""
        logits = super().forward(tokens)  # (batch, token, 1)
        before, after = torch.cat([logits[:, :1], logits[:, :-1]], 1), torch.cat([logits[:, 1:], logits[:, -1:]], 1)
        n = self.samples_per_token
        past = (torch.arange(n, device=logits.device) + 0.5) / n - 0.5  # tokens past the middle
        # sums and products alone: the backward of F.interpolate adds in any order on CUDA
        samples = logits * (1 - past.abs()) + before * (-past).clamp(min=0) + after * past.clamp(min=0)
        return samples.flatten(1)[:, :n_samples]


class Detector(nn.Module):
    """Seizure logits per sample: (batch, channels, samples) float32 to (batch, samples).

    With `config.checkpoint` its parts keep only their inputs and are computed again in the backward pass.
    """

    def __init__(self, n_channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.checkpoint = config.checkpoint
        self.stem = UNetEncoder(n_channels, config) if config.unet else Stem(n_channels, config)
        self.blocks = nn.ModuleList(BiMamba2(config) for _ in range(config.n_blocks))
        self.norm = nn.RMSNorm(config.d_model, eps=1e-5)
        self.decoder = UNetDecoder(config) if config.unet else LinearDecoder(config)

    def forward(self, signal: Tensor) -> Tensor:
        """Return one logit per sample. Logits, and the sum that runs through the blocks, are float32 under autocast."""
        x, skips = self._run(self.stem, signal)
        x = x.float()
        for block in self.blocks:
            x = self._run(block, x)
        logits: Tensor = self._run(self.decoder, self.norm(x), skips, signal.shape[-1])
        return logits.float()

    def _run(self, part: nn.Module, *inputs: Any) -> Any:
        if self.checkpoint and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)


Shapes = Mapping[str, Sequence[int]]


def require_shapes(n_channels: int, config: ModelConfig, shapes: Shapes, *, where: Path) -> None:
    """Raise IntegrityError unless weights of these shapes are those of such a model; allocates none of it.

    A run from elsewhere may demand a model of any size: it is bounded by the weights that are there.
    """
    widest = max((size for shape in shapes.values() for size in shape), default=0)
    sizes = config.model_dump(include={"d_model", "d_state", "stem_width", "d_conv"})
    sizes["expand · d_model"] = config.expand * config.d_model
    numbers = config.model_dump(include={"n_blocks", "residual_convs"})
    for name, size, limit in [(n, s, widest) for n, s in sizes.items()] + [
        (n, s, len(shapes)) for n, s in numbers.items()
    ]:
        if size > limit:
            raise IntegrityError(f"these are another model's weights: none has a size for {name} = {size}", where=where)
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in Detector(n_channels, config).state_dict().items()}
    found = {name: tuple(shape) for name, shape in shapes.items()}
    if wanted != found:
        odd = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise IntegrityError(
            f"these are another model's weights: {odd[:200]} has the shape {found.get(odd)}, not {wanted.get(odd)}",
            where=where,
        )


def n_parameters(model: nn.Module) -> int:
    """Return the number of the model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
