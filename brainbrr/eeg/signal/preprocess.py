"""From an EDF file to the array that a recipe describes, block by block: the numbers of recipe revision 2.

Owns how a file becomes blocks of numbers. Knows nothing of stores, labels or windows.

A small computation whose result is known: proves once per process that this machine gives the promised numbers.

The certificate of a recording finds sums that were not exact; this finds a library or a processor that is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cache, cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.core.arrays import Int16
from brainbrr.core.compiled import has_numba
from brainbrr.core.digest import decimal_text, xxh3_128
from brainbrr.core.statistics import Statistics
from brainbrr.eeg.edf.header import EdfHeader
from brainbrr.eeg.edf.reader import EdfFile, WholeFile, located, read_header
from brainbrr.eeg.quality import detector
from brainbrr.eeg.signal.channels import Channel, Watch, agreeing, copies_of, select
from brainbrr.eeg.signal.filtered import FilteredPiece
from brainbrr.eeg.signal.filters import Filtering
from brainbrr.eeg.signal.fir import MAX_DISTANCE, Chain
from brainbrr.eeg.signal.montage import need_half
from brainbrr.eeg.signal.pieces import gaps_between, pieces_of, places_of
from brainbrr.eeg.signal.quantise import Lattice, doubtful
from brainbrr.eeg.signal.recipe import Recipe, effective_band
from brainbrr.errors import BrainbrrError, EdfError

_RATE_HZ = 250
_GAIN = 2.0**-30
_ANSWERS = {False: "b01ff9a1b8479d26d6c27342a94432f2", True: "7b98c6cef55eaf07d4fb68be09340d9d"}


@cache
def prove(*, compiled: bool = True) -> None:
    """Raise BrainbrrError unless two seconds of noise at 250 Hz come out of the default filters as they must.

    By numpy, and with `compiled` by the compiled filters where there is numba, which the first call of all compiles.
    """
    for by_numba in (False, True) if compiled and has_numba() else (False,):
        if (answer := compute(compiled=by_numba)) != _ANSWERS[by_numba]:
            libraries = "numba and llvmlite" if by_numba else "numpy"
            raise BrainbrrError(
                f"this machine computes other numbers than it must: {answer}, not {_ANSWERS[by_numba]}",
                fix=f"nothing was stored; try another build of {libraries}, and tell the makers of brainbrr",
            )


def compute(*, compiled: bool = False) -> str:
    """Return the XXH3-128 of the filtered numbers, as little-endian 64-bit integers.

    Of compiled filters those that are largest, and all of them quantised, as 16-bit integers.
    """
    n = 2 * _RATE_HZ
    noise = (np.arange(1, 4 * n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(48)
    x = noise.astype(np.uint16).view(np.int16).reshape(4, n)
    band = effective_band(Fraction(_RATE_HZ), 256, bandpass_hz=("0.5", "120"), notch_hz="60")
    filters = Chain(Fraction(_RATE_HZ), 256, band)
    if not compiled:
        y = filters.apply(x, first=0, n=n, start=0, stop=512)
        return xxh3_128(y.astype("<i8").tobytes())
    from brainbrr.eeg.signal.fir_compiled import Channels, quantised

    rows, stored = np.arange(4), np.zeros((4, 512), dtype=np.int16)
    channels = Channels(rows, rows, np.full(4, _GAIN))
    found = quantised(filters, x, channels, doubtful(0.0), first=0, n=n, start=0, stop=512, out=stored)
    return xxh3_128(found.largest.astype("<i8").tobytes() + stored.astype("<i2").tobytes())


ABSENT = -32768
"""What an absent channel's row is filled with; every other sample is within ±32767."""

_GAP_BYTES = 1 << 22
_COARSE = 1 / 4  # of its rms: a step above this is noted


def check(path: Path, recipe: Recipe, *, accept: Collection[str] = ()) -> EdfHeader:
    """Return the header of a file that `preprocess` would take, as far as headers tell.

    Raises the same errors as `preprocess`. Only reading the samples can tell whether two signals that name
    one electrode are copies.
    """
    header = read_header(path, accept_truncated="truncated" in accept)
    with located(path):
        select(header, recipe, accept_contacts="contacts" in accept)
    return header


def preprocess(
    path: Path, recipe: Recipe, *, accept: Collection[str] = (), whole: WholeFile | None = None
) -> Preprocessed:
    """Return one EDF recording as the recipe describes it. Filters and their edges: see `fir.Chain`.

    The step of a channel is quantum_uv · 2^k with the smallest k that holds it without clipping.
    A channel whose samples are all equal becomes zeros and is named in facts["flat"].
    `accept` may have "truncated", to take the whole records of a truncated file, and "contacts", to take electrodes
    that seem not to be on the scalp. Raises EdfError for a file or a signal that cannot be trusted, MontageError for
    channels that are missing or ambiguous; both name the file. `whole`: the file's bytes, where they were read before.
    """
    return Preprocessed(path, recipe, accept=accept, whole=whole)


