"""The recordings of a view from a catalog's columns: no record and no row is parsed before one recording is asked for.

Gives what recordings.py and build_index.py give for recordings one by one, bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from brainbrr.core.arrays import AnyArray, Bool, Float64, Int32, Int64
from brainbrr.core.digest import canonical_json, key_of
from brainbrr.eeg.corpus.annotations import UNLABELLED, Annotations
from brainbrr.eeg.signal.montage import electrode_of
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.loading.build_index import Events, frame_of, index_from, rows_of
from brainbrr.loading.index import NO_CHANNELS, SEIZURE_TYPE, Index
from brainbrr.loading.normalise import IQR_OF_SIGMA, scaling, sources
from brainbrr.loading.recordings import (
    Members,
    Missing,
    Omission,
    Recordings,
    Totals,
    ViewRecording,
    assemble,
    contradictions,
)
from brainbrr.loading.rows import MIXED
from brainbrr.loading.windows import WindowSpec, ranges
from brainbrr.store import columns as store_columns
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.columns import NONE, Columns, Stored, digests
from brainbrr.store.store import Store


def contradicting(catalog: Catalog, columns: Columns) -> tuple[tuple[str, ...], ...]:
    """Return what `contradictions` returns, and parse only rows whose source occurs twice."""
    arrays = columns.arrays
    some = np.flatnonzero(arrays["has_source"] & arrays["labelled"])
    names = digests(arrays["source"][some])
    twice = {name for name, n in Counter(names).items() if n > 1}
    return contradictions(
        catalog.rows[columns.paths[i]] for i, name in zip(some.tolist(), names, strict=True) if name in twice
    )


_PARSED, _UNLABELLED, _NOT_INGESTED, _NO_OBJECT, _NOT_STORED = range(5)
_REASONS = {
    _UNLABELLED: "its labels are missing or malformed",
    _NOT_INGESTED: "not ingested",
    _NO_OBJECT: "its object is missing from the store",
    _NOT_STORED: "not stored under this recipe",
}
"""As `assemble` says them."""


class Assembled:
    """The rows of a catalog under one recipe: which objects exist, and what becomes of each row, as `assemble` says."""

    def __init__(self, store: Store, catalog: Catalog, columns: Columns, recipe: Recipe) -> None:
        self.store, self.catalog, self.recipe = store, catalog, recipe
        self._records, self._contents = store.existing()
        self._unreadable: set[int] = set()
        """Rows whose record exists, and cannot be used: `assemble` says why."""
        self.columns = self._with_unknown(columns)
        self.stored = self.columns.stored.get(recipe.digest)

    def _with_unknown(self, columns: Columns) -> Columns:
        """Return the columns with records that exist and that they do not know; rows keep their places."""
        known, recipe = columns.stored.get(self.recipe.digest), self.recipe.digest
        at = known.at(len(columns)) if known else np.full(len(columns), NONE)
        rows = np.flatnonzero(columns.arrays["has_source"] & (at == NONE))
        found: dict[int, Row] = {}
        for i, source in zip(rows.tolist(), digests(columns.arrays["source"][rows]), strict=True):
            if key_of(source=source, recipe=recipe) in self._records:
                try:
                    record = self.store.made_from(source=source, recipe=recipe)
                except (BrainbrrError, OSError):
                    self._unreadable.add(i)
                    continue
                row = self.catalog.rows[columns.paths[i]]
                if record is not None:
                    found[i] = row.model_copy(update={"contents": {**row.contents, recipe: record.content}})
        if not found:
            return columns
        if self._unreadable:  # whose places would change
            self._unreadable |= found.keys()
            return columns
        kept = np.delete(np.arange(len(columns)), list(found))
        return columns.take(kept).and_these(self.store.derive_columns(found.values()))

    def members(self, rows: Int64, *, labelled: bool, contradicting: Iterable[Sequence[str]]) -> Members:
        """Return some rows, in this order, as stored, missing and accepted as omitted."""
        arrays, paths = self.columns.arrays, self.columns.paths
        others = {path for each in contradicting for path in each}
        refused = self._refused()
        at = self.stored.at(len(self.columns)) if self.stored else np.full(len(self.columns), NONE)
        has_record, has_object = (np.append(each, False) for each in self._existing())
        there, exists = has_record & has_object, has_record[at] & (at != NONE)
        ready = (at != NONE) & there[at] & ~refused & arrays["has_source"]
        if labelled:
            ready &= arrays["annotated"]
            ready[[i for i, path in enumerate(paths) if path in others] if others else []] = False
        chosen = ready[rows]
        missing: list[Missing] = []
        omitted: list[Omission] = []
        lacking = rows[~chosen]
        reason = np.select(
            [refused[lacking], ~arrays["annotated"][lacking] & labelled, ~arrays["has_source"][lacking],
             there[at][lacking] & (at[lacking] != NONE), exists[lacking]],
            [_PARSED, _UNLABELLED, _NOT_INGESTED, _PARSED, _NO_OBJECT],
            _NOT_STORED,
        )  # fmt: skip
        for i, why in zip(lacking.tolist(), reason.tolist(), strict=True):
            if why != _PARSED and i not in self._unreadable and not (labelled and paths[i] in others):
                missing.append(Missing(paths[i], _REASONS[why]))
                continue
            found, lacks, leaves = self._parsed([i], labelled, contradicting)
            if found:  # its record states what no column holds: all are taken one by one
                every = self._parsed(rows.tolist(), labelled, contradicting)
                return Members(Recordings(every[0]), every[1], every[2])
            missing += lacks
            omitted += leaves
        recordings: Recordings = Recordings(())
        if self.stored is not None:
            recordings = StoredRecordings(self.store, self.catalog, self.columns, self.stored, rows[chosen])
        return Members(recordings, tuple(missing), tuple(omitted))

    def paths_of(self, members: Members) -> set[str]:
        """Return the paths of the recordings that `members` found."""
        if isinstance(members.recordings, StoredRecordings):
            return {self.columns.paths[i] for i in members.recordings.rows.tolist()}
        return {each.path for each in members.recordings}

    def _parsed(
        self, rows: list[int], labelled: bool, contradicting: Iterable[Sequence[str]]
    ) -> tuple[tuple[ViewRecording, ...], tuple[Missing, ...], tuple[Omission, ...]]:
        parsed = (self.catalog.rows[self.columns.paths[i]] for i in rows)
        return assemble(self.store, parsed, recipe=self.recipe, labelled=labelled, contradicting=contradicting)

    def _refused(self) -> Bool:
        """Return which rows have a refusal under the recipe."""
        refused = np.zeros(len(self.columns), dtype=np.bool_)
        if self.recipe.digest in self.columns.words["recipe"]:
            code = list(self.columns.words["recipe"]).index(self.recipe.digest)
            row = np.repeat(np.arange(len(self.columns)), np.diff(self.columns.arrays["refusals_bounds"]))
            refused[row[self.columns.arrays["refusals"][:, 0] == code]] = True
        return refused

    def _existing(self) -> tuple[Bool, Bool]:
        """Return which of the recipe's objects have a record, and a folder, in the store, by listing both."""
        if self.stored is None:
            return (np.zeros(0, dtype=np.bool_),) * 2
        arrays, presence = self.stored.arrays, store_columns.presence
        return presence(self._records, arrays["key"]), presence(self._contents, arrays["content"])


