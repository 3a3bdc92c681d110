"""The remotes of a store: other stores by name, in folders or at URLs. Kept in remotes.json, without credentials."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from brainbrr.core import files, models
from brainbrr.core.access import Guard
from brainbrr.core.digest import xxh3_128
from brainbrr.core.models import Many, Stored
from brainbrr.core.statcache import Host
from brainbrr.errors import BrainbrrError, Fix, UsageError
from brainbrr.store import leases, sidecars
from brainbrr.store.formats import Codec
from brainbrr.store.opening import mirrors, normal
from brainbrr.store.places import open_place, scheme_of
from brainbrr.store.remote import RemoteStore, create_remote
from brainbrr.store.sidecars import SmallFile
from brainbrr.store.store import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


class Remote(Stored):
    """A store elsewhere, under a name. `private_since`, `private_by`: when and by whom it was declared private."""

    omitted_when_empty = ("private_since", "private_by")

    name: str
    url: str
    private_since: str = ""
    private_by: str = ""

    @property
    def private(self) -> bool:
        """Whether it was declared to be readable only by those who may have the data."""
        return bool(self.private_since)


class _Remotes(SmallFile):
    kind: Literal["remotes"] = "remotes"
    remotes: Many[Remote]


@dataclass(frozen=True)
class RemotesReport:
    """The remotes of a store, in the order in which they are asked."""

    store: Path
    remotes: tuple[Remote, ...]
    done: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {"store": str(self.store), "remotes": [each.model_dump() for each in self.remotes], "done": self.done}


def remotes_of(store: Store) -> tuple[Remote, ...]:
    """Return the remotes of a store. Raises IntegrityError for a damaged file."""
    if isinstance(store, RemoteStore):
        return ()
    found = sidecars.read_checksummed(store.layout.remotes, _Remotes)
    return found.remotes if found else ()


def add(store: Store, name: str, url: str, *, private: bool = False) -> RemotesReport:
    """Name a remote, or declare one of the same URL private. Asks nothing of it.

    Raises UsageError for a name that is taken, and for a URL that holds credentials or is of no known kind.
    """
    if not _NAME.match(name):
        fix = "1 to 64 letters, digits, dots, dashes and underscores"
        raise UsageError(f"{name[:80]!r} cannot name a remote", fix=fix)
    url = normal(url)
    if scheme_of(url) is None and Path(url) == store.location.resolve():
        raise UsageError("this is the store itself", where=url)
    with _alone(store):
        known = {each.name: each for each in remotes_of(store)}
        if name in known and known[name].url != url:
            fix = Fix(("remote", "remove", name), " first")
            raise UsageError(f"{name!r} is {known[name].url}", where=store.location, fix=fix)
        remote = known.get(name) or Remote(name=name, url=url)
        if private and not remote.private:
            said = {"private_since": sidecars.now(), "private_by": sidecars.user_and_host()}
            remote = remote.model_copy(update=said)
        _write(store, tuple({**known, name: remote}.values()))
    return RemotesReport(store.location, remotes_of(store), f"added {name}")


def remove(store: Store, name: str) -> RemotesReport:
    """Forget a remote; nothing there changes. Raises UsageError for a name that none has."""
    with _alone(store):
        known = remotes_of(store)
        named(known, name, store)
        _write(store, tuple(each for each in known if each.name != name))
    return RemotesReport(store.location, remotes_of(store), f"removed {name}")


_LEASE = xxh3_128(b"remotes.json")
_PAUSE_S, _MOST_S = 0.05, 60.0


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Be the only process that changes the remotes meanwhile. Raises BrainbrrError where another one hangs."""
    until = time.monotonic() + _MOST_S
    while time.monotonic() < until:
        with leases.hold(store.layout, _LEASE) as is_free:
            if is_free:
                yield
                return
        time.sleep(_PAUSE_S)
    raise BrainbrrError("another process changes the remotes", where=store.location, fix="run the same command again")


def _write(store: Store, remotes: tuple[Remote, ...]) -> None:
    path, layout = store.layout.remotes, store.layout
    with files.writing(layout.root, n_bytes=files.SMALL_BYTES), layout.scratch() as temporary:
        files.write(temporary, models.to_checksummed(_Remotes(remotes=remotes).to_json()))
        temporary.replace(path)
        files.sync_folder(layout.root)


def named(known: tuple[Remote, ...], name: str, store: Store) -> Remote:
    """Return the remote of a name. Raises UsageError with the names there are."""
    for each in known:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in known) or "none"
    fix = Fix(f"remotes: {names}; ", ("remote", "add", name, "URL"), " names another one")
    raise UsageError(f"no remote is called {name!r}", where=store.location, fix=fix, code="no-such-remote")


def find(store: Store | None, text: str) -> Remote:
    """Return the remote that a text means: a name, or a path or URL that need not have one."""
    known = remotes_of(store) if store else ()
    if scheme_of(text) is None and "/" not in text:
        if store is None:
            raise UsageError(f"no remote is called {text!r}: there is no store yet", fix="give its path or URL")
        return named(known, text, store)
    url = normal(text)
    return next((each for each in known if each.url == url), Remote(name=url, url=url))


def find_or_only(store: Store | None, text: str | None) -> Remote:
    """Return the remote that a text means, or the only one of the store. Raises UsageError where that is not clear."""
    if text is not None:
        return find(store, text)
    known = remotes_of(store) if store else ()
    if len(known) != 1:
        names = ", ".join(each.name for each in known)
        fix = f"say which: {names}" if known else Fix(("remote", "add", "NAME", "URL"), " names one")
        raise UsageError(f"this store has {len(known)} remotes", where=store and store.location, fix=fix)
    return known[0]


def open_or_create(url: str, host: Host, *, like: Store) -> Store:
    """Open the store of a path or URL, or create one that is no more readable and has the same codec as `like`."""
    url = normal(url)
    if scheme_of(url) is None:
        path = Path(url)
        codec: Codec | None = like.codec if Store.open_if_there(path) is None else None
        return Store.create(path, codec=codec, within=(Guard.of(like.location),))
    return create_remote(open_place(url), mirrors(host), codec=like.codec)
