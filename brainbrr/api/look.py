"""See what a store holds and what changed: lists, history, differences and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from brainbrr.api.arguments import Location, path_of, place, recipe_of, selection_of
from brainbrr.core.progress import Progress, Silent
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.look.configuration import Configuration, configuration
from brainbrr.look.difference import Difference
from brainbrr.look.difference import diff as _diff
from brainbrr.look.doctor import Diagnosis
from brainbrr.look.doctor import doctor as _doctor
from brainbrr.look.history import Log
from brainbrr.look.history import log as _log
from brainbrr.look.listing import Listing
from brainbrr.look.listing import ls as _ls
from brainbrr.look.report import MOST_EVENTS, Report, report_named, report_view
from brainbrr.look.show import Shown, ShowOptions, seconds_of_clock, show_named
from brainbrr.store.store import Store
from brainbrr.views.report import ViewReport
from brainbrr.views.strips import Montage
from brainbrr.views.usage import Usage
from brainbrr.views.usage import usage as _usage
from brainbrr.views.view import View


def ls(
    store: Store | Location = None,
    *,
    corpus: str | None = None,
    profile: str = "full",
    split: str | None = None,
    where: Mapping[str, str] | Iterable[str] | None = None,
    recipe: Recipe | str | Path | None = None,
) -> Listing:
    """List recordings: patient, split, length, rate, montage, seizures, quality, bytes, and since when.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    corpus : str, optional
        Default: every corpus.
    profile : {"smoke", "dev", "full"}
        How many recordings of each split.
    split : {"train", "dev", "eval", "none"}, optional
        Default: all splits.
    where : mapping or iterable of str, optional
        Only rows of which this holds, as ``["patient=aaa*", "seizures>0", "since>=2026-01-31"]``.
    recipe : Recipe, str or path-like, optional
        Default: for each corpus the recipe that most of its recordings are stored under.

    Returns
    -------
    Listing
        Its `rows` are dictionaries with a value for each column, None where that is not known.

    Raises
    ------
    UsageError
        No such store, corpus, split or column.

    Examples
    --------
    >>> listing = brainbrr.ls("store", where=["seizures>0", "split=eval"])
    >>> [(row["length_s"], row["seizures"], row["state"]) for row in listing.rows]
    [(22.0, 1, 'stored'), (24.0, 1, 'stored'), (21.0, 1, 'stored')]
    """
    at = place(store)
    opened = at.readable
    return _ls(
        opened,
        profiles=lambda name: at.settings.profile_of(name, profile),
        corpus=corpus,
        split=split,
        where=selection_of(where=where).where,
        recipe=None if recipe is None else recipe_of(recipe, opened),
        host=at.settings.host,
    )


def log(subject: str | None = None, *, store: Store | Location = None, last: int | None = None) -> Log:
    """Report what each ingest added, relabelled, replaced, built and refused, when, by whom and why.

    Parameters
    ----------
    subject : str, optional
        A corpus, or a recording by its path or file name. Default: every corpus.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    last : int, optional
        Only the newest generations. Default: all.

    Returns
    -------
    Log
        Its `entries`, the newest first, each with the changes of one generation of a catalog.

    Raises
    ------
    UsageError
        No corpus or recording of this name, or several recordings.

    Examples
    --------
    >>> entry = brainbrr.log("demo", store="store").entries[-1]
    >>> len(entry.changes), entry.changes[0].change, entry.changes[0].why
    (18, 'added', 'recipe default')
    """
    return _log(place(store).store, subject, last=last)


def diff(a: str | Path, b: str | Path, *, store: Store | Location = None, runs: Location = None) -> Difference:
    """Compare two frozen views, two recipes, or two runs.

    Parameters
    ----------
    a, b : str or path-like
        Digests or files of frozen views; names, files or digests of recipes; names or folders of runs.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    runs : path-like, optional
        The folder of runs. Default: beside the store.

    Returns
    -------
    Difference
        The settings that differ, as pairs, and what else the kind has: recordings, gains, bytes, scores.

    Raises
    ------
    UsageError
        One of them is none of these, or they are of two kinds.

    Examples
    --------
    >>> difference = brainbrr.diff("default", "upstream", store="store")
    >>> difference.kind, difference.fields
    ('recipe', {'exact': [True, False]})
    """
    at = place(store, runs=runs)
    return _diff(str(a), str(b), store=at.store_if_there, runs_folder=at.settings.runs.value)


def usage(store: Store | Location = None) -> Usage:
    """Report the bytes of a store by corpus, recipe and profile, and what is shared.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.

    Returns
    -------
    Usage
        A share for each corpus, recipe and profile; objects in no catalog; and other files.

    Raises
    ------
    UsageError
        There is no store.

    Examples
    --------
    >>> share = brainbrr.usage("store").shares[0]
    >>> share.kind, share.name, share.objects, share.shared_bytes
    ('corpus', 'demo', 18, 0)
    """
    at = place(store)
    return _usage(at.store, profiles=at.settings.profiles_of)


def show(
    recording: str | Path,
    *,
    store: Store | Location = None,
    at: float | str | None = None,
    seconds: float = 30,
    montage: Montage | None = None,
    scale: float | None = None,
    source: bool = False,
    corpus: str | None = None,
    recipe: Recipe | str | Path | None = None,
) -> Shown:
    """Draw a stored recording as a clinical EEG: rows with names, µV and time, seizures shaded, odd channels marked.

    Parameters
    ----------
    recording : str or path-like
        Its path or file name in a catalog, or a key.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    at : float or str, optional
        The start in seconds, or as "50:00". Default: 5 s before the first seizure, else the start.
    seconds : float
        How much is drawn.
    montage : {"bipolar", "average", "recorded"}, optional
        Which rows. Default: "bipolar", the longitudinal one; "recorded" where the recipe stores pairs.
    scale : float, optional
        µV between two rows. Default: what fits the signal.
    source : bool
        Draw the EDF beside it, and both spectra.
    corpus : str, optional
        Where to look for the recording. Default: every corpus.
    recipe : Recipe, str or path-like, optional
        Default: the one that most of the corpus is stored under.

    Returns
    -------
    Shown
        Its `figure` shows itself in a notebook, and ``shown.save("window.png")`` writes it.

    Raises
    ------
    UsageError
        No such recording or time, several recordings, or the EDF is out of reach.
    DependencyError
        matplotlib is not installed.

    Examples
    --------
    >>> name = brainbrr.view("store").recordings[0].path
    >>> shown = brainbrr.show(name, store="store", seconds=10, montage="average")
    >>> shown.seconds, len(shown.rows)
    (10, 19)
    """
    location = place(store)
    opened = location.readable
    options = ShowOptions(
        at_s=seconds_of_clock(at) if isinstance(at, str) else at, seconds=seconds, montage=montage, scale=scale
    )
    return show_named(
        opened,
        str(recording),
        options=options,
        recipe=None if recipe is None else recipe_of(recipe, opened),
        corpus=corpus,
        host=location.settings.host if source else None,
    )


def report(
    subject: View | str | Path,
    file: str | Path = "report.html",
    *,
    split: str | None = None,
    events: int = MOST_EVENTS,
    store: Store | Location = None,
    runs: Location = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> Report:
    """Write one HTML file about a view or a run. It loads nothing from elsewhere, and holds patients' signals.

    Parameters
    ----------
    subject : View, str or path-like
        A view; or a run, by its name or folder; or a frozen view, by its digest or file.
    file : path-like
        Where to write the page. It is no more readable than the store.
    split : str, optional
        Of a run: which evaluation. Default: that of eval, else the newest.
    events : int
        Of a run: the most events to draw, about 60 kB each.
    store : Store or path-like, optional
        Where a run's recordings are. Default: the store that ``brainbrr status`` shows.
    runs : path-like, optional
        The folder of runs. Default: beside the store.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    Report
        Its `file`, its `sections`, and how many `events` of how many it draws.

    Raises
    ------
    UsageError
        There is no such run, view or store, or the run was not evaluated on this split.
    IntegrityError
        What an evaluation saved is damaged.

    Examples
    --------
    >>> view = brainbrr.view("store", profile="smoke")
    >>> brainbrr.report(view, "report.html").sections[:3]
    ('In short', 'Splits', 'Patients')
    """
    if isinstance(subject, View):
        at = place(subject.store, runs=runs)
        found = ViewReport(subject, at.location)
        return report_view(found, at.settings, Path(file), progress)
    settings = place(store, runs=runs).settings
    return report_named(str(subject), settings, Path(file), split=split, most_events=events, progress=progress)


def doctor(folder: Location = None, *, peer: str | None = None, thorough: bool = False) -> Diagnosis:
    """Check this machine, its libraries and a folder, and say how to fix what is not fine.

    Parameters
    ----------
    folder : path-like, optional
        Where a store is or should be; it is tried in a folder of its own there. Default: the store that
        ``brainbrr status`` shows.
    peer : str, optional
        A host that ssh reaches without a password: does it see the same files at once?
    thorough : bool
        Also kill a small ingest 200 times, which takes minutes.

    Returns
    -------
    Diagnosis
        Its `lines`, each "fine", "note" or "wrong"; `exit_code` is 1 where something is wrong.

    Raises
    ------
    UsageError
        The folder cannot be written.

    Examples
    --------
    >>> diagnosis = brainbrr.doctor("store")
    >>> [line.state for line in diagnosis.lines if line.about in ("flock", "case")]
    ['fine', 'fine']
    """
    at = place(folder)
    return _doctor(path_of(folder), at.settings, peer=peer, thorough=thorough)


def config(store: Location = None, *, runs: Location = None) -> Configuration:
    """Report every setting, its value and where it came from.

    Parameters
    ----------
    store, runs : path-like, optional
        As for other functions, to see what they change.

    Returns
    -------
    Configuration
        Its `settings` are (name, value, origin).

    Examples
    --------
    >>> [name for name, _, _ in brainbrr.config("store").settings][:3]
    ['store', 'runs', 'jobs']
    """
    return configuration(place(store, runs=runs).settings)
