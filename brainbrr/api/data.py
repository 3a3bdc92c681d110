"""Make a store, fill it from EDF files, and look at what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from brainbrr.api.arguments import (
    Location,
    accepted,
    path_of,
    place,
    recipe_of,
    selection_of,
    store_of,
)
from brainbrr.core.progress import Progress, Silent
from brainbrr.demo import DemoOptions, DemoReport
from brainbrr.demo import demo as _demo
from brainbrr.eeg.corpus.terms import Access, given_terms
from brainbrr.eeg.corpus.tree import locate
from brainbrr.eeg.corpus.vocabulary import Meaning, read_label_map
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.engine import Engine, Futures
from brainbrr.ingest.checksums import read_checksums
from brainbrr.ingest.ingest import IngestReport
from brainbrr.ingest.ingest import ingest as _ingest
from brainbrr.ingest.options import ACCEPT, IngestOptions, Labels
from brainbrr.learn.config import load_train_config
from brainbrr.loading.windows import WindowSpec
from brainbrr.look.bench import BenchReport
from brainbrr.look.bench import bench as _bench
from brainbrr.share.export import ExportReport
from brainbrr.share.export import export as _export
from brainbrr.share.fill import ingest_to
from brainbrr.store.formats import Codec
from brainbrr.store.init import InitReport
from brainbrr.store.init import init as _init
from brainbrr.store.opening import open_existing, open_if_there
from brainbrr.store.remotes import find
from brainbrr.store.store import Store
from brainbrr.views.folds import SplitReport
from brainbrr.views.folds import split as _split
from brainbrr.views.report import ViewRequest, corpus_meant
from brainbrr.views.report import view as _view
from brainbrr.views.select import one_of
from brainbrr.views.splits import Aliases, load_splits
from brainbrr.views.status import StatusReport
from brainbrr.views.status import status as _status
from brainbrr.views.view import View
from brainbrr.views.why import WhyReport
from brainbrr.views.why import why as _why


def init(
    store: Location = None, *, codec: Codec | None = None, group: str | None = None, public: bool = False
) -> InitReport:
    """Create an empty store; one that exists is kept as it is.

    Without `group` and `public` only its owner may read it. `ingest` creates a store too: one that is no more readable
    than the corpus, and without a codec.

    Parameters
    ----------
    store : path-like, optional
        The store's folder. Default: the one that ``brainbrr status`` shows.
    codec : {"none", "zstd"}, optional
        How a new store keeps its tiles. No key, content or view depends on it. Default: "none".
    group : str, optional
        Name or number of a group whose members may write, whatever their umask. You must be in it.
    public : bool
        Everybody may read it, also what is stored later of a corpus that fewer may read.

    Returns
    -------
    InitReport
        The store, its codec, and the mode and group of its folders.

    Raises
    ------
    UsageError
        The folder holds other files, or a store with another codec or other permissions.

    Examples
    --------
    >>> brainbrr.init("empty-store", codec="zstd").codec
    'zstd'
    """
    return _init(place(store).location, codec=codec, group=group, public=public)


def open_store(store: Location = None, *, cache_bytes: int | None = None) -> Store:
    """Open a store.

    Parameters
    ----------
    store : path-like, optional
        The store's folder, or the URL of one that is read where it is: ``s3://``, ``gs://``, ``az://``, ``https://``.
        Default: the one that ``brainbrr status`` shows.
    cache_bytes : int, optional
        The most disk that tiles of stores at URLs may take in this user's cache; 0 keeps them in memory only.
        Default: BRAINBRR_CACHE_BYTES, else 20 GB.

    Returns
    -------
    Store
        Reading it needs no permission to write. Tiles are verified on every read, also those of the cache.

    Raises
    ------
    UsageError
        There is no store.
    RemoteError
        The place of a URL does not answer.
    FormatError
        The store has an unknown or a newer format.

    Examples
    --------
    >>> brainbrr.open_store("store").corpora()
    ('demo',)
    """
    if isinstance(store, Store):
        return store
    settings = place(store).settings
    return open_existing(settings if cache_bytes is None else replace(settings, cache_bytes=cache_bytes))


def ingest(
    root: str | Path,
    *,
    store: Store | Location = None,
    profile: str | None = None,
    splits: str | Path | None = None,
    recipe: Recipe | str | Path = "default",
    corpus: str | None = None,
    labels: Labels = "found",
    relabel: bool = False,
    patient_from: str | None = None,
    access: Access | None = None,
    terms: str | None = None,
    accept: str | Iterable[str] = (),
    label_map: Mapping[str, Meaning] | str | Path | None = None,
    checksums: str | Path | None = None,
    rehash: bool = False,
    dry_run: bool = False,
    copy: bool = False,
    push: str | Path | None = None,
    codec: Codec | None = None,
    workers: int = 1,
    executor: Executor | Engine | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> IngestReport:
    """Store every recording below a folder that is not stored yet.

    Creates the store where there is none. Running it again continues from anything that interrupted it.

    Parameters
    ----------
    root : path-like
        The corpus: EDF files and their labels.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    profile : {"smoke", "dev", "full"}, optional
        Only this profile's recordings. Default: all.
    splits : str or path-like, optional
        With `profile`: who is in train, dev and eval, as for `view`. Default: the corpus's folders.
    recipe : Recipe, str or path-like
        A recipe, the name of a preset, or a TOML file.
    corpus : str, optional
        The corpus's name. Default: its folder's.
    labels : {"found", "optional", "none"}
        "found": a recording without a label file is refused. "optional": it is unlabelled. "none" declares the corpus
        unlabelled.
    relabel : bool
        Let a corpus that has labels become an unlabelled one.
    patient_from : str, optional
        What names the patient of a recording: "folder" (the one that holds it), "file" (its name up to the first "_"),
        or a regular expression that is searched for in its path, of which the first group counts. Default: what the
        corpus was ingested with before; at first its layout. The catalog keeps it.
    access : {"open", "credentialed", "private"}, optional
        Who may have the corpus; `push` asks. Default: what it was ingested with before; at first what its
        publisher says, where that is known: TUSZ is credentialed, CHB-MIT and Siena are open, all others private.
    terms : str, optional
        The address of the page that says so, with `access`.
    accept : str or iterable of {"refused", "truncated", "removed", "label-length", "contacts"}
        "refused": record refused recordings as omitted, so that views count as ready. "truncated": store the complete
        data records of truncated files. "removed": let most of a corpus leave the catalog. "label-length": cut labels
        that go past the end of their signal. "contacts": store electrodes that seem to be contacts of depth or grid
        electrodes.
    label_map : path-like or mapping, optional
        What a laboratory's own labels mean, as ``{"ied": "unknown"}`` or a TOML file: "seizure", "background" or
        "unknown". Default: the one that the corpus was ingested with before.
    checksums : path-like, optional
        A list of SHA-256 as `sha256sum` writes it, such as PhysioNet's SHA256SUMS.txt; an EDF that differs from it, or
        is not in it, is refused. A git-annex link is always compared with its key.
    rehash : bool
        Hash every file again, verify stored objects and rebuild damaged ones.
    dry_run : bool
        Report what would be built, what that needs and how long it takes (`IngestReport.plan`); write nothing.
    copy : bool
        Bring into the store what its remotes have. Default: it is not built either, and used where it is.
    push : str or path-like, optional
        A remote, as `push` takes it, that gets each object as soon as it is built; none is built that it has.
    codec : {"none", "zstd"}, optional
        How a new store keeps its tiles.
    workers : int
        Processes that build; 1 is this process. More need a script with ``if __name__ == "__main__":``, as any use of
        multiprocessing does.
    executor : concurrent.futures.Executor or Engine, optional
        Builds instead of them: loky's, Dask's ``Client.get_executor()``, or one of `brainbrr.engines`. Its workers must
        have the same brainbrr and see the same paths.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    IngestReport
        How many recordings are new, reused and refused, with each refusal's reason.

    Raises
    ------
    UsageError
        `root` holds no corpus, or an argument is not known.
    SpaceError
        The disk is too small; raised before any work.
    AccessError
        More people may read the store than the corpus, and `init` was not asked for that.

    Examples
    --------
    >>> report = brainbrr.ingest("demo", store="store", profile="smoke")
    >>> report.new, report.reused
    (0, 6)
    """
    at = place(store)
    options = IngestOptions(
        root=Path(root),
        store=at.location,
        corpus=corpus,
        profile=at.settings.profile_of(locate(Path(root), name=corpus).name, profile) if profile else None,
        splits=load_splits(splits),
        recipe=recipe_of(recipe, at.store_if_there),
        workers=workers,
        engine=Futures(executor) if isinstance(executor, Executor) else executor,
        labels=labels,
        relabel=relabel,
        patient_from=patient_from,
        terms=given_terms(access, terms),
        codec=codec,
        dry_run=dry_run,
        accept=accepted(accept, known=ACCEPT),
        label_map=read_label_map(Path(label_map)) if isinstance(label_map, str | Path) else label_map,
        checksums=read_checksums(Path(checksums)) if checksums is not None else None,
        rehash=rehash,
        host=at.settings.host,
        copy=copy,
    )
    if push is None:
        return _ingest(options, progress=progress)
    return ingest_to(options, find(at.store_if_there, str(push)), host=at.settings.host, progress=progress)


def view(
    store: Store | Location = None,
    *,
    profile: str = "full",
    split: str | None = None,
    corpus: str | None = None,
    recipe: Recipe | str | Path = "default",
    window: WindowSpec = WindowSpec(),  # noqa: B008  # frozen
    patients: Iterable[str] = (),
    where: Mapping[str, str] | Iterable[str] | None = None,
    exclude: Iterable[str] | Path = (),
    min_quality: int | None = None,
    splits: str | Path | None = None,
    aliases: Mapping[str, str] | str | Path | None = None,
) -> View:
    """Open a view: the recordings of a profile, cut into windows when read.

    Nothing is built or copied. `View.state` says whether the view is ready, `View.missing` and `View.stale` what it
    lacks, `View.fix` the command that builds it.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    profile : {"smoke", "dev", "full"}
        How many recordings of each split.
    split : {"train", "dev", "eval", "none"}, optional
        Default: all splits.
    corpus : str, optional
        Default: the only one in the store.
    recipe : Recipe, str or path-like
        A recipe, the name of a preset, or a TOML file.
    window : WindowSpec
        Length and stride in seconds, normalisation, reference; nothing of it is stored.
    patients : iterable of str
        Only these patients.
    where : mapping or iterable of str, optional
        Only rows of which this holds, as ``{"path": "*s001*"}`` or ``["path=*s001*", "seizures>0"]``; fields are the
        columns of `ls`, and texts may have shell wildcards.
    exclude : iterable of str, or Path
        Paths of recordings to leave out, or a file with one on each line.
    min_quality : int, optional
        From 0 to 100: recordings whose findings score less are in `View.left_out`.
    splits : str or path-like, optional
        Who is in which split: a file of `split` (``"folds.toml:2"`` takes fold 2 for eval), or a table of patients and
        their split (``"participants.tsv:COLUMN"``). Default: as the corpus's folders say.
    aliases : path-like or mapping of str to str, optional
        Names that are one patient, as ``{"chb21": "chb01"}`` or a TOML file of them.

    Returns
    -------
    View
        ``view[i].signal`` is float32, shape (channels, samples), in µV or normalised units.

    Raises
    ------
    UsageError
        No such store, corpus, profile, split, patient, field or recording.
    LeakError
        `splits` or `aliases` put a patient into two splits.

    Examples
    --------
    >>> view = brainbrr.view(profile="smoke", window=brainbrr.WindowSpec(2, stride_s=1))
    >>> view.state
    'ready'
    >>> view[0].signal.shape
    (19, 512)
    """
    at = place(store)
    opened = at.readable
    name = corpus_meant(opened, corpus, at.settings.host)
    request = ViewRequest(
        profile=at.settings.profile_of(name, profile),
        split=split,
        corpus=name,
        recipe=recipe_of(recipe, opened),
        window=window,
        selection=selection_of(patients=patients, where=where, exclude=exclude, min_quality=min_quality),
        splits=load_splits(splits, aliases),
    )
    flags = ["--recipe", str(recipe)] if isinstance(recipe, str | Path) and recipe != "default" else []
    return _view(opened, request, location=opened.where, host=at.settings.host, flags=flags).view


def split(
    store: Store | Location = None,
    *,
    folds: int = 5,
    by: str = "patient",
    stratify: str = "seizures",
    corpus: str | None = None,
    aliases: Mapping[str, str] | str | Path | None = None,
    out: Location = None,
) -> SplitReport:
    """Divide the patients of a corpus into folds, for corpora without splits of their own.

    The same corpus gives the same folds with any Python, on any platform.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    folds : int
        At least 3: for train, dev and eval.
    by : {"patient"}
        What is never in two folds.
    stratify : {"seizures", "hours"}
        What is balanced: seizures, their time and the hours of recording; or the hours alone.
    corpus : str, optional
        Default: the only one in the store.
    aliases : path-like or mapping of str to str, optional
        Names that are one patient, as ``{"chb21": "chb01"}`` or a TOML file of them; "CORPUS/PATIENT" is a patient of
        one corpus, and "CORPUS/*" all of them.
    out : path-like, optional
        A TOML file to write, which `view`, `train`, `evaluate` and `check` take as `splits`.

    Returns
    -------
    SplitReport
        The patients, recordings, seizures and hours of each fold.

    Raises
    ------
    UsageError
        No such corpus, more folds than patients, or `out` holds something else.

    Notes
    -----
    Patients are placed one by one, the largest first, where the sum of squares of the folds' loads grows least.

    Examples
    --------
    >>> report = brainbrr.split("store", folds=3, out="folds.toml")
    >>> [fold.recordings for fold in report.folds]
    [7, 5, 6]
    >>> sorted({each.split for each in brainbrr.view("store", splits="folds.toml:2").recordings})
    ['dev', 'eval', 'train']
    """
    given = load_splits(aliases=aliases)
    return _split(
        store_of(store),
        corpus=corpus,
        folds=folds,
        by=by,
        stratify=stratify,
        aliases=given.aliases if given else Aliases(),
        out=path_of(out),
    )


def status(store: Store | Location = None) -> StatusReport:
    """Report where the store is and why, what it holds, and how ready each profile is.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: flag, environment, config file or the nearest ``store/`` upwards, as for the command line.

    Returns
    -------
    StatusReport
        Its `exists` is false where no store was created yet.

    Examples
    --------
    >>> report = brainbrr.status("store")
    >>> report.exists, report.objects
    (True, 18)
    """
    at = place(store)
    return _status(at.opened or open_if_there(at.settings), at.settings)


def why(
    subject: str | Path,
    *,
    store: Store | Location = None,
    recipe: Recipe | str | Path = "default",
    changes: Iterable[str] = (),
    corpus: str | None = None,
    split: str | None = None,
    where: Mapping[str, str] | Iterable[str] | None = None,
) -> WhyReport:
    """Explain whether a recording is stored under a recipe, and if not, how the nearest stored key differs.

    Its file is compared with what is stored, where this host knows the corpus's folder.

    Parameters
    ----------
    subject : str or path-like
        An EDF file, a recording of a catalog by its path or name, or a key.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    recipe : Recipe, str or path-like
        A recipe, the name of a preset, or a TOML file. A key brings its own.
    changes : iterable of str
        Changed recipe fields, as ``["notch_hz=50"]``.
    corpus : str, optional
        Where to look for the recording. Default: every corpus.
    split : {"train", "dev", "eval", "none"}, optional
        The split of the recording that is meant.
    where : mapping or iterable of str, optional
        What else is true of it, as for `view`.

    Returns
    -------
    WhyReport
        Whether it is a hit, the key, for a miss the reason and the fields that differ, and what became of the file.

    Raises
    ------
    UsageError
        The subject is none of these, or means several recordings; or a change is not possible.

    Examples
    --------
    >>> name = brainbrr.view("store").recordings[0].path
    >>> brainbrr.why(name, store="store").hit
    True
    >>> brainbrr.why(name, store="store", changes=["notch_hz=50"]).nearest["differences"]
    {'notch_hz': ['50', '60']}
    """
    at = place(store)
    opened = at.readable
    chosen, conditions = recipe_of(recipe, opened), selection_of(where=where).where
    return _why(
        opened,
        str(subject),
        recipe=chosen,
        changes=changes,
        corpus=corpus,
        among=one_of(opened, at.settings, profile="full", split=split, where=conditions, recipe=chosen),
        host=at.settings.host,
    )


def bench(
    view: View,
    *,
    batch: int = 64,
    device: str = "cpu",
    seconds: float = 1.0,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> BenchReport:
    """Measure how fast each way of reading feeds a model on this machine, and what limits it.

    Reads only. For the cold rows the system is asked to drop the view's files from its cache.

    Parameters
    ----------
    view : View
        The view to read; it must be ready.
    batch : int
        Windows of a batch.
    device : str
        "cpu", "cuda" or "cuda:N": where batches are wanted.
    seconds : float
        For each way of reading.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    BenchReport
        Windows per second of each way, and its share of what copying memory reaches.

    Raises
    ------
    UsageError
        The view has no windows.
    ViewNotReadyError
        The view is not ready.
    DependencyError
        The device is not there.

    Examples
    --------
    >>> view = brainbrr.view("store", profile="smoke", window=brainbrr.WindowSpec(2, stride_s=1))
    >>> brainbrr.bench(view, batch=4, seconds=0.01).limit_windows_per_second > 0
    True
    """
    view.require_ready()
    return _bench(view, batch=batch, device=device, seconds=seconds, progress=progress)


def demo(
    folder: str | Path = ".demo",
    *,
    recordings: int = 18,
    seed: int = 0,
    store: Location = None,
    show: Callable[[str, Any], None] | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> DemoReport:
    """Run the complete journey on a generated corpus: ingest, three profiles, training, evaluation, report.

    Parameters
    ----------
    folder : path-like
        Where the corpus, the store and the run go.
    recordings : int
        How many to generate, at least 6.
    seed : int
        Of the generated corpus.
    store : path-like, optional
        Default: ``store/`` in `folder`.
    show : callable, optional
        Is called with the name and the report of each step.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    DemoReport
        Each step's report, and where the page of results is.

    Raises
    ------
    UsageError
        The folder is a store.
    DependencyError
        What training needs is not installed.

    Examples
    --------
    >>> report = brainbrr.demo("trial")  # doctest: +SKIP
    """
    at = place(store or Path(folder) / "store", runs=Path(folder) / "runs")
    options = DemoOptions(
        folder=Path(folder),
        settings=at.settings,
        config=load_train_config("smoke"),
        n_recordings=recordings,
        seed=seed,
    )
    return _demo(options, show=show or (lambda step, report: None), progress=progress)


def export(
    view: View,
    into: str | Path,
    *,
    kind: Literal["edf", "bids"] = "edf",
    progress: Progress = Silent(),  # noqa: B008
) -> ExportReport:
    """Write the recordings of a view as EDF+ files with their events, for tools that read no zarr.

    The samples are those stored, in µV, whatever the view's windows do to them; absent channels are left out.

    Parameters
    ----------
    view : View
        Which recordings.
    into : path-like
        The folder to write. Files that are there with the same bytes stay.
    kind : {"edf", "bids"}
        Files under their paths in the corpus, or a BIDS derivative.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    ExportReport
        How many files were written.

    Raises
    ------
    UsageError
        A file of another content is in the way.
    ViewNotReadyError
        The view is not ready.
    DependencyError
        edfio is not installed.

    Examples
    --------
    >>> brainbrr.export(brainbrr.view(profile="smoke"), "edfs").recordings
    6
    """
    return _export(view, Path(into), kind=kind, progress=progress)
