"""A run's folder: who may be in it, how it is written, what its weights say of themselves. Knows no EEG.

config.toml · view.json (frozen) · metrics.jsonl · checkpoint.safetensors (the last one) · model.safetensors · later
the scores. A run that started from another's weights has those in init.safetensors, and what they saw in init.json.

How a run begins: new, from the weights of another, or as one that goes on. Refuses what would be another run.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from brainbrr.core import files, models
from brainbrr.core.display import html_table
from brainbrr.core.models import Many, Stored
from brainbrr.core.toml import read_toml
from brainbrr.errors import Fix, IntegrityError, UsageError
from brainbrr.learn.config import WEIGHTLESS, TrainConfig
from brainbrr.learn.distributed import World
from brainbrr.store.frozen_views import check_frozen
from brainbrr.store.sidecars import MAX_CATALOG_BYTES
from brainbrr.views.view import View

RUN_FORMAT = 1
LOSS_OVER = 50
"""A run's loss is the mean over so many of its last steps."""
_ROOT = Path(__file__).resolve().parents[2]
_COMMIT = ("--always", "--dirty", "--abbrev=40", "--exclude=*")
_METADATA = "brainbrr"


class _Identity(Stored):
    """What tells whether somebody else is in a recording."""

    patient: str
    source: str
    content: str
    synthetic: bool


class _Seen(Stored):
    """A view that a run's first weights were trained on."""

    run: str
    digest: str
    corpus: str
    recordings: Many[_Identity]


class _Init(Stored):
    """What init.json says."""

    seen: Many[_Seen]


@dataclass(frozen=True, repr=False)
class Run:
    """One training's folder, its config and the view it was made on, frozen."""

    folder: Path
    config: TrainConfig
    view: Mapping[str, Any]
    before: tuple[Mapping[str, Any], ...] = ()
    """What the weights that it started from had seen, run by run: as init.json has it."""

    def __repr__(self) -> str:
        return f"<Run {self.folder.resolve().name}: {', '.join(f'{name} {value}' for name, value in self._facts())}>"

    def _repr_html_(self) -> str:
        return html_table(self._facts(), caption=f"brainbrr run {self.folder.resolve().name}")

    def _facts(self) -> list[tuple[str, object]]:
        """Return what the run is, in a few words."""
        view = self.view
        return [
            ("config", self.config.name),
            ("view", f"{view.get('corpus')}/{view.get('profile')} {str(view.get('digest'))[:12]}"),
            ("recordings", len(view.get("recordings", ()))),
            ("state", "finished" if self.model.exists() else "not finished"),
        ]

    def seen(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return all that the weights have seen: a name, and a mapping with `corpus` and `recordings`, for each view.

        A recording has `patient`, `source` and `content`. The run's own view is the first.
        """
        return [("training", self.view), *((f"training of {each['run']}", each) for each in self.before)]

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of a finished training.

        Raises UsageError for a run that has not finished, IntegrityError for weights that are not its own.
        """
        if not self.model.exists():
            raise UsageError(
                "this run has not finished: it has no model.safetensors",
                where=self.folder,
                fix=Fix(("train", "--config", self.folder / "config.toml", "--resume", self.folder)),
            )
        tensors, metadata = read_tensors(self.model)
        if metadata.get("view_digest") != self.view["digest"]:
            raise IntegrityError("the weights were trained on another view than the run's", where=self.model)
        return tensors

    @property
    def init(self) -> Path:
        """The weights that the run started from, where those were another run's."""
        return self.folder / "init.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Weights and optimiser at the last step that was saved."""
        return self.folder / "checkpoint.safetensors"

    @property
    def model(self) -> Path:
        """The weights of a finished training."""
        return self.folder / "model.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON line per step."""
        return self.folder / "metrics.jsonl"

    def history(self) -> list[dict[str, Any]]:
        """Return the steps of metrics.jsonl up to the first line that a crash cut off: the rest is made again."""
        if not self.metrics.exists():
            return []
        rows = []
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
            try:
                row = json.loads(line)
                if type(row["step"]) is not int or not isinstance(row["loss"], int | float):
                    break
            except (ValueError, TypeError, KeyError, RecursionError):
                break
            rows.append(row)
        return rows

    def rewind(self, step: int) -> None:
        """Forget what metrics.jsonl says of steps from `step` on: they are about to be made again."""
        kept = [json.dumps(row) + "\n" for row in self.history() if row["step"] < step]
        write(self.metrics, "".join(kept).encode())

    def metadata(self, step: int, *, world: int, threads: int) -> dict[str, Any]:
        """Return what a file of weights says of itself: of which step, by how many processes and threads."""
        return {
            "format": RUN_FORMAT,
            "step": step,
            "world": world,
            "threads": threads,
            "view_digest": self.view["digest"],
            "recipe": self.view["recipe"],
            "config": self.config.model_dump(mode="json"),
            "versions": {
                "python": platform.python_version(),
                **{package: version(package) for package in ("brainbrr", "torch", "numpy")},
            },
            "git_commit": commit_of(_ROOT),
        }


def name_of(config: TrainConfig) -> str:
    """Return a new run's name: the time (UTC), the config's name and six random digits."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{config.name}-{secrets.token_hex(3)}"


def create(
    runs: Path, config: TrainConfig, view: Mapping[str, Any], *, name: str | None = None, init: Run | None = None
) -> Run:
    """Make a new run's folder, whole or not at all. `init` is the finished run that gives the first weights."""
    before = () if init is None else tuple(_seen_by(init))
    run = Run(runs / (name or name_of(config)), config, view, before)
    if run.folder.exists():
        raise UsageError("there is a run of this name", where=run.folder, fix=f"--resume {run.folder}, or another name")
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=runs) as scratch:
        making = replace(run, folder=Path(scratch) / "run")
        making.folder.mkdir()
        write(making.folder / "config.toml", config.to_toml().encode())
        write(making.folder / "view.json", json.dumps(view, indent=1).encode())
        if init is not None:
            write(making.init, init.model.read_bytes())
            write(making.folder / "init.json", json.dumps({"seen": before}).encode())
        making.folder.rename(run.folder)
    return run


