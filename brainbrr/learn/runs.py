"""A run's folder: how it is created, opened, resumed and written. Knows no EEG.

config.toml · view.json (frozen) · dev.json (frozen: what it validates on) · metrics.jsonl · checkpoint.safetensors (the
last one) · validation.json · best.safetensors · model.safetensors (the last weights) · later the scores. A run that
started from another's weights has those in init.safetensors, and the recordings that they were trained on in init.json;
one that learns from false alarms has their file as hard-negatives.json.
"""

from __future__ import annotations

import json
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
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from brainbrr.core import files, models
from brainbrr.core.access import OWNER_ONLY, Guard, make_folder
from brainbrr.core.display import html_table
from brainbrr.core.models import Many, Stored
from brainbrr.core.toml import read_toml
from brainbrr.errors import Fix, IntegrityError, UsageError
from brainbrr.learn.config import WEIGHTLESS, TrainConfig
from brainbrr.learn.distributed import World
from brainbrr.learn.hard_negatives import HardNegatives
from brainbrr.store.frozen_views import check_frozen
from brainbrr.store.sidecars import MAX_CATALOG_BYTES
from brainbrr.views.view import View

RUN_FORMAT = 1
LOSS_OVER = 50
"""A run's loss is the mean over this number of its last steps."""
_ROOT = Path(__file__).resolve().parents[2]
_COMMIT = ("--always", "--dirty", "--abbrev=40", "--exclude=*")
_METADATA = "brainbrr"
VALIDATION = "validation.json"
"""The file of a finished run that says on whom its best weights were chosen, and how they scored."""

Which = Literal["best", "last"]


class _Identity(Stored):
    """What tells whether another person is in a recording."""

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