class StoredRecordings(Recordings):
    """Recordings of a view whose rows and records are parsed when one of them is used."""

    def __init__(self, store: Store, catalog: Catalog, columns: Columns, stored: Stored, rows: Int64) -> None:
        self._store, self._catalog, self._columns, self._stored = store, catalog, columns, stored
        self.rows, self._objects = rows, stored.at(len(columns))[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def _one(self, place: int) -> ViewRecording:
        """Return one recording. Raises IntegrityError where its record is damaged or gone."""
        row = self._catalog.rows[self._columns.paths[self.rows[place]]]
        key = self._stored.arrays["key"][self._objects[place]].tobytes().hex()
        record = self._store.record(key)
        if record is None:
            raise IntegrityError("its record is not there any more", where=self._store.path_of("record", key))
        labels = UNLABELLED if row.annotations is None else Annotations.from_json(row.annotations)
        return ViewRecording(row.path, row.patient, row.split, str(row.source), row.synthetic, labels, record)

    @property
    def paths(self) -> list[str]:
        """The path of each one."""
        return [self._columns.paths[i] for i in self.rows.tolist()]

    def worst_paths(self) -> list[str]:
        """Return the path of one that scores least, the first by name; none where none was examined."""
        score = self._stored.arrays["score"][self._objects].astype(np.int64)
        rated = np.flatnonzero(score != NONE)
        least = rated[score[rated] == score[rated].min()] if len(rated) else rated
        return [self._columns.paths[self.rows[least].min()]] if len(rated) else []

    # What all of them are together

    def _totals(self) -> Totals:
        return self.totals(0)

    @cached_property
    def _n_samples(self) -> Int64:
        return self._stored.arrays["n_samples"][self._objects]

    @cached_property
    def _end_us(self) -> Int64:
        return -(-self._n_samples * 1_000_000 // self._stored.rate_hz)

    @cached_property
    def _absent(self) -> tuple[list[tuple[str, ...]], Int32]:
        """Return the sets of absent channels, and each recording's place among them."""
        channels, absent = self._stored.channels, self._stored.arrays["absent"][self._objects]
        unusable = self._columns.arrays["unusable"][self.rows]
        for code in np.unique(unusable[unusable != NONE]).tolist():
            names = self._columns.words["unusable"][code]
            bad = {*names, *map(electrode_of, names)}
            absent = absent | ((unusable == code)[:, None] & np.array([name in bad for name in channels]))
        packed = np.packbits(absent, axis=1)
        masks = _slices(packed)
        places = {mask: i for i, mask in enumerate(dict.fromkeys(masks))}
        first = {mask: i for i, mask in reversed(list(enumerate(masks)))}
        sets = [tuple(np.array(channels)[absent[first[mask]]].tolist()) for mask in places]
        return sets, np.array([places[mask] for mask in masks], dtype=np.int32)

    def layouts(self) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Return every pair of recorded and absent channels."""
        return {(self._stored.channels, absent) for absent in self._absent[0]}

    def totals(self, length: int) -> Totals:
        """Return what they have together; windows have `length` samples."""
        owner, spans = self._spans("seizures")
        end_us, rows = self._end_us, self.rows
        flat = self._stored.arrays["flat"][self._objects].sum(axis=0).tolist()
        sets, place = self._absent
        absent = Counter[str]()
        for names, n in zip(sets, np.bincount(place, minlength=len(sets)).tolist(), strict=True):
            absent.update(dict.fromkeys(names, n))
        contents = dict(zip(_slices(self._stored.arrays["content"][self._objects]),
                            self._stored.arrays["n_bytes"][self._objects].tolist(), strict=True))  # fmt: skip
        return Totals(
            seconds=float(self._n_samples.sum()) / self._stored.rate_hz,
            seizures=int((spans[:, 0] < end_us[owner]).sum()),
            clipped=int((spans[:, 1] > end_us[owner]).sum()),
            patients=len(np.unique(self._columns.arrays["patient"][rows])),
            short=int((self._n_samples < length).sum()),
            synthetic=bool(self._columns.arrays["synthetic"][rows].any()),
            absent=absent,
            flat=Counter({name: n for name, n in zip(self._stored.channels, flat, strict=True) if n}),
            n_bytes=sum(contents.values()),
        )

    def named(self) -> list[bytes]:
        """Return the JSON of each one's key, content, split, patient and labels, as a view's digest covers them."""
        arrays, words = self._columns.arrays, self._columns.words
        split, patient = ([canonical_json(word).decode() for word in words[name]] for name in ("split", "patient"))
        columns = (
            digests(self._stored.arrays["key"][self._objects]),
            digests(self._stored.arrays["content"][self._objects]),
            arrays["split"][self.rows].tolist(),
            arrays["patient"][self.rows].tolist(),
            digests(arrays["events"][self.rows]),
        )
        entries: Iterable[tuple[Any, ...]] = zip(*columns, strict=True)
        if len(set(columns[0])) < len(columns[0]):  # a source twice: the rest decides
            entries = sorted(entries, key=lambda each: (each[0], each[1], *_words(words, each), each[4]))
            return [_named(each, split, patient) for each in entries]
        return sorted(_named(each, split, patient) for each in entries)

    def facts(self) -> Iterator[tuple[str, str, str, str, str, str]]:
        """Yield path, source, content, split, patient and digest of the labels of each one."""
        arrays, words = self._columns.arrays, self._columns.words
        yield from zip(
            self.paths,
            digests(arrays["source"][self.rows]),
            digests(self._stored.arrays["content"][self._objects]),
            (words["split"][code] for code in arrays["split"][self.rows].tolist()),
            (words["patient"][code] for code in arrays["patient"][self.rows].tolist()),
            digests(arrays["events"][self.rows]),
            strict=True,
        )

    # The index

    def to_index(self, *, recipe: Recipe, window: WindowSpec, digest: str | None) -> Index:
        """Return the index of these recordings, as `index_of` does."""
        expected = (tuple(recipe.channels), recipe.rate_hz, str(recipe.quantum_uv))
        if (self._stored.channels, self._stored.rate_hz, self._stored.quantum_uv) != expected:
            raise IntegrityError("the record's array is not what its recipe makes", where=recipe.name)
        absent, layout = self._absent
        matrices = [rows_of(recipe.channels, each, window)[1] for each in absent]
        code = self._columns.arrays["patient"][self.rows]
        patients = {each: i for i, each in enumerate(dict.fromkeys(code.tolist()))}
        k = self._stored.arrays["k"][self._objects]
        step_uv: Float64 = float(Fraction(recipe.quantum_uv)) * 2.0 ** k.astype(np.float64)
        labelled, until = self._labelled_until()
        events = self._events(until)
        names = tuple(self._columns.words["patient"][each] for each in patients)
        return index_from(
            frame_of(recipe, window, absent=absent, matrices=matrices, patients=names, events=events, digest=digest),
            key=self._stored.arrays["key"][self._objects],
            content=self._stored.arrays["content"][self._objects],
            n_samples=self._n_samples,
            labelled=labelled,
            labelled_until=until,
            layout=layout,
            patient=np.array([patients[each] for each in code.tolist()], dtype=np.int32),
            k=k,
            numbers=self._numbers(matrices, layout, step_uv, window),
            events=events,
        )

    def _labelled_until(self) -> tuple[Bool, Int64]:
        arrays, n = self._columns.arrays, self._n_samples
        labelled, duration_us = arrays["labelled"][self.rows], arrays["duration_us"][self.rows]
        covered = -(-np.minimum(duration_us, self._end_us) * self._stored.rate_hz // 1_000_000)
        until = np.where(duration_us == NONE, n, np.minimum(n, covered))
        return labelled, np.where(labelled, until, 0)

    def _spans(self, name: str) -> tuple[Int64, AnyArray]:
        """Return what these recordings have of a ragged column, and the recording of each."""
        bounds = self._columns.arrays[f"{name}_bounds"]
        first, last = bounds[:-1][self.rows], bounds[1:][self.rows]
        return np.repeat(np.arange(len(self.rows)), last - first), self._columns.arrays[name][ranges(first, last)]

    def _samples(self, owner: Int64, spans: AnyArray, until: Int64) -> tuple[Bool, Int64]:
        """Return which spans are of some sample below `until`, and the sample ranges of these."""
        end_us, rate_hz = self._end_us[owner], self._stored.rate_hz
        start, stop = np.minimum(spans[:, 0], end_us), np.minimum(spans[:, 1], end_us)
        first = -(-start * rate_hz // 1_000_000)
        last = np.minimum(-(-stop * rate_hz // 1_000_000), until[owner])
        inside = (spans[:, 0] < end_us) & (first < last)
        return inside, np.stack([first, last], axis=1)[inside].astype(np.int64)

    def _events(self, until: Int64) -> Events:
        n, words = len(self.rows), self._columns.words
        owner, spans = self._spans("seizures")
        inside, seizures = self._samples(owner, spans, until)
        owner_of_typed, typed = self._spans("typed")
        # where nothing is typed, seizures are events of the one type
        plain = np.flatnonzero(~np.isin(owner, owner_of_typed))
        of_plain = np.stack([spans[plain, 0], spans[plain, 1], *np.full((2, len(plain)), NONE - 1)], axis=1)
        both, events = np.concatenate([owner_of_typed, owner[plain]]), np.concatenate([typed, of_plain])
        order = np.argsort(both, kind="stable")
        both, events = both[order], events[order]
        kept, ranges_of = self._samples(both, events, until)
        both, events = both[kept], events[kept]
        labels = {
            code: words["label"][code] if code >= 0 else SEIZURE_TYPE for code in np.unique(events[:, 2]).tolist()
        }
        types = sorted({*labels.values(), SEIZURE_TYPE})
        named = {code: () if code < 0 else tuple(words["place"][code]) for code in dict.fromkeys(events[:, 3].tolist())}
        distinct = list(dict.fromkeys(names for names in named.values() if names))
        blind, unknown_spans = self._spans("unknown")
        unsure, unknown = self._samples(blind, unknown_spans, until)
        return Events(
            tuple(types),
            tuple(tuple(electrode_of(name) or name for name in names) for names in distinct),
            {
                "seizure_bounds": _bounds(owner[inside], n),
                "seizures": seizures,
                "event_bounds": _bounds(both, n),
                "events": ranges_of,
                "event_type": np.array([types.index(labels[code]) for code in events[:, 2].tolist()], dtype=np.int32),
                "event_place": np.array(
                    [distinct.index(named[code]) if named[code] else NO_CHANNELS for code in events[:, 3].tolist()],
                    dtype=np.int32,
                ),
                "unknown": unknown,
                "unknown_of": blind[unsure].astype(np.int32),
            },
        )

    def _numbers(
        self, matrices: Sequence[Float64], layout: Int32, step_uv: Float64, window: WindowSpec
    ) -> dict[str, AnyArray]:
        """Return the arrays that normalise each recording; the record is read of those whose rows mix channels."""
        n, n_rows = len(self.rows), len(rows_of(self._stored.channels, (), window)[0])
        sources_of = [sources(matrix) for matrix in matrices]
        mixes = np.array([(source == MIXED).any() for source in sources_of], dtype=np.bool_)[layout]
        mixed = np.where(mixes, np.cumsum(mixes) - 1, -1).astype(np.int32)
        centre, gain = np.zeros((n, n_rows), dtype=np.int16), np.zeros((n, n_rows), dtype=np.float32)
        every_centre, every_gain = self._single(step_uv, window)
        for i, source in enumerate(sources_of):
            rows, single = np.flatnonzero(layout == i), np.flatnonzero(source != MIXED)
            at = np.ix_(rows, single)
            centre[at] = every_centre[np.ix_(rows, source[single])]
            gain[at] = every_gain[np.ix_(rows, source[single])]
        offset, scale = np.zeros((2, int(mixes.sum()), n_rows))
        for i in np.flatnonzero(mixes).tolist():
            numbers = scaling(
                matrices[layout[i]],
                step_uv=step_uv[i],
                statistics=self._one(i).record.statistics,
                normalise=window.normalise,
                scale_uv=window.scale_uv,
            )
            offset[mixed[i]], scale[mixed[i]] = numbers.offset, numbers.scale
        return {"centre": centre, "gain": gain, "mixed": mixed, "offset": offset, "scale": scale}

    def _single(self, step_uv: Float64, window: WindowSpec) -> tuple[AnyArray, AnyArray]:
        """Return centre and gain of every recorded channel, as `normalise` computes them one by one."""
        arrays: Mapping[str, Any] = self._stored.arrays
        if window.normalise == "none":
            return np.zeros(step_uv.shape, dtype=np.int16), step_uv
        if window.normalise == "fixed":
            scale = Fraction(str(window.scale_uv))
            steps, place = np.unique(step_uv, return_inverse=True)
            gains = np.array([float(Fraction(step) / scale) for step in steps.tolist()])
            return np.zeros(step_uv.shape, dtype=np.int16), gains[place].reshape(step_uv.shape)
        mean, gain = arrays["mean"][self._objects], arrays["gain"][self._objects]
        if window.normalise == "zscore":
            return mean, gain
        low, middle, high = np.moveaxis(arrays["quartiles"][self._objects].reshape(*mean.shape, 3), -1, 0)
        width = high.astype(np.float64) - low
        with np.errstate(divide="ignore"):
            return middle, np.where(width > 0, IQR_OF_SIGMA / width, gain).astype(np.float32)


def _slices(array: AnyArray) -> list[bytes]:
    data, width = array.tobytes(), array.shape[1]
    return [data[i : i + width] for i in range(0, len(data), width)]


def _named(entry: tuple[Any, ...], split: list[str], patient: list[str]) -> bytes:
    return f'["{entry[0]}","{entry[1]}",{split[entry[2]]},{patient[entry[3]]},"{entry[4]}"]'.encode()


def _words(words: Mapping[str, Sequence[Any]], each: tuple[Any, ...]) -> tuple[str, str]:
    return words["split"][each[2]], words["patient"][each[3]]


def _bounds(owner: Int64, n: int) -> Int64:
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n), dtype=np.int64)]).astype(np.int64)
