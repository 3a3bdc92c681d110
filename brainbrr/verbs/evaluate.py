"""`evaluate`: preflight of the splits, then score. Never builds an object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from brainbrr.errors import UsageError
from brainbrr.progress import Progress
from brainbrr.verbs.train import need_torch, preflight, recipe_of
from brainbrr.verbs.view import ViewReport
from brainbrr.windows import WindowSpec

if TYPE_CHECKING:
    from brainbrr.learn.evaluate import EvaluateReport


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
