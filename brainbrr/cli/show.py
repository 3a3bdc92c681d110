"""`brainbrr show`: traces of a recording as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import RECIPE, Session, command, selects
from brainbrr.cli.output import Output

if TYPE_CHECKING:
    from brainbrr.look.show import Shown
    from brainbrr.views.strips import Montage


@command("show", exits=(4, 8), example="brainbrr show aaaaaajy_s001_t000 --at 50:00 --seconds 30 -o window.png")
@click.argument("recording")
@click.option("--at", metavar="TIME", help="Start: seconds, 50:00 or 1:02:03. Default: 5 s before the first seizure.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True)
@click.option(
    "--montage",
    type=click.Choice(["bipolar", "average", "recorded"]),
    help="Which rows. Default: bipolar, the longitudinal one; recorded where the recipe stores pairs.",
)
@click.option("--scale", type=click.FloatRange(0, min_open=True), metavar="UV", help="µV between rows. Default: fits.")
@click.option("--source", is_flag=True, help="Draw the EDF beside what the recipe made of it, with both spectra.")
@selects(corpus="all")
@click.option("--recipe", type=RECIPE, metavar="NAME|FILE", help="Which recipe. Default: the corpus's usual one.")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("window.png"),
    show_default=True,
    help="The picture: .png, .svg or .pdf.",
)
def show(
    session: Session,
    *,
    recording: str,
    at: str | None,
    seconds: float,
    montage: Montage | None,
    scale: float | None,
    source: bool,
    out: Path,
    recipe: str | None,
    corpus: str | None,
    profile: str,
    split: str | None,
    where: tuple[tuple[str, str], ...],
) -> int:
    """Draw RECORDING (a path, a file name or a key) as a clinical EEG: seizures shaded, odd channels marked.

    Negative is up. Rows that are absent, interpolated, flat or found odd say so at their right. --corpus, --profile,
    --split and --where say which recording is meant where several have one name.
    """
    from brainbrr.look.show import ShowOptions, seconds_of_clock, show_named
    from brainbrr.views.recipes import find_recipe
    from brainbrr.views.select import one_of

    store = session.readable_store()
    chosen = find_recipe(store, recipe) if recipe else None
    options = ShowOptions(
        at_s=None if at is None else seconds_of_clock(at), seconds=seconds, montage=montage, scale=scale
    )
    shown = show_named(
        store,
        recording,
        recipe=chosen,
        corpus=corpus,
        options=options,
        among=one_of(store, session.settings, profile=profile, split=split, where=where, recipe=chosen),
        host=session.settings.host if source else None,
    )
    shown.save(out)
    session.show(shown, table)
    session.out.note(f"wrote {out}")
    return 0


def table(out: Output, shown: Shown) -> None:
    """Show what was drawn."""
    events = [f"{label} from {start:g} s to {stop:g} s" for start, stop, label in shown.events]
    rows = [("recording", f"{shown.corpus}: {shown.recording}")]
    rows.append(("time", f"{shown.at_s:g} s to {shown.at_s + shown.seconds:g} s"))
    rows.append(("rows", f"{len(shown.rows)}: {', '.join(shown.rows)}"))
    rows += [("events", "; ".join(events) or "none")]
    rows += [("marked", ", ".join(f"{name}: {state}" for name, state in shown.states.items()))] if shown.states else []
    out.pairs(rows)