class _Chose(Stored):
    """The patients of dev on whom the best weights were chosen."""

    split: str | None
    by: str
    patients: Many[str]
    also: dict[str, Any]


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
    """The recordings that its first weights were trained on, run by run, as in init.json."""
    dev: Mapping[str, Any] | None = None
    """The frozen view that it validates on, None where it does not."""

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
        """Return each view that the weights were trained on: a name, and a mapping with `corpus` and `recordings`.

        A recording has `patient`, `source` and `content`. The run's own view is the first.
        """
        return [("training", self.view), *((f"training of {each['run']}", each) for each in self.before)]

    def weights(self, which: Which = "best") -> dict[str, Tensor]:
        """Return the weights of a finished training: the best ones, where it validated, or the last ones.

        Raises UsageError for a run that has not finished, IntegrityError for weights that are not its own.
        """
        if not self.model.exists():
            raise UsageError(
                "this run has not finished: it has no model.safetensors",
                where=self.folder,
                fix=Fix(("train", "--config", self.folder / "config.toml", "--resume", self.folder)),
            )
        path = self.result(which)
        tensors, metadata = read_tensors(path)
        if metadata.get("view_digest") != self.view["digest"]:
            raise IntegrityError("the weights were trained on another view than the run's", where=path)
        return tensors

    def result(self, which: Which = "best") -> Path:
        """Return the file of the best weights, or that of the last ones where there are no others."""
        return self.best if which == "best" and self.best.exists() else self.model

    def which(self, which: Which = "best") -> str:
        """Say which weights `weights` returns, and why."""
        n_steps = self.config.train.steps
        chose = self.chose()
        if which == "last":
            return f"the last of {n_steps} steps"
        if chose is None or not self.best.exists():
            return f"the last of {n_steps} steps: the training did not validate"
        step = chose["also"].get("best", {}).get("step")
        return f"the best by {chose['by']} on {len(chose['patients'])} patients of {chose['split']}: after step {step}"

    def chose(self) -> Mapping[str, Any] | None:
        """Return what validation.json says: `split`, `by`, `patients`, and in `also` the scores. None without one."""
        path = self.folder / VALIDATION
        return models.parse(_Chose, _read_with_floats(path), where=path).model_dump() if path.exists() else None

    @property
    def init(self) -> Path:
        """The weights that the run started from, where those were another run's."""
        return self.folder / "init.safetensors"

    @property
    def hard_negatives(self) -> Path:
        """A copy of the file that the config names, where it names one."""
        return self.folder / "hard-negatives.json"

    @property
    def checkpoint(self) -> Path:
        """Weights and optimiser at the last step that was saved."""
        return self.folder / "checkpoint.safetensors"

    @property
    def best(self) -> Path:
        """The best weights of a finished training that validated."""
        return self.folder / "best.safetensors"

    @property
    def model(self) -> Path:
        """The last weights of a finished training."""
        return self.folder / "model.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON line per step."""
        return self.folder / "metrics.jsonl"

    def history(self) -> list[dict[str, Any]]:
        """Return the steps of metrics.jsonl up to the first line that a crash cut off; the rest is computed again."""
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
        """Remove the steps from `step` on from metrics.jsonl: they are about to be computed again."""
        kept = [json.dumps(row) + "\n" for row in self.history() if row["step"] < step]
        files.replace(self.metrics, "".join(kept).encode())

    def metadata(self, step: int, *, world: int, threads: int) -> dict[str, Any]:
        """Return the metadata of a file of weights: step, processes, threads, view, config, software."""
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
    runs: Path,
    config: TrainConfig,
    view: Mapping[str, Any],
    *,
    name: str | None = None,
    init: Run | None = None,
    dev: Mapping[str, Any] | None = None,
    hard: HardNegatives | None = None,
    like: Path | None = None,
) -> Run:
    """Create a new run's folder, completely or not at all. `init` is the finished run that gives the first weights.

    The run is no more readable than the folder `like`, the store; without it only its owner may read it.
    """
    before = () if init is None else tuple(_seen_by(init))
    run = Run(runs / (name or name_of(config)), config, view, before, dev)
    if run.folder.exists():
        raise UsageError("a run of this name exists", where=run.folder, fix=f"--resume {run.folder}, or another name")
    within = OWNER_ONLY if like is None else (Guard.of(like),)
    make_folder(runs, within)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=runs) as scratch:
        draft = replace(run, folder=Path(scratch) / "run")
        make_folder(draft.folder, within)
        files.replace(draft.folder / "config.toml", config.to_toml().encode())
        files.replace(draft.folder / "view.json", json.dumps(view, indent=1).encode())
        if dev is not None:
            files.replace(draft.folder / "dev.json", json.dumps(dev, indent=1).encode())
        if hard is not None:
            hard.write(draft.hard_negatives)
        if init is not None:
            files.replace(draft.init, init.result().read_bytes())
            files.replace(draft.folder / "init.json", json.dumps({"seen": before}).encode())
        draft.folder.rename(run.folder)
    return run


def _seen_by(run: Run) -> Iterator[dict[str, Any]]:
    """Yield the views that a run's weights were trained on: only the fields that show shared patients."""
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
    dev = _read(folder / "dev.json") if (folder / "dev.json").exists() else None
    if dev is not None:
        check_frozen(dev)
    return Run(folder, config, view, _before(folder), dev)


def _before(folder: Path) -> tuple[Mapping[str, Any], ...]:
    """Return the views in init.json. Raises IntegrityError where it is damaged, or missing beside such weights."""
    path = folder / "init.json"
    try:
        return tuple(models.parse(_Init, _read(path), where=path).to_json()["seen"])
    except FileNotFoundError:
        if (folder / "init.safetensors").exists():
            raise IntegrityError(
                "the run started from another's weights: the list of their recordings is missing", where=path
            ) from None
        return ()


def _read(path: Path) -> dict[str, Any]:
    return models.decode_json(files.read(path, limit=MAX_CATALOG_BYTES, folders=0), where=path)


