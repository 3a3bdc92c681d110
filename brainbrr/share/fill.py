"""`ingest --push`: build what a remote lacks, and send each object there as soon as it is built.

Any number of machines without a common disk fill one bucket so: each builds in an order of its own, and asks the bucket
before each build. Groups, shard, zarr.json and record go there one after the other, the catalog at the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from brainbrr.core.progress import Progress
from brainbrr.core.statcache import Host
from brainbrr.eeg.edf.reader import read_header
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.errors import UsageError
from brainbrr.ingest.ingest import IngestReport, ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.share.terms import require_allowed, terms_of
from brainbrr.share.transfer import send_catalog, write_index
from brainbrr.store import remotes
from brainbrr.store.catalog import Catalog
from brainbrr.store.remote import RemoteStore
from brainbrr.store.remotes import Remote
from brainbrr.store.send import present_in, send_one
from brainbrr.store.store import Store

_THREADS = 8
_MOST_WAITING = 8  # what is built and not yet sent, others may build too


def ingest_to(options: IngestOptions, remote: Remote, *, host: Host, progress: Progress) -> IngestReport:
    """Ingest, and send to a remote what it lacks of the chosen recordings; no key is built that it has.

    Raises as `ingest`; AccessError where the corpus's terms forbid to send it, RemoteError where the remote does not
    answer. What was sent until then stays, and the same call goes on from there.
    """
    if options.dry_run:
        raise UsageError("a dry run sends nothing", fix="leave out one of push and dry run")
    with Filling(remote, host) as sink:
        report = ingest(dataclasses.replace(options, sink=sink), progress=progress)
        sink.finish(report.corpus, report.recipe.digest)
    pushed = {"remote": remote.name, "objects": sink.objects, "bytes": sink.n_bytes}
    return dataclasses.replace(report, pushed=pushed)


class Filling:
    """A remote that an ingest fills, from threads of its own: a `Sink`."""

    def __init__(self, remote: Remote, host: Host) -> None:
        self.remote, self._host = remote, host
        self.objects = self.n_bytes = 0
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="brainbrr-fill")
        self._waiting: set[Future[int]] = set()
        self._store: Store | None = None
        self._target: Store | None = None
        self._forbidden: Catalog | None = None

    def __enter__(self) -> Filling:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    def begin(self, store: Store, catalog: Catalog, here: Mapping[str, Path]) -> None:
        """Create the store at the remote where there is none. Raises AccessError where the terms forbid that.

        Data that brainbrr generated are open where no terms were given, which only their files can say so early.
        """
        if not self.remote.private and terms_of(catalog).access != "open":
            first = next(iter(here.values()), None)
            if "access" in catalog.settings or first is None or not read_header(first).synthetic:
                require_allowed(catalog, self.remote, what=f"sending it to {self.remote.name}")
            self._forbidden = catalog
        self._store, self._target = store, remotes.open_or_create(self.remote.url, self._host, like=store)

    def add(self, keys: Iterable[str]) -> None:
        """Send what the store has of some keys. Raises what an earlier one failed with."""
        assert self._store is not None and self._target is not None
        records = [record for key in keys if (record := self._store.record(key)) is not None]
        present = present_in(self._target, records)
        for record in records:
            if self._forbidden is not None and not record.signal.get("synthetic"):
                require_allowed(self._forbidden, self.remote, what=f"sending it to {self.remote.name}")
            if record.key not in present:
                self._take(_MOST_WAITING)
                sending = self._pool.submit(send_one, self._store, self._target, [record], findings=QUALITY_VERSION)
                self._waiting.add(sending)

    def _take(self, most: int) -> None:
        """Wait until no more than so many objects are on their way."""
        while len(self._waiting) > most:
            done, self._waiting = wait(self._waiting, return_when=FIRST_COMPLETED)
            for each in done:
                n_bytes = each.result()
                self.objects += n_bytes > 0
                self.n_bytes += n_bytes

    def finish(self, corpus: str, recipe: str) -> None:
        """Wait for all, and merge the catalog into the remote's, with what others have sent there."""
        self._take(0)
        if self._store is None or self._target is None:
            return
        if isinstance(self._target, RemoteStore):
            self._target.refresh()
        send_catalog(self._store, self._target, corpus, prefer_source=False, complete=recipe)
        write_index(self._target)
