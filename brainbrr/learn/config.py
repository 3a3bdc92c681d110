"""The settings of a training: view, model, optimiser, evaluation. Values only; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, Field, field_validator, model_validator

from brainbrr.core import models
from brainbrr.core.models import Section
from brainbrr.core.toml import read_toml, toml_value
from brainbrr.errors import ConfigError
from brainbrr.loading.order import Sampling
from brainbrr.loading.windows import WindowSpec
from brainbrr.scoring.events import EventRule
from brainbrr.settings import configs


def train_config_names() -> tuple[str, ...]:
    """Return the names of the training configs that come with brainbrr."""
    return tuple(sorted(path.stem for path in (configs() / "train").glob("*.toml")))


def load_train_config(config: TrainConfig | str | Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Return a training config, given, by name or from a TOML file, with some settings changed: "train.lr=0.01".

    Raises ConfigError naming file and field, or the change that names no setting.
    """
    where, table = _table(config)
    for change in changes:
        _change(table, change)
    where = f"{where}, changed by --set" if changes else where
    return models.parse(TrainConfig, table, where=where, error=ConfigError)


def _table(config: TrainConfig | str | Path) -> tuple[str, dict[str, Any]]:
    """Return where a config comes from, and its fields."""
    if isinstance(config, TrainConfig):
        return f"config {config.name}", config.model_dump(mode="json")
    path = configs() / "train" / f"{config}.toml" if str(config) in train_config_names() else Path(config)
    try:
        return str(path), read_toml(path)
    except FileNotFoundError:
        raise ConfigError(
            f"no training config is called {str(config)!r}, and no file of that name exists",
            fix=f"choose one of {', '.join(train_config_names())}, or give a .toml file",
        ) from None


def _change(table: dict[str, Any], change: str) -> None:
    """Put one `dotted.name=value` into a config's table."""
    from difflib import get_close_matches

    name, equals, text = change.partition("=")
    name, known = name.strip(), setting_names()
    if not equals:
        raise ConfigError(f"--set {change}: give NAME=VALUE", fix="for instance --set train.lr=0.001")
    if name not in known:
        last = name.rpartition(".")[2]
        near = [*(each for each in known if each.rpartition(".")[2] == last), *get_close_matches(name, known)]
        raise ConfigError(
            f"--set {change}: no setting is called {name!r}",
            fix=f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else f"settings: {', '.join(known)}",
        )
    *outer, inner = name.split(".")
    for section in outer:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {change}: the config's {section} is not a table")
    table[inner] = toml_value(text)


WEIGHTLESS = ("model.checkpoint", "train.loader_threads", "train.checkpoint_every", "train.log")
"""Settings that do not affect the weights: a resumed run may change them, and they do not tell two runs apart."""

Places = Annotated[int, Field(ge=0)]


class ModelConfig(Section):
    """Size of the detector, and how it is computed.

    `stem` gives the stride of each convolution; their product is the samples per token. `stem_width` is the number
    of filters that every channel shares; `d_inner` of a Mamba-2 layer is expand · d_model and holds heads of `headdim`.
    `unet` puts a U-Net around the blocks instead: one stage per stride, `stem_width` wide and doubling up to d_model,
    and `residual_convs` residual convolutions at its bottom. `scan` chooses how the layers are computed: `auto` is
    mamba-ssm's Triton kernels on CUDA, where installed, else plain torch in chunks of `chunk`. `dropout` is the share
    of each block's output that is zeroed in training. `checkpoint` computes activations again in the backward pass:
    less memory, about a third more time.
    """

    d_model: int = Field(default=64, ge=8, le=1 << 16)
    n_blocks: int = Field(default=2, ge=1, le=1 << 10)
    d_state: int = Field(default=16, ge=1, le=1 << 16)
    headdim: int = Field(default=16, ge=1, le=1 << 16)
    expand: int = Field(default=2, ge=1, le=1 << 8)
    d_conv: int = Field(default=4, ge=1, le=1 << 10)
    chunk: int = Field(default=64, ge=1)
    stem: tuple[Annotated[int, Field(le=1 << 16)], ...] = Field(default=(4, 4, 4), max_length=16)
    stem_width: int = Field(default=24, ge=1, le=1 << 16)
    unet: bool = False
    residual_convs: int = Field(default=0, ge=0, le=1 << 10)
    dropout: float = Field(default=0.0, ge=0, lt=1)
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


