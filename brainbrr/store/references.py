"""Verify catalogs, frozen views, pins and the other small files: each by itself, and against what it references."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from brainbrr.core.digest import key_of
from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.store import catalog as catalogs
from brainbrr.store import columns, frozen_views, sidecars
from brainbrr.store.catalog import Catalog
from brainbrr.store.damage import Collector, Damage, Kind
from brainbrr.store.records import Record
from brainbrr.store.store import Store

_PUT_BACK = "put it back from a copy of the store, or ingest again all that was in it"
_VIEW_FIELDS = {"digest", "recipe", "window", "recordings", "omitted"}


@dataclass(frozen=True, slots=True)
class Bound:
    """The part of a record that others are compared with, so that the rest need not stay in memory."""

    key: str
    source: str
    recipe: str
    content: str
    n_samples: int
    rate_hz: int

    @classmethod
    def of(cls, record: Record) -> Bound:
        """Return it."""
        array = record.array
        return cls(record.key, record.source, record.recipe, record.content, array.n_samples, array.rate_hz)


@dataclass
class References:
    """Compare what catalogs and frozen views reference with the records of a store.

    `records`: those that are verified, by key; `keys`: all that exist, damaged or not; `deleted`: when records were
    deleted, by key. `columns_too`: derive the columns of catalogs again and compare. `wanted` is the content that each
    key should have, as far as catalogs and views name it.
    """

    store: Store
    records: Mapping[str, Bound]
    keys: Collection[str]
    deleted: Mapping[str, str]
    damage: Collector
    columns_too: bool = False
    wanted: dict[str, str] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    def check_catalogs(self) -> None:
        """Verify every catalog and its rows."""
        retired = set(self.store.retired_recipes())
        self._known = set(self.keys)
        for corpus in self.store.corpora():
            bad = list(catalogs.damage(self.store.layout, corpus))
            if bad:  # unless it, or its older generations, were forgotten just now
                bad = list(catalogs.damage(self.store.layout, corpus))
            self.damage += [Damage.of("catalog", name, error) for name, error in bad]
            try:
                catalog = self.store.catalog(corpus)
            except (BrainbrrError, OSError):
                continue
            if catalog is not None:
                self._check_rows(catalog, retired)
                if self.columns_too:
                    self._check_columns(catalog)

    def _check_columns(self, catalog: Catalog) -> None:
        """Compare the columns of a base with its rows and their records."""
        layout, seq = self.store.layout, catalog.base or catalog.seq
        path = layout.columns(catalog.corpus, seq)
        with self.damage.collecting("catalog", catalogs.name_of(path)):
            base, digest = catalogs.generation(layout, catalog.corpus, seq)
            found = columns.read(layout, catalog.corpus, seq, digest)
            if found is not None and columns.differ(found, columns.derived(layout, base.rows.values())):
                raise IntegrityError("the columns are not what the catalog's rows and records say", where=path)

    def _check_rows(self, catalog: Catalog, retired: set[str]) -> None:
        for path, row in catalog.rows.items():
            if row.source is None:
                continue
            lengths = []
            for recipe, content in row.contents.items():
                key = key_of(source=row.source, recipe=recipe)
                if key in self.records:
                    lengths.append(self.records[key])
                # a record that was deleted before this generation was published must exist again
                excused = recipe in retired or self.deleted.get(key, "") > catalog.created
                self._check_key(key, content, f"{path} of {catalog.corpus} was stored under it", excused=excused)
            if lengths and row.signal_us is not None and not any(_lasts(each, row.signal_us) for each in lengths):
                what = f"the catalog says {row.signal_us / 1e6:g} s, and its record another length"
                self.damage.add("recording", f"{catalog.corpus}/{path}", what)

    def _check_key(self, key: str, content: str, why: str, *, excused: bool = False) -> None:
        if key not in self._known:
            # one that exists now was stored since the records were listed: an ingest is running
            if excused or self.store.layout.has("record", key):
                return
            self.damage.add("record", key, f"{why}, and it is gone")
            self._known.add(key)  # reported once
        elif key in self.records and self.records[key].content != content and key not in self.wanted:
            theirs = self.records[key].content[:12]
            self.damage.add("record", key, f"it names content {theirs}, and the catalog {content[:12]}")
        self.wanted.setdefault(key, content)

    def check_views(self) -> None:
        """Verify frozen views and pins."""
        self._known = set(self.keys)
        pins = self.store.pinned_views()  # first: the view of a pin was there before it
        for digest in self.store.frozen_views():
            with self.damage.collecting("view", digest):
                self._check_view(digest)
        views = set(self.store.frozen_views())
        for digest in pins:
            with self.damage.collecting("pin", digest):
                frozen_views.pinned(self.store, digest)
                if digest not in views:
                    raise IntegrityError("it keeps a frozen view that is not there")

    def _check_view(self, digest: str) -> None:
        for key, (content, path) in _recordings_of(self.store, digest).items():
            if key not in self._known:
                self._check_key(key, content, f"the frozen view {digest[:12]} reads {path} by it")
            elif key in self.records and self.records[key].content != content:
                raise IntegrityError(f"it names content {content[:12]} of {path}, whose record says another")


def _lasts(record: Bound, signal_us: int) -> bool:
    # within one sample; microseconds are rounded down
    return abs(signal_us * record.rate_hz - record.n_samples * 1_000_000) <= 1_000_000 + record.rate_hz


def _recordings_of(store: Store, digest: str) -> dict[str, tuple[str, str]]:
    """Return content and path by key of what a frozen view reads. Raises IntegrityError for a damaged view."""
    frozen = store.frozen(digest)
    if frozen is None or not frozen.keys() >= _VIEW_FIELDS:
        return {}  # deleted meanwhile, or written by other software, with a digest of its own
    try:
        named = {entry["key"]: (entry["content"], entry["path"]) for entry in frozen["recordings"]}
        found = frozen_views.frozen_digest(frozen)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"it is no view as brainbrr writes it: {error!r}") from None
    if found != digest or frozen["digest"] != digest:
        raise IntegrityError(f"it says what has digest {found[:12]}")
    return named


def verify_small_file(store: Store, kind: Kind, name: str) -> bool:
    """Verify findings, a view, pin, mark of retirement or receipt by itself; say whether it exists.

    Raises IntegrityError.
    """
    match kind:
        case "findings":
            return sidecars.verify_findings(store.layout, name)
        case "view":
            _recordings_of(store, name)
            return store.frozen(name) is not None
        case "receipt":
            return bool(sidecars.read_receipt(store.layout, name))
        case "pin":
            return frozen_views.pinned(store, name) is not None
        case _:
            return frozen_views.retired(store, name) is not None


def check_small_files(store: Store, damage: Collector) -> Iterator[tuple[Kind, list[str]]]:
    """Verify findings, marks of retirement and receipts; yield their names, and those of catalogs, views and pins."""
    layout = store.layout
    for folder in layout.lost_folders():
        # a file in the place of a record's folder is reported as a record or unexpected file; catalogs name the rest
        if folder.parent != layout.records and (folder.is_symlink() or not folder.exists()):
            damage.add("folder", folder.relative_to(layout.root).as_posix(), "this folder is not there", _PUT_BACK)
    small: tuple[tuple[Kind, list[str]], ...] = (
        ("findings", list(layout.found_findings())),
        ("retired", layout.retired()),
        ("receipt", layout.receipts()),
    )
    for kind, names in small:
        for name in names:
            with damage.collecting(kind, name):
                verify_small_file(store, kind, name)
        yield kind, names
    yield "catalog", [name for corpus in store.corpora() for name in catalogs.names(layout, corpus)]
    yield "view", layout.views()
    yield "pin", layout.pins()
