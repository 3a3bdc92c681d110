"""One window of a recording, as a view returns it."""

from __future__ import annotations

from dataclasses import dataclass

from brainbrr.core.arrays import Bool, Float32, UInt8
from brainbrr.core.display import counted
from brainbrr.loading.recordings import ViewRecording


@dataclass(frozen=True, repr=False)
class Window:
    """One window of a recording.

    Attributes
    ----------
    signal : ndarray of float32, shape (channels, samples)
        In µV where nothing is normalised, else in the window's units.
    valid : ndarray of bool, shape (samples,)
        False in padding and past the labels' duration.
    label : ndarray of uint8, shape (samples,)
        0 background, 1 seizure, 255 not labelled.
    events : tuple of (float, float, str)
        Start and stop in seconds of the recording, and the label, of each event that overlaps the window.
    recording : ViewRecording
        Where the window comes from.
    start_s : float
        Start of the window in the recording, in seconds.
    rate_hz : int
        Samples per second.
    channels : tuple of str
        The rows of `signal`.

    Examples
    --------
    >>> window = brainbrr.view("store", window=brainbrr.WindowSpec(4))[0]
    >>> window.start_s, window.signal.dtype, window.label.shape
    (0.0, dtype('float32'), (1024,))
    """

    signal: Float32
    valid: Bool
    label: UInt8
    events: tuple[tuple[float, float, str], ...]
    recording: ViewRecording
    start_s: float
    rate_hz: int
    channels: tuple[str, ...]

    def __repr__(self) -> str:
        rows, samples = self.signal.shape
        shape = f"{counted(rows, 'channel')}, {counted(samples, 'sample')} at {self.rate_hz} Hz"
        seizure_s = float((self.label == 1).sum()) / self.rate_hz
        return f"<Window of {self.recording.path} from {self.start_s:g} s: {shape}, {seizure_s:g} s of seizure>"
