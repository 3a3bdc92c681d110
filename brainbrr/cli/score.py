"""`brainbrr score`: the scores of anyone's events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import NO_STORE, Session, command, szcore_option
from brainbrr.cli.evaluate import about
from brainbrr.cli.output import Output, many

if TYPE_CHECKING:
    from brainbrr.scoring.score import ScoreReport


@command(
    "score",
    exits=(8,),
    example="brainbrr score data_ext4/tusz/edf/eval runs/20260101-120000-smoke-1a2b3c/events/eval --subset",
    store_help=NO_STORE,
)
@click.argument("reference", metavar="REF", type=click.Path(path_type=Path, exists=True))
@click.argument("hypothesis", metavar="HYP", type=click.Path(path_type=Path, exists=True))
@click.option("--per-recording", is_flag=True, help="Also show what each scorer counted in each recording.")
@click.option("--subset", is_flag=True, help="Leave out recordings that only REF has, as those outside of a profile.")
@click.option(
    "--resamples",
    default=1000,
    show_default=True,
    type=click.IntRange(100, 10_000),
    metavar="N",
    help="Bootstrap resamples of the patients.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), metavar="N", help="Of the resamples.")
@szcore_option
def score(
    session: Session,
    *,
    reference: Path,
    hypothesis: Path,
    per_recording: bool,
    subset: bool,
    resamples: int,
    seed: int,
    szcore: tuple[str, ...],
) -> int:
    """Score anyone's events, as SzCORE and NEDC do: csv_bi files or BIDS tables, two files or two folders.

    Files with the same path, else with the same name, are compared; they also give the lengths of recordings.
    Confidence intervals are over patients: the part of a name before its first "_". Needs no store.
    """
    from brainbrr.scoring.score import score as run

    report = run(
        reference,
        hypothesis,
        resamples=resamples,
        seed=seed,
        subset=subset,
        szcore=szcore,
        progress=session.progress(),
    )
    if session.out.as_json:
        fields = report.to_json()
        session.out.report({name: fields[name] for name in fields if per_recording or name != "recordings"})
    else:
        table(session.out, report, per_recording=per_recording)
    return 0


def table(out: Output, report: ScoreReport, *, per_recording: bool) -> None:
    """Show the scores, each with its scorer and interval, and what was counted in each recording."""
    from brainbrr.scoring.table import score_rows

    if per_recording:
        scorers = list(report.recordings[0]["scores"])
        out.title("hits, false alarms, reference")
        out.table(("recording", "hours", *scorers), [_counted(each, scorers) for each in report.recordings])
    out.title("scores")
    out.table(
        ("scorer", "score", "value", "95 % interval"),
        [(row.scorer, row.name, row.value, row.interval) for row in score_rows(report.metrics)],
    )
    about(out, report.metrics)
    if report.left_out:
        out.note(f"left out: {many(report.left_out, 'recording')} that only the reference has")


def _counted(recording: dict[str, Any], scorers: list[str]) -> list[str]:
    counts = [recording["scores"][name] for name in scorers]
    cells = [", ".join(f"{each[field]:.6g}" for field in ("hits", "false", "reference")) for each in counts]
    return [recording["recording"], f"{recording['known_s'] / 3600:.3f}", *cells]
