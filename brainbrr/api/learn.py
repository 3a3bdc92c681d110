"""Feed a model from a view, train the detector, and score it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from brainbrr.api.arguments import Location, accepted, path_of, place, readable_of, selection_of
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import UsageError
from brainbrr.learn.compare import RunsReport
from brainbrr.learn.compare import runs as _runs
from brainbrr.learn.predict_files import PredictReport
from brainbrr.learn.predict_files import predict as _predict
from brainbrr.learn.start import EvaluateOptions, TrainOptions, need_torch, run_named
from brainbrr.learn.start import evaluate as _evaluate
from brainbrr.learn.start import train as _train
from brainbrr.loading.augment import Augment
from brainbrr.loading.index import Index
from brainbrr.loading.labels import Kind, Per
from brainbrr.loading.loader import Choices, DType, Loader, Mode, numpy_loader
from brainbrr.loading.order import Sampling
from brainbrr.scoring.score import ScoreReport
from brainbrr.scoring.score import score as _score
from brainbrr.share.transfer import fetch
from brainbrr.store.records import Record
from brainbrr.store.store import Store
from brainbrr.views.stage import StageOptions, stage_objects
from brainbrr.views.view import View

if TYPE_CHECKING:
    from lightning import LightningDataModule

    from brainbrr.learn.config import TrainConfig
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.torch_loader import WindowDataset
    from brainbrr.learn.train import TrainReport


def loader(
    view: View | Index,
    *,
    batch: int,
    mode: Mode = "auto",
    device: str = "cpu",
    as_numpy: bool = False,
    dtype: DType = "float32",
    labels: Kind = "binary",
    per: Per = "sample",
    seed: int = 0,
    balance: Mapping[str, int] | str | None = None,
    shuffle: Literal["global", "block", "none"] = "global",
    run: int = 64,
    pool: int = 2048,
    patient_cap: int | None = None,
    hard_negatives: Sequence[int] = (),
    augment: Augment = Augment(),  # noqa: B008  # frozen
    start_step: int = 0,
    epochs: int | None = None,
    threads: int = 2,
    depth: int = 2,
    reuse: bool | None = None,
    rank: int | None = None,
    world: int | None = None,
    store: Store | Location = None,
    stage: str | Path | None = None,
) -> Loader | WindowDataset:
    """Iterate over batches of a view's windows, in an order that seed and step decide.

    The values are the same bits in every mode, with any number of threads. Buffers are filled again: use a batch
    before asking for the next one, or copy it.

    Parameters
    ----------
    view : View or Index
        A view that is ready; or its index alone, then `store` says where its objects are.
    batch : int
        Windows of a batch, over all ranks.
    mode : {"auto", "stream", "resident", "map"}
        "stream": threads read ahead. "resident": all of the view is held in memory as int16. "map": a torch Dataset
        for any DataLoader.
    device : str
        "cpu", "cuda" or "cuda:N".
    as_numpy : bool
        Arrays instead of tensors; torch is not needed.
    dtype : {"float32", "float16", "bfloat16", "int16"}
        "int16" is as stored, not normalised.
    labels : {"binary", "type", "per-channel", "none"}
        The labels of a batch; 255 for unlabelled time. With "none", windows without labels are taken too.
    per : {"sample", "window"}
        A label for each sample, or for each window.
    seed : int
        Of the order of windows and of `augment`.
    balance : str or mapping of str to int, optional
        "balanced", "upstream", or how many of "background", "partial" and "full". Default: every labelled window once
        in an epoch.
    shuffle : {"global", "block", "none"}
        "block" reads contiguous runs of windows.
    run, pool : int
        With "block": windows of a run, and windows that are shuffled together.
    patient_cap : int, optional
        With a balance: the most windows of one patient in an epoch.
    hard_negatives : sequence of int
        With a balance: windows of background to take first.
    augment : Augment
        How windows are varied.
    start_step : int
        Continue a loader of the same view, seed, batch and world.
    epochs : int, optional
        Default: without end.
    threads, depth : int
        Threads that read, and how many batches ahead.
    reuse : bool, optional
        Fill the same buffers again and again: a batch is yours until you ask for the next. Otherwise a batch that you
        keep stays as it is, and its memory is filled again once nothing refers to it. Default: for arrays
        (`as_numpy`), not for tensors.
    rank, world : int, optional
        Which part of each batch this process takes. Default: as `torch.distributed` says, else all of it.
    store : Store or path-like, optional
        For an index: the store with its objects.
    stage : path-like, optional
        A folder on this node's own disk that the objects are first copied to; ``loader.staged.remove()`` deletes them.

    Returns
    -------
    Loader or WindowDataset
        An iterator of batches with `signal` (batch, channels, samples), `label` uint8 (batch, samples) for the default
        labels, `valid` bool (batch, samples) and `index` int64 (batch,) into the view.

    Raises
    ------
    ViewNotReadyError
        The view is not ready.
    UsageError
        There is nothing to take, or two arguments do not go together.
    IntegrityError
        A stored tile is damaged; raised by the batch that reads it.
    SpaceError
        A resident view does not fit into memory.
    DependencyError
        torch or the device is missing.

    Examples
    --------
    >>> view = brainbrr.view("store", profile="smoke", window=brainbrr.WindowSpec(2, stride_s=1))
    >>> with brainbrr.loader(view, batch=8, seed=0, as_numpy=True) as batches:
    ...     signal, label, valid, index = next(batches)
    >>> signal.shape, signal.dtype, label.shape
    ((8, 19, 512), dtype('float32'), (8, 512))
    """
    _check_loader(view, mode=mode, device=device, as_numpy=as_numpy)
    index = view if isinstance(view, Index) else view.index
    opened = view.store if isinstance(view, View) and store is None else readable_of(store)
    staged = None if stage is None else stage_objects(opened, _objects(index, opened), Path(stage))
    opened = opened if staged is None else staged.store
    choices = Choices(
        batch=batch,
        sampling=Sampling(seed, balance, shuffle, run, pool, patient_cap, tuple(hard_negatives)),
        dtype=dtype,
        labels=labels,
        per=per,
        augment=augment,
        start_step=start_step,
        epochs=epochs,
        threads=threads,
        depth=depth,
        reuse=as_numpy if reuse is None else reuse,
        rank=rank or 0,
        world=1 if world is None else world,
    )
    found: Loader | WindowDataset
    if as_numpy:
        found = numpy_loader(index, opened, choices, mode=mode)
    else:
        from brainbrr.learn.torch_loader import dataset, in_this_world, torch_loader

        anywhere = rank is None and world is None
        if mode == "map":
            found = dataset(index, opened, choices, everywhere=anywhere)
        else:
            choices = in_this_world(choices) if anywhere else choices
            found = torch_loader(index, opened, choices, mode=mode, device=device)
    found.staged = staged
    return found


def data_module(
    train: View,
    dev: View | None = None,
    *,
    batch: int,
    labels: Kind = "binary",
    per: Per = "sample",
    seed: int = 0,
    balance: Mapping[str, int] | str | None = None,
    shuffle: Literal["global", "block", "none"] = "global",
    augment: Augment = Augment(),  # noqa: B008  # frozen
    threads: int = 2,
    depth: int = 2,
) -> LightningDataModule:
    """Return two views as a LightningDataModule: of each batch every process reads its own part.

    An epoch is as many steps as its order of windows fills. A checkpoint keeps how many epochs were read, so that a
    training continues in the same order from the end of an epoch.

    Parameters
    ----------
    train, dev : View
        Views that are ready: to train on, and to validate on without a balance, in order.
    batch : int
        Windows of a batch, over all processes.
    labels, per, seed, balance, shuffle, augment, threads, depth
        As for `loader`.

    Returns
    -------
    lightning.LightningDataModule
        Its batches have `signal` (batch, channels, samples), `label`, `valid` and `index`, as those of `loader`.

    Raises
    ------
    DependencyError
        Lightning is not installed.
    ViewNotReadyError
        A view is not ready.

    Examples
    --------
    >>> train, dev = (brainbrr.view("store", split=split) for split in ("train", "dev"))
    >>> data = brainbrr.data_module(train, dev, batch=64, per="window", balance="balanced")  # doctest: +SKIP
    >>> lightning.Trainer(max_epochs=3).fit(model, datamodule=data)  # doctest: +SKIP
    """
    need_torch()
    from brainbrr.learn.lightning import data_module as module

    for view in filter(None, (train, dev)):
        view.require_ready()
    choices = Choices(
        batch=batch,
        sampling=Sampling(seed, balance, shuffle),
        labels=labels,
        per=per,
        augment=augment,
        threads=threads,
        depth=depth,
    )
    return module(train, dev, choices)


def _check_loader(view: View | Index, *, mode: str, device: str, as_numpy: bool) -> None:
    if isinstance(view, View):
        view.require_ready()
    if mode not in get_args(Mode):
        raise UsageError(f"mode = {mode!r}", fix=", ".join(get_args(Mode)))
    if as_numpy and (mode == "map" or device != "cpu"):
        raise UsageError("numpy arrays are for a CPU and no Dataset", fix='mode = "stream" or "resident"')
    if not as_numpy:
        need_torch()


def _objects(index: Index, store: Store) -> dict[str, list[Record]]:
    """Return an index's contents with the records of its keys; two keys may share one content."""
    objects: dict[str, list[Record]] = {}
    for key, content in zip(index.key, index.content, strict=True):
        record = store.record(key.tobytes().hex())
        objects.setdefault(content.tobytes().hex(), []).extend([record] if record else [])
    return objects


