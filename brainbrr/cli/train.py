"""`brainbrr train`: a detector from a view."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import CONFIG, Session, command, options, selects, splits_options
from brainbrr.cli.output import Output, duration, many, size
from brainbrr.errors import Fix, UsageError

if TYPE_CHECKING:
    from brainbrr.learn.train import TrainReport
    from brainbrr.views.stage import StageOptions

_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?([kMGT]?)B?\Z")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

_stage_options = options(
    click.option(
        "--stage",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="First copy the view to this disk of the node, and verify it; again copies only what is missing.",
    ),
    click.option("--stage-bytes", metavar="N[G|T]", help="With --stage: the most to keep there, as 500G."),
    click.option("--stage-clean", is_flag=True, help="With --stage: at the end, remove copies that no other job uses."),
)


@command("train", exits=(3, 4, 5, 8), example="brainbrr train --config smoke --profile smoke --set train.lr=0.001")
@click.option(
    "--config", type=CONFIG, metavar="NAME|FILE", help="Training config. Default: smoke, or the resumed run's own."
)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change one setting: train.lr=0.001.")
@selects(profile="the config's", split="train", corpus="the resumed run's, or the only one in the store")
@splits_options
@click.option("--resume", metavar="RUN", help="Continue this run: its folder, or its name.")
@click.option("--init", metavar="RUN", help="Start from the weights of this finished run, on this view.")
@click.option(
    "--dev",
    metavar="SPLIT",
    default="dev",
    show_default=True,
    help="The split to validate on, which chooses the best weights; `none`: take the last.",
)
@click.option("--pull", is_flag=True, help="First fetch what the store's remotes have of the view.")
@click.option("--name", metavar="NAME", help="Name of the run. If it exists, continue it.")
@click.option("--runs", metavar="DIR", help="Where runs go. Default: BRAINBRR_RUNS, config file, beside the store.")
@_stage_options
def train(
    session: Session,
    *,
    config: str | None,
    changes: tuple[str, ...],
    profile: str | None,
    corpus: str | None,
    split: str,
    where: tuple[tuple[str, str], ...],
    splits: str | None,
    aliases: Path | None,
    resume: str | None,
    init: str | None,
    dev: str,
    pull: bool,
    name: str | None,
    **stage: Any,
) -> int:
    """Train a detector from a view that is ready. Builds nothing: a view that is not ready ends with exit code 3.

    Ctrl-C, SIGTERM and SIGUSR1 write a checkpoint and end with 130. `--resume` continues to the same weights, and so
    does the same command again where the run has a name: use `--name NAME` in a job that is requeued. Several
    processes: torchrun --nproc-per-node 2 -m brainbrr train ...
    """
    from brainbrr.learn.start import TrainOptions
    from brainbrr.learn.start import train as run
    from brainbrr.share.transfer import fetch

    options = TrainOptions(
        config=config,
        changes=changes,
        profile=profile,
        corpus=corpus,
        split=split,
        where=where,
        splits=splits,
        aliases=aliases,
        name=name,
        resume=resume,
        init=init,
        dev=None if dev == "none" else dev,
        stage=stage_of(**stage),
        fetch=fetch if pull else None,
    )
    report = run(options, session.settings, session.progress())
    if report.rank == 0:
        session.show(report, table)
    if report.rank == 0 and not session.out.as_json:
        session.out.note(Fix("next: ", ("evaluate", report.run)))
    return 0


def stage_of(*, stage: Path | None, stage_bytes: str | None, stage_clean: bool) -> StageOptions | None:
    """Return what the options mean, None without --stage. Raises UsageError where they disagree."""
    from brainbrr.views.stage import StageOptions

    if stage is None:
        for name, value in (("--stage-bytes", stage_bytes), ("--stage-clean", stage_clean)):
            if value:
                raise UsageError(f"{name} goes with --stage DIR")
        return None
    return StageOptions(stage, limit_bytes=None if stage_bytes is None else bytes_of(stage_bytes), clean=stage_clean)


def bytes_of(text: str) -> int:
    """Return the bytes that a text like 500G or 1.5T means, in the decimal units that disks are sold in."""
    match = _SIZE.match(text)
    if match is None:
        raise UsageError(f"--stage-bytes {text[:40]!r} is no size", fix="give a number and a unit, as 500G or 1.5T")
    whole, part, unit = match.groups()
    return int(whole) * _UNITS[unit] + int((part or "0").ljust(3, "0")) * _UNITS[unit] // 1000


def table(out: Output, report: TrainReport) -> None:
    """Show where a run is and how it ended."""
    out.pairs(
        [
            ("run", str(report.run)),
            ("view", report.view_digest),
            ("steps", str(report.steps)),
            ("loss", f"{report.loss:.4f}"),
            ("weights", report.metrics["weights"]),
            *_validated(report.metrics["validation"]),
            ("learned on", _learned_on(report.metrics)),
            ("scan", report.metrics["scan"]),
            *([("data", "SYNTHETIC: signals and labels were generated")] if report.metrics["synthetic"] else []),
            *_staged(report.metrics.get("stage")),
        ]
    )


def _validated(found: dict[str, Any] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    scores = found["all"]
    area = "–" if scores["auroc"] is None else f"{scores['auroc']:.3f}"
    of = f"{many(scores['patients'], 'patient')}, {many(scores['seizures'], 'seizure')}"
    text = f"event F1 {scores['event_f1']:.3f} at {scores['threshold']:g}, AUROC {area}, loss {scores['loss']:.3f}"
    return [(f"split {found['split']}", f"{text} ({of}; validating took {found['share_of_time']:.1%} of the time)")]


def _learned_on(metrics: dict[str, Any]) -> str:
    exact = "reproducible" if metrics["deterministic"] else "not reproducible to the bit"
    together = f" × {metrics['processes']} processes" if metrics["processes"] > 1 else ""
    return f"{metrics['device']}{together}, {metrics['precision']}, {exact}"


def _staged(stage: dict[str, Any] | None) -> list[tuple[str, str]]:
    if stage is None:
        return []
    copied = f"{size(stage['bytes_copied'])} copied, {size(stage['bytes_reused'])} reused, {duration(stage['seconds'])}"
    left = "" if stage["n_removed"] is None else f"; removed {many(stage['n_removed'], 'object')} afterwards"
    return [("staged", f"{stage['location']}: {copied}{left}")]
