"""The detector: a convolutional stem, bidirectional Mamba-2 blocks, one logit per sample. Knows tensors only.

`Mamba2` has mamba-ssm's parameter names and shapes (Dao & Gu 2024, arXiv 2405.21060), so state dicts load both ways.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # its usual name

from brainbrr.learn.train_config import ModelConfig

_DT_MIN, _DT_MAX, _DT_FLOOR = 1e-3, 1e-1, 1e-4
_A_RANGE = (1.0, 16.0)


def ssd(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *, chunk: int) -> Tensor:
    """Return y of h_t = exp(dt_t a) h_(t-1) + dt_t b_t x_t, y_t = c_t h_t, chunk by chunk.

    x (batch, length, heads, headdim), dt (batch, length, heads) above 0, a (heads,) below 0, b and c
    (batch, length, state), shared by all heads. Same shape as x. Chunks of equal size, at most `chunk`.
    """
    n_batch, length, n_heads, headdim = x.shape
    n_chunks = -(-length // chunk)
    size = -(-length // n_chunks)
    if rest := n_chunks * size - length:  # a step with dt = 0 changes no state
        x, dt = F.pad(x, (0, 0, 0, 0, 0, rest)), F.pad(dt, (0, 0, 0, rest))
        b, c = F.pad(b, (0, 0, 0, rest)), F.pad(c, (0, 0, 0, rest))
    x = (x * dt.unsqueeze(-1)).reshape(n_batch, n_chunks, size, n_heads, headdim)
    b, c = (t.reshape(n_batch, n_chunks, size, -1) for t in (b, c))
    decay = (dt * a).reshape(n_batch, n_chunks, size, n_heads).transpose(2, 3).cumsum(-1)  # (batch, chunk, head, step)

    # within a chunk: attention with the decay between two steps as its mask
    later = torch.ones(size, size, dtype=torch.bool, device=x.device).triu(1)
    between = (decay.unsqueeze(-1) - decay.unsqueeze(-2)).masked_fill(later, -math.inf).exp()
    weights = (c @ b.transpose(-1, -2)).unsqueeze(2) * between
    heads = x.transpose(2, 3)  # (batch, chunk, head, step, headdim)
    y = weights @ heads

    # across chunks: what each leaves behind, carried on
    left = (heads * (decay[..., -1:] - decay).exp().unsqueeze(-1)).transpose(-1, -2) @ b.unsqueeze(2)
    carried = [torch.zeros_like(left[:, 0])]
    # unbind, not slices: the backward of n slices would allocate n whole tensors
    for leaves, total in zip(left.unbind(1)[:-1], decay[..., -1].unbind(1)[:-1], strict=True):
        carried.append(carried[-1] * total.exp()[..., None, None] + leaves)
    state = torch.stack(carried, dim=1)  # (batch, chunk, head, headdim, state)
    y = y + (c.unsqueeze(2) @ state.transpose(-1, -2)) * decay.exp().unsqueeze(-1)
    return y.transpose(2, 3).reshape(n_batch, n_chunks * size, n_heads, headdim)[:, :length]


class GatedRMSNorm(nn.Module):
    """Root-mean-square norm of x · silu(z), as mamba-ssm's with norm_before_gate=False."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the same shape as x."""
        return F.rms_norm(x * F.silu(z), self.weight.shape, self.weight, eps=1e-5)


class Mamba2(nn.Module):
    """One Mamba-2 layer, (batch, length, d_model) to the same; ngroups is 1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.d_inner = config.expand * config.d_model
        self.d_state, self.headdim, self.chunk = config.d_state, config.headdim, config.chunk
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
        x = torch.unflatten(x, -1, (-1, self.headdim))
        y = ssd(x, F.softplus(dt + self.dt_bias), -self.A_log.exp(), b, c, chunk=self.chunk)
        y = y + x * self.D.unsqueeze(-1)
        return self.out_proj(self.norm(y.flatten(-2), z))  # type: ignore[no-any-return]


class BiMamba2(nn.Module):
    """A residual block of two layers, one of them on the reversed sequence, fused by a linear layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, eps=1e-5)
        self.forwards, self.backwards = Mamba2(config), Mamba2(config)
        self.fuse = nn.Linear(2 * config.d_model, config.d_model)

    def forward(self, u: Tensor) -> Tensor:
        """Return (batch, length, d_model); every step sees the whole sequence."""
        normed = self.norm(u)
        backward = self.backwards(normed.flip(1).contiguous()).flip(1)
        fused: Tensor = self.fuse(torch.cat([self.forwards(normed), backward], dim=-1))
        return u + fused


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

    def forward(self, signal: Tensor) -> Tensor:
        """Return (batch, tokens, d_model) from (batch, channels, samples)."""
        n_batch, n_channels, n_samples = signal.shape
        x = signal.reshape(n_batch * n_channels, 1, n_samples)
        for conv in self.convs:
            x = F.gelu(conv(x))
        x = torch.unflatten(x, 0, (n_batch, n_channels)).permute(0, 3, 1, 2)  # (batch, token, channel, filter)
        pooled = torch.cat([x.mean(2), x.amax(2)], dim=-1)
        return self.mix(x.flatten(2)) + self.pool(pooled)  # type: ignore[no-any-return]


class Detector(nn.Module):
    """Seizure logits per sample: (batch, channels, samples) float32 to (batch, samples)."""

    def __init__(self, n_channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.stem = Stem(n_channels, config)
        self.blocks = nn.ModuleList(BiMamba2(config) for _ in range(config.n_blocks))
        self.norm = nn.RMSNorm(config.d_model, eps=1e-5)
        self.decoder = nn.Linear(config.d_model, 1)

    def forward(self, signal: Tensor) -> Tensor:
        """Return one logit per sample, interpolated between the logits of tokens."""
        x = self.stem(signal)
        for block in self.blocks:
            x = block(x)
        logits = self.decoder(self.norm(x)).transpose(1, 2)
        return F.interpolate(logits, size=signal.shape[-1], mode="linear", align_corners=False).squeeze(1)


def n_parameters(model: nn.Module) -> int:
    """Return how many numbers the model has learned."""
    return sum(parameter.numel() for parameter in model.parameters())
