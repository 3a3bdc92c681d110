"""What is known about each sample of a window: labels as small integers, and which samples count. Reads no signal."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from brainbrr.core.arrays import Bool, Int64, UInt8
from brainbrr.loading.index import NO_CHANNELS, SEIZURE_TYPE, Index
from brainbrr.loading.windows import UNKNOWN, touching

Kind = Literal["none", "binary", "type", "per-channel"]
Per = Literal["sample", "window"]

SEIZURE = 1


class Labeller:
    """Labels of one kind, uint8, 255 where there is no label, and in gaps: unlabelled time is never background.

    none: 255 everywhere. binary: 0 background, 1 seizure. type: 0 background, else a place in `types`, which begins
    with "bckg". per-channel: 0 or 1 for each row of the view; a seizure marks the rows that its label file names (a
    pair marks its electrodes, an electrode its pairs), all rows where it names none; while one is on channels that the
    view cannot show, rows without another are 255.
    Per sample, or per window: a window is what any of its labelled samples is, of types the one with most samples; one
    that touches unknown time and nothing else than background is 255.
    """

    def __init__(self, index: Index, *, kind: Kind, per: Per = "sample") -> None:
        self._index, self.kind, self.per = index, kind, per
        self.types = ("bckg", *index.frame.types)
        self._marks = np.array([_marked(index.frame.rows, place) for place in index.frame.places], dtype=np.bool_)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one window's label."""
        rows = (len(self._index.frame.rows),) if self.kind == "per-channel" else ()
        return rows if self.per == "window" else (*rows, self._index.frame.length)

    def fill(self, recordings: Int64, starts: Int64, label: UInt8, valid: Bool) -> None:
        """Fill the labels of windows, (windows, ...) in the shape above, and valid bool (windows, length).

        valid is false in padding, in gaps and, unless the kind is none, where there is no label.
        """
        index, length = self._index, valid.shape[1]
        known = index.n_samples if self.kind == "none" else index.labelled_until
        n = np.clip(known[recordings] - starts, 0, length)
        short = np.flatnonzero(n < length).tolist()
        valid[:] = True
        for i in short:
            valid[i, n[i] :] = False
        if self.kind == "none" or self.per == "window":
            label[...] = UNKNOWN
        else:
            label[:] = 0
            for i in short:
                label[i, ..., n[i] :] = UNKNOWN
        if self.kind == "none":
            for i, first, last in index.gaps_in(recordings, starts, n):
                valid[i, first:last] = False
            return
        unclear = self._fill_unknown(recordings, starts, n, label, valid)
        window, onset, offset = touching(index.seizure_bounds, index.seizures, recordings, starts, n)
        if self.kind == "binary" and self.per == "window":
            label[window] = SEIZURE
            return
        if self.kind == "binary":
            for i, first, last in zip(window.tolist(), onset.tolist(), offset.tolist(), strict=True):
                label[i, first:last] = SEIZURE
            return
        window = np.concatenate([window, unclear])
        if self.kind == "type":
            named, _, _ = touching(index.event_bounds, index.events, recordings, starts, n)
            window = np.concatenate([window, named])
        for i in np.unique(window).tolist():
            where = int(recordings[i]), int(starts[i]), int(n[i])
            if self.per == "sample":
                self._mark(*where, label[i])
                valid[i] &= (label[i] != UNKNOWN).reshape(-1, valid.shape[1]).any(axis=0)
            else:
                label[i] = self._whole(*where)

    def _fill_unknown(self, recordings: Int64, starts: Int64, n: Int64, label: UInt8, valid: Bool) -> Int64:
        """Fill in unknown time, for binary labels, and make it invalid. Return the windows that touch it.

        Seizures are filled in later: no seizure is in unknown time, but it may be in a window with some.
        """
        if self.per == "window":
            label[n > 0] = 0
        window, onset, offset = touching(self._index.unknown_bounds, self._index.unknown, recordings, starts, n)
        if self.kind == "binary" and self.per == "window":
            label[window] = UNKNOWN
        for i, first, last in zip(window.tolist(), onset.tolist(), offset.tolist(), strict=True):
            valid[i, first:last] = self.kind != "binary" and self.per == "sample"  # what is marked there is known
            if self.kind == "binary" and self.per == "sample":
                label[i, first:last] = UNKNOWN
        return window

    def _whole(self, recording: int, start: int, n: int) -> Any:
        """Return the label of a window whose first n samples are labelled."""
        samples = np.zeros((*self.shape, n), dtype=np.uint8)
        self._mark(recording, start, n, samples)
        quiet = np.where((samples == UNKNOWN).any(axis=-1), UNKNOWN, 0)
        if self.kind != "type":
            return np.where((samples == SEIZURE).any(axis=-1), SEIZURE, quiet)
        counts = np.bincount(samples[samples != UNKNOWN], minlength=len(self.types))[1:]
        return counts.argmax() + 1 if counts.any() else quiet

    def _mark(self, recording: int, start: int, n: int, label: UInt8) -> None:
        """Write what is no background into the first n samples of a label by type or by channel."""
        index = self._index
        first, last = index.seizure_bounds[recording : recording + 2]
        seizures = [_within(span, start, n) for span in index.seizures[first:last].tolist()]
        seizure, named = np.zeros((2, n), dtype=np.bool_)
        for onset, offset in seizures:
            seizure[onset:offset] = True
        first, last = index.unknown_bounds[recording : recording + 2]
        for span in index.unknown[first:last].tolist():
            onset, offset = _within(span, start, n)
            label[..., onset:offset] = UNKNOWN
        first, last = index.event_bounds[recording : recording + 2]
        for event in range(first, last):
            onset, offset = _within(index.events[event].tolist(), start, n)
            named[onset:offset] = True
            if self.kind == "type":
                label[onset:offset] = index.event_type[event] + 1
                continue
            place, part, during = index.event_place[event], label[:, onset:offset], seizure[onset:offset]
            marks = np.ones(len(label), dtype=np.bool_) if place == NO_CHANNELS else self._marks[place]
            if marks.any():
                part[np.ix_(marks, during)] = SEIZURE
            else:
                part[(part != SEIZURE) & during] = UNKNOWN
        seizure &= ~named
        label[..., :n][..., seizure] = (
            self.types.index(SEIZURE_TYPE) if self.kind == "type" and seizure.any() else SEIZURE
        )


def not_shown(index: Index) -> tuple[str, ...]:
    """Return the channels of events that are on no row of a view: per-channel labels are unknown during a seizure."""
    frame = index.frame
    return tuple(sorted({"+".join(place) for place in frame.places if not any(_marked(frame.rows, place))}))


def _within(span: list[int], start: int, n: int) -> tuple[int, int]:
    onset, offset = span
    return min(max(onset - start, 0), n), min(max(offset - start, 0), n)


def _marked(rows: tuple[str, ...], place: tuple[str, ...]) -> list[bool]:
    """Say for each row whether one of the channels that a label file names is it, holds it or is in it."""
    return [any(row == name or row in name.split("-") or name in row.split("-") for name in place) for row in rows]
