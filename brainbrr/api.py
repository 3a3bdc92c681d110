"""The front door from Python: the verbs with the settings that the command line would use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from brainbrr.core.progress import Progress, Silent
from brainbrr.eeg.corpus.tree import locate
from brainbrr.eeg.signal.recipe import Recipe, load_recipe
from brainbrr.engines.engine import Engine, Futures
from brainbrr.errors import UsageError
from brainbrr.ingest.ingest import IngestReport
from brainbrr.ingest.ingest import ingest as _ingest
from brainbrr.ingest.repair import RepairReport
from brainbrr.ingest.repair import repair as _repair
from brainbrr.learn.config import load_train_config
from brainbrr.learn.predict_files import PredictReport
from brainbrr.learn.predict_files import predict as _predict
from brainbrr.learn.start import hold, need_torch
from brainbrr.loading.augment import Augment
from brainbrr.loading.index import Index
from brainbrr.loading.loader import Choices, Loader, Mode, numpy_loader
from brainbrr.loading.order import Sampling
from brainbrr.loading.windows import WindowSpec
from brainbrr.profiles import Profile
from brainbrr.settings import Settings, resolve
from brainbrr.store.gc import DAY_S, GcReport
from brainbrr.store.gc import gc as _gc
from brainbrr.store.records import Record
from brainbrr.store.store import Depth, Store
from brainbrr.store.verify import VerifyReport
from brainbrr.store.verify import verify as _verify
from brainbrr.views.check import REQUIREMENTS, CheckReport
from brainbrr.views.check import check as _check
from brainbrr.views.report import view as _view
from brainbrr.views.retention import keep
from brainbrr.views.select import Selection, resolve_corpus
from brainbrr.views.stage import stage_objects
from brainbrr.views.view import View

if TYPE_CHECKING:
    from brainbrr.learn.config import TrainConfig
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.torch_loader import WindowDataset
    from brainbrr.learn.train import TrainReport


Location = str | Path | None


def open_store(location: Location = None) -> Store:
    """Open a store: the one given, or the one that the command line would choose. Raises UsageError for none."""
    return Store.open(resolve(store=_text(location)).store.value)


def ingest(
    root: str | Path,
    *,
    store: Store | Location = None,
    profile: str | None = None,
    recipe: Recipe | str = "default",
    corpus: str | None = None,
    workers: int = 1,
    executor: Executor | Engine | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
    **options: Any,
) -> IngestReport:
    """Store every recording below `root` that is not stored yet; creates the store when there is none.

    One worker is this process. More of them need a script with `if __name__ == "__main__":`, as any multiprocessing
    does. An `executor` builds instead of them: any of `concurrent.futures` (loky's, Dask's `Client.get_executor()`),
    or one of `brainbrr.engines`; its workers must have the same brainbrr and see the same paths.
    Other options are those of `brainbrr.ingest.ingest.ingest`: labels, dry_run, accept_refused, ...
    """
    location = store.location if isinstance(store, Store) else store
    settings = resolve(store=_text(location))
    place = settings.store.value
    return _ingest(
        Store.open_if_there(place),
        Path(root),
        location=place,
        corpus=corpus,
        profile=_profile(settings, locate(Path(root), name=corpus).name, profile) if profile else None,
        recipe=_recipe(recipe),
        workers=workers,
        engine=Futures(executor) if isinstance(executor, Executor) else executor,
        host=settings.host,
        progress=progress,
        **options,
    )


def view(
    store: Store | Location = None,
    *,
    profile: str = "full",
    split: str | None = None,
    corpus: str | None = None,
    recipe: Recipe | str = "default",
    window: WindowSpec = WindowSpec(),  # noqa: B008  # frozen
    patients: Iterable[str] = (),
    min_quality: int | None = None,
) -> View:
    """Return a view; `view.state` says whether it is ready, `view.missing` and `view.stale` what it lacks.

    With `min_quality` (0 to 100), recordings whose findings score less are in `view.left_out`.
    """
    opened = store if isinstance(store, Store) else open_store(store)
    settings = resolve(store=str(opened.location))
    name = resolve_corpus(opened, corpus)
    return _view(
        opened,
        location=opened.location,
        profile=_profile(settings, name, profile),
        split=split,
        corpus=name,
        recipe=_recipe(recipe),
        window=window,
        selection=Selection(patients=tuple(patients), min_quality=min_quality),
        host=settings.host,
    ).view


def verify(store: Store, *, depth: Depth = "full", **options: Any) -> VerifyReport:
    """Prove every object against its content digest, and all else against it; what passed is remembered.

    Other options are those of `brainbrr.store.verify.verify`: max_age_s, max_seconds, accept_gone, progress.
    """
    return _verify(store, depth=depth, host=resolve(store=str(store.location)).host, **options)


def repair(
    store: Store,
    *,
    depth: Depth = "full",
    source: Store | Location = None,
    roots: Mapping[str, str | Path] | None = None,
    workers: int = 1,
) -> RepairReport:
    """Move what is damaged to quarantine, and bring it back from another store, else from the EDF below its root."""
    return _repair(
        store,
        depth=depth,
        source=source if isinstance(source, Store) or source is None else Store.open(Path(source)),
        roots={corpus: Path(root) for corpus, root in (roots or {}).items()},
        host=resolve(store=str(store.location)).host,
        workers=workers,
    )


def check(
    store: Store,
    *,
    require: Iterable[str] = REQUIREMENTS,
    profile: str = "full",
    recipe: Recipe | str = "default",
) -> CheckReport:
    """Hold a store against what CI requires of it: no duplicates, complete, verified, no leaks."""
    settings = resolve(store=str(store.location))
    named = _profile(settings, None, profile).name
    return _check(store, require=require, profiles_of=settings.profiles_of, profile=named, recipe=_recipe(recipe))


def gc(store: Store, *, yes: bool = False, grace_s: int = DAY_S, views_older_than_s: int | None = None) -> GcReport:
    """List what no catalog, frozen view or pin names; with `yes`, condemn it, and delete what waited for the grace."""
    return _gc(store, yes=yes, grace_s=grace_s, views_older_than_s=views_older_than_s)


def pin(view: View) -> bool:
    """Keep a view that is ready in its store for good, with all it names; say whether it was not pinned before.

    Raises UsageError for a view that is not ready, and for a store that cannot be written.
    """
    return keep(view.store, str(view.digest), view.to_json())


def loader(
    view: View | Index,
    *,
    batch: int,
    mode: Mode = "auto",
    device: str = "cpu",
    seed: int = 0,
    store: Store | Location = None,
    as_numpy: bool = False,
    balance: Mapping[str, int] | str | None = None,
    shuffle: Literal["global", "block", "none"] = "global",
    run: int = 64,
    pool: int = 2048,
    patient_cap: int | None = None,
    hard_negatives: Sequence[int] = (),
    augment: Augment = Augment(),  # noqa: B008  # frozen
    stage: str | Path | None = None,
    **choices: Any,
) -> Loader | WindowDataset:
    """Iterate over (signal, label, valid, index) of a view's windows, in an order that seed and step decide.

    Tensors on `device` (mode "map": a torch Dataset), or with `as_numpy` arrays, without torch. `view` may be its
    index alone, then `store` says where its objects are. How windows are chosen: `loading.order.Sampling`; dtype,
    labels, per, threads, start_step, epochs, rank, world and verify: `loading.loader.Choices`; what a batch holds:
    `loading.batches.Batch`. Under torch.distributed each process takes its part. `stage` is a folder of this node's
    own disk that the objects are copied to first, proven; `loader.staged.remove()` takes them away again.
    """
    index = view if isinstance(view, Index) else view.index
    opened = store if isinstance(store, Store) else open_store(store) if isinstance(view, Index) else view.store
    staged = None if stage is None else stage_objects(opened, _objects(index, opened), Path(stage))
    opened = opened if staged is None else staged.store
    sampling = Sampling(seed, balance, shuffle, run, pool, patient_cap, tuple(hard_negatives))
    chosen = Choices(batch=batch, sampling=sampling, augment=augment, **choices)
    if mode not in get_args(Mode):
        raise UsageError(f"mode = {mode!r}", fix=", ".join(get_args(Mode)))
    found: Loader | WindowDataset
    if as_numpy:
        if mode == "map" or device != "cpu":
            raise UsageError("numpy arrays are for a CPU and no Dataset", fix='mode = "stream" or "resident"')
        found = numpy_loader(index, opened, chosen, mode=mode)
    else:
        need_torch()
        from brainbrr.learn.torch_loader import dataset, in_this_world, torch_loader

        world = chosen if {"rank", "world"} & choices.keys() else in_this_world(chosen)
        if mode == "map":
            found = dataset(index, opened, world)
        else:
            found = torch_loader(index, opened, world, mode=mode, device=device)
    found.staged = staged
    return found


def _objects(index: Index, store: Store) -> dict[str, list[Record]]:
    """Return an index's contents with the records of its keys; two keys may share one content."""
    objects: dict[str, list[Record]] = {}
    for key, content in zip(index.key, index.content, strict=True):
        record = store.record(key.tobytes().hex())
        objects.setdefault(content.tobytes().hex(), []).extend([record] if record else [])
    return objects


