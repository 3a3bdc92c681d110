"""Linear operators: order, subset, reference, interpolation."""

from __future__ import annotations

import numpy as np
import pytest

from brainbrr.eeg.signal.montage import DOUBLE_BANANA, TEN_TWENTY, operator, positions, spherical_spline
from brainbrr.errors import ConfigError, MontageError


def build(absent: tuple[str, ...] = (), **options: object) -> tuple[tuple[str, ...], np.ndarray]:
    asked: dict[str, object] = {"channels": None, "reference": "recorded", "missing": "interpolate", **options}
    return operator(TEN_TWENTY, absent, **asked)  # type: ignore[arg-type]


def test_recorded_channels_pass_unchanged() -> None:
    names, matrix = build()
    assert names == TEN_TWENTY
    assert np.array_equal(matrix, np.eye(19))


def test_interpolation_agrees_with_mne() -> None:
    _make_interpolation_matrix = pytest.importorskip("mne.channels.interpolation")._make_interpolation_matrix

    present = [name for name in TEN_TWENTY if name not in ("Fz", "Pz")]
    theirs = _make_interpolation_matrix(positions(present), positions(["Fz", "Pz"]))
    np.testing.assert_allclose(spherical_spline(present, ["Fz", "Pz"]), theirs, atol=1e-9)


def test_interpolated_rows_keep_a_constant_field() -> None:
    _, matrix = build(("Fz", "Pz"))
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-9)
    assert not matrix[:, TEN_TWENTY.index("Fz")].any()


def test_average_reference_sums_to_zero() -> None:
    _, matrix = build(reference="average")
    np.testing.assert_allclose(matrix.sum(axis=0), 0.0, atol=1e-12)


def test_bipolar_reference_gives_the_twenty_pairs() -> None:
    names, matrix = build(reference="bipolar")
    assert names == DOUBLE_BANANA and matrix.shape == (20, 19)
    signal = np.arange(19.0)
    expected = [signal[TEN_TWENTY.index(a)] - signal[TEN_TWENTY.index(b)] for a, b in (p.split("-") for p in names)]
    np.testing.assert_array_equal(matrix @ signal, expected)


def test_nan_marks_only_rows_that_need_an_absent_channel() -> None:
    names, matrix = build(("Cz",), reference="bipolar", missing="nan")
    lost = {name for name, row in zip(names, matrix, strict=True) if np.isnan(row).any()}
    assert lost == {"C3-Cz", "Cz-C4"}


def test_channels_pick_and_order_rows() -> None:
    names, matrix = build(channels=("O2", "Fp1"))
    assert names == ("O2", "Fp1")
    assert matrix[0, TEN_TWENTY.index("O2")] == 1 and matrix[1, 0] == 1


def test_unknown_channel_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="Oz"):
        build(channels=("Oz",))


def test_bipolar_names_have_no_position_to_interpolate_from() -> None:
    with pytest.raises(MontageError, match="Fp1-F7"):
        operator(("Fp1-F7", "F7-T3"), ("F7-T3",), channels=None, reference="recorded", missing="interpolate")


@pytest.mark.parametrize("missing", ["interpolate", "zero", "nan"])
def test_the_average_is_over_recorded_rows_and_absent_ones_stay_absent(missing: str) -> None:
    _, matrix = build(("Fz", "Pz"), reference="average", missing=missing)
    signal = np.random.default_rng(0).normal(size=19)
    absent = [TEN_TWENTY.index(name) for name in ("Fz", "Pz")]
    recorded = np.delete(np.arange(19), absent)
    signal[absent] = 0
    got = matrix @ signal
    np.testing.assert_allclose(got[recorded], signal[recorded] - signal[recorded].mean(), atol=1e-12)
    if missing == "zero":
        assert not got[absent].any()
    elif missing == "nan":
        assert np.isnan(got[absent]).all()
    else:
        _, plain = build(("Fz", "Pz"))
        np.testing.assert_allclose(got[absent], (plain @ signal)[absent] - signal[recorded].mean(), atol=1e-12)


def test_any_pairs_of_electrodes_can_be_had() -> None:
    names, matrix = build(reference="bipolar", channels=("Fz-Cz", "O2-Fp1"))
    assert names == ("Fz-Cz", "O2-Fp1") and matrix.shape == (2, 19)
    assert matrix[1, TEN_TWENTY.index("O2")] == 1 and matrix[1, 0] == -1


@pytest.mark.parametrize("channels", [("Fz",), ("Fz-A1",), ("Fz-Cz-Pz",)])
def test_what_is_no_pair_of_recorded_electrodes_is_refused(channels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="needs pairs of recorded electrodes"):
        build(reference="bipolar", channels=channels)
