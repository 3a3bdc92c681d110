"""Settings: one place for the store, every value with its origin, obsolete keys refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainbrr.core.toml import OBSOLETE_KEYS
from brainbrr.errors import ConfigError
from brainbrr.learn.config import load_train_config
from brainbrr.settings import Launch, launched, make_cuda_deterministic, resolve


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
        ("tail = 5", "window.tail = 5: should be"),
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
    for words in ("field 'train.steps' is missing", "unknown field 'train.step'", "train.lr = "):
        assert words in caught.value.what


def test_jobs_are_beside_the_store_and_the_scheduler_comes_from_dasks_own_variable(home: Path) -> None:
    found = resolve(environ={"DASK_SCHEDULER_ADDRESS": "tcp://env:1"}, store="/data/store", cwd=home)
    assert (found.jobs.value, found.scheduler) == (Path("/data/jobs"), "tcp://env:1")
    found = resolve(environ={"DASK_SCHEDULER_ADDRESS": "tcp://env:1"}, scheduler="tcp://flag:1", jobs="/j", cwd=home)
    assert (found.jobs.value, found.scheduler) == (Path("/j"), "tcp://flag:1")
    assert resolve(environ={}, cwd=home).scheduler is None


def test_set_changes_a_setting_as_toml_and_takes_a_bare_word_as_text() -> None:
    changes = ["train.lr=0.01", "train.balance=none", "model.stem=[8, 8]", ' window.length_s = "30"', "seed=3"]
    changed = load_train_config("smoke", changes)
    assert (changed.train.lr, changed.train.balance, changed.model.stem, changed.seed) == (0.01, "none", (8, 8), 3)
    assert changed.window["length_s"] == "30"
    assert load_train_config("smoke").train.lr != 0.01
    assert load_train_config("smoke", ["train.balance={full=2, background=3}"]).train.balance == {
        "full": 2,
        "background": 3,
    }


@pytest.mark.parametrize(
    ("change", "told", "fix"),
    [
        ("train.lrr=1", "no setting is called 'train.lrr'", "train.lr"),
        ("lr=1", "no setting is called 'lr'", "train.lr"),
        ("quite.else=1", "no setting is called 'quite.else'", "settings: name, profile"),
        ("train=1", "no setting is called 'train'", None),
        ("seed", "NAME=VALUE", "train.lr"),
        ("train.lr=fast", "train.lr", None),
    ],
)
def test_a_change_that_is_none_is_refused_with_names_that_are_near(change: str, told: str, fix: str | None) -> None:
    with pytest.raises(ConfigError) as raised:
        load_train_config("smoke", [change])
    assert told in raised.value.what
    assert fix is None or fix in str(raised.value.fix)


def test_a_change_changes_one_setting_whatever_its_text_holds() -> None:
    assert load_train_config("smoke", ['recipe="a"\nseed=4']).seed == load_train_config("smoke").seed


def test_what_torchrun_says_is_read() -> None:
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    assert launched({"RANK": "0"}) is None
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert launched(told | meeting) == Launch(rank=5, size=8, local_rank=1)
    for rank in ("one", "8", "-1"):
        with pytest.raises(ConfigError, match="RANK"):
            launched({**told, **meeting, "RANK": rank})
    with pytest.raises(ConfigError, match="MASTER_ADDR and MASTER_PORT would say where the processes meet"):
        launched(told)


def test_a_workspace_of_cublas_that_somebody_chose_stays() -> None:
    environ: dict[str, str] = {}
    make_cuda_deterministic(environ)
    assert environ == {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    make_cuda_deterministic(chosen := {"CUBLAS_WORKSPACE_CONFIG": ":16:8"})
    assert chosen == {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}
