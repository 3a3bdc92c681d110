"""Making an index: from records and annotations to flat arrays. Reads no signal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from brainbrr.core.arrays import AnyArray, Float64, Int32, Int64, UInt8
from brainbrr.core.statistics import check
from brainbrr.eeg.corpus.label_rows import Event
from brainbrr.eeg.signal.montage import electrode_of, operator
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import IntegrityError
from brainbrr.loading.index import NO_CHANNELS, SEIZURE_TYPE, Frame, Index
from brainbrr.loading.normalise import scaling, sources
from brainbrr.loading.recordings import ViewRecording
from brainbrr.loading.rows import MIXED
from brainbrr.loading.windows import WindowSpec, outside, seizure_samples


def rows_of(recorded: tuple[str, ...], absent: tuple[str, ...], window: WindowSpec) -> tuple[tuple[str, ...], Float64]:
    """Return a view's rows and the matrix that makes them. Raises ConfigError, MontageError as `spatial.operator`."""
    return operator(recorded, absent, channels=window.channels, reference=window.reference, missing=window.missing)


def index_of(
    recordings: Sequence[ViewRecording], *, recipe: Recipe, window: WindowSpec, digest: str | None = None
) -> Index:
    """Return the index of recordings that were stored under one recipe, in their order.

    Raises ConfigError for a window that is no whole number of samples, or asks for channels that are not there;
    MontageError where interpolation has no electrode positions; IntegrityError for an array of another recipe.
    """
    channels, rate_hz = recipe.channels, recipe.rate_hz
    for recording in recordings:
        _check(recording, recipe)
    absent, layout = _distinct([r.absent for r in recordings])
    matrices = [rows_of(channels, each, window)[1] for each in absent]
    rows = rows_of(channels, (), window)[0]
    patients, patient = _distinct([r.patient for r in recordings])
    k = np.array([r.record.array.k for r in recordings], dtype=np.int8).reshape(len(recordings), len(channels))
    step_uv: Float64 = float(Fraction(recipe.quantum_uv)) * 2.0 ** k.astype(np.float64)
    events = _events(recordings, rate_hz)
    return index_from(
        frame_of(recipe, window, absent=absent, matrices=matrices, patients=patients, events=events, digest=digest),
        key=_digests([r.key for r in recordings], n_bytes=16),
        content=_digests([r.content for r in recordings], n_bytes=32),
        n_samples=np.array([r.n_samples for r in recordings], dtype=np.int64),
        labelled=np.array([r.labelled for r in recordings], dtype=np.bool_),
        labelled_until=np.array([r.valid_until for r in recordings], dtype=np.int64),
        layout=layout,
        patient=patient,
        k=k,
        numbers=_numbers(
            recordings,
            [matrices[i] for i in layout],
            step_uv,
            window,
            n_rows=len(rows),
        ),
        events=events,
    )


def frame_of(
    recipe: Recipe,
    window: WindowSpec,
    *,
    absent: Sequence[tuple[str, ...]],
    matrices: Sequence[Float64],
    patients: Sequence[str],
    events: Events,
    digest: str | None,
) -> Frame:
    """Return what the recordings of an index share."""
    return Frame(
        digest=digest,
        rate_hz=recipe.rate_hz,
        length=window.samples("length_s", recipe.rate_hz),
        stride=window.samples("stride_s", recipe.rate_hz),
        tail=window.tail,
        full_fraction=window.full_fraction,
        clip=window.clip,
        quantum_uv=str(recipe.quantum_uv),
        channels=tuple(recipe.channels),
        rows=rows_of(recipe.channels, (), window)[0],
        absent=tuple(absent),
        matrices=tuple(tuple(map(tuple, matrix.tolist())) for matrix in matrices),
        patients=tuple(patients),
        types=events.types,
        places=events.places,
    )


def index_from(frame: Frame, *, numbers: Mapping[str, AnyArray], events: Events, **arrays: AnyArray) -> Index:
    """Return an index of these arrays."""
    return Index(frame=frame, **arrays, **numbers, **events.arrays)


def _check(recording: ViewRecording, recipe: Recipe) -> None:
    """Raise IntegrityError for an array of another recipe, or statistics that are not of such an array."""
    array = recording.record.array
    expected = (recipe.channels, recipe.rate_hz, str(recipe.quantum_uv))
    if (array.channels, array.rate_hz, array.quantum_uv) != expected:
        raise IntegrityError("the record's array is not what its recipe makes", where=recording.path)
    present = [name not in array.absent for name in recipe.channels]
    try:
        check(recording.record.statistics, present=present, n=array.n_recorded)
    except ValueError as error:
        raise IntegrityError(f"the record's statistics: {error}", where=recording.path) from None


