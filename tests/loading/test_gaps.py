"""A recording with gaps, from an EDF+D to batches: 0, invalid and 255 in a gap, all else in its true place."""

from __future__ import annotations

import shutil
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.edf_bytes import File, noise
from helpers.support import Cli

import brainbrr
from brainbrr.core.progress import Silent
from brainbrr.eeg.signal.montage import TEN_TWENTY
from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.learn.cuda.resident import OnDevice
from brainbrr.learn.series import line_length, scored_by
from brainbrr.loading.index import Index
from brainbrr.loading.loader import Choices, filler_of, order_of, plans_of
from brainbrr.loading.order import Sampling
from brainbrr.loading.reader import Shards, WindowReader
from brainbrr.loading.streaming import StreamedWindows, numbers_of
from brainbrr.loading.windows import UNKNOWN
from brainbrr.views.view import View

RUNS_S = ((0, 12), (20, 10), (70, 15))  # begin and length: gaps from 12 to 20 s and from 30 to 70 s
END_S = 85
SEIZURES_S = ((8, 23), (40, 50), (75, 78))  # across the first gap; inside of the second; after it
RECORDED = np.zeros(END_S * 256, dtype=np.bool_)
for _start, _length in RUNS_S:
    RECORDED[_start * 256 : (_start + _length) * 256] = True


def write_corpus(root: Path, split: str = "train") -> Path:
    """Write one patient of TUSZ's shape with the gaps above, and one without any."""
    for name, runs in (("aaaagaps", RUNS_S), ("wholeaaa", ((0, END_S),))):
        folder = root / "edf" / split / name / "s001_2015" / "01_tcp_ar"
        folder.mkdir(parents=True)
        n = sum(length for _, length in runs)
        signals = [noise(f"EEG {each.upper()}-REF", seconds=n, seed=i) for i, each in enumerate(TEN_TWENTY)]
        stamps = [b"+%d\x14\x14" % (start + i) for start, length in runs for i in range(length)]
        File(signals, reserved="EDF+D", stamps=stamps).write(folder, f"{name}_s001_t000.edf")
        edges = [0, *(edge for seizure in SEIZURES_S for edge in seizure), END_S]
        rows = [
            f"TERM,{start}.0000,{stop}.0000,{'seiz' if i % 2 else 'bckg'},1.0000"
            for i, (start, stop) in enumerate(pairwise(edges))
        ]
        head = ["# version = csv_v1.0.0", f"# bname = {name}_s001_t000", f"# duration = {END_S}.00 secs", "#"]
        text = "\n".join([*head, "channel,start_time,stop_time,label,confidence", *rows]) + "\n"
        (folder / f"{name}_s001_t000.csv_bi").write_text(text)
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("gaps")
    root = write_corpus(folder / "gapped")
    report = brainbrr.ingest(root, store=folder / "store", workers=1)
    assert report.new == 2 and not report.failed
    return root, folder / "store"


def view_of(store: Path, **fields: Any) -> View:
    window = brainbrr.WindowSpec.model_validate({"length_s": "4", "stride_s": "3", "tail": "pad", **fields})
    return brainbrr.view(store, window=window)


def order(view: View) -> tuple[int, int]:
    """Return the places of the recording with gaps and of the one without."""
    [place] = [i for i, recording in enumerate(view.recordings) if recording.gaps]
    return place, 1 - place


def windows_with_gaps(view: View) -> range:
    place, _ = order(view)
    return range(view.index.bounds[place], view.index.bounds[place + 1])


def expected_label(t: np.ndarray) -> np.ndarray:
    label = np.zeros(len(t), dtype=np.uint8)
    for start, stop in SEIZURES_S:
        label[(t >= start * 256) & (t < stop * 256)] = 1
    label[~RECORDED[t]] = UNKNOWN
    return label


WINDOWS: list[dict[str, Any]] = [
    {},
    {"normalise": "robust", "clip": "3"},
    {"reference": "bipolar"},
    {"reference": "average", "normalise": "fixed", "scale_uv": "50"},
]


