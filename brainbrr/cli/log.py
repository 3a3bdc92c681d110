"""`brainbrr log`: what changed in a corpus, when, by whom and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output, base_names, many

if TYPE_CHECKING:
    from brainbrr.look.history import Change, Log

_REASONS_SHOWN = 8


@command("log", exits=(4,), example="brainbrr log tusz && brainbrr log aaaaaajy_s001_t000")
@click.argument("subject", metavar="[CORPUS|RECORDING]", required=False)
@click.option("--last", "-n", type=click.IntRange(1), metavar="N", help="Only the newest N generations. Default: all.")
def log(session: Session, *, subject: str | None, last: int | None) -> int:
    """Show what each ingest added, relabelled, replaced, built and refused, when, by whom and why.

    Each change of a catalog is a generation. RECORDING is a path or a file name; its history goes on under the name
    that it had before it was moved. The user is the owner of the generation's file.
    """
    from brainbrr.look.history import log as run

    session.show(run(session.store(), subject, last=last), table)
    return 0


def table(out: Output, report: Log) -> None:
    """Show each generation, the newest first, with its changes by kind and reason."""
    if not report.entries:
        out.note("nothing was ingested yet")
    for entry in report.entries:
        when = (entry.created or "unknown time").replace("T", " ").replace("+00:00", " UTC")
        out.title(f"{entry.corpus} {entry.generation} · {when} · {entry.by or 'unknown user'}")
        rows = [("damaged", entry.damaged)] if entry.damaged else list(_changes(entry.changes))
        rows += [("setting", f"{name} = {value}") for name, value in entry.settings.items()]
        out.pairs(rows or [("-", "nothing changed but the time")])


def _changes(changes: Iterable[Change]) -> Iterable[tuple[str, str]]:
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in changes:
        why = "renamed" if each.change == "moved" else each.why.split(";")[0]
        grouped[each.change, why].append(each.recording)
    ordered = sorted(grouped.items(), key=lambda item: -len(item[1]))
    for (change, why), recordings in ordered[:_REASONS_SHOWN]:
        yield change, f"{many(len(recordings), 'recording')}: {why} ({base_names(recordings)})"
    if len(ordered) > _REASONS_SHOWN:
        yield "more", f"{len(ordered) - _REASONS_SHOWN} other changes; --json lists all"
