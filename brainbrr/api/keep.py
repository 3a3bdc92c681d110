"""Check, verify and repair a store; decide what it keeps, and delete the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from brainbrr.api.arguments import Location, accepted, place, recipe_of, seconds_of, selection_of, store_of
from brainbrr.core.progress import Progress, Silent
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import UsageError
from brainbrr.ingest.repair import RepairReport
from brainbrr.ingest.repair import repair as _repair
from brainbrr.store.forget import ForgetReport
from brainbrr.store.formats import Codec
from brainbrr.store.gc import GcReport
from brainbrr.store.integrity import Depth
from brainbrr.store.recompress import RecompressReport
from brainbrr.store.recompress import recompress as _recompress
from brainbrr.store.store import Store
from brainbrr.store.verify import VerifyReport
from brainbrr.store.verify import verify as _verify
from brainbrr.views import retention
from brainbrr.views.check import REQUIREMENTS, CheckReport
from brainbrr.views.check import check as _check
from brainbrr.views.retention import PinReport, RecipesReport
from brainbrr.views.splits import Splits, load_splits
from brainbrr.views.view import View


def check(
    store: Store | Location = None,
    *,
    require: Iterable[str] = REQUIREMENTS,
    profile: str = "full",
    corpus: str | None = None,
    split: str | None = None,
    where: Mapping[str, str] | Iterable[str] | None = None,
    recipe: Recipe | str | Path = "default",
    splits: str | Path | None = None,
    aliases: Mapping[str, str] | str | Path | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> CheckReport:
    """Check a store against what CI requires: no duplicates, complete, verified, no patient in two splits.

    Reads the store alone; `view` compares it with the EDF files.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    require : iterable of {"no-duplicates", "complete", "verified", "no-leaks"}
        What must hold.
    profile : {"smoke", "dev", "full"}
        The recordings that "complete" and "no-leaks" look at.
    corpus : str, optional
        Default: every corpus.
    split : {"train", "dev", "eval", "none"}, optional
        Only what of the profile is in this split. Default: all splits.
    where : mapping or iterable of str, optional
        Only rows of which this holds, as for `view`.
    recipe : Recipe, str or path-like
        A recipe, the name of a preset, or a TOML file.
    splits : str or path-like, optional
        Who is in which split: a file of `split` (``"folds.toml:2"`` takes fold 2 for eval), or a table of patients and
        their split (``"participants.tsv:COLUMN"``). Default: as the corpus's folders say.
    aliases : path-like or mapping of str to str, optional
        Names that are one patient, as ``{"chb21": "chb01"}`` or a TOML file of them; "CORPUS/PATIENT" is a
        patient of one corpus.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    CheckReport
        What was found; its `exit_code` is 0 where all that is required holds.

    Raises
    ------
    UsageError
        No such requirement, profile or corpus, or nothing is required.

    Examples
    --------
    >>> report = brainbrr.check("store", profile="smoke")
    >>> report.exit_code, report.leaks
    (0, ())
    """
    at = place(store)
    return _check(
        at.store,
        require=require,
        settings=at.settings,
        profile=at.settings.profile_of(None, profile).name,
        corpus=corpus,
        split=split,
        where=selection_of(where=where).where,
        recipe=recipe_of(recipe, at.store),
        splits=load_splits(splits, aliases) or Splits(),
        progress=progress,
    )


def verify(
    store: Store | Location = None,
    *,
    depth: Depth = "full",
    max_age: float | str | None = None,
    max_seconds: float | None = None,
    accept: str | Iterable[str] = (),
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> VerifyReport:
    """Read every object and compare it with its content digest; verify records, catalogs and views too.

    This host remembers what passed, and when.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    depth : {"quick", "checksums", "full"}
        Structure and sizes alone; also the checksum of every tile; also every sample against its content digest.
    max_age : float or str, optional
        Do not read again what passed since then: seconds, or a text such as "7d".
    max_seconds : float, optional
        Begin no further object after this time; those that passed longest ago go first.
    accept : str or iterable of {"gone"}
        "gone": what was here before and is missing now was deleted on purpose.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    VerifyReport
        How many objects were verified, and what is damaged.

    Raises
    ------
    UsageError
        There is no store.

    Examples
    --------
    >>> brainbrr.verify("store", depth="quick").corrupt
    ()
    """
    at = place(store)
    return _verify(
        at.readable,
        depth=depth,
        host=at.settings.host,
        max_age_s=None if max_age is None else seconds_of("max_age", max_age),
        max_seconds=max_seconds,
        accept_gone="gone" in accepted(accept, known=("gone",)),
        progress=progress,
    )


def repair(
    store: Store | Location = None,
    *,
    depth: Depth = "full",
    source: Store | Location = None,
    roots: Mapping[str, str | Path] | None = None,
    workers: int | None = 1,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> RepairReport:
    """Move what is damaged to quarantine, and restore it from another store or from its EDF.

    Nothing is deleted. Running it again continues from anything that interrupted it.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    depth : {"quick", "checksums", "full"}
        How deep to look for damage, as for `verify`.
    source : Store or path-like, optional
        Another store to take undamaged pieces from; its codec may differ.
    roots : mapping of str to path-like, optional
        Where each corpus is now. Default: where it was ingested from.
    workers : int, optional
        Processes that build; None for all cores.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    RepairReport
        What was damaged, what was restored, and what could not be.

    Raises
    ------
    UsageError
        There is no store, or `source` is none.

    Examples
    --------
    >>> brainbrr.repair("store", depth="quick").exit_code
    0
    """
    at = place(store)
    return _repair(
        at.store,
        depth=depth,
        source=None if source is None else store_of(source),
        roots={corpus: Path(root) for corpus, root in (roots or {}).items()},
        host=at.settings.host,
        workers=workers,
        progress=progress,
    )


def gc(
    store: Store | Location = None,
    *,
    delete: bool = False,
    grace: float | str = "24h",
    views_older_than: float | str | None = None,
    staged: Sequence[Path] = (),
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> GcReport:
    """List objects that no catalog, frozen view or pin references; delete them on request.

    The first run with `delete` marks them; a run after the grace period deletes those still unreferenced. Safe beside
    ingests and trainings.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    delete : bool
        Delete. Without it, only list.
    grace : float or str
        Minimum age of a deletion candidate: seconds, or a text such as "24h".
    views_older_than : float or str, optional
        Also delete frozen views without a pin that are older than this: seconds, or a text such as "90d".
    staged : sequence of Path
        Folders of this node that `train --stage` copied to: copies of what the store has no more are deleted too.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    GcReport
        Each unreferenced item with its bytes and its state; `exit_code` is 1 when something is left of a writer of
        which nothing says that it has ended.

    Raises
    ------
    UsageError
        There is no store, or it cannot be written.
    IntegrityError
        A record, catalog, view or pin cannot be read; nothing is deleted.

    Examples
    --------
    >>> brainbrr.gc("store").bytes_of("deleted")
    0
    """
    older_s = None if views_older_than is None else seconds_of("views_older_than", views_older_than)
    return retention.collect(
        store_of(store),
        staged=staged,
        yes=delete,
        grace_s=int(seconds_of("grace", grace)),
        views_older_than_s=None if older_s is None else int(older_s),
        progress=progress,
    )


def pin(view: View | str | Path | None = None, *, store: Store | Location = None, remove: bool = False) -> PinReport:
    """Pin a view: its store keeps it, and all that it references, until the pin is removed.

    Parameters
    ----------
    view : View, str or path-like, optional
        A view that is ready, the digest of a frozen view, or a file that holds one: a run's ``view.json``, or what
        ``brainbrr view --out`` wrote. Without it, pins are only listed.
    store : Store or path-like, optional
        Default: the view's own store, else the store that ``brainbrr status`` shows.
    remove : bool
        Remove the pin instead.

    Returns
    -------
    PinReport
        What was done, and every pin that the store has now.

    Raises
    ------
    UsageError
        The view is not ready or not known, or the store cannot be written.
    IntegrityError
        The store does not hold what the view references.

    Examples
    --------
    >>> view = brainbrr.view("store", profile="smoke")
    >>> brainbrr.pin(view).done
    'pinned'
    >>> brainbrr.pin(view, remove=True).done
    'unpinned'
    """
    if isinstance(view, View):
        opened = store_of(view.store if store is None else store)
        return retention.pin_view(opened, view, remove=remove)
    if view is None:
        if remove:
            raise UsageError("which pin is to be removed?", fix="pin(view, remove=True)")
        return retention.pins(store_of(store))
    return retention.pin(store_of(store), str(view), remove=remove)


def recipes(store: Store | Location = None, *, retire: str | None = None, restore: str | None = None) -> RecipesReport:
    """List the recipes of a store; retire one that is not needed there any more, or restore it.

    `gc` deletes what was made under a retired recipe, except what frozen views reference.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    retire : str, optional
        The recipe to retire: a name, a file, or the start of its digest.
    restore : str, optional
        The retired recipe to use again.

    Returns
    -------
    RecipesReport
        What was done, and every recipe with its records and bytes.

    Raises
    ------
    UsageError
        No such recipe, several of them, or both `retire` and `restore`.

    Examples
    --------
    >>> [each["name"] for each in brainbrr.recipes("store").recipes]
    ['default']
    """
    if retire is not None and restore is not None:
        raise UsageError("retire and restore are two actions", fix="call recipes() for each")
    opened = store_of(store)
    if retire is not None:
        return retention.retire(opened, retire)
    return retention.recipes(opened) if restore is None else retention.restore(opened, restore)


def forget(
    corpus: str,
    *,
    store: Store | Location = None,
    delete: bool = False,
    older_than: float | str | None = None,
    staged: Sequence[Path] = (),
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> ForgetReport:
    """List all that a corpus alone keeps in a store: catalog, views, pins, records, objects; delete it on request.

    For agreements that ask for deletion. A receipt stays in the store.

    Parameters
    ----------
    corpus : str
        The corpus's name.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    delete : bool
        Delete at once. Without it, only list.
    older_than : float or str, optional
        Delete only generations of its catalog that are older than this: seconds, or a text such as "90d".
    staged : sequence of Path
        Folders of this node that `train --stage` copied to: copies of the corpus below them are deleted too.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    ForgetReport
        What is deleted, or would be.

    Raises
    ------
    UsageError
        No such corpus.
    IntegrityError
        The store cannot be read completely; nothing is deleted.

    Examples
    --------
    >>> report = brainbrr.forget("demo", store="store")
    >>> report.dry_run, len(report.records)
    (True, 18)
    """
    at = place(store)
    older_s = None if older_than is None else int(seconds_of("older_than", older_than))
    jobs = at.settings.jobs.value
    return retention.forget(
        at.store, corpus, older_than_s=older_s, staged=staged, jobs=jobs, yes=delete, progress=progress
    )


def recompress(
    to: str | Path,
    *,
    store: Store | Location = None,
    codec: Codec | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> RecompressReport:
    """Copy a store into one that keeps its tiles with another codec.

    Contents, keys and views stay the same. Each object is verified after writing, and nothing is deleted. Running it
    again continues from anything that interrupted it.

    Parameters
    ----------
    to : path-like
        The folder of the other store.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    codec : {"none", "zstd"}, optional
        The other store's codec. Default: the one that `store` does not have.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    RecompressReport
        What the other store holds now, and what could not be copied.

    Raises
    ------
    UsageError
        The same store or the same codec.
    SpaceError
        The disk is too small.

    Examples
    --------
    >>> brainbrr.recompress("store-zstd", store="store").objects
    18
    """
    return _recompress(store_of(store), Path(to), codec=codec, progress=progress)
