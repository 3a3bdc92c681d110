"""`show`: traces of a recording as it is stored, and of the EDF that it was made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.core.arrays import Float64
from brainbrr.core.digest import is_digest
from brainbrr.core.statcache import Host
from brainbrr.eeg.corpus.annotations import UNLABELLED, Annotations
from brainbrr.eeg.edf.reader import EdfFile
from brainbrr.eeg.signal.channels import select
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import Fix, UsageError
from brainbrr.loading.build_index import rows_of
from brainbrr.loading.recordings import Members, Scope, ViewRecording
from brainbrr.loading.windows import WindowSpec
from brainbrr.store.catalog import Row
from brainbrr.store.store import Store
from brainbrr.views.recipes import find_recipe
from brainbrr.views.select import matching_rows, usual_recipe
from brainbrr.views.strips import (
    Montage,
    findings_of,
    group_of,
    montage_name,
    spans_of,
    states_of,
    traces_of,
    window_of,
)
from brainbrr.views.traces import Band, Sheet, Strip, Trace, draw
from brainbrr.views.view import View

_BEFORE_S = 5.0
"""How much is shown before the first seizure, where no time is given."""


@dataclass(frozen=True)
class ShowOptions:
    """What is drawn. `at_s` None: from 5 s before the first seizure, else from the start.

    `montage` None: bipolar where electrodes were recorded. `scale`: µV between two rows; None: what fits.
    """

    at_s: float | None = None
    seconds: float = 30.0
    montage: Montage | None = None
    scale: float | None = None
    source: Path | None = None
    """The EDF to draw beside it."""


@dataclass(frozen=True)
class Shown:
    """What was drawn, and the figure."""

    corpus: str
    recording: str
    at_s: float
    seconds: float
    rows: tuple[str, ...]
    states: dict[str, str]
    """By row: what is odd about it, such as absent, interpolated or flat."""
    events: tuple[tuple[float, float, str], ...]
    figure: Any
    source: Path | None = None

    def save(self, file: Path) -> None:
        """Write the figure: .png, .svg or .pdf. Raises UsageError for another suffix."""
        if file.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise UsageError(f"{file.name}: no format of this suffix is known", fix="name it .png, .svg or .pdf")
        self.figure.savefig(file)

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        fields = {name: value for name, value in vars(self).items() if name != "figure"}
        return {**fields, "source": str(self.source) if self.source else None}


def show_named(
    store: Store,
    subject: str,
    *,
    options: ShowOptions,
    recipe: Recipe | None = None,
    corpus: str | None = None,
    among: Callable[[str, Row], bool] = lambda corpus, row: True,
    host: Host | None = None,
) -> Shown:
    """Draw the one recording that a text names; `recipe` None: the usual one of its corpus.

    With `host`, which knows where corpora are, the EDF is drawn beside it. Raises UsageError for no recording and for
    several, and for a corpus that is out of reach.
    """
    key = store.record(subject) if is_digest(subject, 32) else None
    found = (
        [(name, row) for name in store.corpora() for row in _rows(store, name) if row.source == key.source][:1]
        if key
        else [(name, row) for name, row in matching_rows(store, subject, corpus) if among(name, row)]
    )
    if len(found) != 1:
        what = f"{subject!r} names {len(found)} recordings" if found else f"no recording is called {subject!r}"
        several = f"give a whole path, e.g. {found[0][1].path}, or --corpus {found[0][0]}" if found else None
        raise UsageError(what, where=store.where, fix=several or Fix(("ls",), " lists them"))
    name, row = found[0]
    catalog = store.catalog(name)
    digest = key.recipe if key else usual_recipe(catalog) if catalog else ""
    chosen = recipe if recipe and not key else find_recipe(store, digest)
    if host is not None:
        root = host.root(store.location, name)
        edf = root / row.path if root else None
        if edf is None or not edf.is_file():
            raise UsageError(
                f"the EDF is out of reach: {edf or f'this host does not know where corpus {name} is'}",
                fix=Fix("mount it, or ", ("ingest", "ROOT", "--corpus", name), " from where it is now"),
            )
        options = replace(options, source=edf)
    return show(store, name, row, chosen, options)


def _rows(store: Store, corpus: str) -> Iterable[Row]:
    catalog = store.catalog(corpus)
    return catalog.rows.values() if catalog else ()


def show(store: Store, corpus: str, row: Row, recipe: Recipe, options: ShowOptions) -> Shown:
    """Draw a stored recording. Raises UsageError for one that is not stored or a time that it does not have."""
    recording = stored_recording(store, row, recipe)
    at_s, seconds = _span(recording, options)
    window = window_of(recipe, options.montage, recording.absent)
    view = View(store, Members((recording,)), scope=Scope(corpus, "full"), recipe=recipe, window=window)
    signal = signal_of(view, at_s, seconds)
    states = states_of(recording, window, findings_of(store, recording.key))
    traces = traces_of(signal, view.channels, recipe.rate_hz, states)
    name = row.path.rsplit("/", 1)[-1]
    about = [corpus, f"patient {row.patient}", f"split {row.split}", f"recipe {recipe.name}", montage_name(window)]
    strip = Strip(
        title=name,
        subtitle=" · ".join(about),
        traces=traces,
        start_s=at_s,
        seconds=seconds,
        spans=spans_of(recording.annotations, recording.duration_s, labelled=recording.labelled),
        synthetic=row.synthetic,
    )
    strips: tuple[Strip, ...] = (strip,)
    if options.source is not None:
        raw = _source_traces(options.source, recipe, window, strip, states)
        edf = replace(strip, title="EDF", subtitle=name, traces=raw)
        strips = (edf, replace(strip, title=f"recipe {recipe.name}"))
    figure = draw(Sheet(strips, _band(recording)), scale=options.scale)
    events = recording.events_between(round(at_s * 1e6), round((at_s + seconds) * 1e6))
    return Shown(corpus, row.path, at_s, seconds, view.channels, states, events, figure, options.source)


def stored_recording(store: Store, row: Row, recipe: Recipe) -> ViewRecording:
    """Return what a recipe made of a row of a catalog. Raises UsageError where it is not stored."""
    record = store.made_from(source=row.source, recipe=recipe.digest) if row.source else None
    if record is None or not store.has_object(record):
        refusal = row.refusals.get(recipe.digest)
        why = f"refused: {refusal.reason}" if refusal else "not stored"
        raise UsageError(f"recipe {recipe.name} has nothing of it: {why}", where=row.path, code="not-stored")
    labels = UNLABELLED if row.annotations is None else Annotations.from_json(row.annotations)
    return ViewRecording(row.path, row.patient, row.split, record.source, row.synthetic, labels, record)


def signal_of(view: View, at_s: float, seconds: float) -> Float64:
    """Return some time of the first recording of a view, at least a sample: (channels, samples)."""
    signal = np.empty((len(view.channels), max(1, round(seconds * view.rate_hz))), dtype=np.float32)
    view.read(0, round(at_s * view.rate_hz), signal)
    return signal.astype(np.float64)


def _span(recording: ViewRecording, options: ShowOptions) -> tuple[float, float]:
    """Return the start and the length of what is shown, inside the recording."""
    duration_s = recording.duration_s
    at_s = options.at_s
    if at_s is None:
        at_s = max(0.0, recording.seizures[0][0] / 1e6 - _BEFORE_S) if recording.seizures else 0.0
        at_s = max(0.0, min(at_s, duration_s - options.seconds))
    if not 0 <= at_s < duration_s:
        raise UsageError(f"--at {at_s:g} s is not in the recording of {duration_s:g} s", where=recording.path)
    if options.seconds <= 0:
        raise UsageError("--seconds: above 0")
    return at_s, min(options.seconds, duration_s - at_s)


def _band(recording: ViewRecording) -> Band:
    said = recording.record.signal.get("band_hz")
    texts = said if isinstance(said, dict) else {}
    if texts and all(isinstance(each, dict) for each in texts.values()):  # channels of several rates
        texts = next(iter(texts.values()))
    numbers = {
        name: float(Fraction(str(texts[name]))) for name in ("low", "high", "notch") if texts.get(name) is not None
    }
    return Band(numbers.get("low"), numbers.get("high"), numbers.get("notch"))


def _source_traces(
    edf: Path, recipe: Recipe, window: WindowSpec, strip: Strip, states: dict[str, str]
) -> tuple[Trace, ...]:
    """Return the EDF's own samples of the same time in the same rows, in µV, at its own rate."""
    with EdfFile(edf) as file:
        channels, _ = select(file.header, recipe)
        record_s = float(file.header.record_duration_s)
        first = int(strip.start_s / record_s)
        last = min(file.header.n_records, math.ceil((strip.start_s + strip.seconds) / record_s))
        records = file.records(first, max(last, first + 1))
        begin_s = first * record_s
        found: dict[str, tuple[Float64, float]] = {}
        for channel in channels:
            signal, rate = channel.signal, float(channel.rate)
            digital = records[:, signal.start : signal.start + signal.samples_per_record].reshape(-1)
            from_, n = round((strip.start_s - begin_s) * rate), round(strip.seconds * rate)
            uv: Float64 = digital[from_ : from_ + n].astype(np.float64) * float(signal.gain_uv)
            uv += float(signal.offset_uv)
            found[channel.name] = (uv, rate)
    absent = tuple(name for name in recipe.channels if name not in found)
    rows, matrix = rows_of(recipe.channels, absent, window)
    traces = []
    for name, weights in zip(rows, matrix, strict=True):
        needed = [each for each, weight in zip(recipe.channels, weights, strict=True) if weight]
        rates = {found[each][1] for each in needed if each in found}
        lengths = [len(found[each][0]) for each in needed if each in found]
        if len(rates) != 1 or not np.isfinite(weights).all() or any(each not in found for each in needed):
            why = "absent" if len(rates) != 1 or any(each not in found for each in needed) else "rates differ"
            traces.append(Trace(name, np.empty(0), 1.0, why, absent=True, group=group_of(name)))
            continue
        n = min(lengths)
        uv = sum(weights[recipe.channels.index(each)] * found[each][0][:n] for each in needed)
        traces.append(Trace(name, np.asarray(uv), rates.pop(), states.get(name, ""), group=group_of(name)))
    return tuple(traces)


def seconds_of_clock(text: str) -> float:
    """Return seconds of a time such as 3000, 50:00 or 1:02:03.5. Raises UsageError."""
    parts = text.split(":")
    try:
        numbers = [Decimal(part) for part in parts]
        if len(parts) > 3 or any(n < 0 or (i and n >= 60) for i, n in enumerate(numbers)):
            raise ValueError(text)
    except (ValueError, ArithmeticError):
        raise UsageError(f"--at {text[:40]}: a time such as 90, 50:00 or 1:02:03.5 is meant") from None
    total = Decimal(0)
    for number in numbers:
        total = total * 60 + number
    return float(total)
