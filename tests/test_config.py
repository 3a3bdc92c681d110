"""Settings: one place for the store, every value with its origin, obsolete keys refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainbrr.config import load_train_config, resolve
from brainbrr.errors import ConfigError
from brainbrr.toml_files import OBSOLETE_KEYS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def test_flag_beats_environment_beats_config_file_beats_default(home: Path) -> None:
    file = home / "mine.toml"
    file.write_text('store = "from-file"\n')
    environ = {"BRAINBRR_CONFIG": str(file)}
    assert resolve(environ=environ, cwd=home).store.value == home / "from-file"
    assert resolve(environ=environ, cwd=home).store.origin == f"config file {file}"
    environ["BRAINBRR_STORE"] = "/env/store"
    assert resolve(environ=environ, cwd=home).store.value == Path("/env/store")
    assert resolve(environ=environ, store="/flag/store", cwd=home).store.origin == "flag --store"


def test_default_is_the_nearest_store_upwards(home: Path) -> None:
    (home / "project" / "store").mkdir(parents=True)
    (home / "project" / "store" / "format.json").write_text("{}")
    deep = home / "project" / "notebooks" / "a"
    deep.mkdir(parents=True)
    assert resolve(environ={}, cwd=deep).store.value == home / "project" / "store"


def test_default_is_never_simply_the_working_directory(home: Path) -> None:
    (home / "store").mkdir()  # a folder of that name, but no store
    found = resolve(environ={}, cwd=home).store
    assert home / "store" != found.value
    assert "checkout" in found.origin or "user data" in found.origin


@pytest.mark.parametrize("dotted", sorted(OBSOLETE_KEYS))
def test_obsolete_keys_are_refused_with_what_replaced_them(home: Path, dotted: str) -> None:
    *outer, name = dotted.split(".")
    file = home / "train.toml"
    file.write_text((f"[{outer[0]}]\n" if outer else "") + f'{name} = "cache/smoke"\n')
    with pytest.raises(ConfigError, match="BRAINBRR_STORE") as caught:
        load_train_config(str(file))
    assert dotted in caught.value.what


def test_unknown_keys_are_refused_by_name(home: Path) -> None:
    file = home / "c.toml"
    file.write_text('chache = "x"\n')
    with pytest.raises(ConfigError, match="chache"):
        resolve(environ={"BRAINBRR_CONFIG": str(file)}, cwd=home)


@pytest.mark.parametrize(
    ("window", "told"),
    [
        ('length_s = "abc"', "window.length_s: 'abc' is not a decimal number"),
        ('stride_s = "NaN"', "window.stride_s: 'NaN' is not a decimal number"),
        ('clip = "Infinity"', "window.clip: 'Infinity' is not a decimal number"),
        ('scale_uv = "100"', "window: scale_uv goes with"),
        ("tail = 5", "window.tail: Input should be"),
    ],
)
def test_a_wrong_window_of_a_training_config_is_refused_by_field(home: Path, window: str, told: str) -> None:
    file = home / "train.toml"
    file.write_text(f'name = "x"\nprofile = "smoke"\n[train]\nsteps = 1\nbatch = 1\nlr = 0.1\n[window]\n{window}\n')
    with pytest.raises(ConfigError) as caught:
        load_train_config(str(file))
    assert caught.value.what.startswith(told) and "\n" not in caught.value.what
    assert caught.value.where == str(file)
    assert caught.value.exit_code == 2


def test_a_config_file_that_was_asked_for_must_be_there(home: Path) -> None:
    for missing in (home / "typo.toml", home):  # a folder is no file, either
        with pytest.raises(ConfigError, match="BRAINBRR_CONFIG") as caught:
            resolve(environ={"BRAINBRR_CONFIG": str(missing)}, cwd=home)
        assert caught.value.where == str(missing)
    assert resolve(environ={}, store="s", cwd=home).store.value == Path("s")  # the default one may be missing


@pytest.mark.parametrize("variable", ["CACHE_ROOT", "BGB_LIMIT_FILES"])
def test_obsolete_variables_are_named_as_ignored(home: Path, variable: str) -> None:
    [warning] = resolve(environ={variable: "x"}, cwd=home).warnings
    assert variable in warning and "--" in warning


def test_runs_lie_beside_the_store_unless_set(home: Path) -> None:
    assert resolve(environ={}, store="/a/store", cwd=home).runs.value == Path("/a/runs")
    assert resolve(environ={"BRAINBRR_RUNS": "/b"}, store="/a/store", cwd=home).runs.value == Path("/b")


def test_all_that_is_wrong_with_a_training_config_is_said_at_once(home: Path) -> None:
    file = home / "train.toml"
    file.write_text('name = "x"\nprofile = "smoke"\n[train]\nstep = 5\nbatch = 2\nlr = "fast"\n')
    with pytest.raises(ConfigError) as caught:
        load_train_config(str(file))
    for words in ("train.steps is missing", "train.step is not known", "train.lr: "):
        assert words in caught.value.what


def test_jobs_lie_beside_the_store_and_the_scheduler_is_dasks_own_variable(home: Path) -> None:
    found = resolve(environ={"DASK_SCHEDULER_ADDRESS": "tcp://env:1"}, store="/data/store", cwd=home)
    assert (found.jobs.value, found.scheduler) == (Path("/data/jobs"), "tcp://env:1")
    found = resolve(environ={"DASK_SCHEDULER_ADDRESS": "tcp://env:1"}, scheduler="tcp://flag:1", jobs="/j", cwd=home)
    assert (found.jobs.value, found.scheduler) == (Path("/j"), "tcp://flag:1")
    assert resolve(environ={}, cwd=home).scheduler is None