def train(
    view: View | None = None,
    *,
    config: TrainConfig | str | Path | None = None,
    changes: Sequence[str] = (),
    adopt_view: bool = False,
    profile: str | None = None,
    corpus: str | None = None,
    split: str = "train",
    where: Mapping[str, str] | Iterable[str] | None = None,
    splits: str | Path | None = None,
    aliases: Mapping[str, str] | str | Path | None = None,
    name: str | None = None,
    resume: str | Path | None = None,
    init: str | Path | None = None,
    stage: StageOptions | str | Path | None = None,
    dev: View | str | None = "dev",
    pull: bool = False,
    store: Store | Location = None,
    runs: Location = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> TrainReport:
    """Train a detector from a view. Never builds what the view lacks.

    The view is first frozen in its store, where that can be written, so that `gc` keeps its data.

    Parameters
    ----------
    view : View, optional
        A view that is ready. Default: that of the config's profile, window and recipe, split train, in `store`.
    config : TrainConfig, str or path-like, optional
        A training config, its name, or a TOML file. Default: the one of the run that is resumed, else "smoke".
    changes : sequence of str
        Settings of the config to change, as in ``["train.lr=0.001"]``.
    adopt_view : bool
        Train on `view` as it is. Without it, a view whose window, recipe or split is not the config's is refused.
    profile, corpus, split : str, optional
        Of the view that is opened, where none is given. Default: the config's profile; the only corpus of the store;
        split train.
    where : mapping of str to str, or iterable of str, optional
        Which of its recordings, by field: ``{"patient": "aaaa*"}`` or ``["patient=aaaa*"]``.
    splits : str or path-like, optional
        Who is in which split: a file of `split` (``"folds.toml:2"`` takes fold 2 for eval), or a table of patients and
        their split (``"participants.tsv:COLUMN"``). Default: those of the resumed run, else the corpus's own.
    aliases : path-like or mapping of str to str, optional
        Names that are one patient, as ``{"chb21": "chb01"}`` or a TOML file of them.
    name : str, optional
        The name of a new run. Where a run of that name exists, it is resumed.
    resume : str or path-like, optional
        A run to resume, exactly: its folder or its name.
    init : str or path-like, optional
        A finished run whose weights are the first ones.
    stage : StageOptions or path-like, optional
        A folder on this node's own disk that the objects are first copied to, verified, and read from.
    dev : View or str, optional
        What a new run validates on: a view of other patients, or a split of the same corpus. None, and a split that
        does not exist or has no seizures: the last weights are the result.
    pull : bool
        First fetch into the store what its remotes have of the view.
    store : Store or path-like, optional
        Where the view is opened, where none is given. Default: the store that ``brainbrr status`` shows.
    runs : path-like, optional
        The folder of runs. Default: as ``brainbrr train`` chooses it.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    TrainReport
        The run's folder, its steps and its loss (the mean over the last 50). ``metrics["frozen"]`` says whether the
        view was frozen, ``metrics["validation"]`` how the best weights score on `dev`, ``metrics["weights"]`` which
        weights are the result.

    Raises
    ------
    ViewNotReadyError
        The view is not ready; the error names the command that completes it.
    UsageError
        View and config differ, or the run to resume is of another view or config.
    LeakError
        `splits` or `aliases` put a patient into two splits, or a view `dev` shares one with the training.
    ConfigError
        The config, or a change of it, is not valid.
    DependencyError
        torch, safetensors or timescoring is missing, or the device.

    Notes
    -----
    Where a launcher such as torchrun has set RANK and WORLD_SIZE, this is one process of several.

    Examples
    --------
    >>> view = brainbrr.view("store", split="train", window=brainbrr.WindowSpec(4, stride_s=2))
    >>> brainbrr.train(view, config="tiny.toml", runs="runs").steps
    4
    >>> brainbrr.train(config="tiny.toml", changes=["train.steps=2"], store="store", runs="runs").steps
    2
    """
    settings = place(store if view is None else view.store, runs=runs).settings
    options = TrainOptions(
        config=config,
        changes=tuple(changes),
        view=view,
        adopt_view=adopt_view,
        profile=profile,
        corpus=corpus,
        split=split,
        where=selection_of(where=where).where,
        splits=splits,
        aliases=aliases,
        name=name,
        resume=resume,
        init=init,
        stage=StageOptions(Path(stage)) if isinstance(stage, str | Path) else stage,
        dev=dev,
        fetch=fetch if pull else None,
    )
    return _train(options, settings, progress)


def evaluate(
    run: str | Path,
    view: View | str = "eval",
    *,
    tune: View | str | None = None,
    profile: str | None = None,
    corpus: str | None = None,
    where: Mapping[str, str] | Iterable[str] | None = None,
    splits: str | Path | None = None,
    aliases: Mapping[str, str] | str | Path | None = None,
    weights: Literal["best", "last"] = "best",
    tune_rule: bool = False,
    hard_negatives: Location = None,
    szcore: Iterable[str] = (),
    store: Store | Location = None,
    runs: Location = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> EvaluateReport:
    """Score a run on recordings of other patients, beside a line-length baseline.

    Parameters
    ----------
    run : str or path-like
        A finished run: its folder or its name.
    view : View or str
        What is scored: a view with the run's recipe and window, or a split of the run's corpus.
    tune : View or str, optional
        Where thresholds are chosen first: a view, or a split. Default: keep those of the run.
    profile, corpus : str, optional
        Of splits. Default: the run's.
    where : mapping of str to str, or iterable of str, optional
        Which recordings of splits, by field, as in ``{"patient": "aaaa*"}``.
    splits : str or path-like, optional
        Who is in which split: a file of `split` (``"folds.toml:2"`` takes fold 2 for eval), or a table of patients and
        their split (``"participants.tsv:COLUMN"``). Default: those of the run.
    aliases : path-like or mapping of str to str, optional
        Names that are one patient, as ``{"chb21": "chb01"}`` or a TOML file of them.
    weights : {"best", "last"}
        The run's best weights by its validation, where it validated, or its last.
    tune_rule : bool
        Choose the rule of events (shortest length, gap, hysteresis) together with the threshold.
    hard_negatives : path-like, optional
        A file to write: the false alarms on the recordings of the training, which ``train.hard_negatives`` of a next
        training reads.
    szcore : iterable of str
        Parameters of timescoring to change: ``["tolerance_start_s=0", "min_overlap=0.5"]``; also ``tolerance_end_s``,
        ``max_event_s`` and ``merge_gap_s``. Every score names them.
    store : Store or path-like, optional
        Where splits are opened. Default: the store of `view`, else the one that ``brainbrr status`` shows.
    runs : path-like, optional
        The folder of runs. Default: as ``brainbrr train`` chooses it.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    EvaluateReport
        ``metrics`` has the scores by name and their 95 % intervals; ``report.html`` is written into the run.

    Raises
    ------
    LeakError
        A patient, source or content is in two of training, `tune` and `view`.
    ViewNotReadyError
        A view is not ready.
    UsageError
        No such run, nothing that is labelled, or a view with another recipe or window than the run's.
    DependencyError
        torch, safetensors or timescoring is missing.

    Examples
    --------
    >>> report = brainbrr.evaluate("runs/first", "eval", tune="dev", store="store")
    >>> 0 <= report.metrics["auroc"] <= 1
    True
    >>> window = brainbrr.WindowSpec(4, stride_s=2)
    >>> held_out, tuning = (brainbrr.view("store", split=split, window=window) for split in ("eval", "dev"))
    >>> brainbrr.evaluate("runs/first", held_out, tune=tuning).metrics["auroc"] == report.metrics["auroc"]
    True
    """
    settings = place(view.store if isinstance(view, View) else store, runs=runs).settings
    options = EvaluateOptions(
        view=view,
        tune=tune,
        profile=profile,
        corpus=corpus,
        where=selection_of(where=where).where,
        splits=splits,
        aliases=aliases,
        weights=weights,
        tune_rule=tune_rule,
        hard_negatives=None if hard_negatives is None else Path(hard_negatives),
        szcore=tuple(szcore),
    )
    return _evaluate(run, options, settings, progress)


def predict(
    run: str | Path,
    *files: str | Path,
    out: Location = None,
    probabilities: Location = None,
    overwrite: bool = False,
    accept: str | Iterable[str] = (),
    weights: Literal["best", "last"] = "best",
    runs: Location = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> PredictReport:
    """Find the seizures in EDF files with a run's detector; needs no store.

    Parameters
    ----------
    run : str or path-like
        A finished run: its folder or its name.
    *files : path-like
        EDF files, or folders with EDF files below them.
    out : path-like, optional
        Where events are written: a ``.tsv`` (SzCORE), a ``.csv_bi`` (TUSZ), or a folder for both.
    probabilities : path-like, optional
        A safetensors file for the probabilities.
    overwrite : bool
        Replace files that exist.
    accept : str or iterable of {"truncated"}
        "truncated": read files that end early up to there.
    weights : {"best", "last"}
        The run's best weights by its validation, where it validated, or its last.
    runs : path-like, optional
        The folder of runs. Default: as ``brainbrr train`` chooses it.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    PredictReport
        Each of `predictions` has `events`, (start, stop) in seconds, and ``scored.score``, float32 (steps,), one
        probability for each ``scored.step_s``. What was refused is in `failed`.

    Raises
    ------
    UsageError
        No EDF file, no run, or a file to write that exists.
    DependencyError
        torch, safetensors or timescoring is missing.

    Examples
    --------
    >>> report = brainbrr.predict("runs/first", "demo/edf/eval")
    >>> len(report.predictions), report.predictions[0].scored.step_s, report.failed
    (4, 0.25, [])
    """
    return _predict(
        run_named(place(None, runs=runs).settings.runs.value, run),
        [Path(file) for file in files],
        out=path_of(out),
        probabilities=path_of(probabilities),
        overwrite=overwrite,
        accept_truncated="truncated" in accepted(accept, known=("truncated",)),
        weights=weights,
        progress=progress,
    )


def runs(*names: str | Path, folder: Location = None) -> RunsReport:
    """List runs, or compare those named with the first: settings, steps, loss, scores.

    Parameters
    ----------
    *names : str or path-like
        Runs by name or folder; the first is the reference. Default: every run, compared with the newest on the view
        that most of them share.
    folder : path-like, optional
        The folder of runs. Default: as ``brainbrr runs`` chooses it.

    Returns
    -------
    RunsReport
        The runs, the oldest first, and folders that hold none with the reason.

    Raises
    ------
    UsageError
        A name is no run.
    DependencyError
        torch, safetensors or timescoring is missing.

    Examples
    --------
    >>> [line.config for line in brainbrr.runs("first", folder="runs").runs]
    ['tiny']
    """
    return _runs(place(None, runs=folder).settings.runs.value, [str(name) for name in names])


def score(
    reference: str | Path,
    hypothesis: str | Path,
    *,
    resamples: int = 1000,
    seed: int = 0,
    subset: bool = False,
    szcore: Iterable[str] = (),
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> ScoreReport:
    """Score events against a reference, as SzCORE and NEDC do; needs no store.

    Parameters
    ----------
    reference, hypothesis : path-like
        Two files (csv_bi, or a BIDS events table), or two folders of them. Files of the same path, else of the same
        name, belong together.
    resamples : int
        Of the patients, for the confidence intervals.
    seed : int
        Of the resamples.
    subset : bool
        Leave out recordings that only the reference has.
    szcore : iterable of str
        Parameters of timescoring to change: ``["tolerance_start_s=0", "min_overlap=0.5"]``; also ``tolerance_end_s``,
        ``max_event_s`` and ``merge_gap_s``. Every score names them.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    ScoreReport
        The scores with their intervals, and what each scorer counted in each recording.

    Raises
    ------
    UsageError
        A file has no partner.
    AnnotationError
        A file is malformed, or does not state how long its recording is.
    DependencyError
        timescoring is missing.

    Examples
    --------
    >>> report = brainbrr.score("demo/edf/eval", "demo/edf/eval", resamples=100)
    >>> report.metrics["event_f1"]
    1.0
    """
    return _score(
        Path(reference),
        Path(hypothesis),
        resamples=resamples,
        seed=seed,
        progress=progress,
        subset=subset,
        szcore=tuple(szcore),
    )
