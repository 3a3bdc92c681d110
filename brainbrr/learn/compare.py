"""`runs`: list the trainings in a folder, compare them, and mark those that are not comparable. Reads only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brainbrr.core.files import leads_to_folder
from brainbrr.errors import BrainbrrError
from brainbrr.learn.start import need_torch, run_named

if TYPE_CHECKING:
    from brainbrr.learn.runs import Run


SCORES = ("event_f1", "auroc", "sensitivity", "false_alarms_per_day")
"""The scores of an evaluation that are shown."""

_RESAMPLES = 1000


@dataclass(frozen=True)
class RunLine:
    """One run. `loss` is the mean over its last 50 steps; `scores` holds each evaluated split's, with their scorer.

    `differs` are the settings that are not the reference's; `not_comparable` says why its scores mean something else.
    """

    run: Path
    config: str
    corpus: str
    profile: str
    view_digest: str
    recipe: str
    recipe_digest: str
    synthetic: bool
    steps: int
    of_steps: int
    finished: bool
    loss: float | None
    started_from: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    differs: Mapping[str, Any]
    not_comparable: tuple[str, ...] = ()
    paired: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By split: event F1 minus the reference's, patient by patient, where both were scored on the same view."""

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        fields = {name: value for name, value in vars(self).items() if name != "settings"}
        return {**fields, "run": str(self.run)}


@dataclass(frozen=True)
class RunsReport:
    """Runs, the oldest first, each compared with the reference; and folders that are not runs, with the reason."""

    folder: Path
    reference: Path | None
    runs: tuple[RunLine, ...]
    broken: tuple[tuple[Path, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            "folder": str(self.folder),
            "reference": None if self.reference is None else str(self.reference),
            "runs": [line.to_json() for line in self.runs],
            "broken": [{"run": str(folder), "reason": reason} for folder, reason in self.broken],
        }


def runs(folder: Path, names: Sequence[str] = ()) -> RunsReport:
    """Compare the runs of a folder, or those named: by a name in it, or by a path.

    The reference is the first one named, else the newest of those on the view that most runs share.
    Raises UsageError for a name that is not a run, and what opening a run raises.
    """
    need_torch()
    broken: list[tuple[Path, str]] = []
    if names:
        lines = [_line(run_named(folder, name)) for name in names]
        return RunsReport(folder, lines[0].run, tuple(_against(lines[0], lines)), ())
    lines = []
    for each in sorted(folder.iterdir()) if leads_to_folder(folder) else ():
        if not each.name.startswith(".") and leads_to_folder(each):
            try:
                lines.append(_line(each))
            except (BrainbrrError, OSError) as error:
                broken.append((each, error.what if isinstance(error, BrainbrrError) else str(error)))
    if not lines:
        return RunsReport(folder, None, (), tuple(broken))
    lines.sort(key=lambda line: (line.run / "view.json").stat().st_mtime)  # written once, when the run began
    [(common, _)] = Counter((line.recipe_digest, line.view_digest) for line in reversed(lines)).most_common(1)
    reference = next(line for line in reversed(lines) if (line.recipe_digest, line.view_digest) == common)
    return RunsReport(folder, reference.run, tuple(_against(reference, lines)), tuple(broken))


def _line(folder: Path) -> RunLine:
    from brainbrr.learn.runs import LOSS_OVER, open_run

    run = open_run(folder)
    history = run.history()
    return RunLine(
        run=folder,
        config=run.config.name,
        corpus=run.view["corpus"],
        profile=run.view["profile"],
        view_digest=run.view["digest"],
        recipe=run.view["recipe"]["name"],
        recipe_digest=run.view["recipe"]["digest"],
        synthetic=any(entry["synthetic"] for entry in run.view["recordings"]),
        steps=history[-1]["step"] + 1 if history else 0,
        of_steps=run.config.train.steps,
        finished=run.model.exists(),
        loss=fmean(row["loss"] for row in history[-LOSS_OVER:]) if history else None,
        started_from=tuple(each["run"] for each in run.before),
        scores=_scores(run),
        settings=run.config.settings(),
        differs={},
    )


def _scores(run: Run) -> dict[str, dict[str, Any]]:
    """Return the scores of each evaluated split; for a file that cannot be read, its name alone."""
    found = {}
    for file in sorted(run.folder.glob("evaluation-*.json")):
        try:
            fields = json.loads(file.read_bytes())
            numbers = {name: fields["metrics"][name] for name in SCORES}
            words = {name: fields["metrics"][name] for name in ("scorer", "step_scorer")}
            if not all(isinstance(value, int | float | None) for value in numbers.values()):
                raise TypeError("a score is not a number")
            if not all(isinstance(value, str) for value in words.values()):
                raise TypeError("a scorer is not a name")
            scores: dict[str, Any] = {"view_digest": fields["view_digest"], **numbers, **words}
            scores["by_patient"] = {
                str(row["patient"]): float(row["event_f1"])
                for row in fields["metrics"].get("by_patient", ())
                if row["event_f1"] is not None
            }
        except (ValueError, TypeError, KeyError, RecursionError):
            scores = {"unreadable": file.name}
        found[file.stem.removeprefix("evaluation-")] = scores
    return found


def _against(reference: RunLine, lines: Iterable[RunLine]) -> Iterable[RunLine]:
    from brainbrr.learn.config import WEIGHTLESS

    for line in lines:
        ours, theirs = line.settings, reference.settings
        names = [name for name in {**theirs, **ours} if name not in WEIGHTLESS]
        differs = {name: ours.get(name) for name in names if ours.get(name) != theirs.get(name)}
        pairs = dict(_paired(reference, line)) if line.run != reference.run else {}
        yield replace(line, differs=differs, not_comparable=tuple(_reasons(reference, line)), paired=pairs)


def _paired(reference: RunLine, line: RunLine) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Yield the difference to the reference on each split that both were scored on, as the same view."""
    from brainbrr.scoring.breakdown import paired

    for split in sorted(line.scores.keys() & reference.scores.keys()):
        ours, theirs = line.scores[split], reference.scores[split]
        if ours.get("by_patient") and theirs.get("by_patient") and ours["view_digest"] == theirs["view_digest"]:
            yield split, paired(ours["by_patient"], theirs["by_patient"], resamples=_RESAMPLES, seed=0)


def _reasons(reference: RunLine, line: RunLine) -> Iterable[str]:
    """Yield why two runs' scores mean different things: what they learned from, or were scored on and by."""
    if line.recipe_digest != reference.recipe_digest:
        yield "another recipe"
    elif line.view_digest != reference.view_digest:
        yield "another view"
    for split in sorted(line.scores.keys() & reference.scores.keys()):
        ours, theirs = line.scores[split], reference.scores[split]
        if ours.get("view_digest") != theirs.get("view_digest"):
            yield f"{split} is another view"
        elif ours.get("scorer") != theirs.get("scorer"):
            yield f"{split} by another scorer"
