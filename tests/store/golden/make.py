"""Write the tiny store that every later version must open: `python tests/store/golden/make.py FOLDER [CODEC]`.

It was run once for format 2, and once for format 2 with zstd. When a committed store no longer opens, the code is
wrong: never the store.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from brainbrr.core.digest import recipe_digest, sha256
from brainbrr.store.catalog import Catalog, Refusal, Row
from brainbrr.store.formats import FILL, ArrayMeta, Codec
from brainbrr.store.store import Store

RECIPE = {
    "bandpass_hz": ["0.5", "120"],
    "channels": ["Fp1", "Cz", "Pz"],
    "notch_hz": "60",
    "quantum_uv": "0.125",
    "rate_hz": 100,
    "revision": 0,
}
METAS = {
    "edf/train/aaaaaaaa/s001_2001/01_tcp_ar/aaaaaaaa_s001_t000.edf": ArrayMeta(
        ("Fp1", "Cz", "Pz"), (), 2345, 100, "0.125", (0, 1, 3)
    ),
    "edf/dev/aaaaaaab/s001_2002/02_tcp_le/aaaaaaab_s001_t000.edf": ArrayMeta(
        ("Fp1", "Cz", "Pz"), ("Pz",), 1000, 100, "0.125", (0, 0, 0)
    ),
}
VIEW = "5" * 64


def samples_of(meta: ArrayMeta) -> np.ndarray:
    """A saw tooth in each channel: integers only, so that every machine writes the same."""
    time, channel = np.meshgrid(np.arange(meta.n_samples), np.arange(meta.n_channels))
    samples = ((time * (37 + 11 * channel) + 1000 * channel) % 65_535 - 32_767).astype(np.int16)
    samples[[name in meta.absent for name in meta.channels]] = FILL
    return samples


def main(folder: Path, codec: Codec = "none") -> None:
    store, recipe, rows = Store.create(folder, codec=codec), recipe_digest(RECIPE), []
    for path, meta in METAS.items():
        source = sha256(path.encode())
        store.put(
            samples_of(meta),
            meta=meta,
            source=source,
            recipe_fields=RECIPE,
            statistics={"n": meta.n_samples, "sums": [int(row.sum(dtype=np.int64)) for row in samples_of(meta)]},
            signal={"synthetic": True, "notes": []},
            provenance={"brainbrr": "0.1.0", "recipe_name": "golden"},
        )
        rows.append(
            Row(
                path=path,
                patient=path.split("/")[2],
                session="s001",
                split=path.split("/")[1],
                source=source,
                n_bytes=10_000,
                signal_us=meta.n_samples * 10_000,
                synthetic=True,
                labels=sha256(b"labels"),
                annotations={
                    "labelled": True,
                    "seizures": [[1_000_000, 2_500_000]],
                    "typed": [],
                    "duration_us": 10_000_000,
                    "notes": [],
                },
                refusals={},
            )
        )
    refusal = Refusal(error="EdfError", reason="this is a git-LFS pointer, not an EDF", accepted=True, labels=None)
    path = "edf/eval/aaaaaaac/s001_2003/01_tcp_ar/aaaaaaac_s001_t000.edf"
    refused = Row(
        path=path,
        patient="aaaaaaac",
        session="s001",
        split="eval",
        source=None,
        n_bytes=130,
        signal_us=None,
        synthetic=False,
        labels=None,
        annotations=None,
        refusals={recipe: refusal},
    )
    for generation in (rows, [*rows, refused]):
        store.publish(
            "golden",
            lambda _, generation=generation: Catalog(
                "golden", 0, None, "tusz", True, "2026-01-01T00:00:00+00:00", {row.path: row for row in generation}
            ),
        )
    store.freeze(VIEW, {"format": 1, "profile": "smoke", "recordings": [row.path for row in rows]})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
