"""The columns of a catalog: its rows, and what their records state, as arrays in one derived file for each base.

Derived from the base's rows and their records, so it can be deleted and made again; `verify` compares it with them.
Readers of a large catalog parse no JSON but that of the rows that changed since. Of annotations and statistics it
knows the names in their JSON.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from brainbrr.core import files, statistics
from brainbrr.core.arrays import AnyArray, Bool, Int64
from brainbrr.core.digest import canonical_json, json_digest, key_of, sha256
from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.profiles import place_in_profile
from brainbrr.store import records
from brainbrr.store.formats import folder_bytes
from brainbrr.store.generation import Row, Rows
from brainbrr.store.layout import Layout
from brainbrr.store.records import Record
from brainbrr.store.sidecars import MAX_CATALOG_BYTES

COLUMNS_FORMAT = 1
LEAST_ROWS = 256
"""A base of fewer rows has no columns: its rows are parsed, and its records are read, in less time."""

NONE = -1
_CHECKSUM_BYTES = 32
_ALIGN = 64

_ROW = {
    "source": ("u1", (32,)), "has_source": ("b1", ()), "patient": ("i4", ()), "session": ("i4", ()),
    "split": ("i4", ()), "n_bytes": ("i8", ()), "signal_us": ("i8", ()), "synthetic": ("b1", ()),
    "labels": ("u1", (32,)), "has_labels": ("b1", ()), "order": ("u1", (16,)), "annotated": ("b1", ()),
    "labelled": ("b1", ()), "noted": ("b1", ()), "duration_us": ("i8", ()), "unusable": ("i4", ()),
    "events": ("u1", (32,)), "n_contents": ("i4", ()),
}  # fmt: skip
_RAGGED = {"path": ("u1", ()), "seizures": ("i8", (2,)), "unknown": ("i8", (2,)), "typed": ("i8", (4,)),
           "refusals": ("i4", (4,))}  # fmt: skip
"""Any number for each row, after the bounds `NAME_bounds`. `typed`: start, stop, label, channels. `refusals`: recipe,
whether accepted, error, reason."""
_WORDS = ("patient", "session", "split", "label", "place", "unusable", "recipe", "error", "reason")
"""Lists that codes are places in."""
_CODES = {"patient": "patient", "session": "session", "split": "split", "unusable": "unusable"}
_RAGGED_CODES = {("typed", 2): "label", ("typed", 3): "place", ("refusals", 0): "recipe", ("refusals", 2): "error",
                 ("refusals", 3): "reason"}  # fmt: skip
_STORED = {
    "row": ("i4", 0), "key": ("u1", 16), "content": ("u1", 32), "n_samples": ("i8", 0), "n_bytes": ("i8", 0),
    "k": ("i1", -1), "absent": ("b1", -1), "flat": ("b1", -1), "mean": ("i2", -1), "gain": ("f4", -1),
    "quartiles": ("i2", -3), "score": ("i2", 0),
}  # fmt: skip
"""Of each object: dtype, and items: 0 one, -1 one for each channel, -3 three for each channel."""


@dataclass(frozen=True, eq=False)
class Stored:
    """What the records of one recipe state, ascending by row; statistics as views need them.

    `mean` and `gain` are the nearest integer and one over the standard deviation, in a channel's own steps.
    """

    recipe: str
    name: str
    fields: Mapping[str, Any]
    channels: tuple[str, ...]
    rate_hz: int
    quantum_uv: str
    arrays: Mapping[str, AnyArray]

    def head(self) -> dict[str, Any]:
        """Return all that is not an array."""
        return {name: value for name, value in vars(self).items() if name != "arrays"} | {"channels": [*self.channels]}

    def at(self, n_rows: int) -> Int64:
        """Return the place of each row's object here, NONE where it has none: int64 (rows,)."""
        places = np.full(n_rows, NONE, dtype=np.int64)
        places[self.arrays["row"]] = np.arange(len(self.arrays["row"]))
        return places


