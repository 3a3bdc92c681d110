"""Golden digests: when one breaks, raise a format or revision, never edit the golden."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainbrr.core.digest import (
    RowHasher,
    canonical_json,
    content_digest,
    files_digest,
    is_digest,
    json_digest,
    key_of,
    recipe_digest,
    source_digest,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_canonical_json_sorts_names_and_escapes_to_ascii() -> None:
    assert canonical_json({"b": 1, "a": ["µ", None, True]}) == b'{"a":["\\u00b5",null,true],"b":1}'


@pytest.mark.parametrize("value", [0.5, {"a": 1.0}, [float("nan")], b"bytes", {1: 2}, {"a": {3, 4}}])
def test_canonical_json_refuses_what_has_no_one_text(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


def test_canonical_json_refuses_integers_that_other_readers_would_round() -> None:
    with pytest.raises(ValueError, match="63 bits"):
        canonical_json(2**63)


@pytest.mark.slow
@given(json_values)
def test_canonical_json_is_one_text_whatever_the_order_of_names(value: object) -> None:
    import json

    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


def test_golden_key() -> None:
    assert key_of(source="0" * 64, recipe="f" * 32) == "2cec2c8fe416dff932a76c0edb0717d4"


def test_key_does_not_confuse_source_with_recipe() -> None:
    assert key_of(source="0" * 32, recipe="f" * 32) != key_of(source="f" * 32, recipe="0" * 32)


def test_source_digest_is_of_all_bytes_whatever_the_block(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes((1 << 22) + 12345)
    (tmp_path / "a.edf").write_bytes(data)
    assert source_digest(tmp_path / "a.edf") == hashlib.sha256(data).hexdigest()


def test_content_digest_is_sha256_of_attributes_and_row_digests() -> None:
    rows = np.arange(12, dtype=np.int16).reshape(2, 6)
    hasher = RowHasher(2)
    hasher.update(rows[:, :1])
    hasher.update(rows[:, 1:])
    expected = hashlib.sha256(b'{"a":1}' + b"".join(hashlib.sha256(row.tobytes()).digest() for row in rows)).hexdigest()
    assert content_digest({"a": 1}, hasher.digests()) == expected


def test_files_digest_knows_which_role_a_file_has() -> None:
    one = hashlib.sha256(b"x").hexdigest()
    assert files_digest({".csv": one}) != files_digest({".csv_bi": one})
    assert is_digest(files_digest({".csv": one}), 64)


def test_a_recipe_s_digest_is_its_sha256_cut_to_32_digits() -> None:
    assert recipe_digest({"rate_hz": 256}) == hashlib.sha256(b'{"rate_hz":256}').hexdigest()[:32]


@pytest.mark.parametrize("text", ["", "g" * 32, "A" * 32, "0" * 31, "0" * 32 + "\n", None, 5, "../" + "0" * 29])
def test_only_lower_case_hex_of_the_right_length_is_a_digest(text: object) -> None:
    assert not is_digest(text, 32)


def test_json_digest_is_sha256() -> None:
    assert json_digest([]) == hashlib.sha256(b"[]").hexdigest()
