"""The commands that learn and score: train, evaluate, score, predict, runs. Heavy imports wait until a command runs."""

from __future__ import annotations

import sys
from math import isfinite
from pathlib import Path
from typing import Any

import click

from brainbrr.cli.group import PROFILES, Session, command, corpus_option
from brainbrr.cli.output import Output, progress
from brainbrr.cli.staging import stage_of, stage_options
from brainbrr.cli.view_commands import open_view
from brainbrr.errors import UsageError


@command("train", example="brainbrr train --config smoke --profile smoke --set train.lr=0.001")
@click.option("--config", metavar="NAME|FILE", help="Training config. Default: smoke, or the resumed run's own.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change one setting: train.lr=0.001.")
@click.option("--profile", type=PROFILES, help="Default: the config's.")
@corpus_option
@click.option("--resume", metavar="RUN", help="Go on with this run: its folder, or its name.")
@click.option("--init", metavar="RUN", help="Start from the weights of this finished run, on this view.")
@click.option("--name", metavar="NAME", help="Call the run so; go on with it where it is there.")
@click.option("--runs", metavar="DIR", help="Where runs go. Default: BRAINBRR_RUNS, config file, beside the store.")
@stage_options
def train(
    config: str | None,
    changes: tuple[str, ...],
    profile: str | None,
    corpus: str | None,
    resume: str | None,
    init: str | None,
    name: str | None,
    runs: str | None,
    store: str | None,
    as_json: bool,
    **stage: Any,
) -> int:
    """Train a detector from a view that is ready. Never builds: a view that is not ready ends with exit code 3.

    Ctrl-C, SIGTERM and SIGUSR1 write a checkpoint and end with 130; `--resume` goes on to the same weights, and so does
    the same command again where the run has a name: `--name NAME` in a job that is requeued. Several processes:
    torchrun --nproc-per-node 2 -m brainbrr train ...
    """
    from brainbrr.cli import learn_render
    from brainbrr.core.progress import Silent
    from brainbrr.learn.compare import run_named
    from brainbrr.learn.config import load_train_config
    from brainbrr.learn.start import recipe_of, view_of
    from brainbrr.learn.start import train as run
    from brainbrr.settings import launched, make_cuda_deterministic

    if resume and (init or name):
        raise UsageError("--resume goes on with a run as it is: neither --init nor --name goes with it")
    session, launch = Session(store, as_json, runs=runs), launched()
    staging, place = stage_of(**stage), session.settings.runs.value
    before = run_named(place, resume) if resume else None
    if name and (place / name).is_dir():
        before = place / name
    begun = view_of(before) if before else None
    settings = load_train_config(config or (str(before / "config.toml") if before else "smoke"), changes)
    if settings.train.deterministic:
        make_cuda_deterministic()
    asked = {
        "window": settings.window_spec(),
        "recipe": recipe_of(begun) if begun else settings.recipe,
        "corpus": corpus or (begun["corpus"] if begun else None),
        "split": "train",
    }
    opened = open_view(session, profile or settings.profile, **asked)
    speaks = launch is None or launch.rank == 0
    report = run(
        opened,
        settings,
        runs=place,
        name=name,
        resume=before,
        init=run_named(place, init) if init else None,
        launch=launch,
        stage=staging,
        progress=progress(session.out.aim) if speaks else Silent(),
    )
    if speaks:
        session.show(learn_render.train, report)
    if speaks and not as_json:
        session.out.note(f"next: brainbrr evaluate {report.run}")
    return 0


@command("evaluate", example="brainbrr evaluate runs/20260101-120000-smoke-1a2b3c --split eval")
@click.argument("run")
@click.option("--split", default="eval", show_default=True, metavar="SPLIT", help="What is scored.")
@click.option(
    "--tune", metavar="SPLIT", default="dev", show_default=True, help="Where thresholds are chosen; `none`: keep them."
)
@click.option("--profile", type=PROFILES, help="Default: the run's.")
def evaluate(run: str, split: str, tune: str, profile: str | None, store: str | None, as_json: bool) -> int:
    """Score RUN, a folder or a name, on a split that it was not trained on, beside a line-length baseline."""
    from brainbrr.cli import learn_render
    from brainbrr.learn.compare import run_named
    from brainbrr.learn.start import evaluate as score

    session = Session(store, as_json)
    folder = run_named(session.settings.runs.value, run)
    report = score(
        folder,
        split=split,
        tune=None if tune == "none" else tune,
        open_view=lambda chosen, **asked: open_view(session, profile or chosen, **asked),
        progress=progress(),
    )
    session.show(learn_render.evaluate, report)
    if not as_json:
        session.out.note(f"report: {folder / 'report.html'}")
    return 0


