"""How a run begins: new, from the weights of another, or as one that goes on. Refuses what would be another run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from brainbrr.errors import UsageError
from brainbrr.learn import runs as r
from brainbrr.learn.train_config import TrainConfig
from brainbrr.learn.world import World
from brainbrr.views import View

_FREE_ON_RESUME = ("loader_threads", "checkpoint_every", "log")
"""Settings that change no weight."""

_FREE_ON_INIT = ("length_s", "stride_s", "tail", "full_fraction")
"""What windows may differ in from those that the first weights learned from: not in what a number means."""


def begin(view: View, config: TrainConfig, runs: Path, name: str | None, init: Path | None, world: World) -> r.Run:
    """Return a new run, which rank 0 makes. Raises UsageError for a name that is taken, or as `train` for `init`."""
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise UsageError(f"a run cannot be called {name!r:.140}", fix="letters, digits, '.', '_' and '-', 128 at most")
    before = None if init is None else _startable(init, config, view)
    name = world.name(name or r.name_of(config))
    if world.writes:
        r.create(runs, config, view.to_json(), name=name, init=before)
    world.any(False)  # from here on rank 0 has made it
    return r.open_run(runs / name)


def _startable(folder: Path, config: TrainConfig, view: View) -> r.Run:
    """Return a run whose weights can start another one on this view: same recipe, same rows, same model."""
    run = r.open_run(folder)
    if not run.model.exists():
        raise UsageError(
            "the run to start from has not finished: it has no model.safetensors",
            where=folder,
            fix=f"finish it with --resume {folder}, or go on with it instead",
        )
    ours, theirs = view.window.identity(), run.view["window"]
    differing = [f"window.{key}" for key in ours if key not in _FREE_ON_INIT and ours[key] != theirs.get(key)]
    differing += ["recipe"] * (run.view["recipe"]["digest"] != view.recipe.digest)
    differing += ["model"] * (run.config.model != config.model)
    if differing:
        raise UsageError(
            f"the weights to start from learned from other numbers than this view gives: {', '.join(differing)}",
            where=folder,
            fix=f"--config {folder / 'config.toml'}, or train from scratch",
        )
    return run


def reopen(folder: Path, config: TrainConfig, digest: str) -> r.Run:
    """Return a run to go on with. Another view or config would be another run."""
    run = r.open_run(folder)
    if run.view["digest"] != digest:
        raise UsageError(
            f"the view changed since the run began: it was {run.view['digest'][:12]}, it is {digest[:12]}",
            where=folder,
            fix="start a new run",
        )
    ours, theirs = (_exact(each) for each in (run.config, config))
    if changed := [name for name in ours if ours[name] != theirs[name]]:
        raise UsageError(
            f"the config is not the run's: {', '.join(changed)}",
            where=folder,
            fix=f"brainbrr train --config {folder / 'config.toml'} --resume {folder}",
        )
    return run


def _exact(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that move weights, by dotted name."""
    told = config.model_dump()
    rest = {name: value for name, value in told.items() if name != "train"}
    return rest | {f"train.{name}": value for name, value in told["train"].items() if name not in _FREE_ON_RESUME}
