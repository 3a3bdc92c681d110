"""What a training run is told: view, model, optimiser, evaluation. Values only; reads no files, needs no torch."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from brainbrr.windows import WindowSpec


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(_Section):
    """Size of the detector, and how it is computed.

    `stem` gives the stride of each convolution; their product is the samples per token. `stem_width` is the number
    of filters that every channel shares; `d_inner` of a Mamba-2 layer is expand · d_model and holds heads of `headdim`.
    `unet` puts a U-Net around the blocks instead: one stage per stride, `stem_width` wide and doubling up to d_model,
    and `residual_convs` residual convolutions at its bottom. `scan` says which scan computes the layers: `auto` is
    mamba-ssm's Triton kernels on CUDA, where installed, else plain torch in chunks of `chunk`. `checkpoint` computes
    activations again in the backward pass: less memory, about a third more time.
    """

    d_model: int = Field(default=64, ge=8)
    n_blocks: int = Field(default=2, ge=1)
    d_state: int = Field(default=16, ge=1)
    headdim: int = Field(default=16, ge=1)
    expand: int = Field(default=2, ge=1)
    d_conv: int = Field(default=4, ge=1)
    chunk: int = Field(default=64, ge=1)
    stem: tuple[int, ...] = (4, 4, 4)
    stem_width: int = Field(default=24, ge=1)
    unet: bool = False
    residual_convs: int = Field(default=0, ge=0)
    scan: Literal["auto", "torch", "triton"] = "auto"
    checkpoint: bool = False

    @model_validator(mode="after")
    def _whole_heads(self) -> ModelConfig:
        if self.expand * self.d_model % self.headdim:
            raise ValueError(
                f"expand · d_model = {self.expand * self.d_model} is no multiple of headdim {self.headdim}"
            )
        if not self.stem or min(self.stem) < 1:
            raise ValueError("stem: at least one stride, each at least 1")
        if self.unet and self.unet_widths[-1] != self.d_model:
            raise ValueError(f"the widths of the U-Net are {self.unet_widths}, and the last must be d_model")
        if self.unet and self.stem_width % 8:
            raise ValueError(f"stem_width = {self.stem_width} must be a multiple of 8 in a U-Net, for its group norms")
        if self.residual_convs and not self.unet:
            raise ValueError("residual_convs are a U-Net's: set unet = true")
        return self

    @property
    def unet_widths(self) -> tuple[int, ...]:
        """Widths of a U-Net's stages."""
        return tuple(self.stem_width << stage for stage in range(len(self.stem)))

    @property
    def samples_per_token(self) -> int:
        """Samples that become one token of the sequence."""
        product = 1
        for stride in self.stem:
            product *= stride
        return product


class OptimiserConfig(_Section):
    """How the weights move. The learning rate warms up linearly, then falls along a cosine to a tenth."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    checkpoint_every: int = Field(default=200, ge=1)
    loader_threads: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class AugmentConfig(_Section):
    """How windows are varied in training; all off by default.

    Gains are log-normal with these deviations; `drop_channel` and `shuffle_channels` are probabilities. Shuffling a
    window's channels keeps rhythm and spread but not place: for corpora too small to show every focus. `mirror` swaps
    left and right with this probability; `shift_s` moves a window and its labels by up to so much either way.
    """

    gain: float = Field(default=0.0, ge=0, le=1)
    channel_gain: float = Field(default=0.0, ge=0, le=1)
    drop_channel: float = Field(default=0.0, ge=0, lt=1)
    shuffle_channels: float = Field(default=0.0, ge=0, le=1)
    polarity: bool = False
    mirror: float = Field(default=0.0, ge=0, le=1)
    shift_s: float = Field(default=0.0, ge=0)


class EvaluateConfig(_Section):
    """How probabilities become events. `threshold` counts only until one is tuned on another split."""

    threshold: float = Field(default=0.5, gt=0, lt=1)
    min_duration_s: float = Field(default=5.0, ge=0)
    merge_gap_s: float = Field(default=10.0, ge=0)


class TrainConfig(_Section):
    """One training: which view, which model, how long. Closed: an unknown key is refused."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)
    profile: Literal["smoke", "dev", "full"]
    recipe: str = "default"
    seed: int = Field(default=0, ge=0, lt=2**32)
    window: dict[str, Any] = Field(default_factory=dict)
    model: ModelConfig = ModelConfig()
    train: OptimiserConfig
    augment: AugmentConfig = AugmentConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @field_validator("window")
    @classmethod
    def _window(cls, fields: dict[str, Any]) -> dict[str, Any]:
        spec = WindowSpec.model_validate(fields)
        if spec.missing == "nan":
            raise ValueError('missing = "nan": a model cannot learn from NaN; interpolate, or zero')
        return window_fields(spec)

    def window_spec(self) -> WindowSpec:
        """Return the window that the run reads."""
        return WindowSpec.model_validate(self.window)

    def to_toml(self) -> str:
        """Return every setting as the TOML file that gives this config again."""
        fields = self.model_dump(mode="json")
        tables = {name: value for name, value in fields.items() if isinstance(value, dict)}
        lines = [_line(name, value) for name, value in fields.items() if name not in tables]
        for name, table in tables.items():
            lines += ["", f"[{name}]", *(_line(key, value) for key, value in table.items())]
        return "\n".join(lines) + "\n"


def window_fields(spec: WindowSpec) -> dict[str, Any]:
    """Return a window as a config's table [window]: every field that has a value."""
    return {name: value for name, value in spec.identity().items() if value is not None}


def _line(name: str, value: Any) -> str:
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"  # JSON's scalars and lists are TOML's, too
