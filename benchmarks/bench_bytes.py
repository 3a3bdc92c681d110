"""Bytes on disk: one brainbrr store against the same windows as the upstream project's npz files.

    python benchmarks/bench_bytes.py [CORPUS]

Without CORPUS a synthetic one is generated: 6 recordings of 10 minutes. The peer writes, per recording, all
60 s windows every 10 s as float32 (n, 19, 15360) with their per-sample masks, as brain-go-brr's cache does,
uncompressed and compressed. Prints one row with the ratio.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import brainbrr
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.loading.windows import WindowSpec
from brainbrr.views.view import View


def npz_bytes(view: View, folder: Path) -> tuple[int, int]:
    """Return the bytes of npz files, uncompressed and compressed, that hold every window of a view."""
    plain = packed = 0
    for position in range(len(view.recordings)):
        rows = np.flatnonzero(view.windows["recording"] == position)
        windows = np.empty((len(rows), len(view.channels), view.length), dtype=np.float32)
        labels = np.empty((len(rows), view.length), dtype=np.uint8)
        valid = np.empty(view.length, dtype=np.bool_)
        for i, row in enumerate(rows):
            view.fill(int(row), windows[i], labels[i], valid)
        file = folder / "windows.npz"
        np.savez(file, windows=windows, labels=labels.astype(np.float32))
        plain += file.stat().st_size
        np.savez_compressed(file, windows=windows, labels=labels.astype(np.float32))
        packed += file.stat().st_size
    return plain, packed


def main() -> None:
    """Build the store, write the peer's files, compare."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "bench"
        if len(sys.argv) == 1:
            write_corpus(corpus, n_recordings=6, seconds=(600, 600))
        brainbrr.ingest(corpus, store=folder / "store")
        store = brainbrr.open_store(folder / "store")
        view = brainbrr.view(store, window=WindowSpec(length_s="60", stride_s="10", clip="10"))
        stored = sum(p.stat().st_size for p in (folder / "store").rglob("*") if p.is_file())
        plain, packed = npz_bytes(view, folder)
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "none"
    hours = sum(r.duration_s for r in view.recordings) / 3600
    data = "synthetic" if view.synthetic else corpus.name
    print(
        "date\tcommit\tmachine\tdata\thours\twindows\tstore_MB\tnpz_MB\tnpz_compressed_MB\tnpz/store\tcompressed/store"
    )
    print(
        f"{datetime.now(UTC):%Y-%m-%d}\t{commit}\t{platform.machine()}\t{data}\t{hours:.2f}\t{len(view)}\t"
        f"{stored / 1e6:.1f}\t{plain / 1e6:.1f}\t{packed / 1e6:.1f}\t{plain / stored:.2f}\t{packed / stored:.2f}"
    )


if __name__ == "__main__":
    main()
