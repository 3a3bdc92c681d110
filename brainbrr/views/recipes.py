"""The recipes of a store by name or digest, and what two recipes do differently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from brainbrr.core.models import explain
from brainbrr.eeg.signal.fir import Chain
from brainbrr.eeg.signal.recipe import PRESETS, Recipe, effective_band, load_recipe
from brainbrr.errors import ConfigError, Fix, UsageError
from brainbrr.store import frozen_views
from brainbrr.store.formats import stored_bytes
from brainbrr.store.store import Store

GAIN_HZ = (0.1, 0.25, 0.5, 1.0, 2.0, 10.0, 45.0, 49.0, 50.0, 51.0, 59.0, 60.0, 61.0, 70.0, 100.0, 120.0, 125.0)
"""The frequencies at which gains are compared."""

_FLOOR_DB = -120.0


def recipe_fields(store: Store) -> dict[str, dict[str, Any]]:
    """Return the fields of every recipe that has records, and of the presets, by digest; with its name."""
    found = {recipe.digest: {"name": name, **recipe.identity()} for name, recipe in PRESETS.items()}
    for record in store.records():
        if record.recipe not in found:
            found[record.recipe] = {**record.recipe_fields, "name": str(record.provenance.get("recipe_name", ""))}
    return found


def find_recipe(store: Store | None, text: str) -> Recipe:
    """Return a preset, the recipe of a TOML file, or one of the store by its name or what begins its digest.

    Raises ConfigError where there is none, UsageError where several are meant or this version cannot build it.
    """
    try:
        return load_recipe(text)
    except ConfigError as error:
        if store is None or Path(text).is_file():
            raise
        known = recipe_fields(store)
        found = [digest for digest, each in known.items() if each["name"] == text]
        found = found or frozen_views.matching(known, text, 32)
        if not found:
            names = ", ".join(f"{each['name'] or 'unnamed'} {digest[:8]}" for digest, each in known.items())
            error.fix = Fix(f"choose one of {names}, or give a .toml file")
            raise
    if len(found) > 1:
        raise UsageError(f"{text!r} means {len(found)} recipes", fix=f"give digits: {', '.join(d[:12] for d in found)}")
    fields = dict(known[found[0]])
    name = fields.pop("name") or found[0][:8]
    try:
        return Recipe.from_identity(fields, name=name)
    except ValidationError as error:
        raise UsageError(f"this version of brainbrr cannot build recipe {name}: {explain(error)}") from None


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as a file that `--recipe` takes, with the same digest."""
    lines = [f"name = {_toml(recipe.name)}"]
    for field, value in recipe.identity().items():
        if value is None and field in ("bandpass_hz", "notch_hz"):
            lines.append(f"{field} = false")
        elif value not in (None, {}):
            lines.append(f"{field} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items()) + " }"
    return json.dumps(value)  # a TOML string is a JSON string, and so are true, false and integers


def describe_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return in one line what a second recipe does differently."""
    differs = differences(ours, theirs)
    if set(differs) == {"revision"}:
        old, new = differs["revision"]
        return f"recipe revision {old} → {new}"
    return "recipe " + ", ".join(f"{name} {_short(a)} → {_short(b)}" for name, (a, b) in differs.items())


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the fields in which two recipes differ, beside their names."""
    names = [name for name in {**ours, **theirs} if name != "name"]
    return {name: [ours.get(name), theirs.get(name)] for name in names if ours.get(name) != theirs.get(name)}


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} channels" if len(value) > 2 else " to ".join(map(str, value))
    return "off" if value is None else str(value)


def gain_db(recipe: Recipe, frequencies_hz: tuple[float, ...] = GAIN_HZ) -> dict[float, float | None]:
    """Return a recipe's gain in dB for a recording at the recipe's own rate; None above half the rate.

    Of an exact recipe. Below -120 dB it is -120.
    """
    rate = recipe.rate_hz
    band = effective_band(Fraction(rate), rate, bandpass_hz=recipe.bandpass_hz, notch_hz=recipe.notch_hz)
    chain = Chain(Fraction(rate), rate, band)
    half = -(-int(chain.look_ahead_s * rate + 1) // 1)
    n = 6 * half + 1  # so far from both ends that no reflection of the impulse is seen
    impulse = np.zeros((1, n), dtype=np.int16)
    impulse[0, n // 2] = 1 << 14
    taps = chain.apply(impulse, first=0, n=n, start=0, stop=n)[0] / float((1 << 14) * 2**chain.fraction_bits)
    at = np.arange(n) - n // 2
    gains: dict[float, float | None] = {}
    for hz in frequencies_hz:
        if hz > rate / 2:
            gains[hz] = None
        else:
            gain = abs(np.exp(-2j * np.pi * hz / rate * at) @ taps)
            gains[hz] = round(float(max(_FLOOR_DB, 20 * np.log10(max(gain, 1e-12)))), 3) + 0.0
    return gains


def bytes_per_hour(recipe: Recipe) -> int:
    """Return the bytes that an hour of signal takes in a store without a codec."""
    return stored_bytes(len(recipe.channels), 3600 * recipe.rate_hz, recipe.rate_hz)
