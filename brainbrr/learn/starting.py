"""How a run begins: new, from the weights of another, or as one that goes on. Refuses what would be another run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from brainbrr.errors import UsageError
from brainbrr.learn import runs as r
from brainbrr.learn.train_config import WEIGHTLESS, TrainConfig
from brainbrr.learn.world import World
from brainbrr.views import View

Weights = Mapping[str, Tensor]

_FREE_ON_INIT = ("length_s", "stride_s", "tail", "full_fraction")
"""What windows may differ in from those that the first weights learned from: not in what a number means."""


def begin(
    view: View, config: TrainConfig, runs: Path, *, name: str | None, init: Path | None, weights: Weights, world: World
) -> r.Run:
    """Return a new run, which rank 0 makes. `init` gives its first weights, in place of `weights`.

    Raises UsageError for a name that is taken, and where `init` learned from other numbers or is another model.
    """
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise UsageError(f"a run cannot be called {name!r:.140}", fix="letters, digits, '.', '_' and '-', 128 at most")
    before = None if init is None else _startable(init, view, weights)
    name = world.name(name or r.name_of(config))
    if world.writes:
        r.create(runs, config, view.to_json(), name=name, init=before)
    world.meet()
    return r.open_run(runs / name)


def _startable(folder: Path, view: View, weights: Weights) -> r.Run:
    """Return a run whose weights can start another one on this view: same recipe, same rows, same model."""
    run = r.open_run(folder)
    found = run.weights()
    ours, theirs = view.window.identity(), run.view["window"]
    differing = [f"window.{key}" for key in ours if key not in _FREE_ON_INIT and ours[key] != theirs.get(key)]
    differing += ["recipe"] * (run.view["recipe"]["digest"] != view.recipe.digest)
    if differing:
        raise UsageError(
            f"the weights to start from learned from other numbers than this view gives: {', '.join(differing)}",
            where=folder,
            fix=f"--config {folder / 'config.toml'}, or train from scratch",
        )
    if {key: value.shape for key, value in found.items()} != {key: value.shape for key, value in weights.items()}:
        raise UsageError(
            "the weights to start from are of another model than the config's",
            where=folder,
            fix=f"--config {folder / 'config.toml'}, or train from scratch",
        )
    return run


def reopen(folder: Path, config: TrainConfig, digest: str, *, init: Path | None) -> r.Run:
    """Return a run to go on with. Another view or config, or other first weights, would be another run."""
    run = r.open_run(folder)
    began = run.before[0]["run"] if run.before else "none"
    if init is not None and (asked := init.resolve().name) != began:
        raise UsageError(
            f"the run did not start from {asked}: it started from {began}",
            where=folder,
            fix="leave --init away, or give the new run another name",
        )
    if run.view["digest"] != digest:
        raise UsageError(
            f"the view changed since the run began: it was {run.view['digest'][:12]}, it is {digest[:12]}",
            where=folder,
            fix="start a new run",
        )
    ours, theirs = run.config.settings(), config.settings()
    changed = [name for name in ours | theirs if ours.get(name) != theirs.get(name) and name not in WEIGHTLESS]
    if changed:
        raise UsageError(
            f"the config is not the run's: {', '.join(changed)}",
            where=folder,
            fix=f"brainbrr train --config {folder / 'config.toml'} --resume {folder}",
        )
    return run
