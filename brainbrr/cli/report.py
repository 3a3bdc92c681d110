"""`brainbrr report`: one HTML file about a view or a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import CONFIG, Session, command, recipe_option, runs_option, selects, splits_options
from brainbrr.cli.output import Output, size
from brainbrr.errors import UsageError

if TYPE_CHECKING:
    from brainbrr.look.report import Report


@command("report", exits=(3, 4, 5, 8), example="brainbrr report 20260101-120000-smoke-1a2b3c -o report.html")
@click.argument("subject", metavar="[RUN|VIEW]", required=False)
@selects()
@splits_options
@recipe_option
@click.option("--config", type=CONFIG, metavar="NAME|FILE", help="Windows of this training config. Default: 60 s.")
@click.option("--events", type=click.IntRange(0), metavar="N", help="How many events of a run to draw. Default: 60.")
@runs_option
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page.",
)
def report(
    session: Session,
    *,
    subject: str | None,
    corpus: str | None,
    profile: str,
    split: str | None,
    where: tuple[tuple[str, str], ...],
    splits: str | None,
    aliases: Path | None,
    recipe: str,
    config: str | None,
    events: int | None,
    out: Path,
) -> int:
    """Write one HTML file about a run, a frozen view, or the view that options select. It loads nothing from elsewhere.

    Of a view: splits, patients, rates, quality, what is missing, leakage, bytes, provenance. Of a run: scores, curves,
    patients, and traces around its events; there --split says which evaluation. It holds patients' signals: who may
    read the store may read it.
    """
    from brainbrr.look.report import MOST_EVENTS, report_named, report_view

    progress = session.progress()
    if subject is not None:
        if corpus or where or splits or aliases:
            raise UsageError(
                f"{subject} has its own recordings: --corpus, --where, --splits and --aliases select a view"
            )
        most = MOST_EVENTS if events is None else events
        made = report_named(subject, session.settings, out, split=split, most_events=most, progress=progress)
    else:
        from brainbrr.learn.config import load_train_config
        from brainbrr.loading.windows import WindowSpec
        from brainbrr.views.report import open_view
        from brainbrr.views.select import Selection
        from brainbrr.views.splits import load_splits

        found = open_view(
            session.settings,
            profile=profile,
            corpus=corpus,
            split=split,
            splits=load_splits(splits, aliases),
            recipe=recipe,
            window=load_train_config(config).window_spec() if config else WindowSpec(),
            selection=Selection(where=where),
        )
        made = report_view(found, session.settings, out, progress)
    session.show(made, table)
    return 0


def table(out: Output, made: Report) -> None:
    """Show what was written."""
    rows = [(made.kind, made.subject), ("sections", ", ".join(made.sections))]
    if made.of_events:
        rows.append(("events", f"{made.events} of {made.of_events}"))
    out.pairs([*rows, ("wrote", f"{made.file}, {size(made.n_bytes)}")])
