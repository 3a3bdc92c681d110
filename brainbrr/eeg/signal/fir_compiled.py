"""The filters of `fir.Chain` compiled: resample, filter, certify and quantise four channels at a time, in one pass.

The same numbers as `fir` gives, since both are exact: only the order of sums differs. Imported only where numba is.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from brainbrr.core.arrays import Float64, Int16, IntP, UInt8
from brainbrr.core.compiled import compiled
from brainbrr.core.vectors import I16, I32, load, store
from brainbrr.eeg.signal import fft_compiled as fft
from brainbrr.eeg.signal.fir import FEW_PHASES, Chain, check_distance
from brainbrr.eeg.signal.resample_compiled import between, taps_of

_LANES, _ROWS, _COLUMNS = fft.LANES, fft.ROWS, fft.COLUMNS
_MOST_TIES = 1 << 12
_MOST_MAGNITUDE = 1 << 51  # what `vectors.rounded` can round


class Channels(NamedTuple):
    """Channels to filter: their rows of the inputs and of the outputs, and the factors of their whole numbers."""

    rows: IntP
    places: IntP
    gains: Float64


class Found(NamedTuple):
    """What a pass found of its channels: the largest absolute whole number of each, and the numbers near a middle.

    `ties`: the index of the channel, the place in the output, the whole number; None where there are too many.
    """

    largest: Float64
    ties: list[tuple[int, int, float]] | None


def fits(chain: Chain) -> bool:
    """Say whether the compiled filters can take a chain: every bound that they need holds for it."""
    if not 0 < chain.margin <= fft.SIZE // 4 or (chain.resampler and chain.resampler.phases > FEW_PHASES):
        return False
    try:
        return chain.bound() < _MOST_MAGNITUDE
    except ArithmeticError:
        return False


@lru_cache(maxsize=8)
def _response(taps: tuple[int, ...]) -> Float64:
    around_zero = np.zeros(fft.SIZE)
    around_zero[: len(taps)] = taps
    return fft.ordered(np.fft.fft(np.roll(around_zero, -(len(taps) // 2))).real)


class Workspace:
    """The memory that one thread filters in, for as long as it lives: 0.9 MB."""

    def __init__(self) -> None:
        sizes = {
            "inputs": 2 * _ROWS * fft.INPUT_ROW,
            "grid": fft.GRID_BYTES,
            "outputs": 2 * _ROWS * fft.OUTPUT_ROW,
            "scratch": 4096,
            "wholes": 2 * _ROWS * 8 * _LANES,
            "masks": 2 * _ROWS * 8,
            "gains": 8 * _LANES,
            "seen": 3 * 8 * _LANES,
            "dump": 2 * _COLUMNS,
        }
        starts = np.cumsum([0, *(-(-size // 64) * 64 for size in sizes.values())])
        memory = np.zeros(int(starts[-1]) + 64, dtype=np.uint8)
        memory = memory[-memory.ctypes.data % 64 :]
        parts: dict[str, UInt8] = {
            name: memory[start : start + size] for (name, size), start in zip(sizes.items(), starts, strict=False)
        }
        self.inputs = parts["inputs"].view(np.int32).reshape(2 * _ROWS, _COLUMNS + _LANES, _LANES)
        self.outputs = parts["outputs"].view(np.int16).reshape(2, _ROWS, _COLUMNS + 8, _LANES)
        self.wholes = parts["wholes"].view(np.float64).reshape(2, _ROWS, _LANES)
        self.masks = parts["masks"].view(np.int64).reshape(2, _ROWS)
        self.gains, self.seen = parts["gains"].view(np.float64), parts["seen"].view(np.float64).reshape(3, _LANES)
        self.places, self.numbers = np.zeros((_MOST_TIES, 2), dtype=np.int64), np.zeros(_MOST_TIES)
        self.grid, self.scratch, self.dump = (parts[name] for name in ("grid", "scratch", "dump"))


_threads = threading.local()


def _workspace() -> Workspace:
    found: Workspace | None = getattr(_threads, "workspace", None)
    if found is None:
        found = _threads.workspace = Workspace()
    return found


def quantised(
    chain: Chain,
    x: Int16,
    channels: Channels,
    doubtful: float,
    *,
    first: int,
    n: int,
    start: int,
    stop: int,
    out: Int16,
) -> Found:
    """Fill rows of `out` int16 (any, stop − start) with output samples times gains, rounded half to even.

    `x` int16 (any, any) are samples from `first` on of signals of n that cover `chain.inputs`. Ties are numbers
    further than `doubtful` from a whole one once they are multiplied: the caller decides them. Raises ArithmeticError
    as `Chain.apply`.
    """
    resampler, margin = chain.resampler, chain.margin
    taps = taps_of(resampler)
    needed = 2 * resampler.reach if resampler else 0
    low, high = chain.inner(start, stop, first + taps.lead, first + x.shape[1] - taps.low.shape[1] + taps.lead + needed)
    chosen = x if len(channels.rows) == len(x) else x[channels.rows]
    ends = [chain.between(chosen, first, n, *span) for span in ((start - margin, low), (high, stop + margin))]
    ratio = (resampler.phases, resampler.step, resampler.reach) if resampler else (1, 1, 0)
    space = _workspace()
    largest, places, numbers = np.zeros(len(channels.rows)), space.places, space.numbers
    distance, n_ties = _quantised(
        x, first, channels, (*ends, low, high), taps, ratio, (start, stop, margin),
        (*fft.tables(), _response(chain.taps)), (space.inputs, space.grid, space.scratch, space.outputs, space.dump),
        (space.wholes, space.masks, space.gains, space.seen), (doubtful, largest, places, numbers), out,
    )  # fmt: skip
    check_distance(distance)
    if n_ties > len(numbers):
        return Found(largest, None)
    return Found(largest, [(*places[i].tolist(), float(numbers[i])) for i in range(n_ties)])


@intrinsic
def _gather(_typing: Any, source: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Take 8 int16 of four channels that lie side by side apart."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source, *channels = arguments
        found = load(builder, source, ir.VectorType(I16, 32), 64)
        for i, each in enumerate(channels):
            mask = ir.Constant(ir.VectorType(I32, 8), [4 * j + i for j in range(8)])
            store(builder, builder.shuffle_vector(found, ir.Constant(found.type, ir.Undefined), mask), each, 2)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@compiled
def _set_masks(masks: Any, column: Any, spans: Any) -> Any:
    """Mark the rows of each block that a column has outputs in."""
    for block in range(2):
        low, high, _ = spans[block]
        for row in range(64):
            at = 128 * row + column
            masks[block, row] = 0x7FFFFFFFFFFFFFFF if low <= at < high else 0


@compiled
def _note_ties(
    c: Any, at: Any, shift: Any, spans: Any, column: Any, lanes: Any, space: Any, decided: Any, n_ties: Any
) -> Any:
    """Look for the products of a column that are near the middle; return how many there are by now."""
    wholes, gains = space[0], space[2]
    doubtful, places, numbers = decided[0], decided[2], decided[3]
    for block in range(2):
        for row in range(64):
            i = 128 * row + column
            if spans[block][0] <= i < spans[block][1]:
                for lane in range(lanes):
                    product = wholes[block, row, lane] * gains[lane]
                    if abs(product - np.rint(product)) > doubtful:
                        if n_ties < len(numbers):
                            places[n_ties, 0] = c + lane
                            places[n_ties, 1] = at + block * shift + i - spans[block][2]
                            numbers[n_ties] = wholes[block, row, lane]
                        n_ties += 1
    return n_ties


@compiled
def _put(outputs: Any, block: Any, span: Any, at: Any, places: Any, lanes: Any, dump: Any, out: Any) -> None:
    """Copy the outputs of a block to their channels."""
    low, high, margin = span
    base, stride = out.ctypes.data, out.strides[0]
    nowhere = dump.ctypes.data
    for row in range(low // 128, -(-high // 128)):
        column, end = max(low - 128 * row, 0), min(high - 128 * row, 128)
        to = at + 128 * row + column - margin
        source = outputs.ctypes.data + outputs.strides[0] * block + outputs.strides[1] * row
        while column < end:
            if column % 8 == 0 and column + 8 <= end:
                _gather(
                    source + 8 * column,
                    base + stride * places[0] + 2 * to,
                    base + stride * places[1] + 2 * to if lanes > 1 else nowhere,
                    base + stride * places[2] + 2 * to if lanes > 2 else nowhere,
                    base + stride * places[3] + 2 * to if lanes > 3 else nowhere,
                )
                column += 8
                to += 8
            else:
                for lane in range(lanes):
                    out[places[lane], to] = outputs[block, row, column, lane]
                column += 1
                to += 1


@compiled
def _quantised(
    x: Any, first: Any, channels: Any, ends: Any, taps: Any, ratio: Any, span: Any, tables: Any, space: Any,
    seen_space: Any, decided: Any, out: Any,
) -> Any:  # fmt: skip
    start, stop, margin = span
    inputs, grid, scratch, outputs, dump = space
    wholes, masks, gains, seen = seen_space
    roots, row_roots, turns, response = tables
    more = (8192 - 2 * margin) // 128  # rows from one block to the next
    step, origin = 128 * more, start - margin
    distance, n_ties = 0.0, 0
    for c in range(0, len(channels.rows), 4):
        lanes = min(4, len(channels.rows) - c)
        gains[:] = 0.0
        gains[:lanes] = channels.gains[c : c + lanes]
        seen[:] = 0.0
        n_kept = 0
        for at in range(0, stop - start, 2 * step):
            for row in range(n_kept):
                inputs[row] = inputs[row + 2 * more]
            for row in range(n_kept, 64 + more):
                t = origin + at + 128 * row
                between(x, first, channels.rows, c, ends, taps, ratio, origin, t, t + 128, inputs[row])
            n_kept = 64 - more
            fft.forward(
                inputs.ctypes.data, inputs.strides[0] * more, grid.ctypes.data, scratch.ctypes.data, turns.ctypes.data,
                roots.ctypes.data,
            )  # fmt: skip
            fft.rows(grid.ctypes.data, row_roots.ctypes.data, response.ctypes.data)
            left = stop - start - at
            spans = (
                (margin, margin + min(step, left), margin),
                (margin, margin + max(min(step, left - step), 0), margin),
            )
            change = (margin % 128, spans[0][1] % 128, spans[1][1] % 128)
            for column in range(128):
                if column == 0 or column == change[0] or column == change[1] or column == change[2]:
                    _set_masks(masks, column, spans)
                fft.backward(
                    grid.ctypes.data + 64 * column, scratch.ctypes.data, turns.ctypes.data + 1024 * column,
                    roots.ctypes.data, masks.ctypes.data, gains.ctypes.data, seen.ctypes.data, wholes.ctypes.data,
                    outputs.ctypes.data + 8 * column,
                )  # fmt: skip
                if max(seen[2, 0], seen[2, 1], seen[2, 2], seen[2, 3]) > decided[0]:
                    n_ties = _note_ties(c, at, step, spans, column, lanes, seen_space, decided, n_ties)
                    seen[2] = 0.0
            for block in range(2):
                if spans[block][0] < spans[block][1]:
                    _put(outputs, block, spans[block], at + block * step, channels.places[c:], lanes, dump, out)
        for lane in range(lanes):
            decided[1][c + lane] = seen[1, lane]
        distance = max(distance, seen[0, 0], seen[0, 1], seen[0, 2], seen[0, 3])
    return distance, n_ties
