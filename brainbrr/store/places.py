"""Object stores and static sites by URL: read with bounds, list, and write each name once. Knows nothing of stores.

A folder is no place: a store in a folder is opened as any other. obstore is imported when the first place is opened;
credentials come from its own sources (the environment, or the cloud's) and are neither kept nor shown.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from brainbrr.errors import BrainbrrError, DependencyError, IntegrityError, UsageError
from brainbrr.settings import without_secrets

BLOCK_BYTES = 1 << 24
"""The most that one request reads: a lost connection costs no more."""

_SCHEMES = ("s3", "gs", "az", "https", "http")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and AWS_ENDPOINT_URL for a server of others",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_HALF_URL = re.compile(rf"({'|'.join(_SCHEMES)}):(?!//)", re.IGNORECASE)
_MOST_NAMES = 20_000_000
_TRIES, _FIRST_WAIT_S = 5, 0.2
FIRST_BACKOFF_S = 0.1

T = TypeVar("T")

Blocks = Callable[[], Iterator[bytes]]
"""What gives the bytes of a large file again and again, block by block."""
_PARTS = 4
"""So many parts of 5 MB of a large file are on their way at once."""


class RemoteError(BrainbrrError):
    """A place does not answer, or refuses; nothing is known to be damaged."""

    code = "remote-failed"


def scheme_of(text: str) -> str | None:
    """Return the scheme of a URL, None for a path."""
    match = _URL.match(text)
    return match[1].lower() if match else None


def check_path(path: str) -> None:
    """Raise UsageError for a URL that lacks a slash: a folder of that name would take its data."""
    if match := _HALF_URL.match(path):
        raise UsageError(f"a URL begins with {match[1].lower()}://", fix="to name a folder like this, begin with ./")


def check_url(url: str) -> None:
    """Raise UsageError for a URL of an unknown kind, or one that holds credentials: they would be kept with it."""
    scheme, parts = scheme_of(url), urlsplit(url)
    if scheme not in _SCHEMES:
        raise UsageError(
            f"no remote has a URL that begins with {scheme}://", fix=f"a path, or {'://, '.join(_SCHEMES)}://"
        )
    if not parts.netloc or any(part in ("..", ".") for part in parts.path.split("/")):
        raise UsageError("this URL names no place", where=without_secrets(url))
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            "a remote's URL must hold neither user, password nor query: it is kept and shown",
            where=without_secrets(url),
            fix="give credentials in the environment (AWS_ACCESS_KEY_ID, ...) or the cloud's own configuration",
        )


class Place:
    """A prefix of a bucket, or a folder of a web site. Names are relative, with forward slashes.

    Each call tries again what fails on the way. Raises RemoteError where that does not help, UsageError where access
    is denied.
    """

    def __init__(self, url: str, opened: Any) -> None:
        self.url, self._store, self._process = url, opened, os.getpid()
        self.lists = scheme_of(url) not in ("http", "https")
        """Whether it can list names and be written to; a web site can do neither."""

    def read(self, name: str, *, limit: int) -> bytes | None:
        """Return a file's bytes, None where there is none. Raises IntegrityError above `limit`."""
        return self._try(name, lambda: self._read(name, limit), absent=None)

    def _read(self, name: str, limit: int) -> bytes:
        import obstore

        found = obstore.get(self._store, name)
        return self._bounded(found, name, limit)

    def span(self, name: str, start: int, stop: int) -> bytes:
        """Return bytes [start, stop) of a file. Raises IntegrityError where it is gone or shorter."""
        if stop <= start:
            return b""
        blocks = [(at, min(at + BLOCK_BYTES, stop)) for at in range(start, stop, BLOCK_BYTES)]
        return b"".join(self._block(name, *block) for block in blocks)

    def blocks(self, name: str, n_bytes: int) -> Iterator[bytes]:
        """Yield the first `n_bytes` of a file, block by block. Raises IntegrityError as `span`."""
        for start in range(0, n_bytes, BLOCK_BYTES):
            yield self._block(name, start, min(start + BLOCK_BYTES, n_bytes))

    def _block(self, name: str, start: int, stop: int) -> bytes:
        data = self._try(name, lambda: self._span(name, start, stop), absent=None)
        if data is None:
            raise IntegrityError("it is not there", where=self.at(name))
        return data

    def _span(self, name: str, start: int, stop: int) -> bytes:
        import obstore

        data = self._bounded(obstore.get(self._store, name, options={"range": (start, stop)}), name, stop - start)
        if len(data) != stop - start:
            raise IntegrityError(f"it ends before byte {stop:,}", where=self.at(name))
        return data

    def _bounded(self, found: Any, name: str, limit: int) -> bytes:
        parts, n_bytes = [], 0
        for part in found.stream(min_chunk_size=min(limit, 1 << 20) or 1):
            n_bytes += len(part)
            if n_bytes > limit:
                raise IntegrityError(f"more than {limit:,} bytes, which is the most expected", where=self.at(name))
            parts.append(bytes(part))
        return b"".join(parts)

    def size(self, name: str) -> int | None:
        """Return a file's size, None where there is none."""
        import obstore

        return self._try(name, lambda: int(obstore.head(self._store, name)["size"]), absent=None)

    def names(self, prefix: str) -> dict[str, int]:
        """Return the sizes of the files below a folder, by name. Raises UsageError for a web site."""
        if not self.lists:
            raise UsageError("a web site cannot be listed", where=self.url)
        return self._try(prefix, lambda: self._names(prefix), absent={})

    def _names(self, prefix: str) -> dict[str, int]:
        import obstore

        found: dict[str, int] = {}
        for chunk in obstore.list(self._store, prefix or None, chunk_size=1000):
            found.update((entry["path"], entry["size"]) for entry in chunk)
            if len(found) > _MOST_NAMES:
                raise IntegrityError(f"more than {_MOST_NAMES:,} names", where=self.at(prefix))
        return found

    def put(self, name: str, data: bytes | Blocks) -> bool:
        """Write a file unless one of this name exists; say whether it is ours. An answer that was lost counts as no.

        Blocks are sent in parts, which no server can refuse because the name is taken: the name is looked up before.
        """
        import obstore

        if callable(data):
            if self.size(name) is not None:
                return False
            self._write(name, lambda: self._put_blocks(name, data))
            return True
        try:
            self._write(name, lambda: obstore.put(self._store, name, data, mode="create", use_multipart=False))
        except _taken():
            return False
        return True

    def _put_blocks(self, name: str, blocks: Blocks) -> None:
        import obstore

        obstore.put(self._store, name, blocks(), use_multipart=True, max_concurrency=_PARTS)

    def replace(self, name: str, data: bytes | Blocks) -> None:
        """Write a file over what is there."""
        import obstore

        try:
            if callable(data):
                self._write(name, lambda: self._put_blocks(name, data))
            else:
                self._write(name, lambda: obstore.put(self._store, name, data))
        except _taken() as error:  # a server that is busy may say so
            raise self._failed(name, error) from error

    def require_writable(self) -> None:
        """Raise UsageError for a web site."""
        if not self.lists:
            raise UsageError("a web site is read-only", where=self.url, fix="push to a folder or a bucket")

    def _write(self, name: str, write: Callable[[], object]) -> None:
        self.require_writable()
        self._try(name, write, absent=None)

    def __reduce__(self) -> tuple[Any, ...]:  # without what obstore knows of credentials
        return open_place, (self.url,)

    def at(self, name: str) -> str:
        """Return a file's URL for a message."""
        return f"{self.url}/{name}"

    def zarr_store(self, prefix: str) -> Any:
        """Return a read-only zarr store of a folder."""
        from obstore.store import PrefixStore  # type: ignore[attr-defined]
        from zarr.storage import ObjectStore

        return ObjectStore(PrefixStore(self._store, prefix), read_only=True)

    def _try(self, name: str, call: Callable[[], T], *, absent: T) -> T:
        from obstore import exceptions as known

        if os.getpid() != self._process:  # whose threads are not here: the call would never end
            fix = 'multiprocessing_context="spawn", or let each process open it'
            raise UsageError("a store at a URL cannot be read in a forked process", where=self.url, fix=fix)
        denied = (known.PermissionDeniedError, known.UnauthenticatedError)
        for again in range(_TRIES):
            try:
                return call()
            except (known.NotFoundError, FileNotFoundError):
                return absent
            except _taken():
                raise
            except denied as error:
                fix = "give credentials in the environment (AWS_ACCESS_KEY_ID, ...) or ask the owner of the place"
                raise UsageError("access is denied", where=self.at(name), fix=fix, code="remote-denied") from error
            except (known.BaseError, OSError) as error:
                if again == _TRIES - 1:
                    raise self._failed(name, error) from error
                time.sleep(_FIRST_WAIT_S * 2**again)
        raise AssertionError("unreachable")

    def _failed(self, name: str, error: Exception) -> RemoteError:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        text = text.partition(" - ")[2] or text  # before it: the URL, and how often object_store tried
        fix = "run the same command again: what has arrived is kept"
        return RemoteError(f"the remote does not answer: {without_query(text)[:200]}", where=self.at(name), fix=fix)


