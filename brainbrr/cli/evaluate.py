"""`brainbrr evaluate`: the scores of a run on held-out patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import RUN, Session, command, selects, splits_options, szcore_option
from brainbrr.cli.output import Output, duration, many

if TYPE_CHECKING:
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.runs import Which


@command("evaluate", exits=(3, 4, 5, 8), example="brainbrr evaluate runs/20260101-120000-smoke-1a2b3c --split eval")
@click.argument("run", type=RUN)
@selects(profile="the run's", split="eval", corpus="the run's")
@splits_options
@click.option(
    "--tune",
    metavar="SPLIT",
    default="dev",
    show_default=True,
    help="The split that thresholds are chosen on; `none`: keep those of the run.",
)
@click.option("--tune-rule", is_flag=True, help="With --tune: choose shortest length and gap of events, too.")
@click.option(
    "--weights",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="The run's best weights by its validation, or its last.",
)
@click.option(
    "--hard-negatives",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT",
    help="Also write the false alarms on the recordings of the training: a next one learns from them with "
    "`--set train.hard_negatives=OUT`.",
)
@szcore_option
def evaluate(
    session: Session,
    *,
    run: str,
    corpus: str | None,
    profile: str | None,
    split: str,
    where: tuple[tuple[str, str], ...],
    splits: str | None,
    aliases: Path | None,
    tune: str,
    tune_rule: bool,
    weights: Which,
    hard_negatives: Path | None,
    szcore: tuple[str, ...],
) -> int:
    """Score RUN (a folder or a name) on a split that it was not trained on, beside a line-length baseline.

    --where selects from the split that is scored and from the one that thresholds are chosen on. Without --splits
    and --aliases, those that the run was trained with hold.
    """
    from brainbrr.learn.start import EvaluateOptions
    from brainbrr.learn.start import evaluate as score

    options = EvaluateOptions(
        view=split,
        tune=None if tune == "none" else tune,
        profile=profile,
        corpus=corpus,
        where=where,
        splits=splits,
        aliases=aliases,
        weights=weights,
        tune_rule=tune_rule,
        hard_negatives=hard_negatives,
        szcore=szcore,
    )
    report = score(run, options, session.settings, session.progress())
    session.show(report, table)
    if not session.out.as_json:
        session.out.note(f"report: {report.run / 'report.html'}")
    return 0


def table(out: Output, report: EvaluateReport) -> None:
    """Show the scores, each with its scorer and interval, the baseline beside it."""
    from brainbrr.scoring.table import score_rows, verdict

    found = report.metrics
    out.title(f"scores on split {found['split']}" + (" of SYNTHETIC data" if found["synthetic"] else ""))
    both = zip(score_rows(found), score_rows(found["baseline"]), strict=True)
    head = ("scorer", "score", "detector", "95 % interval", "line length", "95 % interval")
    rows = [(a.scorer, a.name, a.value, a.interval, b.value, b.interval) for a, b in both]
    out.table(head, rows, whole=head[2:])
    about(out, found)
    thresholds = f"{found['threshold']:.4g}, line length {found['baseline']['threshold']:.4g}"
    facts = [("thresholds", f"{thresholds}, from {found['threshold_from']}"), ("weights", found["weights"])]
    out.pairs([*facts, ("lock digest", f"{found['lock_digest']}: see `brainbrr lock`")])
    if mined := found.get("hard_negatives"):
        n, of = many(mined["false_alarms"], "false alarm"), many(mined["recordings"], "recording")
        out.note(f"{mined['file']}: {n} in {of} of the training")
    for sentence in verdict(found):
        out.note(sentence)


def about(out: Output, found: dict[str, Any]) -> None:
    """Show how much was scored, and by which scorers."""
    from brainbrr.scoring.table import scorers

    amount = f"{found['hours']:.2f} h of recording, {many(found['seizures'], 'seizure')}"
    unknown = found["hours_unknown"] * 3600
    left_out = f"; {duration(unknown)} unlabelled and left out" if unknown >= 0.05 else ""
    of = f"{many(found['recordings'], 'recording')} of {many(found['patients'], 'patient')}"
    out.pairs([("scored", f"{amount}, {of}{left_out}"), *scorers(found)])
