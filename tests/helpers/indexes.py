"""Indexes that need no store."""

from __future__ import annotations

import numpy as np

from brainbrr.loading.index import Frame, Index


def small_index(
    lengths: list[int],
    *,
    seizures: dict[int, list[tuple[int, int]]] | None = None,
    labelled_until: list[int] | None = None,
    patients: list[int] | None = None,
    length: int = 4,
    stride: int = 2,
    tail: str = "pad",
    full_fraction: str = "1",
) -> Index:
    """Return the index of recordings that exist only as numbers: one channel at 1 Hz, nothing to read."""
    n = len(lengths)
    spans = [(seizures or {}).get(i, []) for i in range(n)]
    untils = labelled_until if labelled_until is not None else lengths
    return Index(
        frame=Frame(
            digest=None,
            rate_hz=1,
            length=length,
            stride=stride,
            tail=tail,
            full_fraction=full_fraction,
            clip=None,
            quantum_uv="0.125",
            channels=("Cz",),
            rows=("Cz",),
            absent=((),),
            matrices=(((1.0,),),),
            patients=tuple(map(str, sorted(set(patients or range(n))))),
            types=("seiz",),
            places=(),
        ),
        key=np.zeros((n, 16), dtype=np.uint8),
        content=np.zeros((n, 32), dtype=np.uint8),
        n_samples=np.array(lengths, dtype=np.int64),
        labelled=np.array([until > 0 for until in untils]),
        labelled_until=np.array(untils, dtype=np.int64),
        layout=np.zeros(n, dtype=np.int32),
        patient=np.array(patients or range(n), dtype=np.int32),
        k=np.zeros((n, 1), dtype=np.int8),
        centre=np.zeros((n, 1), dtype=np.int16),
        gain=np.ones((n, 1), dtype=np.float32),
        mixed=np.full(n, -1, dtype=np.int32),
        offset=np.zeros((0, 1)),
        scale=np.zeros((0, 1)),
        seizure_bounds=np.concatenate([[0], np.cumsum([len(each) for each in spans], dtype=np.int64)]),
        seizures=np.array([span for each in spans for span in each], dtype=np.int64).reshape(-1, 2),
        event_bounds=np.zeros(n + 1, dtype=np.int64),
        events=np.zeros((0, 2), dtype=np.int64),
        event_type=np.zeros(0, dtype=np.int32),
        event_place=np.zeros(0, dtype=np.int32),
    )
