"""`train` and `evaluate`: preflight, then learn. Neither ever builds an object."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import DependencyError, UsageError, ViewNotReadyError
from brainbrr.progress import Progress
from brainbrr.verbs.view import ViewReport
from brainbrr.views import View
from brainbrr.windows import WindowSpec

if TYPE_CHECKING:
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.train import TrainReport
    from brainbrr.learn.train_config import TrainConfig


def train(
    report: ViewReport, config: TrainConfig, *, runs: Path, resume: Path | None, progress: Progress
) -> TrainReport:
    """Train from a view that is ready. Raises ViewNotReadyError with the command that mends it otherwise."""
    need_torch()
    preflight(report)
    from brainbrr.learn.train import train as learn

    return learn(report.view, config, runs=runs, resume=resume, progress=progress)


def evaluate(
    run: Path,
    *,
    split: str,
    tune: str | None,
    open_view: Callable[..., ViewReport],
    progress: Progress,
) -> EvaluateReport:
    """Score a run on a split, with thresholds chosen on `tune`. Raises LeakError when they share a patient."""
    need_torch()
    from brainbrr.learn.evaluate import evaluate as score

    frozen = _frozen(run)
    asked = {
        "corpus": frozen["corpus"],
        "recipe": Recipe.model_validate({**frozen["recipe"]["fields"], "name": frozen["recipe"]["name"]}),
        "window": WindowSpec.model_validate(frozen["window"]),
    }
    held_out = preflight(open_view(frozen["profile"], split=split, **asked))
    tuning = preflight(open_view(frozen["profile"], split=tune, **asked)) if tune and tune != split else None
    return score(run, held_out, tune=tuning, progress=progress)


def preflight(report: ViewReport) -> View:
    """Return the view when it is ready, else say in full what is not."""
    if report.state == "ready":
        return report.view
    view = report.view
    lacking = [m.reason for m in view.missing] + [s.reason for s in view.stale]
    of = f"{len(view.recordings)} of {len(view.recordings) + len(view.missing)} recordings are stored"
    raise ViewNotReadyError(
        f"the view is {report.state}: {of}" + (f"; {lacking[0]}" if lacking else ""),
        where=f"corpus {view.corpus or '?'}, profile {view.profile}, split {view.split or 'all'}, "
        f"recipe {view.recipe.name}, store {report.location}",
        fix=report.mend,
    )


def _frozen(run: Path) -> dict[str, Any]:
    try:
        frozen = json.loads((run / "view.json").read_bytes())
    except FileNotFoundError:
        raise UsageError("this is no run: view.json is missing", where=run) from None
    return frozen if isinstance(frozen, dict) else {}


def need_torch() -> None:
    """Raise DependencyError when what training needs is not installed."""
    from importlib.util import find_spec

    lacking = [name for name in ("torch", "safetensors", "timescoring") if find_spec(name) is None]
    if lacking:
        raise DependencyError(
            f"training needs {', '.join(lacking)}", fix="pip install 'brainbrr[train]', or '.[train]' in a checkout"
        )
