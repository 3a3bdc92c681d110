"""What an ingest takes from the remotes of its store, so that nothing is built that one of them has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from brainbrr.core.progress import Progress
from brainbrr.core.statcache import Host
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.errors import CollisionError
from brainbrr.ingest.reuse import Reusable
from brainbrr.ingest.scan import CorpusScan, Outcome, ScannedRecording, Updates
from brainbrr.store.layers import Layer, Layers, by_layer
from brainbrr.store.opening import open_store
from brainbrr.store.records import Record
from brainbrr.store.remotes import remotes_of
from brainbrr.store.send import send
from brainbrr.store.store import Store


def from_remotes(scan: CorpusScan, store: Store, chosen: Sequence[ScannedRecording], progress: Progress) -> Updates:
    """Yield pending recordings of which a remote has the object, as reused.

    It stays there, unless this run copies: then it is verified and comes into the store; what is damaged is built.
    """
    options = scan.options
    pending = [each for each in chosen if each.outcome is Outcome.PENDING and each.key]
    if options.host is None or not pending:
        return
    known = remotes_of(store)
    if options.sink is not None and options.sink.remote.name not in {each.name for each in known}:
        known = (*known, options.sink.remote)
    layers = Layers(store, options.host, known)
    there = layers.find({str(each.key) for each in pending})
    for text in layers.silent:
        progress.say(text)
    here = [each for each in pending if each.key in there and _is_made_from(there[each.key], each, scan.recipe_digest)]
    found = {str(each.key): there[str(each.key)] for each in here}
    failed = _copied(store, found, progress) if options.copy and not options.dry_run else set[str]()
    for each in here:
        layer, record = found[str(each.key)]
        if record.key not in failed:
            reused = each.reused(Reusable.of(record))
            yield dataclasses.replace(reused, remote=layer.name, copied=options.copy)


def _is_made_from(at: tuple[Layer, Record], recording: ScannedRecording, recipe: str) -> bool:
    """Say whether what a remote has under a recording's key is made from it: another source can have the same key."""
    layer, record = at
    try:
        record.check_made_from(source=str(recording.source), recipe=recipe, where=layer.store.location)
    except CollisionError:
        return False
    return True


def _copied(store: Store, found: dict[str, tuple[Layer, Record]], progress: Progress) -> set[str]:
    """Copy what was found into the store; return the keys of which that failed."""
    failed: set[str] = set()
    for layer, records in by_layer(found, {}).items():
        task = f"copying from {layer.name}"
        sent = send(layer.store, store, records, findings=QUALITY_VERSION, task=task, progress=progress)
        failed |= {each.recording for each in sent.failed}
    return failed


class At(NamedTuple):
    """A remote that workers ask before they build: its name and URL, and the folder of what this host remembers."""

    name: str
    url: str
    host: str

    def record(self, key: str) -> Record | None:
        """Return the record of a key, None where the remote does not have it now. Raises RemoteError."""
        return Layer(self.name, _opened(self.url, self.host)).records([key]).get(key)


@cache
def _opened(url: str, host: str) -> Store:
    return open_store(url, Host(Path(host)))
