"""`brainbrr diff`: what two views, recipes or runs do not share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import Session, command, runs_option
from brainbrr.cli.output import Output, base_names, many, size

if TYPE_CHECKING:
    from brainbrr.look.difference import Difference

_SHOWN = 20


@command("diff", exits=(4, 8), example="brainbrr diff default chb-mit")
@click.argument("a")
@click.argument("b")
@runs_option
def diff(session: Session, *, a: str, b: str) -> int:
    """Show what A and B do not share: two frozen views, two recipes, or two runs.

    A view is a digest or a file of `view --out`; a recipe a name, a TOML file or a digest; a run a name or a folder.
    Shows also gain by frequency and bytes of recipes, and scores of runs. A run compares with a view by its own.
    """
    from brainbrr.look.difference import diff as run

    session.show(run(a, b, store=session.store_if_there(), runs_folder=session.runs), table)
    return 0


def table(out: Output, report: Difference) -> None:
    """Show what differs, A beside B."""
    out.title(f"{report.kind} {report.a} and {report.b}: " + ("nothing differs" if report.same else "what differs"))
    head = (report.a, report.b)
    if report.fields:
        out.table(("setting", *head), [(name, _text(a), _text(b)) for name, (a, b) in report.fields.items()])
    rows = [(f"only in {report.a}", report.only_a), (f"only in {report.b}", report.only_b)]
    out.pairs([(name, f"{many(len(paths), 'recording')}: {base_names(paths)}") for name, paths in rows if paths])
    if report.changed:
        changed = list(report.changed.items())[:_SHOWN]
        out.table(("recording", "changed"), [(path, ", ".join(what)) for path, what in changed])
        if len(report.changed) > _SHOWN:
            out.note(f"and {len(report.changed) - _SHOWN} more recordings; --json lists all")
    for split, scores in (report.scores or {}).items():
        out.table((f"{split} score", *head), [(name, _text(a), _text(b)) for name, (a, b) in scores.items()])
    _signal(out, report)


def _signal(out: Output, report: Difference) -> None:
    if report.bytes_per_hour:
        rows = [("an hour of signal", *map(size, report.bytes_per_hour))]
        rows += [("stored now", *map(size, report.stored_bytes))] if report.stored_bytes else []
        out.table(("bytes", report.a, report.b), rows)
    if report.gain_db:
        rows = [(f"{hz} Hz", _db(a), _db(b)) for hz, (a, b) in report.gain_db.items() if a != b]
        if rows:
            out.table(("gain", report.a, report.b), rows, numbers=(report.a, report.b))
        else:
            out.pairs([("gain", "the same at every frequency")])


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} dB"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
