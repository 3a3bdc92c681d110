"""The commands that learn and score: train, evaluate, score. Heavy imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from brainbrr.cli.group import PROFILES, Session, command, corpus_option
from brainbrr.cli.output import progress
from brainbrr.cli.staging import stage_of, stage_options
from brainbrr.cli.view_commands import open_view


@command("train", example="brainbrr train --config smoke --profile smoke")
@click.option("--config", metavar="NAME|FILE", help="Training config. Default: smoke, or the resumed run's own.")
@click.option("--profile", type=PROFILES, help="Default: the config's.")
@corpus_option
@click.option("--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Go on with this run.")
@click.option("--runs", metavar="DIR", help="Where runs go. Default: BRAINBRR_RUNS, config file, beside the store.")
@stage_options
def train(
    config: str | None,
    profile: str | None,
    corpus: str | None,
    resume: Path | None,
    runs: str | None,
    store: str | None,
    as_json: bool,
    **stage: Any,
) -> int:
    """Train a detector from a view that is ready. Never builds: a view that is not ready ends with exit code 3."""
    from brainbrr.cli import learn_render
    from brainbrr.config import load_train_config
    from brainbrr.verbs.train import recipe_of_run
    from brainbrr.verbs.train import train as run

    session = Session(store, as_json, runs=runs)
    settings = load_train_config(config or (str(resume / "config.toml") if resume else "smoke"))
    recipe = recipe_of_run(resume) if resume else settings.recipe
    asked = {"window": settings.window_spec(), "recipe": recipe, "corpus": corpus, "split": "train"}
    staging, place = stage_of(**stage), session.settings.runs.value
    opened = open_view(session, profile or settings.profile, **asked)
    report = run(opened, settings, runs=place, resume=resume, stage=staging, progress=progress())
    session.show(learn_render.train, report)
    if not as_json:
        session.out.note(f"next: brainbrr evaluate {report.run}" + (f" --store {store}" if store else ""))
    return 0


@command("evaluate", example="brainbrr evaluate runs/20260101-120000-smoke-1a2b3c --split eval")
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--split", default="eval", show_default=True)
@click.option("--tune", default="dev", show_default=True, help="The split that thresholds are chosen on; `none`: keep.")
@click.option("--profile", type=PROFILES, help="Default: the run's.")
def evaluate(run: Path, split: str, tune: str, profile: str | None, store: str | None, as_json: bool) -> int:
    """Score a run on a split that it was not trained on, beside a line-length baseline."""
    from brainbrr.cli import learn_render
    from brainbrr.verbs.evaluate import evaluate as score

    session = Session(store, as_json)
    report = score(
        run,
        split=split,
        tune=None if tune == "none" else tune,
        open_view=lambda chosen, **asked: open_view(session, profile or chosen, **asked),
        progress=progress(),
    )
    session.show(learn_render.evaluate, report)
    if not as_json:
        session.out.note(f"report: {run / 'report.html'}")
    return 0


@command("score", example="brainbrr score data_ext4/tusz/edf/eval runs/20260101-120000-smoke-1a2b3c/events/eval")
@click.argument("reference", metavar="REF", type=click.Path(path_type=Path, exists=True))
@click.argument("hypothesis", metavar="HYP", type=click.Path(path_type=Path, exists=True))
@click.option("--per-recording", is_flag=True, help="Also what each scorer counted in each recording.")
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(100, 10_000), help="Of the patients.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the resamples.")
def score(
    reference: Path,
    hypothesis: Path,
    per_recording: bool,
    resamples: int,
    seed: int,
    store: str | None,
    as_json: bool,
) -> int:
    """Score anyone's events, as SzCORE and NEDC do: csv_bi files or BIDS tables, two files or two folders.

    Files of the same path, else of the same name, belong together; lengths of recordings are the files' own. Intervals
    are over patients, what stands before the first "_" of a name. Needs no store.
    """
    from brainbrr.cli import learn_render
    from brainbrr.cli.output import Output
    from brainbrr.verbs.score import score as run

    report = run(reference, hypothesis, resamples=resamples, seed=seed, progress=progress())
    out = Output(as_json=as_json)
    if as_json:
        fields = report.to_json()
        out.report(fields if per_recording else {name: fields[name] for name in fields if name != "recordings"})
    else:
        learn_render.score(out, report, per_recording=per_recording)
    return 0