def train(
    view: View,
    *,
    config: TrainConfig | str = "smoke",
    runs: Location = None,
    resume: str | Path | None = None,
    init: str | Path | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> TrainReport:
    """Train a detector from a view that is ready. Raises ViewNotReadyError otherwise; never builds.

    `resume` is a run to go on with, `init` a finished one whose weights are the first.
    The view is frozen in its store first, where that can be written: `metrics["frozen"]`.
    """
    need_torch()
    from brainbrr.learn.train import train as _train

    settings = resolve(store=str(view.store.location), runs=_text(runs))
    chosen = load_train_config(config) if isinstance(config, str) else config
    before = {name: None if run is None else Path(run) for name, run in (("resume", resume), ("init", init))}
    frozen = view.state == "ready" and hold(view, progress)
    runs = settings.runs.value
    trained = _train(view, chosen, runs=runs, resume=before["resume"], init=before["init"], progress=progress)
    return replace(trained, metrics={**trained.metrics, "frozen": frozen})


def evaluate(run: str | Path, view: View, *, tune: View | None = None) -> EvaluateReport:
    """Score a run on a view of other patients; thresholds come from `tune`. Raises LeakError when they overlap."""
    need_torch()
    from brainbrr.learn.evaluate import evaluate as _evaluate

    return _evaluate(Path(run), view, tune=tune, progress=Silent())


def predict(
    run: str | Path,
    *files: str | Path,
    out: Location = None,
    probabilities: Location = None,
    accept_truncated: bool = False,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> PredictReport:
    """Find the seizures in EDF files, or in all below folders, with a run's detector; needs no store.

    Each of `predictions` has `events` in seconds, and `scored` with a probability for each `scored.step_s`. With `out`
    the events are written (`brainbrr.learn.predict_files.predict`), `listen` there follows a stream. What was refused
    is in `failed`.
    """
    return _predict(
        Path(run),
        [Path(file) for file in files],
        out=None if out is None else Path(out),
        probabilities=None if probabilities is None else Path(probabilities),
        accept_truncated=accept_truncated,
        progress=progress,
    )


def _profile(settings: Settings, corpus: str | None, name: str) -> Profile:
    profiles = settings.profiles_of(corpus)
    if name not in profiles:
        raise UsageError(f"no profile is called {name!r}", fix=f"profiles: {', '.join(profiles)}")
    return profiles[name]


def _recipe(recipe: Recipe | str) -> Recipe:
    return load_recipe(recipe) if isinstance(recipe, str) else recipe


def _text(location: Location) -> str | None:
    return None if location is None else str(location)


__all__ = [
    "check",
    "evaluate",
    "gc",
    "ingest",
    "loader",
    "open_store",
    "pin",
    "predict",
    "repair",
    "train",
    "verify",
    "view",
]