def _numbers(
    recordings: Sequence[ViewRecording],
    matrices: Sequence[Float64],
    step_uv: Float64,
    window: WindowSpec,
    *,
    n_rows: int,
) -> dict[str, AnyArray]:
    """Return the arrays that normalise each recording: each has a matrix, and a row of `step_uv` (n, recorded rows)."""
    n = len(recordings)
    mixes = np.array([(sources(matrix) == MIXED).any() for matrix in matrices], dtype=np.bool_)
    mixed = np.where(mixes, np.cumsum(mixes) - 1, -1).astype(np.int32)
    centre, gain = np.zeros((n, n_rows), dtype=np.int16), np.zeros((n, n_rows), dtype=np.float32)
    offset, scale = np.zeros((2, int(mixes.sum()), n_rows))
    for i, recording in enumerate(recordings):
        numbers = scaling(
            matrices[i],
            step_uv=step_uv[i],
            statistics=recording.record.statistics,
            normalise=window.normalise,
            scale_uv=window.scale_uv,
        )
        centre[i], gain[i] = numbers.centre, numbers.gain
        if mixes[i]:
            offset[mixed[i]], scale[mixed[i]] = numbers.offset, numbers.scale
    return {"centre": centre, "gain": gain, "mixed": mixed, "offset": offset, "scale": scale}


class Events(NamedTuple):
    """The labels of all recordings: the frame's types and places, and the index's arrays."""

    types: tuple[str, ...]
    places: tuple[tuple[str, ...], ...]
    arrays: dict[str, AnyArray]


def _events(recordings: Sequence[ViewRecording], rate_hz: int) -> Events:
    typed = [_inside(r.annotations.typed or r.annotations.seizures, r, rate_hz) for r in recordings]
    events = list(chain.from_iterable(typed))
    types = sorted({label for _, _, label, _ in events} | {SEIZURE_TYPE})
    named, place = _distinct([names for _, _, _, names in events if names])
    event_place = np.full(len(events), NO_CHANNELS, dtype=np.int32)
    event_place[[bool(names) for _, _, _, names in events]] = place
    seizures = [seizure_samples(r.seizures, rate_hz=rate_hz, n_samples=r.valid_until) for r in recordings]
    unknown = [seizure_samples(r.unknown, rate_hz=rate_hz, n_samples=r.valid_until) for r in recordings]
    gaps = [np.array(r.record.array.gaps, dtype=np.int64).reshape(-1, 2) for r in recordings]
    return Events(
        tuple(types),
        # a name that is no electrode stays as the file has it
        tuple(tuple(electrode_of(name) or name for name in names) for names in named),
        {
            "seizure_bounds": _bounds(seizures),
            "seizures": np.concatenate([np.zeros((0, 2), dtype=np.int64), *seizures]),
            "event_bounds": _bounds(typed),
            "events": np.array([event[:2] for event in events], dtype=np.int64).reshape(-1, 2),
            "event_type": np.array([types.index(label) for _, _, label, _ in events], dtype=np.int32),
            "event_place": event_place,
            "unknown": np.concatenate([np.zeros((0, 2), dtype=np.int64), *unknown]),
            "unknown_of": np.repeat(np.arange(len(recordings), dtype=np.int32), [len(spans) for spans in unknown]),
            "gaps": np.concatenate([np.zeros((0, 2), dtype=np.int64), *gaps]),
            "gap_of": np.repeat(np.arange(len(recordings), dtype=np.int32), [len(spans) for spans in gaps]),
        },
    )


def _digests(texts: Sequence[str], *, n_bytes: int) -> UInt8:
    return np.frombuffer(bytes.fromhex("".join(texts)), dtype=np.uint8).reshape(len(texts), n_bytes)


def _inside(
    events: Iterable[Event], recording: ViewRecording, rate_hz: int
) -> list[tuple[int, int, str, tuple[str, ...]]]:
    """Return events as sample ranges below what is labelled and outside of gaps, without those of no sample."""
    found = []
    for event in events:
        span = seizure_samples(((event.start_us, event.stop_us),), rate_hz=rate_hz, n_samples=recording.valid_until)
        recorded = outside(span.tolist(), recording.record.array.gaps)
        found += [(first, last, event.label, event.channels) for first, last in recorded]
    return found


def _distinct(values: Sequence[Any]) -> tuple[list[Any], Int32]:
    """Return distinct values in the order of their first appearance, and each value's place among them: int32."""
    places = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return list(places), np.array([places[value] for value in values], dtype=np.int32)


def _bounds(parts: Sequence[Any]) -> Int64:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)])
