"""Labels of a window agree with what the label files say about each sample, and unlabelled time is never background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from brainbrr.eeg.corpus.annotations import Annotations
from brainbrr.eeg.corpus.label_formats import Event
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
