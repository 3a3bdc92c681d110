"""Import this in a process whose children build recordings: what they need is compiled or loaded, and proven, once."""

from __future__ import annotations

from brainbrr.eeg.signal.preprocess import prove

prove()