@pytest.mark.parametrize("fields", WINDOWS, ids=str)
def test_windows_are_0_invalid_and_255_in_gaps_and_the_pieces_elsewhere(
    made: tuple[Path, Path], fields: dict[str, Any]
) -> None:
    view = view_of(made[1], **fields)
    gapped, whole = (view.recordings[place] for place in order(view))
    assert (gapped.duration_s, gapped.recorded_s, whole.recorded_s) == (85, 37, 85)
    content = gapped.content
    raw = view.store.open_array(content)[:]
    assert ((raw == -32768).all(axis=0) == ~RECORDED).all()
    for i in windows_with_gaps(view):
        window = view[i]
        t = np.arange(1024) + round(window.start_s * 256)
        real = t < len(RECORDED)
        there = np.zeros(1024, dtype=np.bool_)
        there[real] = RECORDED[t[real]]
        assert not window.signal[:, ~there].any()
        assert np.count_nonzero(window.signal[:, there]) >= 0.95 * there.sum() * len(window.signal)
        assert np.array_equal(window.valid, there)
        assert np.array_equal(window.label[real], expected_label(t[real])) and (window.label[~real] == UNKNOWN).all()
        if not fields:
            source, centre, gain = (each[0] for each in view.index.table(np.array(order(view)[:1])))
            plain = (raw[source][:, t[real]].astype(np.int64) - centre[:, None]).astype(np.float32) * gain[:, None]
            assert np.array_equal(window.signal[:, there], plain[:, there[real]])


@pytest.mark.parametrize("fields", WINDOWS, ids=str)
def test_every_way_of_reading_gives_the_same(made: tuple[Path, Path], fields: dict[str, Any]) -> None:
    view = view_of(made[1], **fields)
    slow = WindowReader(view.index, Shards(view.index, view.store), compiled=False)
    for options in ({"mode": "stream"}, {"mode": "resident"}, {"mode": "stream", "labels": "none"}):
        with brainbrr.loader(view, batch=5, seed=2, **options) as batches:
            for batch in islice(batches, 8):
                for row, number in enumerate(batch.index.tolist()):
                    window = view[number]
                    assert np.array_equal(batch.signal[row].numpy(), window.signal)
                    assert np.array_equal(batch.valid[row].numpy(), window.valid)
                    out = np.empty_like(window.signal)
                    slow.fill(*(int(each[0]) for each in view.index.locate(np.array([number]))), out)
                    assert np.array_equal(out, window.signal)


@pytest.mark.parametrize("fields", WINDOWS, ids=str)
def test_a_devices_memory_gives_the_same(made: tuple[Path, Path], fields: dict[str, Any]) -> None:
    view = view_of(made[1], **fields)
    choices = Choices(batch=5, sampling=Sampling(seed=2))
    plans, filler = order_of(view.index, choices), filler_of(view.index, view.store, choices)
    device = OnDevice.upload(filler, torch.device("cpu"))
    off = {"rtol": 1e-5, "atol": 1e-6} if (view.index.mixed >= 0).any() else {"rtol": 0, "atol": 0}
    for batch in islice(device.batches(filler, plans_of(view.index, plans, 0, None)), 8):
        for row, number in enumerate(batch.index.tolist()):
            window = view[number]
            torch.testing.assert_close(batch.signal[row], torch.from_numpy(window.signal), **off)
            assert np.array_equal(batch.valid[row].numpy(), window.valid)
            assert not batch.signal[row].numpy()[:, ~window.valid].any()


def test_stored_integers_have_the_fill_value_in_gaps(made: tuple[Path, Path]) -> None:
    view = view_of(made[1])
    for mode in ("stream", "resident"):
        with brainbrr.loader(view, batch=4, mode=mode, dtype="int16", shuffle="none", epochs=1) as batches:
            for batch in batches:
                for row, number in enumerate(batch.index.tolist()):
                    recording, start = (int(each[0]) for each in view.index.locate(np.array([number])))
                    array = view.store.open_array(view.recordings[recording].content)[:, start : start + 1024]
                    assert np.array_equal(batch.signal[row, :, : array.shape[1]], array)


def test_windows_in_a_gap_are_unlabelled_and_the_index_keeps_gaps(made: tuple[Path, Path], tmp_path: Path) -> None:
    view = view_of(made[1])
    for i, found in enumerate(view.classes()):
        window = view[i]
        known = window.label[window.valid]
        expected = 3 if not len(known) else 0 if not known.any() else 2 if known.all() else 1
        assert found == expected, i
    view.index.save(tmp_path / "index.npz")
    again = Index.load(tmp_path / "index.npz")
    assert [again.gaps_of(place) for place in order(view)] == [((3072, 5120), (7680, 17920)), ()]
    assert np.array_equal(again.classes(), view.classes())