def _seen_by(run: Run) -> Iterator[dict[str, Any]]:
    """Yield what a run's weights had seen, in as few words as tell whether somebody else is in it."""
    for name, view in ((run.folder.resolve().name, run.view), *((each["run"], each) for each in run.before)):
        recordings = [{kind: entry[kind] for kind in _Identity.model_fields} for entry in view["recordings"]]
        yield {"run": name, "digest": view["digest"], "corpus": view["corpus"], "recordings": recordings}


def open_run(folder: Path) -> Run:
    """Return the run in a folder. Raises UsageError when it is none, IntegrityError for a view that is damaged."""
    try:
        config = models.parse(TrainConfig, read_toml(folder / "config.toml"), where=folder, error=UsageError)
        view = _read(folder / "view.json")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"this is no run: {Path(str(error.filename)).name} is missing", where=folder) from None
    check_frozen(view)
    return Run(folder, config, view, _before(folder))


def _before(folder: Path) -> tuple[Mapping[str, Any], ...]:
    """Return what init.json says. Raises IntegrityError where it is damaged, or gone though there are such weights."""
    path = folder / "init.json"
    try:
        return tuple(models.parse(_Init, _read(path), where=path).to_json()["seen"])
    except FileNotFoundError:
        if (folder / "init.safetensors").exists():
            raise IntegrityError("the run started from another's weights: what those saw is gone", where=path) from None
        return ()


def _read(path: Path) -> dict[str, Any]:
    return models.decode_json(files.read(path, limit=MAX_CATALOG_BYTES, folders=0), where=path)


def write(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with files.naming(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors as safetensors: no pickle, so that nobody's weights can run code."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # one entry: of several, safetensors would write a random order, and equal runs would differ in their bytes
    write(path, save(held, {_METADATA: json.dumps(metadata)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a file that write_tensors wrote. Raises IntegrityError otherwise."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = json.loads(file.metadata()[_METADATA])
    except (SafetensorError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise IntegrityError(f"not a file of brainbrr's weights: {error!s:.200}", where=path) from None
    if not isinstance(metadata, dict):
        raise IntegrityError("not a file of brainbrr's weights: what it says of itself is no object", where=path)
    return tensors, metadata


def load_weights(model: torch.nn.Module, tensors: Mapping[str, Tensor], *, where: Path) -> None:
    """Put weights into a model. Raises IntegrityError for those of another model."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise IntegrityError(f"these are another model's weights: {error!s:.200}", where=where) from None


def optimiser_tensors(model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state by the names of the model's parameters."""
    return {
        f"optimiser.{name}.{field}": value
        for name, parameter in model.named_parameters()
        for field, value in optimiser.state[parameter].items()
    }


def load_optimiser(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], *, where: Path
) -> None:
    """Put back what optimiser_tensors gave. Raises IntegrityError for that of another model."""
    for name, parameter in model.named_parameters():
        prefix = f"optimiser.{name}."
        for full, value in tensors.items():
            if full.startswith(prefix):
                field = full.removeprefix(prefix)
                if value.shape != (() if field == "step" else parameter.shape):
                    raise IntegrityError(f"{full[:200]} has the shape {tuple(value.shape)}", where=where)
                # Adam keeps its count on the CPU
                optimiser.state[parameter][field] = value.clone().to("cpu" if field == "step" else parameter.device)


def commit_of(root: Path) -> str | None:
    """Return the commit of a checkout, with "-dirty" where its files are not those; None for what is no checkout."""
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "--no-optional-locks", "-C", str(root), "describe", *_COMMIT],  # noqa: S607  # git as the user has it
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


Weights = Mapping[str, Tensor]

_FREE_ON_INIT = ("length_s", "stride_s", "tail", "full_fraction")
"""What windows may differ in from those that the first weights learned from: not in what a number means."""


def begin(
    view: View, config: TrainConfig, runs: Path, *, name: str | None, init: Path | None, weights: Weights, world: World
) -> Run:
    """Return a new run, which rank 0 makes. `init` gives its first weights, in place of `weights`.

    Raises UsageError for a name that is taken, and where `init` learned from other numbers or is another model.
    """
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise UsageError(f"a run cannot be called {name!r:.140}", fix="letters, digits, '.', '_' and '-', 128 at most")
    before = None if init is None else _startable(init, view, weights)
    name = world.name(name or name_of(config))
    if world.writes:
        create(runs, config, view.to_json(), name=name, init=before)
    world.meet()
    return open_run(runs / name)


def _startable(folder: Path, view: View, weights: Weights) -> Run:
    """Return a run whose weights can start another one on this view: same recipe, same rows, same model."""
    run = open_run(folder)
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


def reopen(folder: Path, config: TrainConfig, digest: str, *, init: Path | None) -> Run:
    """Return a run to go on with. Another view or config, or other first weights, would be another run."""
    run = open_run(folder)
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
            fix=Fix(("train", "--config", folder / "config.toml", "--resume", folder)),
        )
    return run
