"""`train`: preflight, then learn. Never builds an object.

`evaluate`: preflight of the splits, then score. Never builds an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from brainbrr.core.progress import Progress
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError, DependencyError, IntegrityError, SpaceError, UsageError, ViewNotReadyError
from brainbrr.loading.windows import WindowSpec
from brainbrr.store import frozen_views
from brainbrr.views.report import ViewReport
from brainbrr.views.retention import need_objects
from brainbrr.views.stage import StageOptions, staged
from brainbrr.views.view import View

if TYPE_CHECKING:
    from brainbrr.learn.config import TrainConfig
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.train import TrainReport
    from brainbrr.settings import Launch


_AGAIN_S = 3600.0


def train(
    report: ViewReport,
    config: TrainConfig,
    *,
    runs: Path,
    resume: Path | None,
    name: str | None = None,
    init: Path | None = None,
    launch: Launch | None = None,
    stage: StageOptions | None = None,
    progress: Progress,
) -> TrainReport:
    """Train from a view that is ready. Raises ViewNotReadyError with the command that mends it otherwise.

    The view is frozen in its store first, so that no gc takes what is trained on; the report's metrics say whether it
    could be. With `stage` it is read from copies on this node, and the metrics say where and how many bytes.
    With `launch` this is one process of several, which meet here; rank 0 writes the run.
    """
    need_torch()
    view = preflight(report)
    from brainbrr.learn.distributed import joined
    from brainbrr.learn.train import device_of, trainable
    from brainbrr.learn.train import train as learn

    trainable(view)  # before it is frozen: what teaches nothing need not stay
    asked: dict[str, Any] = {"runs": runs, "name": name, "resume": resume, "init": init, "progress": progress}
    found: dict[str, Any] = {"frozen": hold(view, progress)}
    cuda = device_of(config.train.device).type == "cuda"
    with joined(launch, cuda=cuda), _in_use(view) if found["frozen"] else nullcontext():
        if stage is None:
            trained = learn(view, config, **asked)
        else:
            with staged(view, stage, progress) as copy:
                trained = learn(copy.view, config, **asked)
            found["stage"] = copy.to_json()
    return replace(trained, metrics={**trained.metrics, **found})


def hold(view: View, progress: Progress) -> bool:
    """Freeze a view in its store and prove that what it names is there; say whether the store could be written.

    Raises ViewNotReadyError where a gc was faster.
    """
    frozen = True
    try:
        frozen_views.freeze(view.store, str(view.digest), view.to_json())
    except (UsageError, SpaceError) as error:
        frozen = False
        progress.say(f"the view is not frozen in the store, so a gc there may delete what is trained on: {error.what}")
    try:
        need_objects(view.store, view.to_json())
    except IntegrityError as error:
        raise ViewNotReadyError(error.what, where=error.where, fix=error.fix) from None
    return frozen


@contextmanager
def _in_use(view: View) -> Iterator[None]:
    """Freeze a view again every hour: `gc --views-older-than` goes by when that was last."""
    over = Event()

    def again() -> None:
        while not over.wait(_AGAIN_S):
            with suppress(BrainbrrError, OSError):  # a network that is gone for a while
                frozen_views.freeze(view.store, str(view.digest), view.to_json())

    Thread(target=again, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def view_of(run: Path) -> Mapping[str, Any]:
    """Return the frozen view that a run learns from. Raises UsageError for what is no run."""
    need_torch()
    from brainbrr.learn.runs import open_run

    return open_run(run).view


def recipe_of(frozen: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a frozen view."""
    return Recipe.from_identity(frozen["recipe"]["fields"], name=frozen["recipe"]["name"])


def preflight(report: ViewReport) -> View:
    """Return the view when it is ready, else say in full what is not."""
    report.view.require_ready(location=report.location)
    return report.view


def need_torch() -> None:
    """Raise DependencyError when what training needs is not installed."""
    from importlib.util import find_spec

    lacking = [name for name in ("torch", "safetensors", "timescoring") if find_spec(name) is None]
    if lacking:
        raise DependencyError(
            f"training needs {', '.join(lacking)}", fix="pip install 'brainbrr[train]', or '.[train]' in a checkout"
        )


def evaluate(
    run: Path,
    *,
    split: str,
    tune: str | None,
    open_view: Callable[..., ViewReport],
    progress: Progress,
) -> EvaluateReport:
    """Score a run on a split, with thresholds chosen on `tune`.

    Raises LeakError when the split shares a patient with the training or with `tune`, UsageError when it is `tune`.
    """
    need_torch()
    from brainbrr.learn.evaluate import evaluate as score
    from brainbrr.learn.runs import open_run

    if tune == split:
        raise UsageError(
            f"thresholds tuned on split {split} would be scored on it", fix="choose another --tune, or --tune none"
        )
    frozen = open_run(run).view
    asked = {
        "corpus": frozen["corpus"],
        "recipe": recipe_of(frozen),
        "window": WindowSpec.model_validate(frozen["window"]),
    }
    held_out = preflight(open_view(frozen["profile"], split=split, **asked))
    tuning = preflight(open_view(frozen["profile"], split=tune, **asked)) if tune else None
    return score(run, held_out, tune=tuning, progress=progress)
