"""`brainbrr plan`: what an ingest would need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import PROFILES, Session, command, recipe_option
from brainbrr.cli.ingest import engine_of, labels_option, name_option, width_options
from brainbrr.cli.output import Output, base_names, duration, many, size

if TYPE_CHECKING:
    from brainbrr.ingest.plan import PlanReport


@command("plan", exits=(4, 8), example="brainbrr plan data_ext4/tusz --profile dev")
@click.argument("root", type=click.Path(path_type=Path))
@name_option
@click.option("--profile", type=PROFILES, help="Only this profile's recordings. Default: all.")
@recipe_option
@width_options
@labels_option
def plan(
    session: Session,
    *,
    root: Path,
    corpus: str | None,
    profile: str | None,
    recipe: str,
    workers: int | None,
    labels: str,
    **executor: Any,
) -> int:
    """Show what an ingest would need, how long it would take, and what it would refuse. Writes nothing.

    The time is measured on this machine and divided by the width of the executor, waiting in queues not included.
    """
    from brainbrr.eeg.corpus.tree import locate
    from brainbrr.eeg.signal.recipe import load_recipe
    from brainbrr.ingest.plan import plan as run

    name = locate(root, name=corpus).name
    report = run(
        root,
        store=session.store_if_there(),
        location=session.location,
        corpus=corpus,
        profile=session.settings.profiles_of(name)[profile] if profile else None,
        recipe=load_recipe(recipe),
        workers=workers,
        engine=engine_of(session, workers=workers, **executor),
        labels=labels,
        progress=session.progress(),
    )
    session.show(report, table)
    return 0


def table(out: Output, report: PlanReport) -> None:
    """Show what an ingest would take."""
    out.title(f"plan for {report.corpus}, profile {report.profile or 'full'}")
    estimate = "unknown: no recording could be measured"
    if report.seconds_estimate == 0:
        estimate = "none: nothing to build"
    elif report.seconds_estimate is not None:
        estimate = f"{duration(report.seconds_estimate)} on {report.executor}, if each place is as fast as the "
        estimate += f"{many(report.sampled, 'recording')} preprocessed here"
    out.pairs(
        [
            ("recordings", f"{report.recordings}, {report.labelled} with labels, {report.hours:.2f} h"),
            ("stored", f"{report.stored} already"),
            ("EDF", size(report.bytes_source)),
            ("space", f"{size(report.bytes_needed)} needed, {size(report.bytes_free)} free"),
            ("inodes", f"{report.inodes_needed:,} needed, {report.inodes_free:,} free"),
            ("time", estimate),
            ("refused", f"{len(report.problems)}"),
        ]
    )
    by_reason: dict[str, list[str]] = {}
    for problem in report.problems:
        by_reason.setdefault(str(problem["reason"]), []).append(str(problem["recording"]))
    if by_reason:
        out.table(("recordings", "reason"), [(base_names(paths), reason) for reason, paths in by_reason.items()])
    out.fixes(problem["fix"] for problem in report.problems)
