"""What brainbrr is measured against: other ways from one EDF file to 19 channels at 256 Hz on disk, fsynced.

Each takes the EDF and a path to write to. None of them hashes what it reads or writes, except the limit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from threadpoolctl import threadpool_limits

from brainbrr.eeg.edf.reader import read_header
from brainbrr.eeg.signal.montage import TEN_TWENTY

Array = np.ndarray[Any, np.dtype[Any]]

LABELS = [f"EEG {name.upper()}-REF" for name in TEN_TWENTY]
RATE_HZ = 256
QUANTUM_UV = 0.125


def mne_tuned(edf: Path, into: Path) -> None:
    """MNE as well as it can: pick before loading, polyphase, and the edges of brainbrr's own filters."""
    import mne

    raw = mne.io.read_raw_edf(edf, include=LABELS, preload=True, verbose="error")
    if raw.info["sfreq"] != RATE_HZ:
        raw.resample(RATE_HZ, method="polyphase", verbose="error")
    raw.filter(0.5, 120.0, l_trans_bandwidth=0.5, h_trans_bandwidth=4.0, verbose="error")
    raw.notch_filter(60.0, notch_widths=0.4, trans_bandwidth=2.0, verbose="error")
    steps = raw.get_data(picks=LABELS)
    steps *= 1e6 / QUANTUM_UV
    np.clip(np.rint(steps, out=steps), -32767, 32767, out=steps)
    _write(steps.astype(np.int16), into)


def mne_naive(edf: Path, into: Path) -> None:
    """MNE as one would write it: load all, filter, notch, resample with its defaults, pick last, float32."""
    import mne

    raw = mne.io.read_raw_edf(edf, preload=True, verbose="error")
    raw.filter(0.5, 120.0, verbose="error")
    raw.notch_filter(60.0, verbose="error")
    raw.resample(RATE_HZ, verbose="error")
    _write(raw.get_data(picks=LABELS).astype(np.float32), into)


def upstream(edf: Path, into: Path, *, compressed: bool) -> None:
    """brain-go-brr's steps: FFT resampling, causal filters, z-score, and overlapping windows as npz.

    Its own files are compressed: 449 GB of what are 556 uncompressed.
    """
    import mne
    from scipy import signal

    raw = mne.io.read_raw_edf(edf, include=LABELS, preload=True, verbose="error")
    x = raw.get_data(picks=LABELS) * 1e6
    x = signal.resample(x, round(x.shape[1] * RATE_HZ / raw.info["sfreq"]), axis=1)
    x = signal.lfilter(*signal.butter(3, (0.5, 120.0), btype="bandpass", fs=RATE_HZ), x, axis=1)
    x = signal.lfilter(*signal.iirnotch(60.0, 30.0, fs=RATE_HZ), x, axis=1)
    x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    x = np.nan_to_num(np.clip(x, -10.0, 10.0)).astype(np.float32)
    length, stride = 60 * RATE_HZ, 10 * RATE_HZ
    windows = np.stack([x[:, start : start + length] for start in range(0, x.shape[1] - length + 1, stride)])
    save = np.savez_compressed if compressed else np.savez
    with into.open("wb") as file:
        save(file, windows=windows, labels=np.zeros((len(windows), length), dtype=np.float32))
        os.fsync(file.fileno())


def edfio_scipy(edf: Path, into: Path) -> None:
    """What one writes in a few lines: edfio, polyphase resampling, zero-phase second-order sections."""
    import edfio
    from scipy import signal

    file = edfio.read_edf(edf)
    rate = round(file.get_signal(LABELS[0]).sampling_frequency)
    x = np.stack([file.get_signal(label).data for label in LABELS])
    if rate != RATE_HZ:
        x = signal.resample_poly(x, RATE_HZ, rate, axis=1)
    band = signal.butter(2, (0.5, 120.0), btype="bandpass", fs=RATE_HZ, output="sos")
    notch = signal.tf2sos(*signal.iirnotch(60.0, 30.0, fs=RATE_HZ))
    x = signal.sosfiltfilt(np.concatenate([band, notch]), x, axis=1)
    _write(np.clip(np.rint(x / QUANTUM_UV), -32767, 32767).astype(np.int16), into)


def biosigio(edf: Path, into: Path) -> None:
    """What NEMAR makes: a Zarr store of int16 chunks of 4 s at 250 Hz, with a pyramid. It filters nothing."""
    from biosigio import Recording

    Recording.from_file(str(edf), importer="edf", mixed_rate="resample").to_zarr(str(into))


def limit(edf: Path, into: Path, *, n_hashes: int = 1) -> None:
    """The least that storing with proof costs: read, SHA-256, crc32c, write 19 channels of int16, read back by crc.

    `n_hashes` 2: the SHA-256 of what is written too. Nothing is filtered.
    """
    header = read_header(edf)
    data = edf.read_bytes()
    hashlib.sha256(data).digest()
    n_bytes = 2 * len(LABELS) * int(header.duration_s) * RATE_HZ
    samples = np.resize(np.frombuffer(data, np.uint8, offset=header.n_bytes), n_bytes)
    if n_hashes > 1:
        hashlib.sha256(samples).digest()
    crc = google_crc32c.value(samples)
    _write(samples, into)
    if google_crc32c.value(into.read_bytes()) != crc:
        raise OSError("what was written reads back as something else")


PEERS: dict[str, Callable[[Path, Path], None]] = {
    "MNE tuned": mne_tuned,
    "MNE naive": mne_naive,
    "edfio + scipy": edfio_scipy,
    "biosigio": biosigio,
    "the limit": limit,
    "the limit with two SHA-256": partial(limit, n_hashes=2),
    "upstream npz": partial(upstream, compressed=False),
    "upstream npz compressed": partial(upstream, compressed=True),
}


def pool(n_workers: int) -> ProcessPoolExecutor:
    """Return worker processes of one thread each that have imported all of this."""
    context = get_context("forkserver")
    workers = ProcessPoolExecutor(n_workers, mp_context=context, initializer=_be_ready)
    list(workers.map(_work, range(2 * n_workers)))
    return workers


def _be_ready() -> None:
    import mne.io  # noqa: F401
    import scipy.signal  # noqa: F401

    threadpool_limits(1)


def _work(_: int) -> float:
    """Take long enough that every worker starts."""
    return float(np.linalg.norm(np.ones((1000, 1000)) @ np.ones((1000, 1000))))


def _write(array: Array, into: Path) -> None:
    with into.open("wb") as file:
        array.tofile(file)
        file.flush()
        os.fsync(file.fileno())
