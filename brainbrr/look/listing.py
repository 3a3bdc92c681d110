"""`ls`: the recordings of a store as a table, and that table as CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from brainbrr.core.digest import key_of
from brainbrr.core.statcache import Host
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import DependencyError, UsageError
from brainbrr.profiles import SPLITS, Profile
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.layers import Layers, layered
from brainbrr.store.store import Store
from brainbrr.views.columns import COLUMNS, Recording, Value, Where, check_conditions, holds, prefetch, values
from brainbrr.views.select import members, resolve_corpus, usual_recipe

_ORDER = (*SPLITS, "none")
FORMATS = ("table", "csv", "parquet", "json")


@dataclass(frozen=True)
class Listing:
    """Recordings, one dictionary of every column each, in the order of corpora, splits and paths."""

    store: str
    rows: tuple[dict[str, Value], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {"store": self.store, "recordings": list(self.rows)}

    def encoded(self, form: str, columns: Sequence[str] = ()) -> bytes:
        """Return the table as "csv" or "parquet". Raises DependencyError where pyarrow is missing."""
        names = list(columns or COLUMNS)
        return _parquet(self.rows, names) if form == "parquet" else _csv(self.rows, names)

    def to_pandas(self) -> Any:
        """Return the table as a pandas DataFrame. Raises DependencyError where pandas is missing."""
        try:
            import pandas
        except ImportError as error:
            raise DependencyError("to_pandas() needs pandas", fix="pip install pandas, or use rows") from error
        return pandas.DataFrame(self.rows, columns=list(COLUMNS))


def ls(
    store: Store,
    *,
    profiles: Callable[[str], Profile],
    corpus: str | None = None,
    split: str | None = None,
    where: Where = (),
    recipe: Recipe | None = None,
    host: Host | None = None,
) -> Listing:
    """List the recordings of a profile; `profiles` gives it for each corpus.

    `recipe` None: for each corpus the one that most of its recordings are stored under. `host`: opens the remotes,
    which are asked for what is not stored. Raises UsageError for a corpus, split or column that does not exist.
    """
    check_conditions(where)
    layers = Layers(store, host) if host else None
    catalogs = _catalogs(store, layers, corpus)
    splits = {row.split for catalog in catalogs for row in catalog.rows.values()}
    if split is not None and catalogs and split not in splits:
        raise UsageError(f"no recording is in split {split!r}", fix=f"splits: {', '.join(sorted(splits))}")
    found: list[dict[str, Value]] = []
    for catalog in catalogs:
        digest = recipe.digest if recipe else usual_recipe(catalog)
        every = {key_of(source=row.source, recipe=digest) for row in catalog.rows.values() if row.source}
        holding = layered(store, layers, every - store.existing()[0])
        taken = _taken(catalog, profiles(catalog.corpus), split)
        each_of = [Recording(holding, catalog.corpus, row, digest) for row in taken]
        if where:
            prefetch(holding, each_of, where)
            each_of = [each for each in each_of if holds(each, where)]
        prefetch(holding, each_of, ())
        found += map(values, each_of)
    return Listing(store.where, tuple(found))


def _catalogs(store: Store, layers: Layers | None, corpus: str | None) -> list[Catalog]:
    """Return the catalogs meant; where the store has none of them, that of the first remote that does."""
    known = store.corpora()
    if layers is not None and (corpus not in known if corpus else not known):
        found = layers.catalog(corpus)
        if found is not None:
            return [found]
    names = known if corpus is None else filter(None, [resolve_corpus(store, corpus)])
    return [catalog for name in names if (catalog := store.catalog(name))]


def _taken(catalog: Catalog, profile: Profile, split: str | None) -> Iterable[Row]:
    rows = (row for row in members(catalog.rows, profile) if split in (None, row.split))
    return sorted(rows, key=lambda row: (_ORDER.index(row.split), row.path))


def check_columns(names: Sequence[str]) -> None:
    """Raise UsageError for a column that does not exist."""
    for name in names:
        if name not in COLUMNS:
            raise UsageError(f"no column is called {name[:40]!r}", fix=f"columns: {', '.join(COLUMNS)}")


def _csv(rows: Sequence[dict[str, Value]], names: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, names, extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _parquet(rows: Sequence[dict[str, Value]], names: Sequence[str]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError("--format parquet needs pyarrow", fix="pip install pyarrow") from error
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    columns = {name: pyarrow.array([row[name] for row in rows], types[COLUMNS[name][0]]) for name in names}
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()
