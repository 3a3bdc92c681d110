"""`brainbrr why`: is a recording stored, and if not, why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import Session, command, recipe_option, selects
from brainbrr.cli.output import Output

if TYPE_CHECKING:
    from brainbrr.views.today import Today
    from brainbrr.views.why import WhyReport

_HEADER_SHOWN = 4


@command("why", exits=(4,), example="brainbrr why aaaaaajy_s001_t000 --set notch_hz=50")
@click.argument("subject", metavar="RECORDING|KEY")
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe.")
@selects(corpus="all")
@recipe_option
def why(
    session: Session,
    *,
    subject: str,
    changes: tuple[str, ...],
    corpus: str | None,
    profile: str,
    split: str | None,
    where: tuple[tuple[str, str], ...],
    recipe: str,
) -> int:
    """Show whether a recording is stored under a recipe, and if not, how the nearest stored key differs.

    Its file is compared with what is stored: header, samples and labels. --profile, --split and --where say which
    recording is meant where several have one file name.
    """
    from brainbrr.views.recipes import find_recipe
    from brainbrr.views.select import one_of
    from brainbrr.views.why import why as run

    store = session.readable_store()
    chosen = find_recipe(store, recipe)
    report = run(
        store,
        subject,
        recipe=chosen,
        changes=changes,
        corpus=corpus,
        among=one_of(store, session.settings, profile=profile, split=split, where=where, recipe=chosen),
        host=session.settings.host,
    )
    session.show(report, table)
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
    out.pairs([*rows, *_today(report.today)])
    if report.quality and report.quality["findings"]:
        out.table(("finding", "channels", "of the time", "threshold"), _findings(report.quality["findings"]))
    if report.nearest:
        out.table(
            ("field", "requested", "stored"),
            [(name, _short(a), _short(b)) for name, (a, b) in report.nearest["differences"].items()],
        )


def _today(today: Today | None) -> list[tuple[str, str]]:
    """Return what became of the file."""
    if today is None:
        return []
    rows = [("file today", f"{today.file}: {today.state}")]
    if today.unreadable:
        rows.append(("", today.unreadable))
    if today.state != "changed":
        return rows
    header = today.header or {}
    shown = ", ".join(f"{name} {_short(a)} → {_short(b)}" for name, (a, b) in list(header.items())[:_HEADER_SHOWN])
    more = f" and {len(header) - _HEADER_SHOWN} more" if len(header) > _HEADER_SHOWN else ""
    words = {"header": (shown + more) or ("same, in what is read of it" if today.header is not None else None)}
    words |= {"samples": today.samples, "labels": today.labels}
    rows += [(name, f"now {text}" if text == "changed" else text) for name, text in words.items() if text]
    if today.key != today.stored_key and today.stored_key:
        rows += [("key of today", str(today.key)), ("stored key", f"{today.stored_key}, since {today.since}")]
    return rows


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
