"""Arrays, metadata and arguments that the store's tests put. Plain integers, the same on every machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.core.digest import RowHasher, content_digest, key_of, recipe_digest, sha256
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.commit import Result, keep_together
from brainbrr.store.formats import FILL, ArrayMeta, Codec
from brainbrr.store.store import Store
from brainbrr.store.writer import Draft

RECIPE_FIELDS = {"rate_hz": 16, "channels": ["A", "B", "C"], "revision": 0}


def meta_of(
    n_channels: int,
    n_samples: int,
    *,
    rate_hz: int = 16,
    absent: tuple[int, ...] = (),
    k: int = 0,
    gaps: tuple[tuple[int, int], ...] = (),
) -> ArrayMeta:
    names = tuple(f"E{i}" for i in range(n_channels))
    return ArrayMeta(
        channels=names,
        absent=tuple(names[i] for i in absent),
        n_samples=n_samples,
        rate_hz=rate_hz,
        quantum_uv="0.125",
        k=tuple(0 if i in absent else k for i in range(n_channels)),
        gaps=gaps,
    )


def samples_of(meta: ArrayMeta, *, seed: int = 0) -> Any:
    """int16 (channels, n_samples) over the whole legal range; absent channels and gaps are fill."""
    samples = np.random.default_rng(seed).integers(-32767, 32768, (meta.n_channels, meta.n_samples)).astype(np.int16)
    return _filled(samples, meta)


def _filled(samples: Any, meta: ArrayMeta) -> Any:
    samples[[name in meta.absent for name in meta.channels]] = FILL
    for start, stop in meta.gaps:
        samples[:, start:stop] = FILL
    return samples


def arguments(meta: ArrayMeta, *, source: str = "an EDF", recipe_fields: Any = None) -> dict[str, Any]:
    """The keyword arguments of a put, all but the samples; `source` stands for an EDF's bytes."""
    fields = RECIPE_FIELDS if recipe_fields is None else recipe_fields
    return {
        "meta": meta,
        "source": sha256(source.encode()),
        "recipe_fields": fields,
        "statistics": {"n": meta.n_samples, "sums": [0] * meta.n_channels},
        "signal": {"notes": ["Elektrode µ locker"], "synthetic": True},
        "provenance": {"brainbrr": "0.1.0"},
    }


def key_for(source: str = "an EDF") -> str:
    """The key of what arguments() of the same source stores."""
    return key_of(source=sha256(source.encode()), recipe=recipe_digest(RECIPE_FIELDS))


def eeg_of(meta: ArrayMeta, *, seed: int = 0) -> Any:
    """int16 (channels, n_samples) that wander as EEG does, so that a codec finds something to save."""
    steps = np.random.default_rng(seed).integers(-60, 61, (meta.n_channels, meta.n_samples))
    return _filled(((np.cumsum(steps, axis=1) + 2000) % 4001 - 2000).astype(np.int16), meta)


def write_object(folder: Path, samples: Any, meta: ArrayMeta, *, codec: Codec = "none") -> int:
    """Write an object's folder outside of any store, in blocks of odd sizes."""
    with Draft(folder, meta, codec) as draft:
        for start in range(0, meta.n_samples, 137):
            draft.append(samples[:, start : start + 137])
        n_bytes = draft.finish()
        draft.sync()
    return n_bytes


def content_of(samples: Any, meta: ArrayMeta) -> str:
    """The content of an array: the same for any tiles and codec."""
    rows = RowHasher(meta.n_channels)
    rows.update(samples)
    return content_digest(meta.attributes(), rows.digests())


def row_of(path: str, **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "path": path,
        "patient": path.split("/")[-1][:8],
        "session": None,
        "split": "train",
        "source": sha256(path.encode()),
        "n_bytes": 1000,
        "signal_us": None,
        "synthetic": True,
        "labels": None,
        "annotations": None,
        "refusals": {},
    }
    return Row(**{**fields, **changes})


def catalog_of(rows: list[Row], **changes: Any) -> Catalog:
    fields: dict[str, Any] = {
        "corpus": "demo",
        "seq": 1,
        "parent": None,
        "layout": "tusz",
        "labelled": True,
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Catalog(**{**fields, **changes}, rows={row.path: row for row in rows})


def overwrite(path: Path, data: bytes) -> None:
    """Damage a file in place, as a disk would: its mode does not protect it."""
    path.chmod(0o644)
    path.write_bytes(data)


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every version of some bytes in which one bit differs, with the position of its byte."""
    damaged = bytearray(data)
    for i in range(len(data)):
        for bit in range(8):
            damaged[i] ^= 1 << bit
            yield i, bytes(damaged)
            damaged[i] ^= 1 << bit


def flips_on_disk(path: Path) -> Iterator[int]:
    """Flip every bit of a file in turn, in place; yields the position of the damaged byte."""
    path.chmod(0o644)
    with path.open("r+b", buffering=0) as file:
        for i, byte in enumerate(path.read_bytes()):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), i)
                yield i
            os.pwrite(file.fileno(), bytes([byte]), i)


def put_together(store: Store, sources: Mapping[str, int], meta: ArrayMeta) -> list[Result]:
    """Store an array for each source, made from its seed, as one batch."""
    with contextlib.ExitStack() as held:
        finished = []
        for source, seed in sources.items():
            draft = held.enter_context(store.draft(meta))
            draft.append(samples_of(meta, seed=seed))
            fields = {name: value for name, value in arguments(meta, source=source).items() if name != "meta"}
            finished.append(store.finish(draft, **fields))
        return keep_together(store, finished)
