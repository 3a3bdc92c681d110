"""A view as other libraries take it: xarray's Dataset, whose samples are read when used, and braindecode's dataset.

The only module that imports them, and only when asked. Nothing is copied or written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brainbrr.core.arrays import Float32, UInt8
from brainbrr.errors import DependencyError
from brainbrr.loading.labels import Labeller
from brainbrr.loading.windows import UNKNOWN

if TYPE_CHECKING:
    import xarray
    from braindecode.datasets import BaseConcatDataset

    from brainbrr.views.view import View

_CLASSES = np.array(["background", "partial", "full", "unlabelled"])


def to_xarray(view: View) -> xarray.Dataset:
    """Return all windows as a Dataset; `signal` is read where it is used. Raises DependencyError without xarray."""
    try:
        import xarray
        from xarray.backends import BackendArray
        from xarray.core import indexing
    except ImportError as error:
        raise DependencyError("to_xarray() needs xarray", fix="pip install 'brainbrr[xarray]'") from error

    class Windows(BackendArray):  # type: ignore[misc, unused-ignore]  # xarray's own, which mypy may not see
        """The signal of every window, of which a part is read at a time."""

        shape = (len(view), len(view.channels), view.length)
        dtype = np.dtype(np.float32)

        def __getitem__(self, key: Any) -> Any:
            return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

        def _read(self, key: tuple[Any, ...]) -> Any:
            some = np.arange(len(view))[key[0]]
            read = np.empty((some.size, *self.shape[1:]), dtype=np.float32)
            for signal, (position, start) in zip(read, view.windows[some.reshape(-1)], strict=True):
                view.read(int(position), int(start), signal)
            rest = read[0] if some.ndim == 0 else read
            for axis, part in zip((-2, -1), key[1:], strict=True):
                rest = np.take(rest, np.arange(self.shape[axis])[part], axis=axis if rest.ndim > 1 else -1)
            return rest

    table, recordings = view.windows, list(view.recordings)
    place = table["recording"]
    return xarray.Dataset(
        {"signal": (("window", "channel", "time"), indexing.LazilyIndexedArray(Windows()))},
        coords={
            "window": np.arange(len(view)),
            "channel": list(view.channels),
            "time": ("time", np.arange(view.length) / view.rate_hz, {"units": "s"}),
            "start_s": ("window", table["start"] / view.rate_hz, {"units": "s"}),
            **{
                name: ("window", np.array([getattr(each, attribute) for each in recordings])[place])
                for name, attribute in (("recording", "path"), ("patient", "patient"), ("split", "split"))
            },
            "label": ("window", _CLASSES[view.classes()]),
        },
        attrs={
            "view": view.digest or "",
            "corpus": view.corpus,
            "recipe": f"{view.recipe.name} {view.recipe.digest}",
            "normalise": view.window.normalise,
            "synthetic": int(view.synthetic),
        },
    )


def to_braindecode(view: View) -> BaseConcatDataset[Any]:
    """Return the labelled windows, a dataset for each recording. Raises DependencyError without braindecode."""
    try:
        from braindecode.datasets import BaseConcatDataset
        from braindecode.datasets.base import RecordDataset
    except ImportError as error:
        raise DependencyError(
            "to_braindecode() needs braindecode", fix="pip install 'brainbrr[braindecode]'"
        ) from error

    recording = _record(RecordDataset)
    return BaseConcatDataset([recording(view, *each) for each in _labelled(view)])


def _record(base: Any) -> Any:
    class Recording(base):  # type: ignore[misc]
        """The labelled windows of one recording: (signal, 0 or 1, (window, first sample, sample after the last))."""

        def __init__(self, view: View, position: int, windows: Any, labels: UInt8) -> None:
            recording = view.recordings[position]
            said = {"path": recording.path, "patient": recording.patient, "split": recording.split}
            super().__init__(description={**said, "synthetic": recording.synthetic})
            self._view, self._position, self._windows = view, position, windows
            self.y = labels.astype(np.int64)

        def __len__(self) -> int:
            return len(self.y)

        def __getitem__(self, index: int) -> tuple[Float32, int, tuple[int, int, int]]:
            start = int(self._view.windows["start"][self._windows[index]])
            signal = np.empty((len(self._view.channels), self._view.length), dtype=np.float32)
            self._view.read(self._position, start, signal)
            signal = signal if self.transform is None else self.transform(signal)
            return signal, int(self.y[index]), (index, start, start + self._view.length)

    return Recording


def _labelled(view: View) -> list[tuple[int, Any, UInt8]]:
    """Return each recording's place with those of its windows that are labelled, and their labels."""
    table = view.windows
    labels = np.empty(len(view), dtype=np.uint8)
    valid = np.empty((len(view), view.length), dtype=bool)
    labeller = Labeller(view.index, kind="binary", per="window")
    labeller.fill(table["recording"].astype(np.int64), table["start"], labels, valid)
    found = []
    for position in np.unique(table["recording"]).tolist():
        windows = np.flatnonzero((table["recording"] == position) & (labels != UNKNOWN))
        if len(windows):
            found.append((position, windows, labels[windows]))
    return found
