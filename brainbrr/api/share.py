"""Share a store: its remotes, and transfers to and from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from brainbrr.api.arguments import Location, Place, Selected, place, recipe_of, selection_of
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import UsageError
from brainbrr.loading.windows import WindowSpec
from brainbrr.share import transfer
from brainbrr.share.transfer import Chosen, TransferReport
from brainbrr.store import remotes as _remotes
from brainbrr.store.opening import open_store
from brainbrr.store.remotes import RemotesReport
from brainbrr.store.store import Store
from brainbrr.views.report import ViewRequest
from brainbrr.views.select import resolve_corpus
from brainbrr.views.splits import load_splits


def remotes(
    store: Store | Location = None,
    *,
    add: Mapping[str, str | Path] | None = None,
    private: bool = False,
    remove: str | None = None,
) -> RemotesReport:
    """List the remotes of a store, after adding or removing one.

    A remote is another store: a folder, a bucket (``s3://``, ``gs://``, ``az://``) or a web site (``https://``, read
    only). Credentials come from the environment or the cloud's own configuration, and are never kept.

    Parameters
    ----------
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    add : mapping of str to path-like, optional
        Names, and the path or URL of each.
    private : bool
        Declare those that are added private: only people read them who may have the data. Kept with name and date.
    remove : str, optional
        The name to remove; nothing at the remote changes.

    Returns
    -------
    RemotesReport
        The remotes, in the order in which they are asked.

    Raises
    ------
    UsageError
        A name that is taken or not known, a URL that holds credentials or is of no known kind.

    Examples
    --------
    >>> report = brainbrr.remotes("store", add={"lab": "lab/store"})
    >>> [each.name for each in report.remotes]
    ['lab']
    >>> brainbrr.remotes("store", remove="lab").remotes
    ()
    """
    opened = place(store).store
    report = RemotesReport(opened.location, _remotes.remotes_of(opened))
    for name, url in (add or {}).items():
        report = _remotes.add(opened, name, str(url), private=private)
    return report if remove is None else _remotes.remove(opened, remove)


def push(
    remote: str | Path,
    *,
    store: Store | Location = None,
    replace: bool = False,
    progress: Progress = Silent(),  # noqa: B008  # stateless
    **selected: Unpack[Selected],
) -> TransferReport:
    """Send to a remote what it lacks of a profile or view, and the catalog of its corpus.

    Creates the store there. Each object is verified by SHA-256 before it is sent; running it again sends only what is
    missing. A push that was interrupted leaves nothing there that is incomplete.

    Parameters
    ----------
    remote : str or path-like
        A name of `remotes`, or a path (with a "/") or URL.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    replace : bool
        Where the two catalogs say different things of a recording, let ours win. Default: the remote's stays.
    progress : Progress
        Is called while the work runs.
    **selected
        Which recordings: `profile`, `split`, `corpus`, `recipe`, `where`, `splits` and `aliases` as for `view`; or
        ``view``, the digest of a frozen view, or the start of it.

    Returns
    -------
    TransferReport
        How many objects and bytes were sent, what was there, and what is damaged, missing or different.

    Raises
    ------
    UsageError
        No such remote or view, or access is denied.
    RemoteError
        The remote does not answer.

    Examples
    --------
    >>> report = brainbrr.push("group/store", store="store", profile="smoke")
    >>> report.sent, brainbrr.push("group/store", store="store", profile="smoke").sent
    (6, 0)
    """
    at = place(store)
    opened = at.store
    chosen = _chosen(at, opened, selected)
    found = _remotes.find(opened, str(remote))
    return transfer.push(opened, found, chosen, host=at.settings.host, replace=replace, progress=progress)


def pull(
    remote: str | Path | None = None,
    *,
    store: Store | Location = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
    **selected: Unpack[Selected],
) -> TransferReport:
    """Fetch from a remote what the store lacks of a profile or view, and the catalog of its corpus.

    Creates the store where there is none. Each object is verified by SHA-256, and its record against it, before it
    appears; running it again fetches only what is missing.

    Parameters
    ----------
    remote : str or path-like, optional
        A name of `remotes`, or a path (with a "/") or URL. Default: the only remote.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    progress : Progress
        Is called while the work runs.
    **selected
        Which recordings: `profile`, `split`, `corpus`, `recipe`, `where`, `splits` and `aliases` as for `view`; or
        ``view``, the digest of a view that is frozen there, or the start of it.

    Returns
    -------
    TransferReport
        How many objects and bytes came, what was there, and what is damaged, missing or different.

    Raises
    ------
    UsageError
        No such remote or view, or access is denied.
    ViewNotReadyError
        The remote has nothing of it.
    RemoteError
        The remote does not answer.

    Examples
    --------
    >>> sent = brainbrr.push("lab/store", store="store", profile="smoke")
    >>> brainbrr.pull("lab/store", store="laptop/store", profile="smoke").sent
    6
    >>> brainbrr.view("laptop/store", profile="smoke").state
    'ready'
    """
    at = place(store)
    opened = at.store_if_there
    found = _remotes.find_or_only(opened, None if remote is None else str(remote))
    source = open_store(found.url, at.settings.host)
    chosen = _chosen(at, source, selected)
    return transfer.pull(opened or Store.create(at.location), found, source, chosen, progress=progress)


def _chosen(at: Place, source: Store, selected: Selected) -> Chosen:
    """Return what a selection takes of a store."""
    view = selected.get("view")
    if view is not None and len(view) < 6:
        raise UsageError(f"view = {view!r}: a digest, or at least its first 6 digits")
    corpus = resolve_corpus(source, selected.get("corpus"))
    request = ViewRequest(
        profile=at.settings.profile_of(corpus, selected.get("profile", "full")),
        split=selected.get("split"),
        corpus=corpus,
        recipe=recipe_of(selected.get("recipe", "default")),
        window=WindowSpec(),
        selection=selection_of(where=selected.get("where")),
        splits=load_splits(selected.get("splits"), selected.get("aliases")),
    )
    return Chosen(request, view)
