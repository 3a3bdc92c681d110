"""Open the store of a path or URL: in a folder as it is, at a URL only to read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from brainbrr.core.statcache import Host
from brainbrr.errors import Fix, UsageError
from brainbrr.settings import Settings, only_read
from brainbrr.store.places import check_path, check_url, open_place, scheme_of
from brainbrr.store.remote import RemoteStore, no_store_at, open_remote
from brainbrr.store.store import Store
from brainbrr.store.tile_cache import CACHE_BYTES


def normal(url: str) -> str:
    """Return a URL without a last slash, a path or file:// URL as an absolute path. Raises UsageError."""
    scheme = scheme_of(url)
    if scheme == "file":
        return str(Path(url[len("file://") :]).absolute())
    if scheme is None:
        check_path(url)
        return str(Path(url).expanduser().absolute().resolve())
    check_url(url)
    return url.rstrip("/")


def open_store(url: str, host: Host, *, cache_bytes: int = CACHE_BYTES) -> Store:
    """Open the store of a path or URL. Raises UsageError where there is none, RemoteError where it does not answer."""
    url = normal(url)
    if scheme_of(url) is not None:
        return open_remote(open_place(url), mirrors(host), cache_bytes)
    store = Store.open_if_there(Path(url))
    if store is None:
        raise no_store_at(url)
    return store


def open_if_there(settings: Settings) -> Store | None:
    """Open the store of the settings to read it; None for a folder where one could be created.

    Raises UsageError where this machine had a store, which a lost mount hides.
    """
    location = settings.store.location
    if not isinstance(location, Path):
        return open_existing(settings)
    store = Store.open_if_there(location)
    if store is None:
        refuse_lost_store(location, settings.host)
    return store


def open_existing(settings: Settings) -> Store:
    """Open the store of the settings to read it. Raises UsageError where there is none."""
    location = settings.store.location
    if isinstance(location, Path):
        return open_if_there(settings) or Store.open(location)
    return open_store(location, settings.host, cache_bytes=settings.cache_bytes)


def refuse_lost_store(location: Path, host: Host | None) -> None:
    """Raise UsageError where this machine had a store, and only an empty folder is left: is its disk mounted?

    A new store would be hidden below the mount point, and hold the whole corpus a second time.
    """
    lost = False
    with suppress(OSError):  # a folder that cannot be listed shows nothing
        folder = next(each for each in (location.absolute(), *location.absolute().parents) if each.exists())
        lost = host is not None and host.knows(location) and next(folder.iterdir(), None) is None
    if lost:
        raise UsageError(
            "the store that was here is gone, and its folder is empty, as a mount point without its disk",
            where=location,
            fix=Fix("mount it; if it was really deleted, ", ("init",), " creates a new one"),
        )


def require_folder(store: Store) -> Store:
    """Return a store in a folder. Raises UsageError for one at a URL, which is only read."""
    if isinstance(store, RemoteStore):
        raise only_read(store.where)
    return store


def mirrors(host: Host) -> Path:
    """Return the folder in which this host mirrors the small files of stores at URLs."""
    return host.folder / "remotes"