def without_query(text: str) -> str:
    """Return a message without the queries of its URLs, which may be signed."""
    return re.sub(r"\?[^\s\"')]*", "", text)


def _taken() -> tuple[type[Exception], ...]:
    from obstore import exceptions as known

    return (known.AlreadyExistsError, known.PreconditionError)


def open_place(url: str) -> Place:
    """Open a place; nothing is asked of it yet. Raises UsageError for what is no URL of a place."""
    url = url.rstrip("/")
    check_url(url)
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise DependencyError("obstore is not installed", fix="pip install 'brainbrr[remote]'") from error
    from datetime import timedelta

    patience = {"connect_timeout": "10s", "timeout": "300s", "read_timeout": "60s", "allow_http": True}
    # few: _try does the rest, also for what obstore gives up on
    backoff = {"init_backoff": timedelta(seconds=FIRST_BACKOFF_S), "max_backoff": timedelta(seconds=5), "base": 2}
    retries = {"max_retries": 2, "retry_timeout": timedelta(seconds=60), "backoff": backoff}
    options: dict[str, Any] = {"client_options": patience, "retry_config": retries}
    if scheme_of(url) == "s3":  # the server refuses what changed on the way to it
        options["config"] = {"aws_checksum_algorithm": "SHA256"}
    try:
        return Place(url, from_url(url, **options))
    except Exception as error:  # whatever obstore makes of its configuration
        what = without_query(str(error).partition("\n")[0])[:200]
        fix = f"set {_CREDENTIALS[scheme_of(url) or '']} in the environment" if scheme_of(url) in _CREDENTIALS else None
        raise UsageError(f"this place cannot be opened: {what}", where=url, fix=fix) from error
