"""Profiles nest by construction and hold seizures wherever a split has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainbrr.errors import ConfigError
from brainbrr.profiles import NAMES, Profile, choose, load_profiles

SHIPPED = Path(__file__).parents[1] / "configs" / "profiles.toml"


@dataclass(frozen=True)
class Recording:
    path: str
    patient: str
    split: str


recordings = st.lists(
    st.builds(
        Recording,
        path=st.uuids().map(str),
        patient=st.sampled_from("abc"),
        split=st.sampled_from(["train", "dev", "eval", "none"]),
    ),
    unique_by=lambda r: r.path,
    max_size=60,
)


@pytest.mark.slow
@given(recordings, st.data(), st.integers(0, 20), st.integers(0, 20))
def test_a_smaller_quota_is_a_prefix_of_a_larger_one(
    rows: list[Recording], data: st.DataObject, a: int, b: int
) -> None:
    seizures = {row.path: data.draw(st.booleans()) for row in rows}
    small, large = sorted((a, b))
    few = choose(rows, Profile("smoke", {"train": small}), has_seizures=seizures)
    many = choose(rows, Profile("dev", {"train": large}), has_seizures=seizures)
    train = [row for row in few if row.split == "train"]
    assert train == [row for row in many if row.split == "train"][: len(train)]
    assert set(few) <= set(many)


@pytest.mark.slow
@given(recordings, st.data())
def test_order_does_not_depend_on_the_order_of_the_catalog(rows: list[Recording], data: st.DataObject) -> None:
    seizures = {row.path: data.draw(st.booleans()) for row in rows}
    quota = Profile("smoke", {"train": 3, "dev": 3, "eval": 3, "none": 3})
    shuffled = data.draw(st.permutations(rows))
    assert choose(rows, quota, has_seizures=seizures) == choose(shuffled, quota, has_seizures=seizures)


@pytest.mark.slow
@given(recordings, st.data())
def test_two_of_a_split_hold_a_seizure_when_the_split_has_one(rows: list[Recording], data: st.DataObject) -> None:
    seizures = {row.path: data.draw(st.booleans()) for row in rows}
    chosen = choose(rows, Profile("smoke", dict.fromkeys(("train", "dev", "eval", "none"), 2)), has_seizures=seizures)
    for split in ("train", "dev", "eval", "none"):
        there = any(seizures[row.path] for row in rows if row.split == split)
        assert any(seizures[row.path] for row in chosen if row.split == split) == there


def test_shipped_profiles_take_50_and_500_recordings_of_tusz() -> None:
    profiles = load_profiles(SHIPPED, corpus="tusz")
    official = ("train", "dev", "eval")
    assert sum(profiles["smoke"].quota[split] or 0 for split in official) == 50
    assert sum(profiles["dev"].quota[split] or 0 for split in official) == 500
    assert all(profiles["full"].quota[split] is None for split in official)


def test_demo_profiles_take_6_12_and_18() -> None:
    profiles = load_profiles(SHIPPED, corpus="demo")
    rows = [
        Recording(f"{split}{i}", f"{split}", split)
        for split, n in (("train", 10), ("dev", 4), ("eval", 4))
        for i in range(n)
    ]
    seizures = {row.path: False for row in rows}
    assert [len(choose(rows, profiles[name], has_seizures=seizures)) for name in NAMES] == [6, 12, 18]


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("[smoke]\ntrain = 5\n[dev]\ntrain = 4\n[full]\ntrain = 'all'", "nest"),
        ("[smoke]\ntrain = 'all'\n[dev]\ntrain = 4\n[full]\ntrain = 'all'", "nest"),
        ("[smoke]\ntrain = -1\n[dev]\n[full]", "a number of recordings"),
        ("[smoke]\ntrain = true\n[dev]\n[full]", "a number of recordings"),
        ("[smoke]\ntest = 1\n[dev]\n[full]", "unknown split"),
        ("[tiny]\ntrain = 1", "unknown profile"),
        ("[smoke]\n[dev]", "'full' is missing"),
        ("smoke = ", "not TOML"),
        ("corpus = 5\n[smoke]\n[dev]\n[full]", "corpus = 5: not a table"),
        ("[corpus]\ndemo = 5\n[smoke]\n[dev]\n[full]", "corpus.demo = 5: not a table"),
        ("[[corpus.demo]]\n[smoke]\n[dev]\n[full]", "corpus.demo = .*: not a table"),
        ("cache_dir = 'x'\n[smoke]\n[dev]\n[full]", "cache_dir is obsolete: there is one store"),
        ("[data]\ncache_dir = 'x'\n[smoke]\n[dev]\n[full]", "data.cache_dir is obsolete: there is one store"),
    ],
)
def test_a_wrong_profiles_file_is_refused_by_name(tmp_path: Path, text: str, fragment: str) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=fragment) as caught:
        load_profiles(file, corpus=None)
    assert str(file) in str(caught.value)
