"""One function per command: options in, one verb, one report out. Heavy imports wait until a command runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.executors import engine_of, executor_options, take_executor, width_options
from brainbrr.cli.group import PROFILES, Session, command, corpus_option, labels_option, name_option, recipe_option
from brainbrr.cli.output import Output, progress
from brainbrr.cli.staging import stage_of, stage_options
from brainbrr.errors import UsageError

if TYPE_CHECKING:
    from brainbrr.verbs.select import Selection
    from brainbrr.verbs.view import ViewReport


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
    from brainbrr.eeg.corpus import locate
    from brainbrr.eeg.recipe import load_recipe
    from brainbrr.verbs.ingest import ingest as run

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


def _open_view(session: Session, profile: str, **asked: Any) -> ViewReport:
    """Return a view's report; where nothing was ever ingested there is no store to look into."""
    from brainbrr.eeg.recipe import Recipe, load_recipe
    from brainbrr.verbs.select import resolve_corpus
    from brainbrr.verbs.view import view as run

    store = session.store_if_there()
    named, corpus = asked.pop("recipe"), asked.pop("corpus")
    corpus = resolve_corpus(store, corpus) if store else corpus
    recipe = load_recipe(named) if isinstance(named, str) else named
    flags = ["--recipe", named if isinstance(named, str) else named.name] if recipe.digest != Recipe().digest else []
    if session.store_flag is not None:
        flags += ["--store", session.store_flag]
    return run(
        store,
        location=session.location,
        corpus=corpus,
        profile=session.settings.profiles_of(corpus)[profile],
        recipe=recipe,
        host=session.settings.host,
        flags=flags,
        **asked,
    )


def _selection(
    patients: str | None, where: tuple[str, ...], exclude: Path | None, min_quality: int | None
) -> Selection:
    from brainbrr.verbs.select import Selection

    pairs = []
    for text in where:
        field, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--where {text}: FIELD=VALUE is meant")
        pairs.append((field, value))
    try:
        lines = exclude.read_text(encoding="utf-8").splitlines() if exclude else []
    except UnicodeDecodeError as error:
        raise UsageError(f"--exclude: the file is not UTF-8: {error.reason}", where=exclude) from None
    return Selection(
        patients=tuple(name.strip() for name in patients.split(",")) if patients else (),
        where=tuple(pairs),
        exclude=frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#")),
        min_quality=min_quality,
    )


@command("view", example="brainbrr view --profile dev --split train")
@click.option("--profile", type=PROFILES, default="full", show_default=True)
@click.option("--split", metavar="SPLIT", help="train, dev, eval or none. Default: all.")
@corpus_option
@recipe_option
@click.option("--config", default=None, metavar="NAME|FILE", help="Take the window from a training config.")
@click.option("--patients", metavar="A,B", help="Only these patients.")
@click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Only matching rows; shell wildcards allowed.")
@click.option(
    "--exclude",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Recordings to leave out, a line each.",
)
@click.option(
    "--min-quality",
    type=click.IntRange(0, 100),
    metavar="N",
    help="Leave out recordings whose findings score below N of 100, and name them; 0 shows findings only.",
)
@click.option("--out", "frozen", type=click.Path(path_type=Path, dir_okay=False), help="Freeze the view into FILE.")
def view(
    profile: str,
    config: str | None,
    patients: str | None,
    where: tuple[str, ...],
    exclude: Path | None,
    min_quality: int | None,
    frozen: Path | None,
    store: str | None,
    as_json: bool,
    **asked: Any,
) -> int:
    """Say what a profile holds, how much is ready, what is missing and the command that mends it."""
    from brainbrr.cli import render
    from brainbrr.config import load_train_config
    from brainbrr.digest import canonical_json
    from brainbrr.windows import WindowSpec

    session = Session(store, as_json)
    window = load_train_config(config).window_spec() if config else WindowSpec()
    selection = _selection(patients, where, exclude, min_quality)
    report = _open_view(session, profile, window=window, selection=selection, **asked)
    session.show(render.view, report)
    if report.state != "ready":
        return 3
    if frozen:
        frozen.write_bytes(canonical_json(report.view.to_json()) + b"\n")
        session.out.note(f"frozen into {frozen}")
    return 0


