"""What brainbrr is measured against: other ways from one EDF file to 19 channels at 256 Hz on disk, fsynced.

Each takes the EDF and a path to write to. None of them hashes what it reads or writes, except the limit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from scipy.fft import irfft, next_fast_len, rfft
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


def limit(edf: Path, into: Path, *, block: int | None = None) -> None:
    """The least that filtering by FFT can cost: read, xxh3, gather, one FFT pair for each channel, write.

    The pair is of the whole channel, or of blocks that fit into a core's own memory, which is quicker.
    """
    header = read_header(edf)
    data = edf.read_bytes()
    xxhash.xxh3_128_digest(data)
    records = np.frombuffer(data, "<i2", offset=header.n_bytes).reshape(header.n_records, -1)
    signals = {signal.label: signal for signal in header.signals}
    n = header.n_records * signals[LABELS[0]].samples_per_record
    size = block or next_fast_len(n, real=True)
    x = np.zeros((-(-n // size), size))
    flat = x.reshape(-1)[:n].reshape(header.n_records, -1)
    out = np.empty((len(LABELS), n), dtype=np.int16)
    for row, label in zip(out, LABELS, strict=True):
        start = signals[label].start
        flat[:] = records[:, start : start + flat.shape[1]]
        np.copyto(row, irfft(rfft(x), size).reshape(-1)[:n], casting="unsafe")
    _write(out, into)


PEERS: dict[str, Callable[[Path, Path], None]] = {
    "MNE tuned": mne_tuned,
    "MNE naive": mne_naive,
    "the limit": limit,
    "the limit in blocks": partial(limit, block=1 << 13),
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
