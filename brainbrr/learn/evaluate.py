"""Score a run on recordings that it has not seen, beside a line-length baseline scored by the same code.

Reads a view, writes into the run's folder: probabilities, events, thresholds, scores, report.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import UsageError, ViewNotReadyError
from brainbrr.learn import runs as r
from brainbrr.learn.figures import Example
from brainbrr.learn.hard_negatives import false_alarms
from brainbrr.learn.held_out import check_apart, probabilities
from brainbrr.learn.predict import device_for, load_detector, write_events, write_probabilities
from brainbrr.learn.report import write_report
from brainbrr.learn.series import SeriesOf, labelled, line_length, scored_by
from brainbrr.learn.thresholds import PROBABILITIES, THRESHOLDS, Thresholds, Tuned, best_level, best_rule
from brainbrr.learn.validation import people
from brainbrr.scoring.breakdown import by_seizure, latency_spread, operating_curves, patient_rows, recording_rows
from brainbrr.scoring.calibration import NO_CALIBRATION, Calibration, reliability
from brainbrr.scoring.events import EventRule, Scored, events_of, known_steps
from brainbrr.scoring.metrics import Judged, metrics, outcomes_at
from brainbrr.scoring.szcore import rule_of
from brainbrr.store.store import Store
from brainbrr.views.facts import lock_digest_of
from brainbrr.views.splits import Aliases
from brainbrr.views.view import View


@dataclass(frozen=True)
class EvaluateReport:
    """The scores of a run on one view, and who scored."""

    run: Path
    view_digest: str
    lock_digest: str
    """The digest of the view's lock: the same recordings, however their patients are called and windows are cut."""
    metrics: dict[str, Any]
    scorer: str
    recordings: list[dict[str, Any]] = field(default_factory=list)
    """For each recording its seizures, its events, and what each scorer counted."""

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "run": str(self.run)}


def evaluate(
    run: Path,
    view: View,
    *,
    tune: View | None = None,
    aliases: Aliases | None = None,
    weights: r.Which = "best",
    tune_rule: bool = False,
    hard_negatives: Path | None = None,
    szcore: Sequence[str] = (),
    progress: Progress | None = None,
) -> EvaluateReport:
    """Score a finished run on a view of held-out recordings, and write report.html into the run.

    With `tune` (the dev split), thresholds are chosen on it, once, and kept in the run; else those in the run are
    used, unless they were chosen on a patient of this view, else the config's. Patients on whom the best weights were
    chosen do not take part in it where others have seizures; `tune_rule` chooses the rule of events with them.
    `weights`: the best or the last ones. `hard_negatives` is a file to write with the false alarms on the recordings
    of the training, for a next one. `szcore` changes parameters of timescoring, as `rule_of` takes them. Recordings
    without labels are left out and counted. Hours and rates are over time that is known to be seizure or background;
    the rest is `hours_unknown`.
    Raises LeakError when the view, the tuning view and the training share a patient (under any of its `aliases`),
    source or content,
    ViewNotReadyError for a view without a digest, UsageError for another recipe or window than the run's, and for
    kept thresholds that were tuned under another rule than its config's.
    """
    progress = progress or Silent()
    opened = _scored_by(r.open_run(run), szcore)
    views = [view] if tune is None else [view, tune]
    for each in views:
        _check_like(opened, each)
    splits = [(f"split {each.split}", each.to_json()) for each in views]
    for seen in opened.seen():
        check_apart([seen, *splits], aliases or Aliases())
    detector = partial(probabilities, load_detector(opened, len(view.channels), weights).to(device_for(opened)))
    thresholds = _thresholds(opened, view, tune, detector, progress, tune_rule=tune_rule)
    rule, seed = thresholds.event_rule(opened.config.evaluate), opened.config.seed
    scored = list(scored_by(view, detector, f"score {view.split}", progress))
    baseline = list(scored_by(view, line_length, f"line length of {view.split}", progress))
    outcomes = outcomes_at(scored, thresholds.detector, rule)
    judged = [Judged.of(each, rule.szcore) for each in outcomes]
    found = {
        **metrics(scored, thresholds.detector, rule, seed=seed),
        "unlabelled": len(view.recordings) - len(scored),
        "omitted": len(view.omitted),
        "profile": view.profile,
        "split": view.split,
        "synthetic": view.synthetic,
        "lock_digest": lock_digest_of(view),
        "threshold_from": thresholds.chosen,
        "tuning": thresholds.tuning or None,
        "weights": opened.which(weights),
        "chose_weights": len(set(_chose(opened)) & set(people(view, (each.patient for each in view.recordings)))),
        "rule": rule.parameters(),
        "baseline": {"name": "line length", **metrics(baseline, thresholds.baseline, rule, seed=seed)},
        "by_patient": patient_rows(outcomes, judged),
        "by_seizure": by_seizure(outcomes),
        "latencies": latency_spread(judged),
        "curves": operating_curves(scored, PROBABILITIES, rule),
        "calibration": _calibrated(scored, thresholds.calibration),
    }
    found["hours_unknown"] = sum(each.duration_s for each in view.recordings) / 3600 - found["hours"]
    found["beats_baseline"] = {name: _beats(found, name) for name in ("auroc", "auprc", "event_f1")}
    if hard_negatives is not None:
        found["hard_negatives"] = _mine(opened, view.store, detector, thresholds, hard_negatives, progress)
    rows = recording_rows(outcomes, judged)
    saved = {
        "view_digest": view.digest,
        "corpus": view.corpus,
        "omitted": [vars(omission) for omission in view.omitted],
        "metrics": found,
        "recordings": rows,
    }
    _save(opened, view, scored, saved, thresholds, rule)
    write_report(opened, view.split, saved, _example(scored, baseline, thresholds, rule))
    digests = {"view_digest": str(view.digest), "lock_digest": found["lock_digest"]}
    return EvaluateReport(run=run, **digests, metrics=found, scorer=found["scorer"], recordings=rows)