@command("train", example="brainbrr train --config smoke --profile smoke")
@click.option("--config", metavar="NAME|FILE", help="Training config. Default: smoke, or the resumed run's own.")
@click.option("--profile", type=PROFILES, help="Default: the config's.")
@corpus_option
@click.option("--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Go on with this run.")
@click.option("--runs", metavar="DIR", help="Where runs go. Default: BRAINBRR_RUNS, config file, beside the store.")
@stage_options
def train(
    config: str | None,
    profile: str | None,
    corpus: str | None,
    resume: Path | None,
    runs: str | None,
    store: str | None,
    as_json: bool,
    **stage: Any,
) -> int:
    """Train a detector from a view that is ready. Never builds: a view that is not ready ends with exit code 3."""
    from brainbrr.cli import render
    from brainbrr.config import load_train_config
    from brainbrr.verbs.train import recipe_of_run
    from brainbrr.verbs.train import train as run

    session = Session(store, as_json, runs=runs)
    settings = load_train_config(config or (str(resume / "config.toml") if resume else "smoke"))
    recipe = recipe_of_run(resume) if resume else settings.recipe
    asked = {"window": settings.window_spec(), "recipe": recipe, "corpus": corpus, "split": "train"}
    staging, place = stage_of(**stage), session.settings.runs.value
    opened = _open_view(session, profile or settings.profile, **asked)
    report = run(opened, settings, runs=place, resume=resume, stage=staging, progress=progress())
    session.show(render.train, report)
    if not as_json:
        session.out.note(f"next: brainbrr evaluate {report.run}" + (f" --store {store}" if store else ""))
    return 0


@command("evaluate", example="brainbrr evaluate runs/20260101-120000-smoke-1a2b3c --split eval")
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--split", default="eval", show_default=True)
@click.option("--tune", default="dev", show_default=True, help="The split that thresholds are chosen on; `none`: keep.")
@click.option("--profile", type=PROFILES, help="Default: the run's.")
def evaluate(run: Path, split: str, tune: str, profile: str | None, store: str | None, as_json: bool) -> int:
    """Score a run on a split that it was not trained on, beside a line-length baseline."""
    from brainbrr.cli import render
    from brainbrr.verbs.train import evaluate as score

    session = Session(store, as_json)
    report = score(
        run,
        split=split,
        tune=None if tune == "none" else tune,
        open_view=lambda chosen, **asked: _open_view(session, profile or chosen, **asked),
        progress=progress(),
    )
    session.show(render.evaluate, report)
    if not as_json:
        session.out.note(f"report: {run / 'report.html'}")
    return 0


@command("status", example="brainbrr status")
def status(store: str | None, as_json: bool) -> int:
    """Say where the store is and why, what it holds, and how ready each profile is."""
    from brainbrr.cli import render
    from brainbrr.verbs.status import status as run

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


@command("verify", example="brainbrr verify --quick")
@click.option("--quick", is_flag=True, help="Structure and every checksum, without the content digests.")
def verify(quick: bool, store: str | None, as_json: bool) -> int:
    """Decode every object against its content digest, and hold every record against its object."""
    from brainbrr.cli import render
    from brainbrr.verbs.verify import verify as run

    session = Session(store, as_json)
    report = run(session.store(), quick=quick, progress=progress())
    session.show(render.verify, report)
    return report.exit_code


@command("check", example="brainbrr check --require no-duplicates,complete,verified,no-leaks --profile full")
@click.option("--require", default="no-duplicates,complete,verified,no-leaks", show_default=True, metavar="A,B")
@click.option("--profile", type=PROFILES, default="full", show_default=True, help="What `complete` and `no-leaks` see.")
@corpus_option
@recipe_option
def check(require: str, profile: str, corpus: str | None, recipe: str, store: str | None, as_json: bool) -> int:
    """The gate for CI: no array twice, nothing missing, nothing damaged, nobody in two splits.

    Looks at the store alone; whether EDF or label files changed since is what `view` says. Default: all corpora.
    """
    from brainbrr.cli import render
    from brainbrr.eeg.recipe import load_recipe
    from brainbrr.verbs.check import check as run

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
    from brainbrr.eeg.recipe import load_recipe
    from brainbrr.verbs.why import why as run

    session = Session(store, as_json)
    report = run(session.store(), subject, recipe=load_recipe(recipe), changes=changes, corpus=corpus)
    session.show(render.why, report)
    return 0


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
    from brainbrr.eeg.corpus import locate
    from brainbrr.eeg.recipe import load_recipe
    from brainbrr.verbs.plan import plan as run

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


@command("demo", example="brainbrr demo --into .demo")
@click.option(
    "--into", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True, help="Folder for it."
)
@click.option("--recordings", type=click.IntRange(min=6), default=18, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def demo(into: Path, recordings: int, seed: int, store: str | None, as_json: bool) -> int:
    """Run the whole journey on a generated corpus: ingest, three profiles, training, evaluation, report."""
    from brainbrr.cli import render
    from brainbrr.config import load_train_config, resolve
    from brainbrr.verbs.demo import demo as run

    out = Output(as_json=as_json)
    settings = resolve(store=store or str(into / "store"), runs=str(into / "runs"))
    renderers: dict[str, Callable[[Output, Any], None]] = {
        "ingest": render.ingest,
        "view": render.view,
        "train": render.train,
        "evaluate": render.evaluate,
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
