"""The recipe: everything that decides the stored numbers, and nothing else.

No paths, hosts, workers, chunking, codecs, labels or windows; those never change a stored number.

Which frequencies are kept: the edges of a recipe's filters, and what a recording's own rate leaves of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from pydantic import BaseModel, ValidationError, field_validator, model_validator

from brainbrr.core.digest import Number, decimal_text, recipe_digest
from brainbrr.core.models import Model, explain
from brainbrr.core.toml import read_toml
from brainbrr.eeg.signal.montage import CHB_MIT, EAR_LOBES, TEN_TWENTY, electrode_of
from brainbrr.errors import ConfigError

MAX_RATIO_TERM = 1 << 17
"""The most that numerator and denominator of a resampling ratio may be: 1.0004 s records still pass."""

NOTCH_STOP_HZ, NOTCH_PASS_HZ = Fraction("0.2"), Fraction("1.2")
"""On either side of a notch: where it is 80 dB down, and where the gain is one again."""


@dataclass(frozen=True)
class Band:
    """What a filter chain passes: edges in Hz, None where that step is off."""

    low_hz: Fraction | None
    high_hz: Fraction | None
    notch_hz: Fraction | None


@cache
def effective_band(
    rate_hz: Fraction, target_hz: int, *, bandpass_hz: tuple[str, str] | None, notch_hz: str | None
) -> Band:
    """Return the edges that a signal at `rate_hz` can have after resampling to `target_hz`.

    The upper edge is at most 0.48 of the lower rate; a notch that is not below it is left out.
    """
    limit_hz = Fraction(48, 100) * min(rate_hz, Fraction(target_hz))
    low_hz = high_hz = None
    if bandpass_hz is not None:
        low_hz, high_hz = Fraction(bandpass_hz[0]), min(Fraction(bandpass_hz[1]), limit_hz)
    notch = None if notch_hz is None else Fraction(notch_hz)
    return Band(low_hz, high_hz, notch if notch is not None and notch < (high_hz or limit_hz) else None)


REVISION = 2
"""Raised whenever the same recipe and source would give other numbers."""


class RecipeFields(TypedDict, total=False):
    """The fields of a `Recipe` as they may be given."""

    name: str
    rate_hz: int
    channels: Sequence[str]
    bandpass_hz: Sequence[Number] | Literal[False] | None
    notch_hz: Number | Literal[False] | None
    quantum_uv: Number
    unit: Literal["nV", "uV", "mV", "V"] | None
    aliases: Mapping[str, str]
    exact: bool
    revision: int


class Recipe(Model):
    """How an EDF becomes an array. Every field except the name is part of each key.

    Fields that are not known are refused. Numbers are kept as decimal texts: a float is read by its shortest text.

    Parameters
    ----------
    name : str
        For people; not part of the digest.
    rate_hz : int
        Samples per second of what is stored.
    channels : tuple of str
        Electrodes of the 10-20 system, A1, A2, or pairs of them, in this order.
    bandpass_hz : pair of float, str or Decimal, or None
        Edges of the pass band in Hz.
    notch_hz : float, str, Decimal or None
        The frequency of the power line in Hz.
    quantum_uv : float, str or Decimal
        The finest step in µV; each channel uses it times a power of two.
    unit : {"nV", "uV", "mV", "V"}, optional
        The physical unit of all samples, for a corpus whose headers state a wrong one. Default: each signal's own.
    aliases : mapping of str to str
        EDF labels, or the electrode in them, and the channel that each one names: ``{"EEG 001": "Fp1"}``. Upper and
        lower case are the same.
    exact : bool
        Computed in integers, with the same bytes on every machine. False follows the float steps of brain-go-brr.
    revision : int
        Of the computation; only the current one can be built.

    Raises
    ------
    ValidationError
        A field is not known, or a value is not allowed.

    Notes
    -----
    The band-pass is a linear-phase FIR filter whose edges are the ends of its pass band, as in MNE; see
    `brainbrr.eeg.signal.fir` for its lengths and attenuations.

    Examples
    --------
    >>> recipe = brainbrr.Recipe(name="europe", notch_hz=50)
    >>> recipe.notch_hz, recipe.digest == brainbrr.Recipe().digest
    ('50', False)
    """

    name: str = "default"
    rate_hz: int = 256
    channels: tuple[str, ...] = TEN_TWENTY
    bandpass_hz: tuple[str, str] | None = ("0.5", "120")
    notch_hz: str | None = "60"
    quantum_uv: str = "0.125"
    unit: Literal["nV", "uV", "mV", "V"] | None = None
    aliases: tuple[tuple[str, str], ...] = ()
    exact: bool = True
    revision: int = REVISION

    def __init__(self, **fields: Unpack[RecipeFields]) -> None:
        BaseModel.__init__(self, **fields)

    @field_validator("bandpass_hz", "notch_hz", "quantum_uv", mode="before")
    @classmethod
    def _decimal(cls, value: Any) -> Any:
        if value is False:
            return None
        if isinstance(value, list | tuple):
            return tuple(decimal_text(item) for item in value)
        return value if value is None else decimal_text(value)

    @field_validator("channels", mode="before")
    @classmethod
    def _tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("aliases", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and all(isinstance(each, str) for pair in value.items() for each in pair):
            return tuple(sorted((label.strip().upper(), name) for label, name in value.items()))
        if value in (None, ()):
            return ()
        raise ValueError('a table of EDF labels and the channels that they name, such as { "EEG 001" = "Fp1" }')

    @model_validator(mode="after")
    def _plausible(self) -> Recipe:
        if not 1 <= self.rate_hz <= 65_536:
            raise ValueError(f"rate_hz = {self.rate_hz}: between 1 and 65536")
        if not self.channels or len(set(self.channels)) != len(self.channels):
            raise ValueError("channels: at least one, each once")
        for channel in self.channels:
            _check_name("channels", channel)
        for label, channel in self.aliases:
            _check_name(f"aliases.{label}", channel)
        if "" in (labels := dict(self.aliases)) or len(labels) != len(self.aliases):
            raise ValueError("aliases: each label once, whatever its case, and none empty")
        if Decimal(self.quantum_uv) <= 0:
            raise ValueError(f"quantum_uv = {self.quantum_uv}: above 0")
        if self.bandpass_hz is not None:
            low, high = map(Decimal, self.bandpass_hz)
            if not 0 < low < high < Decimal(self.rate_hz) / 2:
                raise ValueError(f"bandpass_hz = {low}, {high}: 0 < low < high < rate_hz / 2")
        lowest = Decimal(self.bandpass_hz[0]) if self.bandpass_hz else Decimal(0)
        lowest += Decimal(NOTCH_PASS_HZ.numerator) / NOTCH_PASS_HZ.denominator
        if self.notch_hz is not None and not lowest <= Decimal(self.notch_hz) < Decimal(self.rate_hz) / 2:
            raise ValueError(f"notch_hz = {self.notch_hz}: from {lowest} to below rate_hz / 2")
        if self.revision != REVISION:
            raise ValueError(f"revision = {self.revision}: this version of brainbrr builds revision {REVISION}")
        return self

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide the stored numbers: all but the name.

        Returns
        -------
        dict
            Numbers as decimal texts, tuples as lists.
        """
        fields = self.model_dump(exclude={"name"}) | {"aliases": dict(self.aliases)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def from_identity(cls, fields: Mapping[str, Any], *, name: str) -> Recipe:
        """Return the recipe that `identity` described.

        Parameters
        ----------
        fields : mapping
            What `identity` returned.
        name : str
            The recipe's name.

        Returns
        -------
        Recipe
            With the same digest.

        Raises
        ------
        ValidationError
            This version cannot build it.
        """
        return cls.model_validate({**fields, "name": name})

    def described(self) -> dict[str, Any]:
        """Return how reports name the recipe.

        Returns
        -------
        dict
            Its name, its digest, and whether equal bytes are promised.
        """
        return {"name": self.name, "digest": self.digest, "exact": self.exact}

    @property
    def digest(self) -> str:
        """32 digits of the SHA-256 of the identity's canonical JSON."""
        return recipe_digest(self.identity())


def _check_name(field: str, channel: str) -> None:
    if (right := electrode_of(channel)) != channel:
        why = f"write {right}" if right else "not an electrode of the 10-20 system, A1, A2, or a pair of them"
        raise ValueError(f"{field}: {channel!r}: {why}")


PRESETS = {
    recipe.name: recipe
    for recipe in (
        Recipe(),
        Recipe(name="10-20-ears", channels=TEN_TWENTY + EAR_LOBES),
        Recipe(name="chb-mit", channels=CHB_MIT),
        Recipe(name="upstream", exact=False),
    )
}
"""Recipes by name: the 10-20 electrodes; the same with A1 and A2; CHB-MIT's native bipolar channels; the 10-20
electrodes by the float steps of brain-go-brr."""


def load_recipe(name_or_file: str) -> Recipe:
    """Return a preset by name, or a recipe from a TOML file.

    A file without `name` is called as the file is. Raises ConfigError naming the file, the field and what is
    allowed, and for a preset's name on another recipe.
    """
    if name_or_file in PRESETS:
        return PRESETS[name_or_file]
    path = Path(name_or_file)
    if not path.is_file():
        raise ConfigError(
            f"no recipe is called {name_or_file!r}, and no file of that name is there",
            fix=f"choose one of {', '.join(PRESETS)}, or give a .toml file",
        )
    try:
        recipe = Recipe.model_validate({"name": path.stem, **read_toml(path)})
    except ValidationError as error:
        raise ConfigError(explain(error), where=path, fix=f"fields: {', '.join(Recipe.model_fields)}") from None
    preset = PRESETS.get(recipe.name)
    if preset is not None and preset.digest != recipe.digest:
        raise ConfigError(
            f"name = {recipe.name!r} is a preset's, and this is another recipe", where=path, fix="name it otherwise"
        )
    return recipe
