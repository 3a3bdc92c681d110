"""What `train` and `evaluate` do around the learning: config, view, freezing, staging, several processes.

Loads torch only when it is used. Never builds an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from brainbrr.core.files import leads_to_folder
from brainbrr.core.models import explain
from brainbrr.core.progress import Progress, Silent
from brainbrr.eeg.signal.recipe import Recipe, load_recipe
from brainbrr.errors import (
    BrainbrrError,
    DependencyError,
    Fix,
    IntegrityError,
    SpaceError,
    UsageError,
    ViewNotReadyError,
)
from brainbrr.learn.config import TrainConfig, load_train_config
from brainbrr.learn.other_splits import check_splits, dev_view
from brainbrr.loading.windows import WindowSpec
from brainbrr.settings import Settings, launched, make_cuda_deterministic
from brainbrr.store import frozen_views
from brainbrr.store.layers import Layers, layered
from brainbrr.store.opening import open_existing
from brainbrr.store.remote import RemoteStore
from brainbrr.store.store import Store
from brainbrr.views.report import ViewReport, open_view
from brainbrr.views.retention import need_objects
from brainbrr.views.select import Selection
from brainbrr.views.splits import Splits, load_splits
from brainbrr.views.stage import StageOptions, staged
from brainbrr.views.view import View

if TYPE_CHECKING:
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.runs import Which
    from brainbrr.learn.train import TrainReport

_REFREEZE_S = 3600.0
_DEFAULT_CONFIG = "smoke"

Where = tuple[tuple[str, str], ...]
"""(field, pattern) pairs that recordings must match."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to train, on what, and where to begin. The default of each field is that of the command.

    `config` is a training config, the name of one, or a TOML file; None is the resumed run's own, else "smoke".
    `changes` set single settings of it: "train.lr=0.001". `view` is a view that is ready; None opens the config's, of
    `corpus`, `profile` (None: the config's), `split`, `where`, `splits` and `aliases`, as `load_splits` takes them
    (None: those of the resumed run). A view that differs from the config is refused,
    unless `adopt_view` takes window, recipe and split from it. `resume` and `init` are folders of runs or their names:
    a run to continue, and a finished run whose weights are the first ones. `name` names a new run, or continues the
    run of that name. `stage` reads the view from copies on a disk of this node. `dev` is what a new run validates on: a
    split of the same corpus, a view, or None. `fetch` copies into the store what its remotes have of a view, and says
    whether anything came.
    """

    config: TrainConfig | str | Path | None = None
    changes: Sequence[str] = ()
    view: View | None = None
    adopt_view: bool = False
    profile: str | None = None
    corpus: str | None = None
    split: str = "train"
    where: Where = ()
    splits: str | Path | None = None
    aliases: Mapping[str, str] | str | Path | None = None
    name: str | None = None
    resume: str | Path | None = None
    init: str | Path | None = None
    stage: StageOptions | None = None
    dev: View | str | None = "dev"
    fetch: Callable[[ViewReport, Progress], bool] | None = None

    def __post_init__(self) -> None:
        if self.resume and (self.init or self.name):
            raise UsageError("resume continues a run as it is: neither init nor name goes with it")
        if self.view is not None and (self.profile or self.corpus or self.where or self.splits or self.aliases):
            raise UsageError("a view has its own profile, corpus, splits and recordings: give a view, or these")
        if self.adopt_view and self.view is None:
            raise UsageError("adopt_view needs a view to adopt")

    def resumed(self, runs: Path) -> Path | None:
        """Return the folder of the run to continue, None for a new run. Raises UsageError for one that is missing."""
        if self.resume:
            return run_named(runs, self.resume)
        return runs / self.name if self.name and leads_to_folder(runs / self.name) else None


def train(options: TrainOptions, settings: Settings, progress: Progress) -> TrainReport:
    """Train a detector from a view that is ready, and return where the run is.

    The view is frozen in its store first, so that `gc` keeps what is trained on; metrics["frozen"] says whether the
    store could be written. With `stage`, metrics["stage"] says where the copies are and how many bytes. Where a
    launcher such as torchrun has set RANK and WORLD_SIZE, this is one process of several; rank 0 writes the run.
    Raises ViewNotReadyError with the command that completes the view, UsageError where view and config differ or the
    run is another one, and what `brainbrr.learn.train.train` raises.
    """
    need_torch()
    from brainbrr.learn.distributed import device_of, joined
    from brainbrr.learn.train import train as learn
    from brainbrr.learn.train import trainable

    runs, launch = settings.runs.value, launched()
    progress = progress if launch is None or launch.rank == 0 else Silent()
    resumed = options.resumed(runs)
    frozen = view_of(resumed) if resumed else None  # first: it says whether that is a run
    named = options.config or (resumed / "config.toml" if resumed else _DEFAULT_CONFIG)
    config = load_train_config(named, options.changes)
    if config.train.deterministic:
        make_cuda_deterministic()
    view = _view(options, config, frozen, settings, progress)
    trainable(view)  # before it is frozen: a view that teaches nothing is not kept
    dev = _dev_of(resumed, view.store) if resumed else _held_out(options, config, view, settings, progress)
    learns = partial(
        learn,
        config=config,
        runs=runs,
        name=options.name,
        resume=resumed,
        init=run_named(runs, options.init) if options.init else None,
        dev=dev,
        progress=progress,
    )
    facts: dict[str, Any] = {"frozen": freeze_view(view, progress)}
    if dev is not None:
        freeze_view(dev, progress)
    cuda = device_of(config.train.device).type == "cuda"
    with joined(launch, cuda=cuda), _in_use(view) if facts["frozen"] else nullcontext():
        if options.stage is None:
            trained = learns(view)
        else:
            with staged(view, options.stage, progress) as copy:
                trained = learns(copy.view)
            facts["stage"] = copy.to_json()
    return replace(trained, metrics={**trained.metrics, **facts})


def _view(
    options: TrainOptions,
    config: TrainConfig,
    resumed: Mapping[str, Any] | None,
    settings: Settings,
    progress: Progress,
) -> View:
    """Return the view to train on: the one given, the resumed run's own, or the config's."""
    recipe = recipe_of(resumed) if resumed else load_recipe(config.recipe)
    if options.view is not None:
        if not options.adopt_view:
            _need_same(options.view, config, recipe, split=resumed["split"] if resumed else options.split)
        return options.view

    def opens() -> ViewReport:
        return open_view(
            settings,
            profile=options.profile or config.profile,
            corpus=options.corpus or (resumed["corpus"] if resumed else None),
            recipe=recipe if resumed else config.recipe,
            window=config.window_spec(),
            split=options.split,
            selection=Selection(where=options.where),
            splits=_splits_of(options, resumed),
        )

    def opened() -> View:
        return _opened(options, progress, opens, opens())

    return opened() if resumed is None else _resumed(resumed, options, config, opened, settings, progress)


def _opened(options: TrainOptions, progress: Progress, opens: Callable[[], ViewReport], report: ViewReport) -> View:
    """Return the view of a report once it is ready, after fetching what remotes have of it where that is requested."""
    if options.fetch is not None and options.fetch(report, progress):
        report = opens()
    for name, n in report.from_remotes.items():
        progress.say(f"{n} of {len(report.view.recordings)} recordings are read in remote {name}")
    return report.ready_view()


def _resumed(
    frozen: Mapping[str, Any],
    options: TrainOptions,
    config: TrainConfig,
    opened: Callable[[], View],
    settings: Settings,
    progress: Progress,
) -> View:
    """Return the frozen view of a run, whatever the corpus is now, and say where that is something else.

    Raises UsageError where the command asks for another view than the run's.
    """
    asked = {"profile": options.profile or config.profile, "corpus": options.corpus or frozen["corpus"]}
    for name, value in asked.items():
        if value != frozen[name]:
            raise UsageError(
                f"the run is on {name} {frozen[name]}, not {value}", fix="leave out the option, or a new run"
            )
    view = View.from_json(_holding(settings, frozen), frozen)
    _need_same(view, config, view.recipe, split=view.split)
    try:
        now: str | None = opened().digest
    except BrainbrrError:
        now = None
    if now != view.digest:
        n = len(view.recordings)
        progress.say(f"the corpus has changed since the run began: it continues on the {n} recordings it began with")
    return view


def _holding(settings: Settings, frozen: Mapping[str, Any]) -> Store:
    """Return the store, with what its remotes have of a frozen view that it lacks."""
    store = open_existing(settings)
    keys = {entry["key"] for entry in frozen["recordings"]}
    return layered(store, Layers(store, settings.host), keys - store.existing()[0])


def _held_out(
    options: TrainOptions, config: TrainConfig, view: View, settings: Settings, progress: Progress
) -> View | None:
    """Check the other splits of the corpus of a new run; return what it validates on, None for nothing."""
    opens = partial(
        open_view,
        settings,
        profile=view.profile,
        corpus=view.corpus,
        recipe=view.recipe,
        window=view.window,
        selection=Selection(where=options.where),
        splits=_splits_of(options, view.to_json()),
    )
    once = cache(opens)  # each compares the files of its split
    if options.view is None:
        check_splits(view, lambda split: once(split=split).view)
    if not config.train.validate_every:
        return None

    def opened(split: str) -> View:
        return _opened(options, progress, partial(opens, split=split), once(split=split))

    return dev_view(options.dev, view, opened, progress)


def _need_same(view: View, config: TrainConfig, recipe: Recipe, *, split: str | None) -> None:
    """Raise UsageError, naming every field in which a view differs from the one that the config asks for."""
    ours, theirs = config.window_spec().identity(), view.window.identity()
    differing = [f"window.{name} is {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if view.recipe.digest != recipe.digest:
        differing.append(
            f"recipe is {view.recipe.name} {view.recipe.digest[:8]}, not {recipe.name} {recipe.digest[:8]}"
        )
    if view.split != split:
        differing.append(f"split is {view.split}, not {split}")
    if differing:
        raise UsageError(
            f"the view is not the one of config {config.name}: {'; '.join(differing)}",
            fix="open it as the config says, brainbrr.view(split='train', window=config.window_spec(), "
            "recipe=config.recipe), or train on it as it is: adopt_view=True",
        )


def freeze_view(view: View, progress: Progress) -> bool:
    """Freeze a view in its store and check that all it names exists; return whether the store could be written.

    Raises ViewNotReadyError where a gc was faster.
    """
    if isinstance(view.store, RemoteStore):  # it is only read there
        return False
    frozen = True
    try:
        frozen_views.freeze(view.store, str(view.digest), view.to_json())
    except (UsageError, SpaceError) as error:
        frozen = False
        progress.say(
            "warning: this view could not be saved in the store, so `gc` may delete its data while you train: "
            f"{error.what}"
        )
    try:
        need_objects(view.store, view.to_json())
    except IntegrityError as error:
        raise ViewNotReadyError(error.what, where=error.where, fix=error.fix) from None
    return frozen


@contextmanager
def _in_use(view: View) -> Iterator[None]:
    """Freeze a view again every hour: `gc --views-older-than` goes by when that was last."""
    over = Event()

    def again() -> None:
        while not over.wait(_REFREEZE_S):
            with suppress(BrainbrrError, OSError):  # a network that is away for a while
                frozen_views.freeze(view.store, str(view.digest), view.to_json())

    Thread(target=again, daemon=True).start()
    try:
        yield
    finally:
        over.set()


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to score, and what to choose thresholds on first: views, or splits of the run's corpus.

    Without `tune` the run's thresholds stay. `profile`, `corpus` (None: the run's) and `where`, (field, pattern)
    pairs, are those of splits. `splits` and `aliases`, as `load_splits` takes them, are the run's where none are given.
    `weights` are the best of the run, or its last. `tune_rule` chooses the rule of events with the threshold.
    """

    view: View | str = "eval"
    tune: View | str | None = None
    profile: str | None = None
    corpus: str | None = None
    where: Where = ()
    splits: str | Path | None = None
    aliases: Mapping[str, str] | str | Path | None = None
    weights: Which = "best"
    tune_rule: bool = False
    hard_negatives: Path | None = None
    """A file to write: the false alarms on the recordings of the training."""
    szcore: Sequence[str] = ()
    """Parameters of timescoring: "tolerance_start_s=0"."""

    def __post_init__(self) -> None:
        if isinstance(self.view, str) and self.tune == self.view:
            raise UsageError(
                f"thresholds tuned on split {self.view} would be scored on it",
                fix="choose another --tune, or --tune none",
            )


def evaluate(run: str | Path, options: EvaluateOptions, settings: Settings, progress: Progress) -> EvaluateReport:
    """Score a run, a folder or a name, on a view or a split of its corpus.

    Raises LeakError when what is scored shares a patient with the training or with `tune`, and what
    `brainbrr.learn.evaluate.evaluate` raises.
    """
    need_torch()
    from brainbrr.learn.evaluate import evaluate as score

    folder = run_named(settings.runs.value, run)
    frozen = view_of(folder)
    splits = _splits_of(options, frozen)

    def opened(split: View | str) -> View:
        if isinstance(split, View):
            return split
        report = open_view(
            settings,
            profile=options.profile or frozen["profile"],
            corpus=options.corpus or frozen["corpus"],
            recipe=recipe_of(frozen),
            window=WindowSpec.model_validate(frozen["window"]),
            split=split,
            selection=Selection(where=options.where),
            splits=splits,
        )
        return report.ready_view()

    held_out, tuning = opened(options.view), None if options.tune is None else opened(options.tune)
    aliases = splits.aliases if splits else None
    return score(
        folder,
        held_out,
        tune=tuning,
        aliases=aliases,
        weights=options.weights,
        tune_rule=options.tune_rule,
        hard_negatives=options.hard_negatives,
        szcore=options.szcore,
        progress=progress,
    )


def _splits_of(options: TrainOptions | EvaluateOptions, frozen: Mapping[str, Any] | None) -> Splits | None:
    """Return the splits and aliases of options, else those of a run's frozen view; of another corpus its aliases."""
    kept = frozen["selection"].get("splits") if frozen else None
    if kept and frozen and options.corpus not in (None, frozen["corpus"]):
        kept = {**kept, "patients": None} if kept["aliases"] else None
    return load_splits(options.splits, options.aliases, kept=kept)


def run_named(runs: Path, name: str | Path) -> Path:
    """Return the folder of a run: a path, or its name in the folder of runs. Raises UsageError for neither."""
    for path in (Path(name), runs / name):
        if leads_to_folder(path):
            return path
    raise UsageError(
        f"no run is called {str(name)!r}", where=runs, fix=Fix(("runs",), " lists them"), code="no-such-run"
    )


def view_of(run: Path) -> Mapping[str, Any]:
    """Return the frozen view that a run learns from. Raises UsageError for a folder that is no run."""
    need_torch()
    from brainbrr.learn.runs import open_run

    return open_run(run).view


def _dev_of(run: Path, store: Store) -> View | None:
    """Return the frozen view that a run validates on, None where it does not."""
    from brainbrr.learn.runs import open_run

    frozen = open_run(run).dev
    return None if frozen is None else View.from_json(store, frozen)


def recipe_of(frozen: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a frozen view. Raises UsageError for one of a revision that is not built any more."""
    try:
        return Recipe.from_identity(frozen["recipe"]["fields"], name=frozen["recipe"]["name"])
    except ValidationError as error:
        raise UsageError(
            f"the run's recipe cannot be computed here: {explain(error)}", fix="the version of brainbrr that trained it"
        ) from None


def need_torch() -> None:
    """Raise DependencyError when what training needs is not installed."""
    from importlib.util import find_spec

    lacking = [name for name in ("torch", "safetensors", "timescoring") if find_spec(name) is None]
    if lacking:
        raise DependencyError(f"training needs {', '.join(lacking)}", fix="pip install 'brainbrr[train]'")
