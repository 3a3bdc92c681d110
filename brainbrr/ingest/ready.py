"""Import this in a process whose children build recordings: what they need is compiled or loaded, and proven, once.

What is in memory by then stays: looking through it for garbage again and again takes a tenth of a build.
"""

from __future__ import annotations

import gc

from brainbrr.eeg.signal.preprocess import prove

prove()
gc.collect()
gc.freeze()
