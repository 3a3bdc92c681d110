"""What split files, tables of patients and aliases mean, and that what they do not mean is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import brainbrr
from brainbrr.errors import ConfigError, IntegrityError, LeakError
from brainbrr.store.store import Store
from brainbrr.views.folds import Fold, SplitReport, balanced
from brainbrr.views.splits import Aliases, Splits, load_splits


def read(file: Path, text: str, part: str = "", **options: object) -> Splits:
    file.write_text(text)
    found = load_splits(f"{file}{part}", **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_aliases_lead_to_one_name_within_and_across_corpora() -> None:
    aliases = Aliases({"chb21": "chb01", "tueg/*": "tusz/*", "tusz/b": "tusz/a"})
    assert aliases.person("chb", "chb21") == "chb/chb01" == aliases.person("chb", "chb01")
    assert aliases.person("tueg", "b") == "tusz/a" == aliases.person("x", "tueg/b")
    assert (aliases.name("tueg", "b"), aliases.name("tusz", "b"), aliases.name("tueg2", "b")) == ("tusz/a", "a", "b")
    for circle in ({"a": "b", "b": "a"}, {"a": "a"}, {"x/*": "y/*", "y/*": "x/*"}):
        with pytest.raises(ConfigError, match="circle"):
            Aliases(circle)


def test_a_fold_file_says_which_fold_is_what(tmp_path: Path) -> None:
    folds = tuple(Fold(n, (f'p"{n}', f"q{n}"), 2, 1, 10, 20) for n in (1, 2, 3, 4))
    report = SplitReport("c", "patient", "seizures", folds, {"q4": "q3"})
    first = read(tmp_path / "folds.toml", report.to_toml())
    assert first == read(tmp_path / "folds.toml", report.to_toml(), ":1")
    third = read(tmp_path / "folds.toml", report.to_toml(), ":3")
    assert third.corpus == "c" and third.aliases.names == {"q4": "q3"} and third.source == "folds.toml:3"
    assert third.patients == {
        'p"1': "train", "q1": "train", 'p"2': "train", "q2": "train",
        'p"3': "eval", "q3": "eval", 'p"4': "dev", "q4": "dev",
    }  # fmt: skip
    assert Splits.from_json(third.to_json()) == third
    assert load_splits(kept=third.to_json()) == third
    more = load_splits(aliases={"q1": "q2"}, kept=third.to_json())
    assert more is not None and more.patients == third.patients and more.aliases.names == {"q4": "q3", "q1": "q2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [", "not TOML"),
        ("[patients]\na = 1\n", "format = None"),
        ("format = 1\n[patients]\na = 1\n", "are missing"),
        ("format = 1\n[patients]\na = 1\n[split.2]\ntrain = [1]\n", r"no \[split.1\]"),
        ("format = 1\n[patients]\na = 2\n[split.1]\ntrain = [1]\n", "in no list"),
        ("format = 1\n[patients]\na = 1\n[split.1]\ntrain = [1]\neval = [1]\n", "fold 1 is in train and eval"),
        ("format = 1\n[patients]\na = 1\n[split.1]\ntest = [1]\n", "a list of folds"),
        ("format = 1\n[patients]\na = 1\n[split.1]\ntrain = [true]\n", "a list of folds"),
        ("format = 1\n[aliases]\nb = 1\n[patients]\na = 1\n[split.1]\ntrain = [1]\n", "NAME = NAME"),
    ],
)
def test_a_fold_file_that_means_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path / "folds.toml", text)


def test_a_table_has_a_header_or_two_columns(tmp_path: Path) -> None:
    file = tmp_path / "participants.tsv"
    table = (
        "participant_id\tage\tsplit\tother\nsub-01\t3\ttrain\tTest\nsub-02\tn/a\tval\ttraining\nsub-03\t4\tn/a\tdev\n"
    )
    assert read(file, table).patients == {"sub-01": "train", "sub-02": "dev", "sub-03": "none"}
    assert read(file, table, ":other").patients == {"sub-01": "eval", "sub-02": "train", "sub-03": "dev"}
    assert read(tmp_path / "two.tsv", "a\ttrain\nb\ttest\n").patients == {"a": "train", "b": "eval"}
    with pytest.raises(ConfigError, match="no column 'sex'"):
        read(file, table, ":sex")
    with pytest.raises(ConfigError, match=r"patient 'sub-01': '3' is no split"):
        read(file, table, ":age")
    with pytest.raises(ConfigError, match="patient a is in train and in eval"):
        read(file, "patient\tsplit\na\ttrain\na\teval\n")
    with pytest.raises(ConfigError, match="no column of patients"):
        read(file, "a,train\n")
    with pytest.raises(ConfigError, match="not there"):
        load_splits(tmp_path / "nothing.tsv")


def test_a_frozen_view_s_splits_are_read_strictly() -> None:
    whole = Splits({"a": "train"}, source="x").to_json()
    for field, wrong in (("patients", ["a"]), ("aliases", None), ("source", 3), ("patients", {"a": 1})):
        with pytest.raises(IntegrityError):
            Splits.from_json({**whole, field: wrong})
    with pytest.raises(IntegrityError):
        Splits.from_json({})


AMOUNTS = st.dictionaries(
    st.text(min_size=1, max_size=4), st.tuples(*[st.integers(0, 50)] * 2), min_size=5, max_size=30
)


@given(AMOUNTS, st.integers(3, 5))
def test_folds_take_everybody_once_and_none_is_empty(amounts: dict[str, tuple[int, int]], n: int) -> None:
    folds = balanced(amounts, n)
    assert sorted(person for fold in folds for person in fold) == sorted(amounts)
    assert all(folds) and folds == balanced(dict(reversed(amounts.items())), n)


def test_folds_are_balanced_and_the_same_for_ever() -> None:
    people = {f"p{i:02d}": (i % 4, 60 + 10 * i, 1) for i in range(20)}
    folds = balanced(people, 5)
    seizures, hours = ([sum(people[p][k] for p in fold) for fold in folds] for k in (0, 1))
    assert max(seizures) - min(seizures) <= 1 and max(hours) <= 1.2 * min(hours)
    assert [" ".join(fold) for fold in folds] == [
        "p19 p06 p05 p12",
        "p15 p17 p02 p04",
        "p11 p10 p13 p00",
        "p18 p03 p09 p08",
        "p07 p14 p16 p01",
    ]


def test_without_splits_a_view_is_what_it_was_and_with_them_its_digest_follows(stored: Store) -> None:
    plain = brainbrr.view(stored)
    own = {r.patient: r.split for r in plain.recordings}
    table = stored.location.parent / "own.tsv"
    table.write_text("patient\tsplit\n" + "".join(f"{patient}\t{split}\n" for patient, split in own.items()))
    same = brainbrr.view(stored, splits=table)
    assert "splits" not in plain.to_json()["selection"] and same.digest == plain.digest
    first = plain.recordings[0]
    other = "eval" if first.split == "train" else "train"
    table.write_text(
        "patient\tsplit\n" + "".join(f"{p}\t{other if p == first.patient else s}\n" for p, s in own.items())
    )
    moved = brainbrr.view(stored, splits=table)
    assert moved.digest != plain.digest
    assert {r.split for r in moved.recordings if r.patient == first.patient} == {other}
    assert brainbrr.View.from_json(stored, moved.to_json()).digest == moved.digest
    second = next(p for p, split in own.items() if split != first.split)
    with pytest.raises(LeakError, match=f"patient demo/{first.patient} is in"):
        brainbrr.view(stored, aliases={second: first.patient})
    assert [leak["value"] for leak in brainbrr.check(stored, aliases={second: first.patient}).leaks] == [
        f"demo/{first.patient}"
    ]