class Preprocessed:
    """One recording as a recipe describes it: what it is, and its samples in blocks.

    A short recording is computed when this is made; of a long one, and of one with gaps, only the steps are, which
    takes a first pass. Row i is in steps of quantum_uv · 2^k[i] microvolts, at rate_hz, sample 0 at the recording's
    start; an absent channel's row is −32768 throughout, its k 0, and so are all rows in `gaps`, [start, stop) in
    samples. `source` is the SHA-256 of the bytes that were read, `findings` what is wrong with them
    (`quality.Examiner.findings`).
    """

    def __init__(
        self, path: Path, recipe: Recipe, *, accept: Collection[str] = (), whole: WholeFile | None = None
    ) -> None:
        prove()
        self._path, self._recipe = path, recipe
        self._open = partial(EdfFile, path, accept_truncated="truncated" in accept, whole=whole)
        self.channels, self.rate_hz, self.quantum_uv = recipe.channels, recipe.rate_hz, recipe.quantum_uv
        self._whole: Int16 | None = None
        self._statistics: Statistics | None = None
        with located(path), self._open() as edf:
            self._header = edf.header
            selected, notes = select(edf.header, recipe, accept_contacts="contacts" in accept)
            self._present, differing = agreeing(edf, selected)
            need_half(self._absent(), self.channels, [signal.label for signal in edf.header.signals])
            pieces, gaps = pieces_of(edf, self._present)
            self._notes = [*notes, *differing, *gaps]
            self._pieces = [FilteredPiece(piece, recipe) for piece in pieces]
            lengths = [piece.n_samples for piece in self._pieces]
            self._places, end = places_of(pieces, lengths, recipe.rate_hz)
            is_cut = pieces[-1].end_s < edf.header.duration_s
            self.n_samples = max(end, math.ceil(edf.header.duration_s * recipe.rate_hz)) if is_cut else end
            self.gaps = tuple(gaps_between(self._places, lengths, self.n_samples))
            examiner, examine = detector.watching([piece.groups for piece in self._pieces], recipe.quantum_uv)
            self._lattices = self._survey(edf, examine)
            self.source = edf.source()
            self.findings = examiner.findings(notes=edf.header.notes)
        self.k = tuple(self._lattices[name].k if name in self._lattices else 0 for name in self.channels)
        self.absent = tuple(self._absent())

    def _absent(self) -> list[str]:
        there = {channel.name for channel in self._present}
        return [name for name in self.channels if name not in there]

    def _survey(self, edf: EdfFile, examine: Watch) -> dict[str, Lattice]:
        """Read every sample once; return the lattice of each channel that is not flat, decided by what it reaches."""
        is_one_block = len(self._pieces) == 1 and len(self._pieces[0].spans) == 1
        if is_one_block:
            self._whole = self._empty(self._pieces[0].n_samples)
        lattices: dict[str, Lattice] = {}
        reached: dict[str, tuple[float, float]] = {}
        for piece in self._pieces:
            found: dict[str, tuple[Channel, Filtering, float, float]] = {}
            for channel, filters, y in chain.from_iterable(piece.survey(edf, examine, into=self._whole)):
                _, _, low, high = found.get(channel.name, (channel, filters, np.inf, -np.inf))
                found[channel.name] = channel, filters, min(low, y.lowest), max(high, y.highest)
                if self._whole is not None:
                    lattices[channel.name] = self._lattice(*found[channel.name])
                    y.round(lattices[channel.name], out=self._whole[channel.row])
            for name in piece.varying if self._whole is None else ():
                channel, filters, *ends = found[name]
                low, high = reached.get(name, ends)
                reached[name] = min(low, ends[0]), max(high, ends[1])
                lattices[name] = self._lattice(channel, filters, *reached[name])
        return lattices

    def blocks(self) -> Iterator[Int16]:
        """Yield the samples, block after block: int16 (channels, any), C-contiguous.

        A long recording is read again. Raises EdfError when it is no longer what it was.
        """
        statistics = Statistics(len(self.channels), [channel.row for channel in self._present])
        end = 0
        for place, block in self._recomputed() if self._whole is None else [(self._places[0], self._whole)]:
            yield from self._gap(place - end)
            statistics.update(block)
            yield block
            end = place + block.shape[1]
        yield from self._gap(self.n_samples - end)
        self._statistics = statistics
        with located(self._path):
            self._notes += self._judged_steps(statistics)

    def _judged_steps(self, statistics: Statistics) -> list[str]:
        """Compare each channel's step, the EDF's or the stored one, with its rms. Raises EdfError where it is lost.

        A signal below its own step is noise of rounding: its unit or its range is wrong in the header.
        """
        ratios: dict[str, float] = {}
        for channel in self._present:
            if channel.name in self._lattices:
                stored_uv = float(Fraction(self.quantum_uv) * 2 ** self._lattices[channel.name].k)
                step_uv = max(stored_uv, float(abs(channel.signal.gain_uv)))
                rms_uv = statistics.rms(channel.row) * stored_uv
                ratios[channel.name] = step_uv / rms_uv if rms_uv else math.inf
        median = sorted(ratios.values())[(len(ratios) - 1) // 2] if ratios else 0.0
        if median > 1:
            name = next(name for name, ratio in ratios.items() if ratio == median)
            raise EdfError(
                f"nothing is left of the signal: in {name}, a median channel, one step is "
                f"{f'{median:.1f} times' if math.isfinite(median) else 'infinitely above'} its rms "
                "(fields: unit, physical and digital minimum and maximum)",
                fix="correct the unit in the EDF's header, or leave the file out",
            )
        coarse = [name for name, ratio in ratios.items() if ratio > _COARSE]
        return [f"one step is more than a quarter of the rms: {', '.join(coarse)}"] if coarse else []

    def _recomputed(self) -> Iterator[tuple[int, Int16]]:
        """Yield the samples of each piece, block after block, and where each block begins."""
        with located(self._path), self._open() as edf:
            for place, piece in zip(self._places, self._pieces, strict=True):
                for block, filtered in piece.again(edf, partial(self._empty, varying=piece.varying)):
                    for channel, _, y in filtered:
                        y.round(self._lattices[channel.name], out=block[channel.row])
                    yield place, block
                    place += block.shape[1]
            if edf.source() != self.source:
                raise EdfError("the file changed while it was read", fix="ingest again when it is at rest")

    def _gap(self, n: int) -> Iterator[Int16]:
        """Yield n samples of a gap, in blocks."""
        step = _GAP_BYTES // (2 * len(self.channels))
        for start in range(0, n, step):
            yield np.full((len(self.channels), min(step, n - start)), ABSENT, dtype=np.int16)

    @cached_property
    def samples(self) -> Int16:
        """All samples at once: int16 (channels, n_samples)."""
        return np.concatenate(list(self.blocks()), axis=1)

    @property
    def statistics(self) -> dict[str, Any]:
        """The exact integer statistics of the samples (`statistics.Statistics`), once all blocks were given out."""
        if self._statistics is None:
            for _ in self.blocks():
                pass
        assert self._statistics is not None
        return self._statistics.result()

    @property
    def certificate(self) -> dict[str, Any]:
        """What every distance from whole numbers is below; sums are below 2^53, or nothing is stored.

        A bound, so the same whatever computed the numbers. Empty for a recipe that is not exact.
        """
        return {"distance": decimal_text(MAX_DISTANCE)} if self._recipe.exact else {}

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the EDF said and what became of it: JSON without floats."""
        header, channels = self._header, self._present
        varying = self._varying()
        return {
            "edf": {
                "rates": {c.name: str(c.signal.rate) for c in channels},
                "labels": {c.name: c.signal.label for c in channels},
                "gain_uv": {c.name: str(c.signal.gain_uv) for c in channels},
                "duration_s": _text(header.duration_s),
                "n_records": header.n_records,
            },
            "band_hz": _bands(channels),
            "flat": [c.name for c in channels if c.name not in varying],
            "clipped_samples": {name: n for name in varying if (n := self._n_at_limit(name))},
            "synthetic": header.synthetic,
            "notes": [*header.notes, *self._notes, *copies_of(channels)],
        }

    def _varying(self) -> list[str]:
        varying = {name for piece in self._pieces for name in piece.varying}
        return [channel.name for channel in self._present if channel.name in varying]

    def _n_at_limit(self, name: str) -> int:
        return sum(piece.seen[name].n_at_limit for piece in self._pieces)

    def _empty(self, n: int, varying: Collection[str] = ()) -> Int16:
        """Return n samples, not yet written of channels that vary: flat ones are 0, absent ones have none."""
        block = np.empty((len(self.channels), n), dtype=np.int16)
        written = {channel.row: channel.name in varying for channel in self._present}
        for row in range(len(block)):
            if not written.get(row):
                block[row] = ABSENT if row not in written else 0
        return block

    def _lattice(self, channel: Channel, filters: Filtering, lowest: float, highest: float) -> Lattice:
        """Return the finest lattice of a channel whose filtered samples lie between two numbers."""
        gain_uv, offset_uv = filters.scale(channel)
        quantum_uv = Fraction(self.quantum_uv)
        return Lattice.fitting(gain=gain_uv / quantum_uv, offset=offset_uv / quantum_uv, lowest=lowest, highest=highest)


def _bands(channels: Sequence[Channel]) -> Mapping[str, Any]:
    """Return the effective edges: one set, or one per channel where rates make them differ."""
    bands = {
        c.name: {"low": _text(c.band.low_hz), "high": _text(c.band.high_hz), "notch": _text(c.band.notch_hz)}
        for c in channels
    }
    first = next(iter(bands.values()))
    return first if all(band == first for band in bands.values()) else bands


def _text(number: Fraction | None) -> str | None:
    """Return a number as a decimal where that is exact, else as a fraction."""
    if number is None:
        return None
    decimal = Decimal(number.numerator) / Decimal(number.denominator)
    return f"{decimal.normalize():f}" if Fraction(decimal) == number else str(number)