def _scored_by(run: r.Run, szcore: Sequence[str]) -> r.Run:
    """Return a run whose config has these parameters of SzCORE's event scores."""
    if not szcore:
        return run
    evaluated = run.config.evaluate.model_copy(update={"szcore": rule_of(szcore)})
    return replace(run, config=run.config.model_copy(update={"evaluate": evaluated}))


def _mine(
    run: r.Run, store: Store, detector: SeriesOf, thresholds: Thresholds, file: Path, progress: Progress
) -> dict[str, Any]:
    """Write where the detector raises false alarms on what it learned from; return how many."""
    training = View.from_json(store, run.view)
    scored = list(scored_by(training, detector, "score the training", progress))
    outcomes = outcomes_at(scored, thresholds.detector, thresholds.event_rule(run.config.evaluate))
    mined = false_alarms(outcomes, training, run.folder.resolve().name)
    mined.write(file)
    return {"file": str(file), "false_alarms": mined.n_alarms, "recordings": len(mined.recordings)}


def _calibrated(scored: list[Scored], calibration: Calibration | None) -> dict[str, Any]:
    """Return how well probabilities mean what they say, as the detector gives them and calibrated."""
    score, label = known_steps(scored)
    found: dict[str, Any] = {"detector": reliability(score, label), "calibrated": None}
    if calibration is not None:
        found |= {"calibrated": reliability(calibration.apply(score), label), **vars(calibration)}
    return found


def _thresholds(
    run: r.Run, view: View, tuning: View | None, detector: SeriesOf, progress: Progress, *, tune_rule: bool
) -> Thresholds:
    """Choose thresholds on the tuning view and keep them in the run; without one, take what the run has."""
    kept, rule = run.folder / THRESHOLDS, run.config.evaluate
    if tuning is None and kept.exists():
        before = Thresholds.read(kept, rule)
        if not set(before.tuned_on) & set(_identities(view)):  # otherwise they would be scored where they were chosen
            return before
    if tuning is None:  # the scale of line length has no meaning, so its threshold is always tuned
        training = View.from_json(view.store, run.view)
        series = list(scored_by(training, line_length, "line length of the training", progress))
        baseline = best_level(series, rule)
        return Thresholds(rule.threshold, baseline, "config.toml, the baseline's from the training", rule.parameters())
    places, who = _to_tune_on(run, tuning)
    series = list(scored_by(tuning, detector, f"tune on {tuning.split}", progress, positions=places))
    baselines = list(scored_by(tuning, line_length, f"line length of {tuning.split}", progress, positions=places))
    rule = best_rule(series, rule) if tune_rule else rule
    tuned = Tuned.of(series, PROBABILITIES, rule, seed=run.config.seed)
    score, label = known_steps(series)
    chosen = Thresholds(
        detector=tuned.threshold,
        baseline=best_level(baselines, rule),
        chosen=f"split {tuning.split}, view {str(tuning.digest)[:12]}{who}",
        rule=rule.parameters(),
        tuned_on=tuple(_identities(tuning)),
        tuning={
            "patients": len({each.patient for each in series}),
            "seizures": sum(len(each.seizures) for each in series),
            "chose_weights": bool(who) and who != _APART,
            **{name: value for name, value in vars(tuned).items() if name != "threshold"},
        },
        joint=tune_rule,
        calibration=Calibration.fit(score, label),
    )
    chosen.write(kept)
    return chosen


