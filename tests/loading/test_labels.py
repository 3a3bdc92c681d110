"""Labels of a window agree with what the label files say about each sample, and unlabelled time is never background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainbrr.eeg.corpus.annotations import Annotations
from brainbrr.eeg.corpus.label_rows import Event
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.loading.build_index import index_of
from brainbrr.loading.index import Index
from brainbrr.loading.labels import Labeller
from brainbrr.loading.recordings import ViewRecording
from brainbrr.loading.windows import UNKNOWN, WindowSpec
from brainbrr.views.view import View

ViewOf = Callable[..., View]
S = 1_000_000


def indexed(recording: ViewRecording, annotations: Annotations, **window: str) -> Index:
    """Return the index of one recording with other labels; windows of 4 s every 4 s."""
    spec = WindowSpec.model_validate({"length_s": "4", "stride_s": "4", "tail": "pad", **window})
    return index_of((replace(recording, annotations=annotations),), recipe=Recipe(), window=spec)


def labels(index: Index, start: int, kind: str, per: str = "sample") -> tuple[np.ndarray, np.ndarray]:
    labeller = Labeller(index, kind=kind, per=per)  # type: ignore[arg-type]
    label = np.full((1, *labeller.shape), 77, dtype=np.uint8)
    valid = np.empty((1, index.frame.length), dtype=np.bool_)
    labeller.fill(np.array([0]), np.array([start]), label, valid)
    return label[0, ...], valid[0]


TYPED = Annotations(
    labelled=True,
    seizures=(Event(2 * S, 9 * S, "seiz"),),
    typed=(
        Event(2 * S, 6 * S, "fnsz", ("FP1-F7", "C3-CZ")),
        Event(5 * S, 8 * S, "gnsz"),
        Event(10 * S, 11 * S, "eyem", ("FP1-F7",)),
    ),
    duration_us=14 * S,
)


@pytest.fixture(scope="module")
def recording(view_of: ViewOf) -> ViewRecording:
    return view_of().recordings[0]


def test_binary_labels_are_the_seizures(recording: ViewRecording) -> None:
    index = indexed(recording, TYPED)
    label, valid = labels(index, 0, "binary")
    assert valid.all() and np.array_equal(label, np.arange(1024) >= 512)
    label, valid = labels(index, 12 * 256, "binary")
    assert valid.sum() == 512 and (label[:512] == 0).all() and (label[512:] == UNKNOWN).all()


def test_types_are_the_files_own_and_a_seizure_without_one_is_seiz(recording: ViewRecording) -> None:
    index = indexed(recording, TYPED)
    types = Labeller(index, kind="type").types
    assert types == ("bckg", "eyem", "fnsz", "gnsz", "seiz")
    names = np.array(types)[labels(index, 4 * 256, "type")[0]]
    expected = ["fnsz"] * 256 + ["gnsz"] * 768
    assert names.tolist() == expected
    assert np.array(types)[labels(index, 8 * 256, "type")[0]].tolist() == (
        ["seiz"] * 256 + ["bckg"] * 256 + ["eyem"] * 256 + ["bckg"] * 256
    )


@pytest.mark.parametrize(
    ("reference", "marked"),
    [("recorded", {"Fp1", "F7", "C3", "Cz"}), ("bipolar", {"Fp1-F7", "C3-Cz"})],
)
def test_channels_of_a_seizure_mark_their_rows(recording: ViewRecording, reference: str, marked: set[str]) -> None:
    index = indexed(recording, TYPED, reference=reference)
    label, _ = labels(index, 0, "per-channel")
    assert {row for row, samples in zip(index.frame.rows, label, strict=True) if samples.any()} == marked
    assert all(np.array_equal(row, np.arange(1024) >= 512) for row in label[label.any(axis=1)])
    everywhere, _ = labels(index, 4 * 256, "per-channel")
    assert everywhere[:, 256:].all()  # a generalised seizure names no channel: it is on all rows
    late, _ = labels(index, 8 * 256, "per-channel")
    assert late[:, :256].all()  # of seizure time that no event explains, nothing more is known
    assert not late[:, 256:].any()  # an eye movement is no seizure


def test_a_windows_label_is_what_any_of_its_samples_is(recording: ViewRecording) -> None:
    index = indexed(recording, TYPED)
    types = Labeller(index, kind="type").types
    assert [labels(index, at * 256, "binary", "window")[0].item() for at in (0, 4, 8, 12, 16)] == [1, 1, 1, 0, UNKNOWN]
    assert [types[labels(index, at * 256, "type", "window")[0].item()] for at in (0, 4, 8, 12)] == [
        "fnsz", "gnsz", "eyem", "bckg",
    ]  # fmt: skip
    assert labels(index, 0, "per-channel", "window")[0].sum() == 4


@pytest.mark.parametrize("kind", ["binary", "type", "per-channel"])
@pytest.mark.parametrize("per", ["sample", "window"])
def test_unlabelled_time_is_never_background(recording: ViewRecording, kind: str, per: str) -> None:
    index = indexed(recording, Annotations(labelled=False))
    label, valid = labels(index, 0, kind, per)
    assert (label == UNKNOWN).all() and not valid.any()


def test_without_labels_all_that_was_recorded_is_valid(recording: ViewRecording) -> None:
    index = indexed(recording, Annotations(labelled=False))
    last = int(index.n_samples[0]) - 100
    label, valid = labels(index, last, "none")
    assert (label == UNKNOWN).all() and valid.sum() == 100 and valid[:100].all()


UNCLEAR = Annotations(
    labelled=True,
    seizures=(Event(6 * S, 7 * S, "seiz"),),
    typed=(Event(1 * S, 2 * S, "impd"), Event(6 * S, 7 * S, "sz", ("C3-CZ",))),
    duration_us=14 * S,
    unknown=((1 * S, 3 * S), (9 * S, 13 * S)),
)


def test_unknown_time_is_255_and_invalid_and_seizures_beside_it_are_not(recording: ViewRecording) -> None:
    index = indexed(recording, UNCLEAR)
    seconds = np.arange(1024) // 256
    for start, expected in (
        (0, [0, 255, 255, 0]),
        (4, [0, 0, 1, 0]),
        (8, [0, 255, 255, 255]),
        (12, [255, 0, 255, 255]),
    ):
        label, valid = labels(index, start * 256, "binary")
        assert np.array_equal(label, np.array(expected)[seconds])
        assert np.array_equal(valid, label != UNKNOWN)
        channels, valid = labels(index, start * 256, "per-channel")
        rows = {"C3", "Cz"}
        for row, samples in zip(index.frame.rows, channels, strict=True):
            assert np.array_equal(samples, np.where((label == 1) & (row not in rows), 0, label)), row
        assert np.array_equal(valid, label != UNKNOWN)


def test_an_event_s_type_is_known_in_unknown_time(recording: ViewRecording) -> None:
    index = indexed(recording, UNCLEAR)
    label, valid = labels(index, 0, "type")
    impd = Labeller(index, kind="type").types.index("impd")
    assert np.array_equal(label, np.array([0, impd, 255, 0])[np.arange(1024) // 256])
    assert np.array_equal(valid, label != UNKNOWN)


def test_a_window_with_unknown_time_is_a_seizure_or_unknown_never_background(recording: ViewRecording) -> None:
    index = indexed(recording, UNCLEAR, length_s="4", stride_s="2")
    assert [labels(index, at * 256, "binary", "window")[0].item() for at in (0, 2, 3, 4, 6, 8)] == [
        255,
        255,
        1,
        1,
        1,
        255,
    ]
    assert [int(labels(index, at * 256, "per-channel", "window")[0].max()) for at in (0, 4, 8)] == [255, 1, 255]
    types = Labeller(index, kind="type").types
    assert types[labels(index, 0, "type", "window")[0].item()] == "impd"
    assert labels(index, 8 * 256, "type", "window")[0].item() == UNKNOWN


@pytest.mark.parametrize("place", [("A1-T3",), ("XX-YY",), ("A1", "T9")])
@pytest.mark.parametrize("reference", ["recorded", "bipolar"])
def test_a_seizure_on_channels_that_the_view_cannot_show_is_unknown_there(
    recording: ViewRecording, place: tuple[str, ...], reference: str
) -> None:
    seizure = (Event(1 * S, 3 * S, "seiz"),)
    hidden = Annotations(True, seizures=seizure, typed=(Event(1 * S, 2 * S, "fnsz", place),), duration_us=14 * S)
    index = indexed(recording, hidden, reference=reference)
    label, valid = labels(index, 0, "per-channel")
    shown = reference == "recorded" and place == ("A1-T3",)
    during = label[:, 256:512]
    if shown:
        assert {row for row, marked in zip(index.frame.rows, during, strict=True) if (marked == 1).all()} == {"T3"}
    else:
        assert (during == UNKNOWN).all() and not valid[256:512].any()
        assert (labels(index, 0, "per-channel", "window")[0] == 1).all()  # of its last second no channel is known
    assert (label[:, :256] == 0).all() and (label[:, 512:768] == 1).all() and (label[:, 768:] == 0).all()
    both = replace(hidden, typed=(*hidden.typed, Event(1 * S, 2 * S, "gnsz", ("C3-CZ",))))
    label, _ = labels(indexed(recording, both, reference=reference), 0, "per-channel")
    rows = {"C3", "Cz"} if reference == "recorded" else {"C3-Cz"}
    for row, samples in zip(index.frame.rows, label, strict=True):
        expected = 1 if row in rows or (shown and row == "T3") else 0 if shown else UNKNOWN
        assert (samples[256:512] == expected).all(), row


def test_classes_know_unknown_time(recording: ViewRecording) -> None:
    index = indexed(recording, UNCLEAR, length_s="2", stride_s="1")
    classes = index.classes()[:14].tolist()
    assert classes == [0, 3, 0, 0, 0, 1, 1, 0, 0, 3, 3, 3, 0, 0]


def test_an_index_with_unknown_time_survives_its_file_and_one_without_is_as_before(
    recording: ViewRecording, tmp_path: Path
) -> None:
    for said, more in ((UNCLEAR, {"unknown", "unknown_of"}), (TYPED, set())):
        index = indexed(recording, said)
        path = tmp_path / "index.npz"
        index.save(path)
        again = Index.load(path)
        assert np.array_equal(again.unknown, index.unknown) and np.array_equal(again.classes(), index.classes())
        with np.load(path) as arrays:
            assert {"unknown", "unknown_of"} & set(arrays.files) == more
        path.unlink()


def test_channels_that_a_table_calls_unusable_are_absent_as_the_view_treats_absent_ones(
    recording: ViewRecording,
) -> None:
    said = replace(TYPED, unusable=("EEG C3-REF", "PZ", "ECG"))
    assert replace(recording, annotations=said).absent == ("C3", "Pz")
    index = indexed(recording, said, missing="zero")
    assert index.frame.absent == (("C3", "Pz"),)
    [(matrix, _)] = index.layouts
    assert [row for row, weights in zip(index.frame.rows, matrix, strict=True) if not weights.any()] == ["C3", "Pz"]
    assert indexed(recording, TYPED, missing="zero").frame.absent == ((),)
