"""Look-ups in layers: a store of one's own first, then its remotes in order. What the own store has asks no remote.

A remote in a folder is read where it is. One at a URL is only looked up: its objects are fetched by a pull, or read by
opening the store there, so that nothing is trained over a network without having been asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from brainbrr.core.statcache import Host
from brainbrr.errors import BrainbrrError, Fix, IntegrityError, UsageError
from brainbrr.store.catalog import Catalog
from brainbrr.store.columns import Columns
from brainbrr.store.formats import ArrayMeta
from brainbrr.store.opening import open_store
from brainbrr.store.reader import ShardReader
from brainbrr.store.records import Record
from brainbrr.store.remote import RemoteStore
from brainbrr.store.remotes import Remote, remotes_of
from brainbrr.store.store import Store

if TYPE_CHECKING:
    import zarr


T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """The store of a remote that can be opened now."""

    name: str
    store: Store

    @property
    def direct(self) -> bool:
        """Whether samples are read where they are: in a folder, not at a URL."""
        return not isinstance(self.store, RemoteStore)

    def records(self, keys: Iterable[str]) -> dict[str, Record]:
        """Return the records of those keys whose record and object exist here; damaged ones are left out."""
        wanted = list(keys)
        if isinstance(self.store, RemoteStore):
            wanted = sorted(self.store.which(wanted))
            self.store.prefetch(wanted)
        found = {}
        for key in wanted:
            try:
                record = self.store.record(key)
            except IntegrityError:
                continue
            if record is not None and self.store.has_object(record):
                found[key] = record
        return found

    def has(self, keys: Collection[str]) -> set[str]:
        """Return which of some keys have a record here, by names alone."""
        return self.store.which(keys) if isinstance(self.store, RemoteStore) else self.store.existing()[0] & set(keys)


class Layers:
    """The remotes of a store, in order, opened when the first one is asked.

    `remotes`: others than the store's own list. `silent`: those that did not answer, each with the reason.
    """

    def __init__(self, store: Store, host: Host, remotes: Sequence[Remote] | None = None) -> None:
        self._remotes = remotes_of(store) if remotes is None else remotes
        self._host = host
        self.silent: list[str] = []

    @cached_property
    def _open(self) -> tuple[Layer, ...]:
        found = []
        for remote in self._remotes:
            try:
                found.append(Layer(remote.name, open_store(remote.url, self._host)))
            except (BrainbrrError, OSError) as error:
                self._leave_out(remote.name, error)
        return tuple(found)

    def _leave_out(self, name: str, error: BrainbrrError | OSError) -> None:
        what = error.what if isinstance(error, BrainbrrError) else str(error)
        self.silent.append(f"remote {name} is left out: {what}")

    def find(self, keys: Iterable[str]) -> dict[str, tuple[Layer, Record]]:
        """Return the first layer that has each key, with its record."""
        return self._first(keys, lambda layer, some: layer.records(sorted(some)))

    def where(self, keys: Collection[str]) -> dict[str, str]:
        """Return the name of the first remote that has each key, by names alone: opens nothing of what is there."""
        found = self._first(keys, lambda layer, some: dict.fromkeys(layer.has(some)))
        return {key: layer.name for key, (layer, _) in found.items()}

    def _first(
        self, keys: Iterable[str], ask: Callable[[Layer, set[str]], Mapping[str, T]]
    ) -> dict[str, tuple[Layer, T]]:
        """Return the first layer that has each key, with what it says of it; one that does not answer is left out."""
        missing, found = set(keys), dict[str, tuple[Layer, T]]()
        for layer in self._open if missing else ():
            try:
                here = ask(layer, missing)
            except (BrainbrrError, OSError) as error:
                self._leave_out(layer.name, error)
                continue
            found |= {key: (layer, said) for key, said in here.items()}
            missing -= here.keys()
            if not missing:
                break
        return found

    def catalog(self, corpus: str | None) -> Catalog | None:
        """Return the catalog of a corpus, of the only one where none is given, in the first layer that has it."""
        for layer in self._open:
            try:
                names = layer.store.corpora()
                if corpus in names or (corpus is None and len(names) == 1):
                    return layer.store.catalog(corpus or names[0])
            except (BrainbrrError, OSError) as error:
                self._leave_out(layer.name, error)
        return None


def by_layer(
    found: Mapping[str, tuple[Layer, Record]], names: Mapping[str, str]
) -> dict[Layer, list[tuple[str, Record]]]:
    """Return what `find` found by the layer that has it, each record under the name of its key, else the key."""
    those = defaultdict(list)
    for key, (layer, record) in found.items():
        those[layer].append((names.get(key, key), record))
    return those


class LayeredStore(Store):
    """A store that also reads what is in the folders of its remotes. Nothing is written there.

    `found`: by key, what its remotes have of what it lacks. `borrowed`: the remotes that are read for it, by key.
    `far`: those at URLs, which only a pull fetches from, by key.
    """

    def __init__(self, own: Store, found: Mapping[str, tuple[Layer, Record]]) -> None:
        super().__init__(own.layout)
        self._own = Store(own.layout)
        self.found = dict(found)
        direct = {key: at for key, at in found.items() if at[0].direct}
        self.borrowed = {key: layer.name for key, (layer, _) in direct.items()}
        self.far = {key: layer.name for key, (layer, _) in found.items() if key not in direct}
        self._at = {key: layer.store for key, (layer, _) in direct.items()}
        self._holders = {record.content: layer.store for layer, record in direct.values()}

    def remote_of(self, key: str) -> str | None:
        """Return the name of the remote that has a key which the own store lacks, None where none has it."""
        return self.found[key][0].name if key in self.found else None

    def holder(self, content: str) -> Store:
        """Return the store in whose folder an object is."""
        return self._holders.get(content, self._own)

    def _keeper(self, key: str) -> Store:
        """Return the store in whose folder a record and its findings are."""
        return self._at.get(key, self._own)

    def record(self, key: str) -> Record | None:
        """Return the record of a key, None when no layer has one."""
        return self._keeper(key).record(key)

    def existing(self) -> tuple[set[str], set[str]]:
        """Return the keys of all records and the contents of all objects."""
        keys, contents = super().existing()
        return keys | self._at.keys(), contents | self._holders.keys()

    def has_files(self, content: str, shard_bytes: int) -> bool:
        """Say whether both files of an object exist."""
        return self.holder(content).has_files(content, shard_bytes)

    def path_of(self, kind: str, name: str) -> Path:
        """Return the path of a thing."""
        those = {"object": self._holders, "record": self._at}.get(kind, {})
        return those.get(name, self._own).path_of(kind, name)

    def reader(
        self, content: str, meta: ArrayMeta | None = None, *, mapped: bool | None = None, checks: bytes = b""
    ) -> ShardReader:
        """Return a reader of an object."""
        return self.holder(content).reader(content, meta, mapped=mapped, checks=checks)

    def open_array(self, content: str) -> zarr.Array[Any]:
        """Open an object as a zarr array."""
        return self.holder(content).open_array(content)

    def findings(self, key: str, version: int) -> dict[str, Any] | None:
        """Return what a detector noticed about a key."""
        return self._keeper(key).findings(key, version)

    def has_findings(self, key: str, version: int, *, prove: bool = False) -> bool:
        """Say whether findings exist."""
        return self._keeper(key).has_findings(key, version, prove=prove)

    def columns(self, catalog: Catalog) -> Columns | None:
        """Return None: columns know only what their own store holds."""
        return None

    def freeze(self, digest: str, view: Mapping[str, Any]) -> NoReturn:
        """Raise UsageError: what a frozen view of the own store names must be in it."""
        names = " and ".join(sorted(set(self.borrowed.values())))
        what = f"{len(self.borrowed)} of its objects are only in remote {names}, whose `gc` does not know of it"
        fix = Fix(("pull", sorted(set(self.borrowed.values()))[0]), " copies them")
        raise UsageError(what, where=self.location, fix=fix)


def holder_of(store: Store, content: str) -> Store:
    """Return the store that has an object's files: of layers the one, else the store itself."""
    return store.holder(content) if isinstance(store, LayeredStore) else store


def layered(store: Store, layers: Layers | None, keys: Iterable[str]) -> Store:
    """Return a store that also knows what its remotes have of some keys that it lacks; itself where they have none."""
    found = layers.find(keys) if layers is not None else {}
    return LayeredStore(store, found) if found else store
