"""Commands that look at a store, or copy it. One function per command, as in commands.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.durations import DURATION
from brainbrr.cli.group import PROFILES, Session, command, corpus_option, recipe_option
from brainbrr.cli.output import progress

if TYPE_CHECKING:
    from brainbrr.store.formats import Codec
    from brainbrr.store.store import Depth


@command("recompress", example="brainbrr recompress --to store-zstd --codec zstd")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="The other store.")
@click.option("--codec", type=click.Choice(["none", "zstd"]), help="Its codec. Default: the one that --store has not.")
def recompress(to: Path, codec: Codec | None, store: str | None, as_json: bool) -> int:
    """Copy a store into one that keeps its tiles with another codec. Contents, keys and views stay the same.

    Each object is proven again after writing, and nothing is deleted. After Ctrl-C or a crash, the same command
    goes on from there.
    """
    from brainbrr.cli import render
    from brainbrr.store.recompress import recompress as run

    session = Session(store, as_json)
    report = run(session.store(), to, codec=codec, progress=progress())
    session.show(render.recompress, report)
    return report.exit_code


@command("status", example="brainbrr status")
def status(store: str | None, as_json: bool) -> int:
    """Say where the store is and why, what it holds, and how ready each profile is."""
    from brainbrr.cli import render
    from brainbrr.views.status import status as run

    session = Session(store, as_json)
    place = session.settings.store
    report = run(
        session.store_if_there(),
        location=place.value,
        origin=place.origin,
        profiles_of=session.settings.profiles_of,
    )
    session.show(render.status, report)
    return 0


def _depth_options(function: Callable[..., int]) -> Callable[..., int]:
    function = click.option("--checksums", is_flag=True, help="Structure and every checksum; no content digest.")(
        function
    )
    return click.option("--quick", is_flag=True, help="Structure, sizes and seals alone: no sample is read.")(function)


def _depth(quick: bool, checksums: bool) -> Depth:
    if quick and checksums:
        raise click.UsageError("--quick and --checksums are two depths: choose one")
    return "quick" if quick else "checksums" if checksums else "full"


@command("verify", example="brainbrr verify --max-age 7d --max-seconds 600")
@_depth_options
@click.option("--max-age", type=DURATION, help="Do not read again what passed since then, as 7d.")
@click.option("--max-seconds", type=click.FloatRange(min=0), metavar="S", help="Begin no object after this time.")
@click.option("--accept-gone", is_flag=True, help="What was here before and is gone was taken away on purpose.")
def verify(
    quick: bool,
    checksums: bool,
    max_age: float | None,
    max_seconds: float | None,
    accept_gone: bool,
    store: str | None,
    as_json: bool,
) -> int:
    """Decode every object against its content digest, and hold records, catalogs, views and all else against it.

    This host remembers what passed when, and what was here. With --max-seconds, what passed longest ago goes first,
    so that the same command, run now and then, proves a large store in slices.
    """
    from brainbrr.cli import store_render
    from brainbrr.store.verify import verify as run

    session = Session(store, as_json)
    report = run(
        session.store(),
        depth=_depth(quick, checksums),
        host=session.settings.host,
        max_age_s=max_age,
        max_seconds=max_seconds,
        accept_gone=accept_gone,
        progress=progress(),
    )
    session.show(store_render.verify, report)
    return report.exit_code


@command("repair", example="brainbrr repair --from /backup/store")
@_depth_options
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another store to take whole pieces from; its codec may differ.",
)
@click.option("--root", "roots", multiple=True, metavar="CORPUS=DIR", help="Where a corpus lies. Default: as ingested.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that build. Default: all cores.")
def repair(
    quick: bool,
    checksums: bool,
    source: Path | None,
    roots: tuple[str, ...],
    workers: int | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Move what is damaged to quarantine, and bring it back: from another store, else from its EDF.

    Nothing is deleted, and what comes out differently is kept apart. After Ctrl-C or a crash, the same command goes
    on from there.
    """
    from brainbrr.cli import store_render
    from brainbrr.ingest.repair import repair as run
    from brainbrr.store.store import Store

    session = Session(store, as_json)
    report = run(
        session.store(),
        depth=_depth(quick, checksums),
        source=None if source is None else Store.open(source),
        roots=dict(map(_root, roots)),
        host=session.settings.host,
        workers=workers,
        progress=progress(),
    )
    session.show(store_render.repair, report)
    return report.exit_code


def _root(text: str) -> tuple[str, Path]:
    corpus, _, folder = text.partition("=")
    if not corpus or not folder:
        raise click.UsageError(f"--root {text}: CORPUS=DIR")
    return corpus, Path(folder)


@command("check", example="brainbrr check --require no-duplicates,complete,verified,no-leaks --profile full")
@click.option("--require", default="no-duplicates,complete,verified,no-leaks", show_default=True, metavar="A,B")
@click.option("--profile", type=PROFILES, default="full", show_default=True, help="What `complete` and `no-leaks` see.")
@click.option("--corpus", metavar="NAME", help="Which corpus. Default: all.")
@recipe_option
def check(require: str, profile: str, corpus: str | None, recipe: str, store: str | None, as_json: bool) -> int:
    """The gate for CI: no array twice, nothing missing, nothing damaged, nobody in two splits.

    Looks at the store alone; whether EDF or label files changed since is what `view` says.
    """
    from brainbrr.cli import render
    from brainbrr.eeg.signal.recipe import load_recipe
    from brainbrr.views.check import check as run

    session = Session(store, as_json)
    report = run(
        session.store(),
        require=[name.strip() for name in require.split(",") if name.strip()],
        profiles_of=session.settings.profiles_of,
        profile=profile,
        corpus=corpus,
        recipe=load_recipe(recipe),
        progress=progress(),
    )
    session.show(render.check, report)
    return report.exit_code


@command("why", example="brainbrr why aaaaaajy_s001_t000 --set notch_hz=50")
@click.argument("subject", metavar="RECORDING|KEY")
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Ask with a changed recipe field.")
@corpus_option
@recipe_option
def why(
    subject: str, changes: tuple[str, ...], corpus: str | None, recipe: str, store: str | None, as_json: bool
) -> int:
    """Say whether a recording is stored under a recipe, and if not, how the nearest stored key differs."""
    from brainbrr.cli import render
    from brainbrr.eeg.signal.recipe import load_recipe
    from brainbrr.views.why import why as run

    session = Session(store, as_json)
    report = run(session.store(), subject, recipe=load_recipe(recipe), changes=changes, corpus=corpus)
    session.show(render.why, report)
    return 0