class OptimiserConfig(Section):
    """How the weights move. The learning rate warms up linearly, then falls along a cosine to a tenth.

    A step takes `accumulate` batches of each process. `balance`: the loader's, or "none" for every window once an
    epoch; `pos_weight` weighs seizure samples, and `focal` scales a sample's loss by its error to `focal_gamma`: one
    of the three at most. `patient_cap`: at most so many windows of one patient of each class in a round, drawn again
    each time; 0 for all. `hard_negatives` is a file of `evaluate --hard-negatives`: windows with its false alarms take
    every second place of the background. `ema` is the decay of an average of the weights that is the run's result; 0
    for none. `bf16` counts on CUDA only; `deterministic` makes CUDA add in one order. `log` names loggers to show the
    steps in.
    Every `validate_every` steps, and after the last one, the weights are scored on patients of dev; 0 for never. The
    best ones by `best_by` are the run's result, and a training without a better score in `patience` validations ends;
    0 for no such end.
    """

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    accumulate: int = Field(default=1, ge=1)
    lr: float = Field(gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    balance: Literal["balanced", "upstream", "none"] | dict[Literal["background", "partial", "full"], Places] = (
        "balanced"
    )
    patient_cap: int = Field(default=0, ge=0)
    hard_negatives: str = ""
    loss: Literal["bce", "focal"] = "bce"
    focal_gamma: float = Field(default=2.0, ge=1)
    pos_weight: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    bf16: bool = True
    compile: bool = False
    deterministic: bool = False
    checkpoint_every: int = Field(default=200, ge=1)
    validate_every: int = Field(default=500, ge=0)
    best_by: Literal["event_f1", "auroc", "loss"] = "event_f1"
    patience: int = Field(default=0, ge=0)
    loader_threads: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log: tuple[Literal["tensorboard", "wandb"], ...] = ()

    @model_validator(mode="after")
    def _one_mechanism(self) -> OptimiserConfig:
        against = {
            f"balance = {self.balance!r}": self.balance != "none",
            'loss = "focal"': self.loss == "focal",
            f"pos_weight = {self.pos_weight:g}": self.pos_weight != 1,
        }
        if len(used := [name for name, on in against.items() if on]) > 1:
            raise ValueError(
                f"{' and '.join(used)}: each answers the same imbalance, so together they overshoot; keep one, "
                'and turn the others off with balance = "none", loss = "bce", pos_weight = 1'
            )
        if self.hard_negatives and self.balance == "none":
            raise ValueError("hard_negatives take places of the background: they need a balance")
        return self

    def sampling(self, seed: int, hard_negatives: Sequence[int] = ()) -> Sampling:
        """Return how the loader chooses windows; `hard_negatives` are windows of the view."""
        balance = self.balance if isinstance(self.balance, str) else {str(name): n for name, n in self.balance.items()}
        cap = self.patient_cap or None
        return Sampling(
            seed, balance=None if balance == "none" else balance, patient_cap=cap, hard_negatives=hard_negatives
        )


class AugmentConfig(Section):
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


class TrainConfig(Section):
    """One training: which view, which model, how long. Closed: an unknown key is refused.

    Attributes
    ----------
    name : str
        The config's name; new runs have it in theirs.
    profile : {"smoke", "dev", "full"}
        The profile of the view to train on.
    recipe : str
        Name or file of the view's recipe.
    seed : int
        Of the first weights, the order of windows, augmentation and dropout.
    window : dict
        The fields of a `WindowSpec`.
    model, train, augment, evaluate
        The sections of the TOML file: detector, optimiser, augmentation, and the rule of events.

    Examples
    --------
    >>> config = brainbrr.TrainConfig.load("smoke")
    >>> config.window_spec().length_s, config.train.steps
    ('20', 500)
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)
    profile: Literal["smoke", "dev", "full"]
    recipe: str = "default"
    seed: int = Field(default=0, ge=0, lt=2**32)
    window: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    model: ModelConfig = ModelConfig()
    train: OptimiserConfig
    augment: AugmentConfig = AugmentConfig()
    evaluate: EventRule = EventRule()

    @field_validator("window")
    @classmethod
    def _window(cls, fields: dict[str, Any]) -> dict[str, Any]:
        spec = WindowSpec.model_validate(fields)
        if spec.missing == "nan":
            raise ValueError('missing = "nan": a model cannot learn from NaN; interpolate, or zero')
        return window_fields(spec)

    @classmethod
    def load(cls, config: TrainConfig | str | Path, changes: Sequence[str] = ()) -> TrainConfig:
        """Return a training config, given, by name or from a TOML file, with some settings changed.

        Parameters
        ----------
        config : TrainConfig, str or path-like
            A config, the name of one that comes with brainbrr, or a TOML file.
        changes : sequence of str
            Settings to change, as in ``["train.lr=0.01"]``.

        Returns
        -------
        TrainConfig
            Every setting, checked.

        Raises
        ------
        ConfigError
            No such config, or a value or a name that is not valid.

        Examples
        --------
        >>> brainbrr.TrainConfig.load("smoke", ["train.steps=10"]).train.steps
        10
        """
        return load_train_config(config, changes)

    def window_spec(self) -> WindowSpec:
        """Return the window of the view to train on.

        Returns
        -------
        WindowSpec
            Open a view with it: ``brainbrr.view(split="train", window=config.window_spec())``.
        """
        return WindowSpec.model_validate(self.window)

    def settings(self) -> dict[str, Any]:
        """Return every setting by its dotted name, but the config's own name.

        Returns
        -------
        dict of str to value
            As in ``{"seed": 0, "train.lr": 0.001}``.
        """
        found: dict[str, Any] = {}
        for name, value in self.model_dump(mode="json", exclude={"name"}).items():
            found |= (
                {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
            )
        return found

    def to_toml(self) -> str:
        """Return every setting as the TOML file that gives this config again.

        Returns
        -------
        str
            What a run's config.toml holds.
        """
        return tomli_w.dumps(self.model_dump(mode="json"))


def window_fields(spec: WindowSpec) -> dict[str, Any]:
    """Return a window as a config's table [window]: every field that has a value."""
    return {name: value for name, value in spec.identity().items() if value is not None}


def setting_names() -> tuple[str, ...]:
    """Return every setting's dotted name: `seed`, `train.lr`, `window.length_s`."""
    names: list[str] = []
    for name, field in TrainConfig.model_fields.items():
        inner = WindowSpec if name == "window" else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += [f"{name}.{each}" for each in inner.model_fields]
        else:
            names.append(name)
    return tuple(names)
