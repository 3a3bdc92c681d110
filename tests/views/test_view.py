"""Views read what is stored, say what is missing, and freeze."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import brainbrr
from brainbrr import WindowSpec
from brainbrr.core.digest import canonical_json
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import DependencyError, IntegrityError, UsageError, ViewNotReadyError
from brainbrr.loading.recordings import Recordings
from brainbrr.store.store import Store
from brainbrr.views.mne import Acquisition
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_incomplete_view_has_no_digest_and_cannot_be_frozen(generated: Path, tmp_path: Path) -> None:
    brainbrr.ingest(generated, store=tmp_path / "store", profile="smoke", workers=1)
    view = brainbrr.view(brainbrr.open_store(tmp_path / "store"))
    assert (view.state, view.digest, len(view.missing)) == ("incomplete", None, 12)
    with pytest.raises(UsageError, match="incomplete"):
        view.to_json()


@pytest.mark.slow
def test_reading_from_an_incomplete_view_says_so_and_how_to_complete_it(generated: Path, tmp_path: Path) -> None:
    brainbrr.ingest(generated, store=tmp_path / "store", profile="smoke", workers=1)
    view = brainbrr.view(tmp_path / "store", window=WindowSpec(4))
    for read in (lambda: view[0], lambda: view[0:3], lambda: next(iter(view)), lambda: brainbrr.loader(view, batch=1)):
        with pytest.raises(ViewNotReadyError, match="the view is incomplete: 6 of 18 recordings are stored") as caught:
            read()
        assert caught.value.fix == view.fix == f"brainbrr ingest {generated} --profile full"
    assert "incomplete (12 recordings missing)" in repr(view)
    assert view.fix in view._repr_html_()
    ready = brainbrr.view(tmp_path / "store", profile="smoke", window=WindowSpec(4))
    assert ready.fix is None and "ready" in repr(ready)


def test_an_empty_view_says_so(tmp_path: Path) -> None:
    brainbrr.init(tmp_path / "store")
    view = brainbrr.view(tmp_path / "store")
    with pytest.raises(ViewNotReadyError, match="the view is empty"):
        view[0]


def test_the_command_for_another_recipe_names_it(stored: Store) -> None:
    assert "--recipe upstream" in str(brainbrr.view(stored, recipe="upstream").fix)


def test_slices_and_iteration_give_the_windows(stored: Store) -> None:
    view = windows(stored)
    some = view[2:5]
    assert len(some) == 3 and [w.start_s for w in some] == [view[i].start_s for i in (2, 3, 4)]
    assert np.array_equal(some[-1].signal, view[4].signal) and np.array_equal(some[1:][0].signal, view[3].signal)
    assert [w.start_s for w in view[::-1][:2]] == [view[-1].start_s, view[-2].start_s]
    assert sum(1 for _ in view) == len(view) and len(view[5:2]) == 0
    assert np.array_equal(view[np.int64(1)].signal, view[1].signal)
    with pytest.raises(IndexError):
        some[3]


def test_values_say_what_they_hold(stored: Store) -> None:
    view = windows(stored)
    assert repr(view).startswith("<View demo/full: 18 recordings, 0.11 h,") and repr(view).endswith("at 256 Hz, ready>")
    first = view.recordings[0]
    assert repr(first).startswith(f"<ViewRecording {first.path}: patient {first.patient}, split train")
    assert repr(view[0]).startswith(f"<Window of {first.path} from 0 s: 19 channels, 1,024 samples at 256 Hz")
    assert repr(view.recordings).startswith("<18 recordings, ") and "3 windows of <View" in repr(view[:3])
    for each in (view, first, view.recordings):
        assert each._repr_html_().startswith("<table>") and each._repr_html_().endswith("</table>")
    assert view.digest in view._repr_html_() and "SYNTHETIC" in view._repr_html_()


def test_html_is_escaped(stored: Store) -> None:
    first = replace(windows(stored).recordings[0], path="<script>alert('&')</script>.edf")
    for html in (first._repr_html_(), Recordings([first])._repr_html_()):
        assert "<script>" not in html and "&lt;script&gt;alert(&#x27;&amp;&#x27;)" in html


def test_recordings_are_a_table(stored: Store) -> None:
    recordings = windows(stored).recordings
    rows = recordings.to_dicts()
    assert isinstance(recordings, Sequence) and len(rows) == len(recordings) == 18
    assert rows[0]["path"] == recordings[0].path and rows[0]["duration_s"] == recordings[0].duration_s
    assert sum(row["seizures"] for row in rows) == sum(len(r.seizures) for r in recordings) > 0
    assert pickle.loads(pickle.dumps(recordings)) == recordings
    assert "no rows" not in Recordings()._repr_html_() and repr(Recordings()) == "<0 recordings, 0 patients, 0.00 h>"


def test_recordings_as_a_pandas_table(stored: Store) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = windows(stored).recordings.to_pandas()
    assert len(frame) == 18 and frame["duration_s"].sum() > 0


def test_without_pandas_the_error_names_the_other_way(stored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DependencyError, match="needs pandas") as caught:
        windows(stored).recordings.to_pandas()
    assert "to_dicts()" in str(caught.value.fix)


@pytest.mark.slow
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


def test_to_mne_tells_the_filters_positions_and_recipe(stored: Store) -> None:
    raw = windows(stored).to_mne(0)
    info = raw.info
    assert (info["highpass"], info["lowpass"], info["line_freq"], info["sfreq"]) == (0.5, 120, 60, 256)
    recipe = windows(stored).recipe
    band = "pass band 0.5 to 120 Hz, notch 60 Hz, 256 Hz, reference recorded"
    assert info["description"] == f"brainbrr recipe default {recipe.digest[:12]}: {band}"
    assert not info["custom_ref_applied"]
    positions = raw.get_montage().get_positions()["ch_pos"]
    assert set(positions) == set(raw.ch_names) and all(np.isfinite(xyz).all() for xyz in positions.values())
    assert positions["Fp1"][0] < 0 < positions["Fp2"][0] and positions["Fp1"][1] > 0 > positions["O1"][1]  # left, front


def test_to_mne_knows_a_reference_and_places_no_pair(stored: Store) -> None:
    assert windows(stored, reference="average").to_mne(0).info["custom_ref_applied"]
    bipolar = windows(stored, reference="bipolar").to_mne(0)
    assert "reference bipolar" in bipolar.info["description"]
    assert np.isnan([channel["loc"][:3] for channel in bipolar.info["chs"]]).all()


def test_what_mne_is_told_is_the_band_that_the_recording_s_own_rate_left(stored: Store) -> None:
    record = windows(stored).recordings[0].record
    slow = record.model_copy(update={"signal": {"edf": {"rates": {"Fp1": "200", "Fp2": "100"}}}})
    made = Acquisition.of(slow, Recipe(), reference="recorded")
    assert (made.low_hz, made.high_hz, made.notch_hz) == (0.5, 48.0, None)  # 0.48 of 100 Hz; the notch differs
    made = Acquisition.of(slow, Recipe(name="open", bandpass_hz=None, notch_hz=None), reference="recorded")
    assert (made.low_hz, made.high_hz, made.notch_hz) == (0, 50, None)
    made = Acquisition.of(record.model_copy(update={"signal": {"edf": "damaged"}}), Recipe(), reference="recorded")
    assert (made.low_hz, made.high_hz, made.notch_hz) == (0.5, 120, 60)


def test_index_out_of_range_is_an_index_error(stored: Store) -> None:
    view = windows(stored)
    with pytest.raises(IndexError, match=str(len(view))):
        view[len(view)]
    assert np.array_equal(view[-1].signal, view[len(view) - 1].signal)