@command(
    "score",
    example="brainbrr score data_ext4/tusz/edf/eval runs/20260101-120000-smoke-1a2b3c/events/eval",
    store_help="Taken, as by every command; none is read.",
)
@click.argument("reference", metavar="REF", type=click.Path(path_type=Path, exists=True))
@click.argument("hypothesis", metavar="HYP", type=click.Path(path_type=Path, exists=True))
@click.option("--per-recording", is_flag=True, help="Also what each scorer counted in each recording.")
@click.option(
    "--resamples",
    default=1000,
    show_default=True,
    type=click.IntRange(100, 10_000),
    metavar="N",
    help="Of the patients.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), metavar="N", help="Of the resamples.")
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
    from brainbrr.scoring.score import score as run

    report = run(reference, hypothesis, resamples=resamples, seed=seed, progress=progress())
    out = Output(as_json=as_json)
    if as_json:
        fields = report.to_json()
        out.report(fields if per_recording else {name: fields[name] for name in fields if name != "recordings"})
    else:
        learn_render.score(out, report, per_recording=per_recording)
    return 0


@command(
    "predict",
    example="brainbrr predict runs/20260101-120000-smoke-1a2b3c night.edf -o night_events.tsv",
    store_help="Beside which runs lie, for RUN by name; it is not read.",
)
@click.argument("run")
@click.argument("files", metavar="EDF...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Events: a .tsv, a .csv_bi, or a folder for both.")
@click.option("--probabilities", metavar="FILE", type=click.Path(path_type=Path), help="Also these, as safetensors.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--accept-truncated", is_flag=True, help="Read files that end early up to there.")
@click.option("--stream", is_flag=True, help="Online: print probabilities as they become available; `-` is stdin.")
@click.option(
    "--every", type=click.FloatRange(min=0), metavar="S", help="Online: seconds from look to look. Default: 1."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Online: what each step waits for more signal: later, but better. Default: 0.",
)
def predict(
    run: str,
    files: tuple[Path, ...],
    out: Path | None,
    probabilities: Path | None,
    overwrite: bool,
    accept_truncated: bool,
    stream: bool,
    every: float | None,
    wait: float | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Find seizures in EDF files, or in all below folders, with the detector and threshold of RUN, a folder or name.

    Computes what ingest and evaluate would, needs no store and writes none; a recording of any length takes the same
    memory. A .tsv is SzCORE's table, a .csv_bi TUSZ's; a folder gets both for each recording.

    With --stream, one EDF is taken as it comes: each quarter second's probability is printed once, with the second of
    the recording at which it was known, and depends on nothing after that. How late that is, filters included, is
    said first. Normalisation is by what was heard so far.
    """
    from brainbrr.cli import learn_render
    from brainbrr.learn.compare import run_named
    from brainbrr.learn.predict_files import predict as find

    session = Session(store, as_json)
    folder = run_named(session.settings.runs.value, run)
    if stream:
        if len(files) > 1 or out or probabilities:
            raise UsageError("--stream takes one EDF, or `-`, and prints", fix="leave --out and --probabilities away")
        _listen(folder, files[0], 1 if every is None else every, wait or 0, session.out)
        return 0
    if every is not None or wait is not None or Path("-") in files:
        raise UsageError("--every, --wait and `-` are for --stream")
    report = find(
        folder,
        files,
        out=out,
        probabilities=probabilities,
        overwrite=overwrite,
        accept_truncated=accept_truncated,
        progress=progress(),
    )
    session.show(learn_render.predict, report)
    return report.exit_code


def _listen(run: Path, file: Path, every: float, wait: float, out: Output) -> None:
    """Print steps as they become available: one line each."""
    from fractions import Fraction

    from brainbrr.cli import learn_render
    from brainbrr.eeg.edf.reader import located
    from brainbrr.learn.predict_files import listen

    for option, seconds in (("--every", every), ("--wait", wait)):
        if not isfinite(seconds):
            raise UsageError(f"{option} {seconds:g}: seconds are meant")
    if file != Path("-") and not file.exists():
        raise UsageError("there is no such file", where=file)
    if file.is_dir():
        raise UsageError("--stream takes one EDF, this is a folder", where=file)
    name = Path("standard input") if file == Path("-") else file
    with located(name), sys.stdin.buffer if file == Path("-") else file.open("rb") as stream:
        steps = listen(run, stream, every_s=Fraction(str(every)), wait_s=Fraction(str(wait)))
        learn_render.listen(out, steps)


@command("runs", example="brainbrr runs 20260101-120000-smoke-1a2b3c 20260102-120000-smoke-4d5e6f")
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option("--runs", metavar="DIR", help="Where runs are. Default: BRAINBRR_RUNS, config file, beside the store.")
def runs(names: tuple[str, ...], runs: str | None, store: str | None, as_json: bool) -> int:
    """List runs, or compare those named with the first: settings, steps, loss, scores.

    A run on another view or recipe than the reference is marked as not comparable. Without names the reference is the
    newest run on the view that most of them share.
    """
    from brainbrr.cli import learn_render
    from brainbrr.learn.compare import runs as run

    session = Session(store, as_json, runs=runs)
    session.show(learn_render.runs, run(session.settings.runs.value, names))
    return 0
