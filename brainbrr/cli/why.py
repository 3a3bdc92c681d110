"""`brainbrr why`: is a recording stored, and if not, why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import Session, command, recipe_option
from brainbrr.cli.output import Output

if TYPE_CHECKING:
    from brainbrr.views.why import WhyReport


@command("why", exits=(4,), example="brainbrr why aaaaaajy_s001_t000 --set notch_hz=50")
@click.argument("subject", metavar="RECORDING|KEY")
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe.")
@click.option("--corpus", metavar="NAME", help="Which corpus. Default: all.")
@recipe_option
def why(session: Session, *, subject: str, changes: tuple[str, ...], corpus: str | None, recipe: str) -> int:
    """Show whether a recording is stored under a recipe, and if not, how the nearest stored key differs."""
    from brainbrr.eeg.signal.recipe import load_recipe
    from brainbrr.views.why import why as run

    session.show(run(session.store(), subject, recipe=load_recipe(recipe), changes=changes, corpus=corpus), table)
    return 0


def table(out: Output, report: WhyReport) -> None:
    """Show a hit, or how the nearest key differs."""
    rows = [("key", report.key), ("stored", "yes" if report.hit else f"no: {report.reason}")]
    if report.recording:
        rows.insert(0, ("recording", report.recording))
    if report.content:
        rows.append(("content", report.content))
    if report.quality:
        rows.append(("quality", f"{report.quality['score']} of 100, by detector version {report.quality['version']}"))
    elif report.unexamined:
        rows.append(("quality", report.unexamined))
    if report.nearest:
        rows.append(("nearest key", report.nearest["key"]))
    out.pairs(rows)
    if report.quality and report.quality["findings"]:
        out.table(("finding", "channels", "of the time", "threshold"), _findings(report.quality["findings"]))
    if report.nearest:
        out.table(
            ("field", "requested", "stored"),
            [(name, _short(a), _short(b)) for name, (a, b) in report.nearest["differences"].items()],
        )


def _findings(findings: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield one row for each kind of finding under one threshold."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for finding in findings:
        threshold = ", ".join(f"{name} {value}" for name, value in finding["threshold"].items())
        kinds.setdefault((finding["name"], threshold), []).append(finding)
    for (name, threshold), those in kinds.items():
        channels = ", ".join(finding["channel"] or "all" for finding in those)
        times = sorted(finding["per_mille"] / 10 for finding in those if finding["per_mille"] is not None)
        span = f"{times[0]:g}" + (f" to {times[-1]:g}" if times[-1] > times[0] else "") + " %" if times else ""
        yield name, channels, span, threshold


def _short(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else "off" if value is None else str(value)