@dataclass(frozen=True, eq=False)
class Columns:
    """The rows of a catalog as arrays, and by recipe what their records state."""

    arrays: Mapping[str, AnyArray]
    words: Mapping[str, Sequence[Any]]
    stored: Mapping[str, Stored]

    def __len__(self) -> int:
        return len(self.arrays["n_bytes"])

    @cached_property
    def paths(self) -> list[str]:
        """The path of each row, ascending."""
        text, bounds = self.arrays["path"].tobytes(), self.arrays["path_bounds"].tolist()
        return [text[a:b].decode() for a, b in itertools.pairwise(bounds)]

    def take(self, rows: Int64) -> Columns:
        """Return some rows, in this order."""
        found = {name: self.arrays[name][rows] for name in _ROW}
        for name in _RAGGED:
            bounds = self.arrays[f"{name}_bounds"]
            sizes = (bounds[1:] - bounds[:-1])[rows]
            ends = np.concatenate([[0], np.cumsum(sizes)])
            at = np.repeat(bounds[:-1][rows] - ends[:-1], sizes) + np.arange(ends[-1])
            found |= {f"{name}_bounds": ends, name: self.arrays[name][at]}
        places = np.full(len(self), NONE, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        return Columns(found, self.words, {recipe: _moved(each, places) for recipe, each in self.stored.items()})

    def and_these(self, other: Columns) -> Columns:
        """Return the rows of both, sorted by path."""
        words = _all_words(self, other)
        parts = [_recoded(each, words) for each in (self, other)]
        arrays = {name: np.concatenate([each[name] for each in parts]) for name in (*_ROW, *_RAGGED)}
        for name in _RAGGED:
            first, second = (each[f"{name}_bounds"] for each in parts)
            arrays[f"{name}_bounds"] = np.concatenate([first, first[-1] + second[1:]])
        stored = dict(self.stored)
        for recipe, theirs in other.stored.items():
            moved = {**theirs.arrays, "row": theirs.arrays["row"] + np.int32(len(self))}
            ours = stored.get(recipe)
            both = {n: np.concatenate([ours.arrays[n], moved[n]]) for n in _STORED} if ours else moved
            stored[recipe] = replace(ours or theirs, arrays=both)
        found = Columns(arrays, words, stored)
        return found.take(np.array(sorted(range(len(found)), key=found.paths.__getitem__), dtype=np.int64))


def _all_words(*columns: Columns) -> dict[str, list[Any]]:
    return {name: list(dict.fromkeys(_word(word) for each in columns for word in each.words[name])) for name in _WORDS}


def _word(word: Any) -> Any:
    return tuple(word) if isinstance(word, list) else word


def _moved(stored: Stored, places: Int64) -> Stored:
    """Return what is stored of the rows that have a new place."""
    row = places[stored.arrays["row"]]
    order = np.argsort(row, kind="stable")
    order = order[row[order] != NONE]
    arrays = {name: array[order] for name, array in stored.arrays.items()}
    return replace(stored, arrays={**arrays, "row": row[order].astype(np.int32)})


def _recoded(columns: Columns, words: Mapping[str, list[Any]]) -> dict[str, AnyArray]:
    """Return arrays whose codes are places in these words."""
    maps = {}
    for name in _WORDS:
        place = {word: i for i, word in enumerate(words[name])}
        maps[name] = np.array([*(place[_word(word)] for word in columns.words[name]), NONE], dtype=np.int64)
    arrays = dict(columns.arrays)
    for name, kind in _CODES.items():
        arrays[name] = maps[kind][arrays[name]].astype(np.int32)
    for (name, i), kind in _RAGGED_CODES.items():
        arrays[name] = arrays[name].copy()
        arrays[name][:, i] = maps[kind][arrays[name][:, i]]
    return arrays


# From rows and records


def derive(rows: Iterable[Row], record_of: Callable[[str], Record | None], bytes_of: Callable[[str], int]) -> Columns:
    """Return the columns of rows, which are sorted by path. Raises ValueError for what no ingest writes.

    A record that is missing, damaged or another than its row says is left out: readers then look for it themselves.
    """
    made = _Making(record_of, bytes_of)
    for i, row in enumerate(rows):
        made.add(i, row)
    return made.columns()


class _Making:
    """Columns while rows are added."""

    def __init__(self, record_of: Callable[[str], Record | None], bytes_of: Callable[[str], int]) -> None:
        self._record_of, self._bytes_of = record_of, bytes_of
        self._row: dict[str, list[Any]] = {name: [] for name in _ROW}
        self._ragged: dict[str, list[Any]] = {name: [] for name in _RAGGED}
        self._bounds: dict[str, list[int]] = {name: [0] for name in _RAGGED}
        self._words: dict[str, dict[Any, int]] = {name: {} for name in _WORDS}
        self._stored: dict[str, tuple[Record, dict[str, list[Any]]]] = {}

    def _code(self, kind: str, word: Any) -> int:
        return NONE if word is None else self._words[kind].setdefault(word, len(self._words[kind]))

    def add(self, i: int, row: Row) -> None:
        """Add a row."""
        said: Mapping[str, Any] = row.annotations or {"labelled": False, "seizures": [], "typed": []}
        labels = {"duration_us": None, **said}
        for name in ("notes", "last"):  # as in ViewRecording.event_digest
            labels.pop(name, None)
        unusable = tuple(said.get("unusable", ())) or None
        values = {
            "source": bytes.fromhex(row.source or "00" * 32), "has_source": row.source is not None,
            "patient": self._code("patient", row.patient), "session": self._code("session", row.session),
            "split": self._code("split", row.split), "n_bytes": row.n_bytes,
            "signal_us": NONE if row.signal_us is None else row.signal_us, "synthetic": row.synthetic,
            "labels": bytes.fromhex(row.labels or "00" * 32), "has_labels": row.labels is not None,
            "order": bytes.fromhex(place_in_profile(row)[0]), "annotated": row.annotations is not None,
            "labelled": said["labelled"], "noted": bool(said.get("notes")),
            "duration_us": NONE if labels["duration_us"] is None else labels["duration_us"],
            "unusable": self._code("unusable", unusable), "events": bytes.fromhex(json_digest(labels)),
            "n_contents": len(row.contents),
        }  # fmt: skip
        for name, value in values.items():
            self._row[name].append(value)
        typed = [
            [a, b, self._code("label", label), self._code("place", tuple(names))]
            for a, b, label, names in said["typed"]
        ]
        refusals = [
            [self._code("recipe", recipe), int(each.accepted), self._code("error", each.error),
             self._code("reason", each.reason)]
            for recipe, each in sorted(row.refusals.items())
        ]  # fmt: skip
        ragged = {"path": row.path.encode(), "seizures": said["seizures"], "unknown": said.get("unknown", []),
                  "typed": typed, "refusals": refusals}  # fmt: skip
        for name, items in ragged.items():
            self._ragged[name].extend(items)
            self._bounds[name].append(len(self._ragged[name]))
        for recipe, content in sorted(row.contents.items()):
            self._add_stored(i, row, recipe, content)

    def _add_stored(self, i: int, row: Row, recipe: str, content: str) -> None:
        with suppress(BrainbrrError, OSError, ValueError, TypeError, LookupError):
            key = key_of(source=str(row.source), recipe=recipe)
            record = self._record_of(key)
            if record is None or (record.source, record.recipe, record.content) != (row.source, recipe, content):
                return
            like = self._stored.setdefault(recipe, (record, {name: [] for name in _STORED}))
            array, first = record.array, like[0].array
            if (array.channels, array.rate_hz, array.quantum_uv) != (first.channels, first.rate_hz, first.quantum_uv):
                return
            if array.gaps:
                return  # no column has them: such a view is read record by record
            present = [name not in array.absent for name in array.channels]
            statistics.check(record.statistics, present=present, n=array.n_samples)
            mean, gain = statistics.means_and_gains(record.statistics)
            flat = record.signal.get("flat")
            quartiles = [each or [0, 0, 0] for each in record.statistics["quartiles"]]
            values = {
                "row": i, "key": bytes.fromhex(key), "content": bytes.fromhex(content), "n_samples": array.n_samples,
                "n_bytes": self._bytes_of(content), "k": array.k, "absent": [not each for each in present],
                "flat": [name in flat if isinstance(flat, list) else False for name in array.channels],
                "score": row.quality[recipe].score if recipe in row.quality else NONE, "mean": mean,
                "gain": gain, "quartiles": [each for three in quartiles for each in three],
            }  # fmt: skip
            for name, value in values.items():
                like[1][name].append(value)

    def columns(self) -> Columns:
        """Return the columns of all rows that were added."""
        arrays = {name: _array(self._row[name], *_ROW[name]) for name in _ROW}
        for name, (dtype, shape) in _RAGGED.items():
            arrays[name] = np.array(self._ragged[name], dtype=dtype).reshape(-1, *shape)
            arrays[f"{name}_bounds"] = np.array(self._bounds[name], dtype=np.int64)
        stored = {}
        for recipe, (record, values) in sorted(self._stored.items()):
            n = len(record.array.channels)
            stored[recipe] = Stored(
                recipe=recipe,
                name=str(record.provenance.get("recipe_name", "")),
                fields=dict(record.recipe_fields),
                channels=record.array.channels,
                rate_hz=record.array.rate_hz,
                quantum_uv=record.array.quantum_uv,
                arrays={name: _array(values[name], _STORED[name][0], _items(name, n)) for name in _STORED},
            )
        return Columns(arrays, {name: list(words) for name, words in self._words.items()}, stored)


def _items(name: str, n_channels: int) -> tuple[int, ...]:
    items = _STORED[name][1]
    return () if items == 0 else (items if items > 0 else -items * n_channels,)


def _array(values: list[Any], dtype: str, shape: tuple[int, ...]) -> AnyArray:
    if dtype == "u1":
        return np.frombuffer(b"".join(values), dtype=dtype).reshape(-1, *shape)
    return np.array(values, dtype=dtype).reshape(len(values), *shape)


# The file


def encode(columns: Columns, digest: str) -> bytes:
    """Return the file of the columns of a base with this SHA-256: a head, the arrays, and the SHA-256 of all that."""
    named = {**columns.arrays}
    for recipe, stored in columns.stored.items():
        named |= {f"{recipe}/{name}": array for name, array in stored.arrays.items()}
    head = {
        "format": COLUMNS_FORMAT,
        "kind": "columns",
        "base": digest,
        "words": {name: list(words) for name, words in columns.words.items()},
        "stored": [each.head() for each in columns.stored.values()],
        "lengths": {name: len(array) for name, array in named.items()},
    }
    parts = [canonical_json(head) + b"\n"]
    for name in sorted(named):
        data = np.ascontiguousarray(named[name]).tobytes()
        parts += [data, bytes(-len(data) % _ALIGN)]
    parts[0] += bytes(-len(parts[0]) % _ALIGN)
    text = b"".join(parts)
    return text + bytes.fromhex(sha256(text))


def decode(data: bytes, digest: str, *, where: object) -> Columns:
    """Return what encode() wrote for a base with this SHA-256. Raises IntegrityError for anything else."""
    text = memoryview(data)[:-_CHECKSUM_BYTES]
    if sha256(text).encode() != data[-_CHECKSUM_BYTES:].hex().encode():
        raise IntegrityError("the columns are not what their own SHA-256 says", where=where)
    try:
        end = data.index(b"\n")
        head = json.loads(data[:end])
        if (head["format"], head["kind"], head["base"]) != (COLUMNS_FORMAT, "columns", digest):
            raise ValueError("they are of another generation, or of another version of brainbrr")
        return _opened(text, head, end + 1)
    except (ValueError, TypeError, LookupError) as error:
        raise IntegrityError(f"no columns as brainbrr writes them: {error!s:.200}", where=where) from None


def _opened(text: memoryview, head: Mapping[str, Any], at: int) -> Columns:
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {**_ROW, **_RAGGED}
    kinds |= {f"{name}_bounds": ("i8", ()) for name in _RAGGED}
    for each in head["stored"]:
        n = len(each["channels"])
        kinds |= {f"{each['recipe']}/{name}": (_STORED[name][0], _items(name, n)) for name in _STORED}
    if head["lengths"].keys() != kinds.keys():
        raise ValueError("other arrays than columns have")
    found: dict[str, AnyArray] = {}
    at += -at % _ALIGN
    for name in sorted(kinds):
        dtype, shape = kinds[name]
        n_items = head["lengths"][name] * math.prod(shape)
        found[name] = np.frombuffer(text, dtype=f"<{dtype}", count=n_items, offset=at).reshape(-1, *shape)
        at += found[name].nbytes + -found[name].nbytes % _ALIGN
    if at != len(text):
        raise ValueError("more than its arrays")
    stored = {}
    for each in head["stored"]:
        arrays = {name: found.pop(f"{each['recipe']}/{name}") for name in _STORED}
        stored[each["recipe"]] = Stored(**{**each, "channels": tuple(each["channels"])}, arrays=arrays)
    columns = Columns(found, {n: [*map(_word, head["words"][n])] for n in _WORDS}, stored)
    _check(columns)
    return columns


def _check(columns: Columns) -> None:
    """Raise ValueError where arrays do not fit together, or paths are not sorted texts: readers rely on it."""
    arrays, words, n = columns.arrays, columns.words, len(columns)
    if any(len(arrays[name]) != n for name in _ROW):
        raise ValueError("columns of different lengths")
    for name in _RAGGED:
        bounds = arrays[f"{name}_bounds"]
        if len(bounds) != n + 1 or bounds[0] or bounds[-1] != len(arrays[name]) or (np.diff(bounds) < 0).any():
            raise ValueError(f"{name} has other bounds")
    if any(before >= path for before, path in itertools.pairwise(columns.paths)):
        raise ValueError("paths are not sorted, each once")
    codes = [(arrays[name], kind) for name, kind in _CODES.items()]
    codes += [(arrays[name][:, i], kind) for (name, i), kind in _RAGGED_CODES.items()]
    if any(len(each) and not NONE <= each.min() <= each.max() < len(words[kind]) for each, kind in codes):
        raise ValueError("a code without a word")
    for stored in columns.stored.values():
        row, n_samples = stored.arrays["row"], stored.arrays["n_samples"]
        if any(len(each) != len(row) for each in stored.arrays.values()):
            raise ValueError("what is stored is of different lengths")
        if len(row) and not (row.min() >= 0 and row.max() < n and (np.diff(row) > 0).all() and n_samples.min() > 0):
            raise ValueError("what is stored is of no row, or of one twice")


# In a store


def read(layout: Layout, corpus: str, seq: int, digest: str) -> Columns | None:
    """Return the columns of a base, None where there are none. Raises IntegrityError for damaged ones."""
    path = layout.columns(corpus, seq)
    try:
        return decode(files.read(path, limit=MAX_CATALOG_BYTES), digest, where=path)
    except FileNotFoundError:
        return None


def columns_of(layout: Layout, rows: Mapping[str, Row]) -> Columns | None:
    """Return the columns of a catalog's rows, those that changed since the base with them; None where it has none."""
    found: Columns | None = getattr(rows, "columns", None)
    base: Columns | None = getattr(rows.base, "columns", None) if isinstance(rows, Rows) else None
    if found is not None or base is None or not isinstance(rows, Rows):
        return found
    gone = rows.changed.keys() | rows.removed
    found = base.take(np.flatnonzero([path not in gone for path in base.paths]))
    if rows.changed:
        found = found.and_these(derived(layout, [rows.changed[path] for path in sorted(rows.changed)]))
    rows.columns = found
    return found


def derived(layout: Layout, rows: Iterable[Row]) -> Columns:
    """Return the columns of rows of a store. Raises ValueError, TypeError or LookupError for what no ingest writes."""
    return derive(
        rows,
        lambda key: records.read(layout.record(key)),
        lambda content: folder_bytes(layout.object(content)),
    )


def differ(found: Columns, fresh: Columns) -> bool:
    """Say whether columns are other ones than those that were derived just now; records may have gone since."""
    names = [*_ROW, *_RAGGED, *(f"{name}_bounds" for name in _RAGGED)]
    words = _all_words(found, fresh)
    ours_coded, theirs_coded = _recoded(found, words), _recoded(fresh, words)
    if any(not np.array_equal(ours_coded[name], theirs_coded[name]) for name in names):
        return True
    for recipe, theirs in fresh.stored.items():
        ours = found.stored.get(recipe)
        if ours is None or ours.head() | {"name": ""} != theirs.head() | {"name": ""}:
            return True
        at = ours.at(len(found))[theirs.arrays["row"]]
        if (at == NONE).any() or any(not np.array_equal(ours.arrays[n][at], theirs.arrays[n]) for n in _STORED):
            return True
    return False


def write(layout: Layout, corpus: str, seq: int, digest: str, rows: Mapping[str, Row]) -> None:
    """Write the columns of a base, if it has so many rows; where that is not possible, readers do without.

    Not flushed to the disk: they are checksummed, and can be made again.
    """
    if len(rows) < LEAST_ROWS:
        return
    with suppress(OSError, ValueError, TypeError, LookupError):
        columns = columns_of(layout, rows) or derived(layout, rows.values())
        with layout.scratch() as temporary:
            files.write(temporary, encode(columns, digest), durable=False)
            temporary.replace(layout.columns(corpus, seq))


def digests(array: AnyArray) -> list[str]:
    """Return the rows of an array of bytes as hex digits."""
    text, width = array.tobytes().hex(), 2 * array.shape[1]
    return [text[i : i + width] for i in range(0, len(text), width)]


def objects_of(columns: Columns) -> Iterator[tuple[Stored, list[str], list[str], list[str]]]:
    """Yield for each recipe the source, key and content of each object that the columns know."""
    for stored in columns.stored.values():
        sources = columns.arrays["source"][stored.arrays["row"]]
        yield stored, digests(sources), digests(stored.arrays["key"]), digests(stored.arrays["content"])


def incomplete(columns: Columns) -> list[str]:
    """Return the paths of rows with contents that the columns do not know."""
    known = np.zeros(len(columns), dtype=np.int64)
    for stored in columns.stored.values():
        known[stored.arrays["row"]] += 1
    return [columns.paths[i] for i in np.flatnonzero(known < columns.arrays["n_contents"])]


def presence(names: set[str], array: AnyArray) -> Bool:
    """Return which digests, uint8 (n, bytes), are among names: bool (n,)."""
    return np.fromiter(map(names.__contains__, digests(array)), np.bool_, len(array))
