"""`brainbrr status`: where the store is and what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output, size
from brainbrr.errors import Fix

if TYPE_CHECKING:
    from brainbrr.views.status import StatusReport
    from brainbrr.views.usage import Usage

_NUMBERS = ("recordings", "objects", "bytes", "shared", "ready", "omitted")


@command("status", exits=(4,), example="brainbrr status --usage")
@click.option("--usage", is_flag=True, help="Show the bytes of each corpus, recipe and profile instead.")
def status(session: Session, *, usage: bool) -> int:
    """Show where the store is and why there, what it holds, and how ready each profile is."""
    from brainbrr.store.opening import open_if_there
    from brainbrr.views.status import status as run
    from brainbrr.views.usage import usage as usage_of

    if usage:
        session.show(usage_of(session.store(), profiles=session.settings.profiles_of), usage_table)
    else:
        session.show(run(open_if_there(session.settings), session.settings), table)
    return 0


def usage_table(out: Output, report: Usage) -> None:
    """Show the bytes by corpus, recipe and profile, and what is stored beside objects."""
    for kind in ("corpus", "recipe", "profile"):
        rows = [
            (each.name, each.recordings, each.objects, size(each.n_bytes), size(each.shared_bytes))
            for each in report.shares
            if each.kind == kind
        ]
        if rows:
            out.table((kind, "recordings", "objects", "bytes", "shared"), rows, numbers=_NUMBERS)
    others: list[tuple[str, str]] = [(name, size(n_bytes)) for name, n_bytes in report.beside.items()]
    if report.unreferenced_objects:
        held = f"{report.unreferenced_objects} objects, {size(report.unreferenced_bytes)}"
        others.insert(0, ("in no catalog", Fix(f"{held}; ", ("gc",), " shows what is no longer needed")))
    out.pairs(others)
    out.note("shared: bytes of objects that another corpus, recipe or profile of this table has too; stored once")


def table(out: Output, report: StatusReport) -> None:
    """Show where the store is and what it holds."""
    out.title("store")
    rows = [("location", str(report.location)), ("chosen by", report.origin)]
    if not report.exists:
        out.pairs([*rows, ("holds", Fix("nothing yet; start with ", ("ingest", "ROOT")))])
        return
    rows.append(("holds", f"{report.objects} objects, {size(report.n_bytes)}, {report.records} records"))
    if report.damaged_records or report.damaged_catalogs:
        whose = f", catalogs of {', '.join(report.damaged_catalogs)}" if report.damaged_catalogs else ""
        rows.append(("damaged", Fix(f"{report.damaged_records} records{whose}; details: ", ("verify",))))
    if report.leftovers:
        rows.append(("leftovers", f"{report.leftovers} of killed writers in tmp/, never read and safe to delete"))
    for recipe in report.recipes:
        rows.append(("recipe", f"{recipe['name'] or 'unnamed'} {recipe['digest'][:8]}, {recipe['records']} records"))
    rows += [("corpus", _corpus(corpus)) for corpus in report.corpora]
    rows += [("remote", f"{each['name']}: {each['url']}") for each in report.remotes]
    out.pairs([*rows, *(("warning", text) for text in report.silent_remotes)])
    if report.profiles:
        columns = ("corpus", "profile", "recipe", "recordings", "ready", "omitted")
        head = (*columns, "in remotes") if report.remotes else columns
        profiles = [{**row, "in remotes": _held(row)} for row in report.profiles]
        out.table(head, [[row[name] for name in head] for row in profiles], numbers=_NUMBERS)


def _held(profile: dict[str, Any]) -> str:
    return ", ".join(f"{n} in {name}" for name, n in profile["remotes"].items())


def _corpus(corpus: dict[str, Any]) -> str:
    splits = ", ".join(f"{split} {n}" for split, n in corpus["splits"].items())
    marks = {
        f"{corpus['refused']} refused": corpus["refused"],
        "SYNTHETIC": corpus["synthetic"],
        "unlabelled": not corpus["labelled"],
    }
    said = "".join(f", {mark}" for mark, holds in marks.items() if holds)
    return f"{corpus['name']}: {corpus['recordings']} recordings ({splits}){said}"
