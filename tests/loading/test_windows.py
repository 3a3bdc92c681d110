"""Windows are arithmetic: laws for every length, stride and tail."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from brainbrr.core.digest import decimal_text
from brainbrr.errors import ConfigError
from brainbrr.loading.windows import Grid, WindowSpec, seizure_samples

sizes = st.integers(1, 400)


@given(n=sizes, length=sizes, stride=sizes)
def test_drop_keeps_exactly_the_whole_windows(n: int, length: int, stride: int) -> None:
    starts = Grid(length, stride, "drop").starts_of(n)
    if n > length:
        assert list(starts) == [s for s in range(0, n, stride) if s + length <= n]
    else:
        assert list(starts) == [0]


@pytest.mark.slow
@given(n=sizes, length=sizes, stride=sizes, tail=st.sampled_from(["pad", "shift"]))
def test_pad_and_shift_leave_no_sample_out_when_windows_touch(n: int, length: int, stride: int, tail: str) -> None:
    stride = min(stride, length)
    starts = Grid(length, stride, tail).starts_of(n)
    covered = np.zeros(n, dtype=bool)
    for start in starts:
        covered[start : start + length] = True
    assert covered.all()
    assert (np.diff(starts) > 0).all() and starts[-1] < n
    if tail == "shift" and n >= length:
        assert starts[-1] + length <= n


@given(n=sizes, length=sizes, stride=sizes, tail=st.sampled_from(["drop", "pad", "shift"]))
def test_a_recording_never_vanishes(n: int, length: int, stride: int, tail: str) -> None:
    starts = Grid(length, stride, tail).starts_of(n)
    assert len(starts) >= 1 and starts[0] == 0


def test_sample_is_seizure_from_its_own_time_on() -> None:
    ranges = seizure_samples([(1, 2_000_000)], rate_hz=4, n_samples=100)
    assert ranges.tolist() == [[1, 8]]  # sample 0 is at 0 s, before the onset at 1 µs; sample 8 is at 2 s, the end


def test_events_past_the_signal_are_clipped() -> None:
    assert seizure_samples([(0, 10_000_000), (20_000_000, 30_000_000)], rate_hz=1, n_samples=5).tolist() == [[0, 5]]


def test_length_must_be_whole_samples() -> None:
    with pytest.raises(ConfigError, match="not whole"):
        WindowSpec(length_s="0.001").samples("length_s", 256)


@pytest.mark.parametrize(
    "fields",
    [
        {"length_s": "0"},
        {"stride_s": "-1"},
        {"normalise": "fixed"},
        {"scale_uv": "100"},
        {"full_fraction": "1.5"},
        {"tail": "keep"},
        {"cache_dir": "x"},
    ],
)
def test_nonsense_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        WindowSpec.model_validate(fields)


@pytest.mark.parametrize("field", ["length_s", "stride_s", "clip", "full_fraction"])
@pytest.mark.parametrize("value", ["abc", "NaN", "Infinity", "1e5000000", "1e-25", "6_0", "６０", " 60", True, [1], ""])
def test_what_is_no_decimal_number_is_refused_by_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match="not a decimal number") as caught:
        WindowSpec.model_validate({field: value})
    assert caught.value.errors()[0]["loc"] == (field,)


numbers = st.decimals(min_value=-(10**9) + 1, max_value=10**9 - 1, allow_nan=False, places=18)


@given(numbers)
def test_shortest_text_of_a_decimal_is_the_same_number(number: Decimal) -> None:
    text = decimal_text(f"{number:f}")
    assert Fraction(text) == Fraction(number)  # of all 27 digits, none rounded
    assert decimal_text(text) == text
    assert re.fullmatch(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{0,17}[1-9])?", text) and text != "-0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (60, "60"), (60.0, "60"), ("060.", "60"), ("6E1", "60"), ("+.5", "0.5"), (1e-05, "0.00001"),
        ("-0", "0"), (-0.0, "0"), ("-1.50", "-1.5"), ("0." + "5" + "0" * 60, "0.5"), ("0e99", "0"),
        ("999999999." + "9" * 18, "999999999." + "9" * 18),
    ],
)  # fmt: skip
def test_one_number_has_one_shortest_text(value: object, text: str) -> None:
    assert decimal_text(value) == text


@pytest.mark.parametrize(
    "value",
    [
        "1000000000", 10**9, 10**5000, "0." + "0" * 18 + "1", "1e100", "1e+000", "١", "1e١", "0x1", ".", "e5", "1 ",
        "1\n", float("nan"), float("-inf"), None, False, b"1", Decimal("NaN"), Decimal("sNaN"), Fraction(1),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_decimal_text_takes_nothing_else(value: object) -> None:
    with pytest.raises(ValueError):
        decimal_text(value)


def test_a_window_is_given_in_any_kind_of_number_and_is_exact() -> None:
    same = {WindowSpec(2, stride_s=0.1), WindowSpec("2.0", stride_s="0.10"), WindowSpec(2.0, stride_s=Decimal("1E-1"))}
    assert same == {WindowSpec.model_validate({"length_s": "2", "stride_s": "0.1"})}
    spec = WindowSpec(0.1 + 0.2, clip=np.float64(1.5))
    assert (spec.length_s, spec.clip) == ("0.30000000000000004", "1.5")  # the shortest text of that float
    assert WindowSpec(length_s=4).samples("length_s", 256) == 1024


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), Decimal("NaN"), Decimal("-Infinity"), True, "two", 0])
def test_what_is_no_length_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        WindowSpec(wrong)
    with pytest.raises(ValidationError):
        WindowSpec(2, stride_s=wrong)


def test_an_unknown_field_of_a_window_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        WindowSpec(2, strides=1)
