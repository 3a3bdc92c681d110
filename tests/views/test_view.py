"""Views read what is stored, say what is missing, and freeze."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import brainbrr
from brainbrr import WindowSpec
from brainbrr.core.digest import canonical_json
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store.store import Store
from brainbrr.views.view import View


@pytest.fixture(scope="module")
def stored(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("views")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "host"))
        brainbrr.ingest(generated, store=folder / "store", workers=1)
        yield brainbrr.open_store(folder / "store")


def windows(store: Store, **fields: object) -> View:
    spec = {"length_s": "4", "stride_s": "3", "normalise": "none", **fields}
    return brainbrr.view(store, window=WindowSpec.model_validate(spec))


def test_a_window_is_what_plain_zarr_reads_times_the_step(stored: Store) -> None:
    view = windows(stored, tail="pad", missing="zero")
    for index in (0, 1, len(view) // 2, len(view) - 1):
        window = view[index]
        array = stored.open_array(window.recording.content)
        start = round(window.start_s * 256)
        samples = np.asarray(array[:, start : start + 1024]).astype(np.float32)
        steps = np.array([0.125 * 2**k for k in array.attrs["k"]], dtype=np.float32)
        present = [name not in array.attrs["absent"] for name in array.attrs["channels"]]
        n = samples.shape[1]
        assert np.array_equal(window.signal[present, :n], (samples * steps[:, None])[present])
        assert not window.signal[:, n:].any()
        assert not window.signal[[not p for p in present]].any()


def test_labels_and_validity_follow_the_label_file(stored: Store) -> None:
    view = windows(stored, tail="pad")
    seen_seizure = False
    for index in range(len(view)):
        window = view[index]
        times = window.start_s + np.arange(view.length) / 256
        expected = np.zeros(view.length, dtype=bool)
        for start_us, stop_us in window.recording.seizures:
            expected |= (times >= start_us / 1e6) & (times < stop_us / 1e6)
        real = times < window.recording.duration_s
        assert np.array_equal(window.valid, real)
        assert np.array_equal(window.label[real] == 1, expected[real])
        assert (window.label[~real] == 255).all()
        assert bool(window.events) == bool(expected[real].any())
        seen_seizure |= bool(expected.any())
    assert seen_seizure


def test_classes_agree_with_labels(stored: Store) -> None:
    view = windows(stored, tail="pad")
    for index, kind in enumerate(view.classes()):
        label = view[index].label[view[index].valid]
        assert kind == (0 if not label.any() else 2 if label.all() else 1)


def test_zscore_over_a_recording_has_mean_0_and_deviation_1_also_where_interpolated(stored: Store) -> None:
    view = windows(stored, normalise="zscore", reference="average")
    position = next(i for i, r in enumerate(view.recordings) if r.record.array.absent)
    whole = np.empty((19, view.recordings[position].n_samples), dtype=np.float32)
    view.read(position, 0, whole)
    np.testing.assert_allclose(whole.mean(axis=1, dtype=np.float64), 0, atol=1e-4)
    np.testing.assert_allclose(whole.std(axis=1, dtype=np.float64), 1, atol=1e-4)


def test_absent_channels_are_nan_when_asked(stored: Store) -> None:
    view = windows(stored, missing="nan")
    position = next(i for i, r in enumerate(view.recordings) if r.record.array.absent)
    window = view[int(np.flatnonzero(view.windows["recording"] == position)[0])]
    absent = window.recording.record.array.absent
    assert {name for name, row in zip(view.channels, window.signal, strict=True) if np.isnan(row).all()} == set(absent)


def test_digest_knows_window_and_labels_but_no_path(stored: Store, generated: Path, tmp_path: Path) -> None:
    view = windows(stored)
    assert view.digest and len(view.digest) == 64
    assert windows(stored, stride_s="2").digest != view.digest
    assert windows(stored, missing="nan").digest != view.digest
    moved = tmp_path / "other" / "elsewhere"
    shutil.copytree(generated, moved)
    brainbrr.ingest(moved, store=tmp_path / "store", workers=1)
    again = brainbrr.view(brainbrr.open_store(tmp_path / "store"), window=view.window)
    assert (again.corpus, again.digest) == ("elsewhere", view.digest)


def test_a_frozen_view_reads_the_same_without_the_catalog(stored: Store, tmp_path: Path) -> None:
    view = windows(stored, tail="shift", reference="bipolar", clip="200")
    frozen = json.loads(canonical_json(view.to_json()))
    copy = Store.open(Path(shutil.copytree(stored.location, tmp_path / "store")))
    shutil.rmtree(copy.location / "catalog")
    again = View.from_json(copy, frozen)
    assert again.digest == view.digest and len(again) == len(view)
    assert np.array_equal(again[3].signal, view[3].signal)
    frozen["recordings"][0]["patient"] = "somebody"
    with pytest.raises(IntegrityError, match="its own digest"):
        View.from_json(copy, frozen)


def test_a_frozen_view_says_when_the_store_no_longer_holds_it(stored: Store, tmp_path: Path) -> None:
    frozen = windows(stored).to_json()
    with pytest.raises(IntegrityError, match="does not hold"):
        View.from_json(Store.create(tmp_path / "empty"), frozen)


def test_an_incomplete_view_has_no_digest_and_cannot_be_frozen(generated: Path, tmp_path: Path) -> None:
    brainbrr.ingest(generated, store=tmp_path / "store", profile="smoke", workers=1)
    view = brainbrr.view(brainbrr.open_store(tmp_path / "store"))
    assert (view.state, view.digest, len(view.missing)) == ("incomplete", None, 12)
    with pytest.raises(UsageError, match="incomplete"):
        view.to_json()


def test_a_damaged_tile_is_an_error_not_zeros(generated: Path, tmp_path: Path) -> None:
    brainbrr.ingest(generated, store=tmp_path / "store", profile="smoke", workers=1)
    store = brainbrr.open_store(tmp_path / "store")
    view = brainbrr.view(store, profile="smoke", window=WindowSpec(length_s="4", stride_s="4"))
    shard = store.layout.object(view.recordings[0].content) / "c.0.0"
    shard.chmod(0o644)
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match=f"from 0 s to 10 s .* in recording {view.recordings[0].path} of demo"):
        view[0]


def test_a_view_survives_pickling_for_worker_processes(stored: Store) -> None:
    view = windows(stored)
    view[0]
    again = pickle.loads(pickle.dumps(view))
    assert np.array_equal(again[5].signal, view[5].signal)


def test_to_mne_gives_volts_and_events(stored: Store) -> None:
    view = windows(stored, normalise="zscore")
    position = next(i for i, r in enumerate(view.recordings) if r.seizures)
    raw = view.to_mne(position)
    recording = view.recordings[position]
    assert raw.info["sfreq"] == 256 and raw.n_times == recording.n_samples
    in_microvolts = windows(stored)
    signal = np.empty((19, recording.n_samples), dtype=np.float32)
    in_microvolts.read(position, 0, signal)
    np.testing.assert_allclose(raw.get_data() * 1e6, signal, atol=1e-6)
    onsets = sorted({start / 1e6 for start, _ in recording.seizures})
    assert min(raw.annotations.onset) == pytest.approx(onsets[0])


def test_index_out_of_range_is_an_index_error(stored: Store) -> None:
    view = windows(stored)
    with pytest.raises(IndexError, match=str(len(view))):
        view[len(view)]
    assert np.array_equal(view[-1].signal, view[len(view) - 1].signal)