_APART = ", patients who did not choose the weights"


def _to_tune_on(run: r.Run, tuning: View) -> tuple[list[int], str]:
    """Return the recordings to tune on, and whether their patients chose the weights: others where those suffice.

    Raises UsageError where none has a seizure.
    """
    places, chose = labelled(tuning), set(_chose(run))
    free = [i for i in places if not chose.intersection(people(tuning, [tuning.recordings[i].patient]))]
    if any(tuning.recordings[i].seizures for i in free):
        return free, _APART if len(free) < len(places) else ""
    if not any(tuning.recordings[i].seizures for i in places):
        raise UsageError(
            f"split {tuning.split} has no seizures to tune on", fix="choose another --tune, or --tune none"
        )
    return places, ", whose patients also chose the weights: no others have seizures"


def _chose(run: r.Run) -> tuple[str, ...]:
    """Return the patients on whom the run's best weights were chosen."""
    chose = run.chose()
    return () if chose is None else tuple(chose["patients"])


def _identities(view: View) -> list[str]:
    return sorted(
        {name for r in view.recordings for name in (Aliases().person(view.corpus, r.patient), r.source, r.content)}
    )


def _beats(found: Mapping[str, Any], name: str) -> bool | None:
    ours, theirs = found[name], found["baseline"][name]
    return None if ours is None or theirs is None else bool(ours > theirs)


def _check_like(run: r.Run, view: View) -> None:
    """Refuse a view whose numbers are not those that the model learned from."""
    if view.state != "ready" or view.digest is None:
        raise ViewNotReadyError(f"the view is {view.state}: evaluation never builds", fix="ingest the corpus first")
    if view.recipe.digest != run.view["recipe"]["digest"]:
        raise UsageError(
            f"the run learned from recipe {run.view['recipe']['name']}, the view is of {view.recipe.name}",
            where=run.folder,
        )
    ours, theirs = run.view["window"], view.window.identity()
    differing = [name for name in theirs if name not in ("stride_s", "tail") and ours.get(name) != theirs[name]]
    if differing:
        raise UsageError(f"the view's windows are not the run's: {', '.join(differing)}", where=run.folder)


def _save(
    run: r.Run, view: View, scored: list[Scored], saved: dict[str, Any], thresholds: Thresholds, rule: EventRule
) -> None:
    """Save probabilities, events with their calibrated confidence in TUSZ's and SzCORE's format, and the scores.

    It replaces an earlier evaluation once it is complete: the scores are removed first and written last.
    """
    split = view.split or "all"
    names = (f"evaluation-{split}.json", f"events/{split}", f"probabilities-{split}.safetensors")
    with tempfile.TemporaryDirectory(prefix=".new-", dir=run.folder) as scratch:
        new, old = (Path(scratch) / age for age in ("new", "old"))
        for folder in (new / "events", old / "events", run.folder / "events"):
            folder.mkdir(parents=True, exist_ok=True)
        scores, events, probabilities = (new / name for name in names)
        write_probabilities(probabilities, scored)
        for recording in scored:
            sure = replace(recording, score=(thresholds.calibration or NO_CALIBRATION).apply(recording.score))
            write_events(events, sure, events_of(recording, thresholds.detector, rule))
        files.replace(scores, json.dumps(saved, indent=1).encode())
        for name in names:
            if (run.folder / name).exists():
                (run.folder / name).rename(old / name)
        for name in reversed(names):
            (new / name).rename(run.folder / name)


def _example(scored: list[Scored], baseline: list[Scored], thresholds: Thresholds, rule: EventRule) -> Example:
    """Return the recording with the most seizures, the first of several."""
    place = max(range(len(scored)), key=lambda i: (len(scored[i].seizures), -i))
    return Example(
        detector=scored[place],
        baseline=baseline[place],
        threshold=thresholds.detector,
        baseline_threshold=thresholds.baseline,
        events=events_of(scored[place], thresholds.detector, rule),
    )
