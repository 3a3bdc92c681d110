"""Commands that look at a view. One function per command, as in commands.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.group import PROFILES, Session, command, corpus_option, recipe_option
from brainbrr.cli.output import progress
from brainbrr.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from brainbrr.views.report import ViewReport
    from brainbrr.views.select import Selection


def open_view(session: Session, profile: str, **asked: Any) -> ViewReport:
    """Return a view's report; where nothing was ever ingested there is no store to look into."""
    from brainbrr.eeg.signal.recipe import Recipe, load_recipe
    from brainbrr.views.report import view as run
    from brainbrr.views.select import resolve_corpus

    store = session.store_if_there()
    named, corpus = asked.pop("recipe"), asked.pop("corpus")
    corpus = resolve_corpus(store, corpus) if store else corpus
    recipe = load_recipe(named) if isinstance(named, str) else named
    flags = ["--recipe", named if isinstance(named, str) else named.name] if recipe.digest != Recipe().digest else []
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
    from brainbrr.views.select import Selection

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
@click.option(
    "--index",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.npz",
    help="Write the view's index: a loader opens it in milliseconds.",
)
def view(
    profile: str,
    config: str | None,
    patients: str | None,
    where: tuple[str, ...],
    exclude: Path | None,
    min_quality: int | None,
    frozen: Path | None,
    index: Path | None,
    store: str | None,
    as_json: bool,
    **asked: Any,
) -> int:
    """Say what a profile holds, how much is ready, what is missing and the command that mends it."""
    from brainbrr.cli import render
    from brainbrr.core.digest import canonical_json
    from brainbrr.learn.config import load_train_config
    from brainbrr.loading.windows import WindowSpec

    session = Session(store, as_json)
    window = load_train_config(config).window_spec() if config else WindowSpec()
    selection = _selection(patients, where, exclude, min_quality)
    report = open_view(session, profile, window=window, selection=selection, **asked)
    ready = report.state == "ready"
    if ready and frozen:  # before the report: a file that cannot be written is the one thing that --json says
        frozen.write_bytes(canonical_json(report.view.to_json()) + b"\n")
    if ready and index:
        report.view.index.save(index)
    session.show(render.view, report)
    for said, path in (("frozen into", frozen), ("index in", index)):
        if ready and path:
            session.out.note(f"{said} {path}")
    return 0 if ready else 3


@command("bench", example="brainbrr bench --profile full --split train")
@click.option(
    "--view",
    "frozen",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A view frozen by `brainbrr view --out FILE`. Default: the profile's.",
)
@click.option("--profile", type=PROFILES, default="full", show_default=True)
@click.option("--split", metavar="SPLIT", help="train, dev, eval or none. Default: all.")
@corpus_option
@recipe_option
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Windows of a batch.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N: where batches are wanted.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="For each way.")
def bench(
    frozen: Path | None,
    profile: str,
    batch: int,
    device: str,
    seconds: float,
    store: str | None,
    as_json: bool,
    **asked: Any,
) -> int:
    """Measure how fast each way of reading feeds a model here, against copying memory, and what bounds it.

    Reads only. For the cold rows the system is asked to drop the view's files from its cache.
    """
    from brainbrr.cli import render
    from brainbrr.learn.start import preflight
    from brainbrr.loading.windows import WindowSpec
    from brainbrr.look.bench import bench as run
    from brainbrr.views.view import View

    session = Session(store, as_json)
    if frozen:
        view = View.from_json(session.store(), read_frozen(frozen))
    else:
        view = preflight(open_view(session, profile, window=WindowSpec(), **asked))
    report = run(view, batch=batch, device=device, seconds=seconds, progress=progress())
    session.show(render.bench, report)
    return 0


def read_frozen(path: Path) -> dict[str, Any]:
    """Return what `view --out` wrote. Raises UsageError for what is no JSON object."""
    from brainbrr.core.files import parse

    try:
        return parse(path.read_bytes(), where=path)
    except IntegrityError as error:
        raise UsageError(f"this is no frozen view: {error.what}", where=path, fix="brainbrr view --out FILE") from None
