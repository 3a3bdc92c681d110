"""Share a store: its remotes, and transfers to and from them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from brainbrr.api.arguments import Location, Place, Selected, place, recipe_of, selection_of
from brainbrr.core.access import guards
from brainbrr.core.progress import Progress, Silent
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import UsageError
from brainbrr.loading.windows import WindowSpec
from brainbrr.share import bundle as _bundle
from brainbrr.share import locks as _locks
from brainbrr.share import signatures, transfer
from brainbrr.share.archive import Archive
from brainbrr.share.bundle import BundleReport
from brainbrr.share.locks import Lock, LockReport
from brainbrr.share.transfer import Chosen, TransferReport
from brainbrr.store import remotes as _remotes
from brainbrr.store.opening import open_store
from brainbrr.store.remote import open_remote
from brainbrr.store.remotes import Remote, RemotesReport
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
    lock: str | Path | None = None,
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
    lock : path-like, optional
        A file of `lock`: only what it names is accepted, and its recipe is the one that counts.
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
    named = None if lock is None else _locks.read_lock(Path(lock))
    chosen = _chosen(at, source, _as_locked(selected, named))
    opened = opened or Store.create(at.location)
    return transfer.pull(opened, found, source, chosen, lock=named, progress=progress)


def bundle(
    out: str | Path,
    *,
    store: Store | Location = None,
    names: bool = False,
    progress: Progress = Silent(),  # noqa: B008  # stateless
    **selected: Unpack[Selected],
) -> BundleReport:
    """Write a ready view into one archive: its objects, records and catalog, the same bytes for the same view.

    An uncompressed ZIP file that zarr's ZipStore opens (its group ``objects.zarr``) and `unbundle` reads.

    Parameters
    ----------
    out : path-like
        The archive, a new file.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    names : bool
        Keep paths, patients and notes. Default: recordings are called by their source's digest, patients by one of
        those, and the corpus gets another name.
    progress : Progress
        Is called while the work runs.
    **selected
        Which recordings: `profile`, `split`, `corpus`, `recipe`, `where`, `splits` and `aliases` as for `view`; or
        ``view``, the digest of a frozen view, or the start of it.

    Returns
    -------
    BundleReport
        What was written.

    Raises
    ------
    ViewNotReadyError
        Not all of it is stored.
    AccessError
        The corpus is not open, and the archive's folder was not declared private.
    UsageError
        A file is in the way.

    Examples
    --------
    >>> report = brainbrr.bundle("smoke.zip", store="store", profile="smoke")
    >>> report.recordings, report.named
    (6, False)
    """
    at = place(store)
    opened = at.store
    return _bundle.bundle(opened, _chosen(at, opened, selected), Path(out), names=names, progress=progress)


def unbundle(
    file: str | Path,
    *,
    store: Store | Location = None,
    lock: str | Path | None = None,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> TransferReport:
    """Put what an archive of `bundle` holds into the store, as `pull` does from a remote.

    Creates the store where there is none. Each object is verified before it appears; running it again continues.

    Parameters
    ----------
    file : path-like
        The archive. Nothing of it is trusted.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    lock : path-like, optional
        A file of `lock`: only what it names is accepted.
    progress : Progress
        Is called while the work runs.

    Returns
    -------
    TransferReport
        How many objects and bytes came, what was there, and what is damaged or different.

    Raises
    ------
    IntegrityError
        It is no archive of `bundle`, or it is damaged.

    Examples
    --------
    >>> report = brainbrr.bundle("given.zip", store="store", profile="smoke")
    >>> brainbrr.unbundle("given.zip", store="other/store").sent
    6
    >>> brainbrr.view("other/store", profile="smoke").state
    'ready'
    """
    at, path = place(store), Path(file)
    named = None if lock is None else _locks.read_lock(Path(lock))
    with Archive(path) as archive, tempfile.TemporaryDirectory(prefix="brainbrr-") as mirrors:
        source = open_remote(archive, Path(mirrors))
        chosen = _chosen(at, source, {"view": _bundle.view_of_archive(source, path)})
        opened = at.store_if_there or Store.create(at.location, within=guards(path.absolute().parent))
        remote = Remote(name=path.name, url=str(path))
        return transfer.pull(opened, remote, source, chosen, lock=named, direction="unbundle", progress=progress)


def lock(
    out: str | Path | None = None,
    *,
    check: str | Path | None = None,
    store: Store | Location = None,
    sign: str | Path | None = None,
    verify: str | Path | None = None,
    **selected: Unpack[Selected],
) -> LockReport:
    """Write what a ready view is, in digests and without names; or compare such a file with the store.

    Parameters
    ----------
    out : path-like, optional
        The lock to write.
    check : path-like, optional
        A lock to compare with the store instead. Profile, split and recipe are the lock's where none are given.
    store : Store or path-like, optional
        Default: the store that ``brainbrr status`` shows.
    sign : path-like, optional
        A private SSH key: also write ``OUT.sig``, by ssh-keygen.
    verify : path-like, optional
        With `check`: a file of allowed signers, as ssh-keygen takes it; one of them has to have signed the lock.
    **selected
        Which recordings: `profile`, `split`, `corpus`, `recipe`, `where`, `splits` and `aliases` as for `view`; or
        ``view``, the digest of a frozen view, or the start of it.

    Returns
    -------
    LockReport
        The digest, and each recording that differs.

    Raises
    ------
    ViewNotReadyError
        Not all of what is to be locked is stored.
    IntegrityError
        The lock is damaged, or not signed by one of those.

    Examples
    --------
    >>> written = brainbrr.lock("smoke.lock", store="store", profile="smoke")
    >>> found = brainbrr.lock(check="smoke.lock", store="store")
    >>> found.digest == written.digest, found.differences
    (True, ())
    """
    at = place(store)
    if (out is None) == (check is None):
        raise UsageError("either a lock to write (out), or one to check")
    if check is not None:
        if selected.get("view"):
            raise UsageError("a frozen view goes with a lock to write; --check takes what the lock names")
        signed = None if verify is None else signatures.verify(Path(check), Path(verify))
        named, opened = _locks.read_lock(Path(check)), at.store
        chosen = _chosen(at, opened, _like(opened, selected, named))
        return _locks.check(opened, chosen.request, named, Path(check), signed_by=signed)
    opened = at.store
    view = transfer.view_in(opened, _chosen(at, opened, selected))
    report = _locks.write(view, transfer.catalog_in(opened, view.corpus), Path(str(out)))
    if sign is not None:
        signatures.sign(Path(str(out)), Path(sign))
    return report


def _as_locked(selected: Selected, named: Lock | None) -> Selected:
    """Return a selection with a lock's recipe where none is given."""
    if named is None or selected.get("recipe", "default") != "default":
        return selected
    return {**selected, "recipe": Recipe.from_identity(named.recipe.fields, name=named.recipe.name)}


def _like(store: Store, selected: Selected, named: Lock) -> Selected:
    """Return a selection with a lock's profile, split, corpus and recipe where none are given."""
    found = _as_locked(selected, named)
    corpus = named.corpus if named.corpus in store.corpora() else None
    own = {name: value for name, value in found.items() if value is not None}
    return Selected(**{"corpus": corpus, "profile": named.profile, "split": named.split, **own})  # type: ignore[typeddict-item]


def _chosen(at: Place, source: Store, selected: Selected) -> Chosen:
    """Return what a selection takes of a store."""
    view = selected.get("view")
    if view is not None and len(view) < 6:
        raise UsageError(f"view = {view!r}: a digest, or at least its first 6 digits")
    corpus = resolve_corpus(source, selected.get("corpus"))
    request = ViewRequest(
        profile=at.settings.profile_of(corpus, selected.get("profile") or "full"),
        split=selected.get("split"),
        corpus=corpus,
        recipe=recipe_of(selected.get("recipe", "default")),
        window=WindowSpec(),
        selection=selection_of(where=selected.get("where")),
        splits=load_splits(selected.get("splits"), selected.get("aliases")),
    )
    return Chosen(request, view)
