"""One function per command: options in, one verb, one report out. Heavy imports wait until a command runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from brainbrr.cli.executors import engine_of, executor_options, take_executor, width_options
from brainbrr.cli.group import PROFILES, Session, command, labels_option, name_option, recipe_option
from brainbrr.cli.output import Output, progress


@command("ingest", example="brainbrr ingest data_ext4/tusz --profile smoke")
@click.argument("root", type=click.Path(path_type=Path))
@name_option
@click.option("--profile", type=PROFILES, help="Only this profile's recordings. Default: all.")
@recipe_option
@executor_options
@labels_option
@click.option("--codec", type=click.Choice(["none", "zstd"]), help="How a new store keeps its tiles. Default: none.")
@click.option("--dry-run", is_flag=True, help="Say what would be built, with SLURM's script; write nothing.")
@click.option("--accept-refused", is_flag=True, help="Record refused recordings as omitted; views count as ready.")
@click.option("--accept-truncated", is_flag=True, help="Store the whole records of truncated files, and say so.")
@click.option("--accept-removed", is_flag=True, help="Let most of a corpus leave the catalog.")
@click.option(
    "--rehash", is_flag=True, help="Distrust: hash every file again, prove stored objects, rebuild damaged ones."
)
def ingest(
    root: Path,
    corpus: str | None,
    profile: str | None,
    recipe: str,
    store: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Store every recording below ROOT that is not stored yet. Running it again recovers from anything.

    Ctrl-C keeps what is done and cancels what waits at Dask and all SLURM jobs; a driver that is killed leaves
    SLURM jobs running. Either way, the same command goes on from there.
    """
    from brainbrr.cli import render
    from brainbrr.eeg.corpus.tree import locate
    from brainbrr.eeg.signal.recipe import load_recipe
    from brainbrr.ingest.ingest import ingest as run

    executor = take_executor(options)
    session = Session(store, as_json, scheduler=executor["scheduler"], jobs=executor["jobs"])
    name = locate(root, name=corpus).name
    report = run(
        session.store_if_there(),
        root,
        location=session.location,
        corpus=corpus,
        profile=session.settings.profiles_of(name)[profile] if profile else None,
        recipe=load_recipe(recipe),
        engine=engine_of(session.settings, executor),
        host=session.settings.host,
        progress=progress(),
        **options,
    )
    session.show(render.ingest, report)
    return report.exit_code


@command("plan", example="brainbrr plan data_ext4/tusz --profile dev")
@click.argument("root", type=click.Path(path_type=Path))
@name_option
@click.option("--profile", type=PROFILES, help="Only this profile's recordings. Default: all.")
@recipe_option
@width_options
@labels_option
def plan(
    root: Path,
    corpus: str | None,
    profile: str | None,
    recipe: str,
    labels: str,
    store: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Say what an ingest would need, how long it would take, and what it would refuse. Writes nothing.

    The time is measured on this machine and divided by the width of the executor, waiting in queues not included.
    """
    from brainbrr.cli import render
    from brainbrr.eeg.corpus.tree import locate
    from brainbrr.eeg.signal.recipe import load_recipe
    from brainbrr.ingest.plan import plan as run

    executor = take_executor(options)
    session = Session(store, as_json, scheduler=executor["scheduler"])
    name = locate(root, name=corpus).name
    report = run(
        root,
        store=session.store_if_there(),
        location=session.location,
        corpus=corpus,
        profile=session.settings.profiles_of(name)[profile] if profile else None,
        recipe=load_recipe(recipe),
        engine=engine_of(session.settings, executor),
        labels=labels,
        progress=progress(),
        **options,
    )
    session.show(render.plan, report)
    return 0


@command("demo", example="brainbrr demo --into .demo", store_help="The store. Default: store/ in the folder of --into.")
@click.option(
    "--into", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True, help="Folder for it."
)
@click.option(
    "--recordings", type=click.IntRange(min=6), metavar="N", default=18, show_default=True, help="To generate, from 6."
)
@click.option("--seed", type=int, metavar="N", default=0, show_default=True, help="Of the generated corpus.")
def demo(into: Path, recordings: int, seed: int, store: str | None, as_json: bool) -> int:
    """Run the whole journey on a generated corpus: ingest, three profiles, training, evaluation, report."""
    from brainbrr.cli import learn_render, render
    from brainbrr.demo import demo as run
    from brainbrr.learn.config import load_train_config
    from brainbrr.settings import resolve

    out = Output(as_json=as_json)
    settings = resolve(store=store or str(into / "store"), runs=str(into / "runs"))
    renderers: dict[str, Callable[[Output, Any], None]] = {
        "ingest": render.ingest,
        "view": render.view,
        "train": learn_render.train,
        "evaluate": learn_render.evaluate,
    }

    def show(step: str, report: Any) -> None:
        if not as_json:
            renderers[step](out, report)
            out.note("")

    report = run(
        into,
        settings.store.value,
        settings.runs.value,
        settings.profiles_of("demo"),
        load_train_config("smoke"),
        n_recordings=recordings,
        seed=seed,
        host=settings.host,
        show=show,
        progress=progress(),
    )
    if as_json:
        out.report(report.to_json())
    else:
        out.title("all of it is SYNTHETIC data")
        out.pairs([("report", report.report), ("next", report.next)])
    return 0