def test_labels_of_every_kind_are_unknown_in_gaps(made: tuple[Path, Path]) -> None:
    view = view_of(made[1])
    for labels in ("type", "per-channel", "binary"):
        with brainbrr.loader(view, batch=1, shuffle="none", epochs=1, labels=labels) as batches:
            for batch in batches:
                window = view[int(batch.index[0])]
                label = batch.label[0].numpy().reshape(-1, 1024)
                assert (label[:, ~window.valid] == UNKNOWN).all()
                assert ((label[:, window.valid] != 0) == (window.label[window.valid] == 1)).all()


def test_gaps_are_in_no_hours_and_the_report_counts_them(made: tuple[Path, Path], cli: Cli) -> None:
    told = cli("view", "--store", made[1], "--json").json
    assert told["hours"] == round((37 + 85) / 3600, 4) and told["seconds_in_gaps"] == 48
    assert told["hours_unlabelled"] == 0 and told["seizures"] == 3 + 3  # one is cut in two, one is in a gap
    assert "in which nothing was recorded" in cli("view", "--store", made[1]).out


def test_scores_are_0_in_gaps_and_rates_by_what_was_recorded(made: tuple[Path, Path]) -> None:
    view = view_of(made[1])
    scored = list(scored_by(view, line_length, "test", Silent()))
    gapped, whole = (scored[place] for place in order(view))
    assert gapped.seizures == [(8, 12), (20, 23), (75, 78)] and gapped.unknown == [(12, 20), (30, 70)]
    assert (gapped.duration_s, gapped.known_s, whole.known_s) == (85, 37, 85)
    assert not gapped.score[~gapped.known].any() and gapped.score[gapped.known].all()
    assert int(gapped.known.sum()) == 37 * 4


def test_a_new_file_is_read_as_a_stored_one(made: tuple[Path, Path]) -> None:
    view = view_of(made[1])
    place, _ = order(view)
    edf = made[0] / view.recordings[place].path
    fresh = preprocess(edf, Recipe())
    rows = numbers_of(Recipe(), view.window, absent=fresh.absent, k=fresh.k, statistics=fresh.statistics)
    windows = StreamedWindows(fresh.blocks(), rows, fresh.gaps)
    for start in range(0, fresh.n_samples, 700):
        ours, theirs = np.empty((2, 19, 1024), dtype=np.float32)
        windows.read(start, ours)
        view.read(place, start, theirs)
        assert np.array_equal(ours, theirs)


def test_mne_gets_an_annotation_for_each_gap(made: tuple[Path, Path]) -> None:
    view = view_of(made[1])
    raw = view.to_mne(order(view)[0])
    skipped = [each for each in raw.annotations if each["description"] == "BAD_ACQ_SKIP"]
    assert [(each["onset"], each["duration"]) for each in skipped] == [(12, 8), (30, 40)]
    assert raw.get_data(reject_by_annotation="omit").shape[1] == 37 * 256


def test_a_store_with_gaps_is_verified_and_repaired(made: tuple[Path, Path], tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(made[1], tmp_path / "store")
    assert cli("verify").code == 0 and cli("check").code == 0
    view = view_of(tmp_path / "store")
    content = view.recordings[order(view)[0]].content
    shard = tmp_path / "store" / "objects.zarr" / content[:2] / content / "c.0.0"
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-9] + b"123456789")
    assert cli("verify").code == 4
    assert cli("repair", "--root", f"gapped={made[0]}", "--workers", 1).code == 0
    assert cli("verify").code == 0
    assert cli("recompress", "--to", tmp_path / "zstd", "--codec", "zstd").code == 0
    assert cli("verify", "--store", tmp_path / "zstd").code == 0
    again = cli("ingest", made[0], "--workers", 1, "--json").json
    assert again["reused"] == 2


def test_labels_are_compared_with_the_time_of_the_stamps(made: tuple[Path, Path], cli: Cli, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made[0], tmp_path / "cut"))
    for path in root.rglob("*gaps*.csv_bi"):
        path.write_text(path.read_text().replace("85.00", "95.00"))
    (failure,) = cli("ingest", root, "--workers", 1, "--json").json["failed"]
    assert "the labels cover 95 s, the signal 85 s" in failure["reason"]
