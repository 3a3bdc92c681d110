"""What the loader's benchmark reads: generated recordings, ingested for real, and what their windows must be.

`expected` comes from plain zarr and whole numbers, not from the reader that is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import brainbrr
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.loading.recordings import Members
from brainbrr.loading.windows import WindowSpec
from brainbrr.store.formats import SHARD_FILE
from brainbrr.views.view import View

Floats = np.ndarray[Any, np.dtype[np.float32]]
Samples = np.ndarray[Any, np.dtype[np.int16]]
Picks = Sequence[int]
"""Windows by their number in the view."""

SECONDS = (570, 630)


@dataclass(frozen=True)
class Numbers:
    """What turns one recording's integers into its z-score: (x - centre) * gain, for each channel."""

    centre: Floats  # (channels, 1), whole numbers
    gain: Floats  # (channels, 1)

    @classmethod
    def of(cls, samples: Samples) -> Numbers:
        """Return the numbers from sums that are exact."""
        x, n = samples.astype(np.int64), samples.shape[1]
        totals, squares = x.sum(axis=1).tolist(), (x * x).sum(axis=1).tolist()
        spreads = [n * square - total * total for total, square in zip(totals, squares, strict=True)]
        centre = [round(Fraction(total, n)) for total in totals]
        gain = [n / math.sqrt(spread) if spread else 0.0 for spread in spreads]
        return cls(np.array(centre, np.float32)[:, None], np.array(gain, np.float32)[:, None])

    def apply(self, samples: Samples, out: Floats) -> None:
        """Dequantise and normalise as one would with numpy; exact, so that everybody's bits are the same."""
        out[...] = samples  # quicker than a subtraction that casts
        out -= self.centre
        out *= self.gain


class Corpus:
    """A view of whole recordings (no channel absent), its windows, and the files that they lie in."""

    def __init__(self, view: View) -> None:
        self.view, self.index = view, view.index
        self.length, self.n_channels = view.length, len(view.channels)
        recording, start = self.index.locate(np.arange(len(view)))
        self.recording, self.start = recording.tolist(), start.tolist()
        self.folders = [view.store.layout.object(r.content) for r in view.recordings]

    def __len__(self) -> int:
        return len(self.recording)

    @property
    def window_bytes(self) -> int:
        """Bytes of one window as float32."""
        return 4 * self.n_channels * self.length

    def open_array(self, recording: int) -> Any:
        """Return the array of one recording as zarr-python opens it, and nothing of ours."""
        return zarr.open_array(self.folders[recording], mode="r", zarr_format=3)

    def samples(self, recording: int) -> Samples:
        """Return one recording as it is stored: int16 (channels, n_samples)."""
        return np.asarray(self.open_array(recording)[:])

    @cached_property
    def numbers(self) -> list[Numbers]:
        """What normalises each recording."""
        return [Numbers.of(self.samples(i)) for i in range(len(self.folders))]

    def normalised(self, recording: int) -> Floats:
        """Return one recording as float32 (channels, n_samples)."""
        samples = self.samples(recording)
        out = np.empty(samples.shape, dtype=np.float32)
        self.numbers[recording].apply(samples, out)
        return out

    def expected(self, windows: Picks) -> Floats:
        """Return what these windows must be, bit for bit: float32 (windows, channels, length)."""
        out = np.empty((len(windows), self.n_channels, self.length), dtype=np.float32)
        for row, window in zip(out, windows, strict=True):
            recording, start = self.recording[window], self.start[window]
            samples = np.asarray(self.open_array(recording)[:, start : start + self.length])
            self.numbers[recording].apply(samples, row)
        return out

    def few(self, n_recordings: int) -> range:
        """Return the windows of the first recordings."""
        return range(int(self.index.bounds[min(n_recordings, len(self.folders))]))

    def windows_of(self, recording: int) -> range:
        """Return the windows of one recording."""
        return range(*self.index.bounds[recording : recording + 2].tolist())

    def edf(self, recording: int) -> Path:
        """Return the EDF file that a recording was made from."""
        store = self.view.store.location
        return store.with_name(store.name.replace("store", "corpus")) / self.view.recordings[recording].path

    def files(self) -> list[Path]:
        """Return the files that hold samples."""
        return [folder / SHARD_FILE for folder in self.folders]

    def with_window(self, **fields: str) -> Corpus:
        """Return the same recordings in other windows."""
        view = self.view
        spec = view.window.model_copy(update=fields)
        return Corpus(_view(view, window=spec, recordings=view.recordings))


def prepare(into: Path, n_recordings: int) -> Corpus:
    """Return a corpus of whole recordings of 10 minutes, generated and ingested unless they are there."""
    n = math.ceil(1.2 * n_recordings)  # one in nine lacks Fz and Pz
    corpus, store = into / f"corpus-{n}", into / f"store-{n}"
    if not store.exists():
        write_corpus(corpus, n_recordings=n, seconds=SECONDS)
        brainbrr.ingest(corpus, store=store, workers=2)
    return opened(store, n_recordings)


def opened(store: Path, n_recordings: int) -> Corpus:
    """Return the whole recordings of a store, train and dev first."""
    view = brainbrr.view(brainbrr.open_store(store), window=WindowSpec(length_s="60", stride_s="10"))
    whole = [r for r in view.recordings if not r.record.array.absent]
    whole.sort(key=lambda r: r.split == "eval")
    if len(whole) < n_recordings:
        raise SystemExit(f"{store} holds {len(whole)} whole recordings, {n_recordings} are needed: remove it")
    return Corpus(_view(view, window=view.window, recordings=tuple(whole[:n_recordings])))


def _view(view: View, **changed: Any) -> View:
    members = Members(changed.pop("recordings", view.members.recordings))
    kept = {"scope": view.scope, "recipe": view.recipe, "window": view.window}
    return View(view.store, members, **kept | changed)


def picks(seed: int, turn: int, among: range) -> Iterator[int]:
    """Give windows in an order of its own for each turn, the same for everybody, without end."""
    for again in range(1 << 30):
        yield from np.random.default_rng([seed, turn, again]).permutation(among.stop).tolist()


def read_all(paths: Iterable[Path]) -> None:
    """Have the system hold files in memory."""
    for path in paths:
        if path.is_dir():
            read_all(path.iterdir())
            continue
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass
