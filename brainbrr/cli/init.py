"""`brainbrr init`: an empty store, and on a terminal the way to a full one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import PROFILES, Session, cli, command
from brainbrr.cli.output import Output
from brainbrr.errors import Fix

if TYPE_CHECKING:
    from brainbrr.look.first_use import FirstUse
    from brainbrr.store.formats import Codec
    from brainbrr.store.init import InitReport

_WAYS = {
    "pull": "pull a pre-built store from a remote or an archive",
    "build": "build from the EDF files here; first see the time and space that it takes",
    "demo": "see everything on generated data",
    "none": "continue with an empty store",
}


@command("init", exits=(3, 4, 6, 8), example="brainbrr init --store /data/eeg --group eeg")
@click.option("--group", metavar="NAME|NUMBER", help="Let the members of a group write it. You must be in it.")
@click.option("--public", is_flag=True, help="Let everybody read it, also what is stored of restricted corpora.")
@click.option("--codec", type=click.Choice(["none", "zstd"]), help="How tiles are compressed. Default: none.")
def init(session: Session, *, group: str | None, public: bool, codec: Codec | None) -> int:
    """Create an empty store, for yourself or for a group. Optional: `ingest` creates a store of your own.

    On a terminal, and without options, it first shows what it finds, and offers to pull a pre-built store, to build one
    from EDF files, or to show the demo. Elsewhere it prints the commands for that.

    Without options only you may read it: folders have mode 0700. With --group they have mode 2770 and the group, with
    --public 0755, with both 2775, whatever the umask of the writer; files have mode 0444. What you choose here
    holds for every corpus that is stored later. A store that `ingest` creates is no more readable than the corpus. A
    file system that cannot hold a store is refused, with the reason. Where the store exists already, this shows
    whether it is as requested.
    """
    from brainbrr.look.first_use import first_use
    from brainbrr.store.init import init as run

    plain = group is None and not public and codec is None and not session.out.as_json
    found = first_use(session.location, Path.cwd()) if plain else None
    if found and not found.objects and sys.stdin.isatty() and sys.stdout.isatty():
        show_found(session.out, found)
        code = follow(session, found)
        if code is not None:
            return code
    session.show(run(session.location, codec=codec, group=group, public=public), table)
    for title, step in found.steps if found and not found.objects else ():
        session.out.note(Fix(f"{title}: ", step))
    return 0


def table(out: Output, report: InitReport) -> None:
    """Show where the store is and who may do what in it."""
    out.title(f"store at {report.store}")
    pairs = [("codec", report.codec), ("folders", f"mode {report.mode:04o}, group {report.group}")]
    out.pairs([*pairs, ("read by", report.readers)])


def show_found(out: Output, found: FirstUse) -> None:
    """Show what a first use finds."""
    out.title("first use")
    state = "not there yet" if found.objects is None else "empty"
    rows = [("store", f"{found.store}, {state}")]
    rows += [("data", f"{folder}, EDF files") for folder in found.data] or [("data", "no EDF files found here")]
    rows += [("remote", f"{each.name}: {each.url}") for each in found.remotes] or [("remotes", "none")]
    out.pairs(rows)


def follow(session: Session, found: FirstUse) -> int | None:
    """Ask what to do and do it; return its exit code, None where the store stays empty."""
    for name, text in _WAYS.items():
        click.echo(f"  {name:<6} {text}")
    first = "pull" if found.remotes else "build" if found.data else "demo"
    way = click.prompt("What next", type=click.Choice([*_WAYS]), default=first, show_choices=False)
    if way == "none":
        return None
    if way == "demo":
        return _run(["demo"])
    store = ["--store", str(found.store)]
    if way == "pull":
        names = [each.name for each in found.remotes]
        asked = "From where: the name, path or URL of a remote, or an archive (.zip)"
        remote = click.prompt(asked, default=names[0] if names else None)
        if remote.endswith(".zip"):
            return _run(["unbundle", remote, *store])
        profile = _profile()
        code = _run(["pull", remote, "--profile", profile, *store])
        if code == 0 and remote not in names:
            code = _run(["remote", "add", "origin", remote, *store])
        return code
    profile = _profile()
    root = click.prompt("Which folder of EDF files", default=str(found.data[0]) if found.data else None)
    ingest = ["ingest", root, "--profile", profile, *store]
    code = _run([*ingest, "--dry-run"])
    if code in (0, 1) and click.confirm(f"Build {profile} now", default=True):
        return _run(ingest)
    return code


def _profile() -> str:
    return str(click.prompt("Which profile", type=PROFILES, default="smoke"))


def _run(words: list[str]) -> int:
    click.echo(f"$ brainbrr {' '.join(words)}")
    return int(cli.main(words, standalone_mode=False) or 0)