def _read_with_floats(path: Path) -> Any:
    try:
        return json.loads(files.read(path, limit=MAX_CATALOG_BYTES, folders=0))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"this is no JSON: {error!s:.200}", where=path) from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors as safetensors: no pickle, so that loading weights never runs code."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # one entry: of several, safetensors would write a random order, and equal runs would differ in their bytes
    files.replace(path, save(stored, {_METADATA: json.dumps(metadata)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a file that write_tensors wrote. Raises IntegrityError otherwise."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = json.loads(file.metadata()[_METADATA])
    except (SafetensorError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise IntegrityError(f"not a file of brainbrr's weights: {error!s:.200}", where=path) from None
    if not isinstance(metadata, dict):
        raise IntegrityError("not a file of brainbrr's weights: its metadata is not an object", where=path)
    return tensors, metadata


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a file, of which only the header is read. Raises IntegrityError."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise IntegrityError(f"not a file of brainbrr's weights: {error!s:.200}", where=path) from None


def load_weights(model: torch.nn.Module, tensors: Mapping[str, Tensor], *, where: Path) -> None:
    """Load weights into a model. Raises IntegrityError for those of another model."""
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
    """Restore the state that optimiser_tensors returned. Raises IntegrityError for that of another model."""
    for name, parameter in model.named_parameters():
        prefix = f"optimiser.{name}."
        for full, value in tensors.items():
            if full.startswith(prefix):
                field = full.removeprefix(prefix)
                if value.shape != (() if field == "step" else parameter.shape):
                    raise IntegrityError(f"{full[:200]} has the shape {tuple(value.shape)}", where=where)
                # Adam keeps its count on the CPU, unless one kernel moves all parameters
                host = field == "step" and not optimiser.defaults.get("fused")
                optimiser.state[parameter][field] = value.clone().to("cpu" if host else parameter.device)


def commit_of(root: Path) -> str | None:
    """Return the commit of a checkout, with "-dirty" where its files differ; None outside of a checkout."""
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
"""Fields of the window that may differ from those of the first weights' view: none changes what a number means."""


def begin(
    view: View,
    config: TrainConfig,
    runs: Path,
    *,
    name: str | None,
    init: Path | None,
    dev: View | None,
    hard: HardNegatives | None,
    weights: Weights,
    world: World,
) -> Run:
    """Return a new run, which rank 0 creates. `init` gives its first weights, in place of `weights`.

    Raises UsageError for a name that exists, and where `init` was trained on other numbers or is another model.
    """
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise UsageError(f"{name!r:.140} cannot name a run", fix="letters, digits, '.', '_' and '-', 128 at most")
    before = None if init is None else _startable(init, view, weights)
    name = world.name(name or name_of(config))
    if world.writes:
        frozen = None if dev is None else dev.to_json()
        create(runs, config, view.to_json(), name=name, init=before, dev=frozen, hard=hard, like=view.store.location)
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
            f"the first weights were trained on other numbers than this view gives: {', '.join(differing)}",
            where=folder,
            fix=f"--config {folder / 'config.toml'}, or train from scratch",
        )
    if {key: value.shape for key, value in found.items()} != {key: value.shape for key, value in weights.items()}:
        raise UsageError(
            "the first weights are of another model than the config's",
            where=folder,
            fix=f"--config {folder / 'config.toml'}, or train from scratch",
        )
    return run


def reopen(folder: Path, config: TrainConfig, digest: str, *, init: Path | None) -> Run:
    """Return a run to resume. Raises UsageError for another view or config, or other first weights."""
    run = open_run(folder)
    source = run.before[0]["run"] if run.before else "none"
    if init is not None and (named := init.resolve().name) != source:
        raise UsageError(
            f"the run did not start from {named}: it started from {source}",
            where=folder,
            fix="leave out --init, or give the new run another name",
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
            fix=Fix(
                "for more steps, a new run from its weights, once it has finished: ",
                (
                    "train",
                    "--config",
                    folder / "config.toml",
                    "--set",
                    f"train.steps={config.train.steps}",
                    "--init",
                    folder,
                ),
            )
            if "train.steps" in changed
            else Fix(("train", "--config", folder / "config.toml", "--resume", folder)),
        )
    return run
