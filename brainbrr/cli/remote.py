"""`brainbrr remote`: other stores by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output, many
from brainbrr.errors import Fix, UsageError

if TYPE_CHECKING:
    from brainbrr.store.remotes import RemotesReport


@command("remote", exits=(4,), example="brainbrr remote add lab /nfs/eeg/store && brainbrr pull lab --profile dev")
@click.argument("action", type=click.Choice(["add", "list", "remove"]))
@click.argument("name", required=False)
@click.argument("url", required=False)
@click.option("--private", is_flag=True, help="Declare that only people read it who may have the data; with your name.")
def remote(session: Session, *, action: str, name: str | None, url: str | None, private: bool) -> int:
    """List, add or remove remotes: other stores, in a folder or at a URL (s3://, gs://, az://; https:// read-only).

    `brainbrr push` sends to a remote and `pull` fetches from it. Credentials come from the environment
    (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...) or the cloud's own configuration; they are never kept. A corpus that is
    not open is only sent to a remote that was added with --private.
    """
    from brainbrr.store import remotes

    needs = {"list": (False, False), "remove": (True, False), "add": (True, True)}[action]
    if (name is not None, url is not None) != needs:
        fix = Fix(("remote", "list"), ", ", ("remote", "add", "NAME", "URL"), " or ", ("remote", "remove", "NAME"))
        raise UsageError(f"remote {action} does not take these arguments", fix=fix)
    store = session.store()
    if action == "add":
        report = remotes.add(store, str(name), str(url), private=private)
    elif action == "remove":
        report = remotes.remove(store, str(name))
    else:
        report = remotes.RemotesReport(store.location, remotes.remotes_of(store))
    session.show(report, table)
    return 0


def table(out: Output, report: RemotesReport) -> None:
    """Show what was done, and every remote."""
    out.title(report.done or many(len(report.remotes), "remote"))
    rows = [
        (each.name, each.url, f"private, says {each.private_by} on {each.private_since[:10]}" if each.private else "-")
        for each in report.remotes
    ]
    out.table(("name", "place", "declared"), rows)
