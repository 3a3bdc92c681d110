"""The index: windows by arithmetic, classes by counting, and a file that says when it is damaged."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.indexes import small_index
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.errors import IntegrityError
from brainbrr.loading.index import DTYPES, Index
from brainbrr.loading.windows import BACKGROUND, FULL, PARTIAL, UNLABELLED
from brainbrr.views.view import View

ViewOf = Callable[..., View]

tables = st.fixed_dictionaries(
    {
        "lengths": st.lists(st.integers(1, 60), min_size=1, max_size=6),
        "length": st.integers(1, 20),
        "stride": st.integers(1, 25),
        "tail": st.sampled_from(["drop", "pad", "shift"]),
    }
)


def plain_starts(n: int, length: int, stride: int, tail: str) -> list[int]:
    """Return where windows begin, by walking along the recording."""
    starts = [start for start in range(0, n, stride) if start + length <= n] or [0]
    if tail != "drop" and starts[-1] + length < n:
        last = n - length if tail == "shift" else starts[-1] + stride
        starts += [last] if last < n else []
    return starts


@pytest.mark.slow
@given(tables)
def test_windows_are_where_walking_along_finds_them(table: dict) -> None:
    index = small_index(**table)
    grid = (table["length"], table["stride"], table["tail"])
    expected = [(i, start) for i, n in enumerate(table["lengths"]) for start in plain_starts(n, *grid)]
    recordings, starts = index.locate(np.arange(len(index)))
    assert list(zip(recordings.tolist(), starts.tolist(), strict=True)) == expected
    with pytest.raises(IndexError):
        index.locate(np.array([len(index)]))


@pytest.mark.slow
@given(tables)
def test_what_no_window_holds_is_counted(table: dict) -> None:
    index = small_index(**table)
    held = [np.zeros(n, dtype=bool) for n in table["lengths"]]
    for recording, start in zip(*index.locate(np.arange(len(index))), strict=True):
        held[recording][start : start + table["length"]] = True
    assert index.n_uncovered == sum(int((~each).sum()) for each in held)


@pytest.mark.slow
@given(tables, st.data())
@settings(max_examples=200)
def test_classes_agree_with_counting_samples(table: dict, data: st.DataObject) -> None:
    lengths = table["lengths"]
    untils = [data.draw(st.integers(0, n)) for n in lengths]
    cuts = [sorted(data.draw(st.sets(st.integers(0, until), max_size=6))) for until in untils]
    seizures = {i: list(zip(c[::2], c[1::2], strict=False)) for i, c in enumerate(cuts)}
    fraction = data.draw(st.sampled_from(["1", "0.5", "0.01"]))
    index = small_index(**table, seizures=seizures, labelled_until=untils, full_fraction=fraction)
    found = index.classes()
    for window, (recording, start) in enumerate(zip(*index.locate(np.arange(len(index))), strict=True)):
        inside = np.zeros(lengths[recording], dtype=bool)
        for onset, offset in seizures[recording]:
            inside[onset:offset] = True
        inside = inside[: untils[recording]][start : start + table["length"]]
        share = Fraction(int(inside.sum()), max(len(inside), 1))
        assert found[window] == (
            UNLABELLED
            if not len(inside)
            else BACKGROUND
            if not share
            else FULL
            if share >= Fraction(fraction)
            else PARTIAL
        )


def test_an_index_comes_back_from_its_file(view_of: ViewOf, tmp_path: Path) -> None:
    index = view_of(reference="bipolar", clip="5").index
    index.save(tmp_path / "view.npz")
    again = Index.load(tmp_path / "view.npz")
    assert again.frame == index.frame
    for name, value in vars(index).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, getattr(again, name)) and value.dtype == getattr(again, name).dtype


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_index_is_an_error(view_of: ViewOf, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "view.npz"
    view_of().index.save(path)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes({"flip": data, "cut": data[:-100], "empty": b"", "other": b"not an index"}[damage])
    with pytest.raises(IntegrityError, match="not an index as brainbrr writes it"):
        Index.load(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layout", 9), ("layout", -1), ("mixed", 7), ("patient", 99), ("n_samples", 0), ("n_samples", 1 << 50),
        ("event_type", 12), ("event_place", 999), ("seizure_bounds", 5), ("event_bounds", -1), ("labelled_until", -1),
    ],
)  # fmt: skip
def test_numbers_that_would_read_elsewhere_are_refused(view_of: ViewOf, tmp_path: Path, field: str, value: int) -> None:
    index = view_of().index
    array = getattr(index, field).copy()
    array[0] = value
    replace(index, **{field: array}).save(tmp_path / "view.npz")
    with pytest.raises(IntegrityError, match=field):
        Index.load(tmp_path / "view.npz")


@pytest.mark.parametrize("field", ["centre", "k", "content", "offset", "events"])
def test_arrays_of_another_shape_are_refused(view_of: ViewOf, tmp_path: Path, field: str) -> None:
    index = view_of().index
    replace(index, **{field: getattr(index, field)[:, :-1].copy()}).save(tmp_path / "view.npz")
    with pytest.raises(IntegrityError, match="has shape"):
        Index.load(tmp_path / "view.npz")


def test_a_matrix_of_more_channels_is_refused(view_of: ViewOf, tmp_path: Path) -> None:
    index = view_of().index
    wider = tuple(tuple((*row, 1.0) for row in matrix) for matrix in index.frame.matrices)
    replace(index, frame=replace(index.frame, matrices=wider)).save(tmp_path / "view.npz")
    with pytest.raises(IntegrityError, match="matrix"):
        Index.load(tmp_path / "view.npz")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("stride", 0, "stride"), ("length", 1 << 41, "length"), ("rate_hz", 10**9, "rate_hz"), ("tail", "cut", "tail"),
        ("full_fraction", "0", "full_fraction"), ("full_fraction", "1/2", "decimal"), ("clip", "1e1", "clip"),
        ("digest", "../x", "digest"), ("absent", (), "one length"), ("rows", (1,), "rows"), ("places", None, "places"),
    ],
)  # fmt: skip
def test_a_frame_that_is_none_is_refused(view_of: ViewOf, tmp_path: Path, field: str, value: object, told: str) -> None:
    index = view_of().index
    replace(index, frame=replace(index.frame, **{field: value})).save(tmp_path / "view.npz")
    with pytest.raises(IntegrityError, match=told):
        Index.load(tmp_path / "view.npz")


@pytest.mark.parametrize("field", ["centre", "gain", "layout", "n_samples", "content", "labelled"])
def test_arrays_of_another_kind_are_refused(view_of: ViewOf, tmp_path: Path, field: str) -> None:
    index = view_of().index
    array = getattr(index, field)
    for kind in ("f2", "O", ">u8"):
        arrays = {name: getattr(index, name) for name in DTYPES} | {field: array.astype(kind)}
        np.savez(tmp_path / "view.npz", frame=np.zeros(1, np.uint8), allow_pickle=True, **arrays)
        with pytest.raises(IntegrityError, match="as numpy writes one of"):
            Index.load(tmp_path / "view.npz")


def test_an_index_that_is_compressed_or_says_more_than_it_holds_is_refused(view_of: ViewOf, tmp_path: Path) -> None:
    path = tmp_path / "view.npz"
    view_of().index.save(path)
    with np.load(path) as found:
        arrays = dict(found)
    np.savez_compressed(path, **{**arrays, "frame": np.zeros(1 << 24, np.uint8)})
    n_bytes = path.stat().st_size
    tracemalloc.start()
    with pytest.raises(IntegrityError, match="compressed"):
        Index.load(path)
    with zipfile.ZipFile(path, "w") as file:
        for name in arrays:
            with file.open(f"{name}.npy", "w") as member:
                header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 40,)}
                np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(IntegrityError, match="not an index"):
        Index.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1 << 20) + 8 * n_bytes


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i2', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': ',<i8,<i8', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<i8', 'fortran_order': True, 'shape': (1, 3)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (3L,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
        "(" * 250,
        "[" * 120 + "]" * 120,
        " " * 5000,
        "__import__('os')",
        "",
    ],
)
def test_a_header_that_numpy_does_not_write_is_refused(view_of: ViewOf, tmp_path: Path, header: str) -> None:
    path = tmp_path / "view.npz"
    view_of().index.save(path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    n_bytes = len(header.encode()).to_bytes(2, "little")
    members["n_samples.npy"] = b"\x93NUMPY\x01\x00" + n_bytes + header.encode() + bytes(24)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    with pytest.raises(IntegrityError, match="not an index as brainbrr writes it"):
        Index.load(path)


def test_nothing_is_left_beside_an_index(view_of: ViewOf, tmp_path: Path) -> None:
    index = view_of().index
    for _ in range(2):
        index.save(tmp_path / "made" / "view.npz")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["view.npz"]
