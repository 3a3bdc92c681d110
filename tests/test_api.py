"""The public names: each is reachable, whatever was imported before, and no settings of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import brainbrr
from brainbrr.api import arguments
from brainbrr.cli.app import GROUPS
from brainbrr.errors import UsageError
from brainbrr.store.store import Store


def test_import_is_quick_and_names_are_listed() -> None:
    code = "import sys, brainbrr; print(sorted({'numpy', 'zarr', 'pydantic', 'torch', 'click'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert set(brainbrr.__all__) <= set(dir(brainbrr))
    assert brainbrr.__all__ == sorted(brainbrr.__all__)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["brainbrr.ingest.ingest", "brainbrr.demo", "brainbrr.api", "brainbrr.cli.main"])
def test_a_submodule_does_not_hide_the_function_of_its_name(first: str) -> None:
    code = (
        f"import brainbrr, {first}; from brainbrr.ingest import scan; assert scan.__name__ == 'brainbrr.ingest.scan'; "
        "print(all(callable(getattr(brainbrr, name)) for name in brainbrr.__all__))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


def test_every_public_name_is_the_api_s() -> None:
    from brainbrr import api

    assert all(getattr(brainbrr, name) is getattr(api, name) for name in brainbrr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        brainbrr.nothing  # noqa: B018


def test_every_command_is_a_function() -> None:
    elsewhere = {"recipe": "recipes", "remote": "remotes"}
    names = {name for names in GROUPS.values() for name in names} - {
        "help",
        "completion",
    }  # which speak of the command line
    assert {elsewhere.get(name, name) for name in names} <= set(brainbrr.__all__)


def test_a_selection_is_taken_as_a_mapping_as_texts_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "exclude.txt"
    file.write_text("# why\na.edf\n\nb.edf\n")
    one = arguments.selection_of(patients=["p"], where={"split": "dev"}, exclude=["a.edf", "b.edf"], min_quality=50)
    assert one == arguments.selection_of(patients=("p",), where=["split=dev"], exclude=file, min_quality=50)
    assert arguments.selection_of().to_json() == {}
    with pytest.raises(UsageError, match="FIELD=VALUE"):
        arguments.selection_of(where=["split"])
    with pytest.raises(UsageError, match="a list of names"):
        arguments.selection_of(patients="chb01")
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        arguments.selection_of(exclude=file)


def test_a_view_is_narrowed_as_the_command_narrows_it(stored: Store) -> None:
    every = brainbrr.view(stored)
    first = every.recordings[0]
    assert [r.path for r in brainbrr.view(stored, where={"path": first.path}).recordings] == [first.path]
    assert len(brainbrr.view(stored, exclude=[first.path]).recordings) == len(every.recordings) - 1
    with pytest.raises(UsageError, match="no such field"):
        brainbrr.view(stored, where=["colour=red"])


def test_durations_are_seconds_or_have_a_unit() -> None:
    assert [arguments.seconds_of("grace", each) for each in (0, 1.5, "90s", "24h", "7d")] == [0, 1.5, 90, 86400, 604800]
    for wrong in ("24", "-1h", "a while", ""):
        with pytest.raises(UsageError, match="not a duration"):
            arguments.seconds_of("grace", wrong)


def test_only_known_kinds_are_accepted() -> None:
    assert arguments.accepted("refused,truncated", known=("refused", "truncated")) == {"refused", "truncated"}
    assert arguments.accepted((), known=("gone",)) == arguments.accepted("", known=("gone",)) == frozenset()
    with pytest.raises(UsageError, match="accept = 'everything'"):
        arguments.accepted(["everything"], known=("gone",))


def test_unknown_names_say_what_there_is(stored: Store) -> None:
    with pytest.raises(UsageError, match="no profile is called 'huge'"):
        brainbrr.view(stored, profile="huge")
    with pytest.raises(UsageError, match="no recipe is called"):
        brainbrr.view(stored, recipe="nothing")
    with pytest.raises(UsageError, match="two actions"):
        brainbrr.recipes(stored, retire="default", restore="default")
    with pytest.raises(UsageError, match="which pin"):
        brainbrr.pin(store=stored, remove=True)
