"""Every exception type and every exit code, each met once as a user meets it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest
from helpers.edf_bytes import File, noise
from helpers.store_values import overwrite
from helpers.support import ROOT, TINY, Cli

import brainbrr
from brainbrr import errors
from brainbrr.cli.app import EXIT_CODES
from brainbrr.core import models
from brainbrr.eeg.corpus.tree import scan
from brainbrr.store.store import Store

pytestmark = pytest.mark.slow

Meet = Callable[[Cli, Path, Path], tuple[int, str]]
"""Do something with a command line, a small corpus and a folder; return its exit code and the error's name."""

MEETINGS: dict[str, Meet] = {}


def meets(meeting: Meet) -> Meet:
    MEETINGS[meeting.__name__] = meeting
    return meeting


def told(cli: Cli, *arguments: object) -> tuple[int, str]:
    said = cli(*arguments, "--json")
    return said.code, str(said.json["error"])


def refused(cli: Cli, root: Path, *arguments: object) -> tuple[int, str]:
    said = cli("ingest", root, "--workers", 1, *arguments, "--json")
    [failure] = said.json["failed"]
    return said.code, str(failure["error"])


def one_edf(folder: Path, edf: bytes) -> Path:
    root = folder / "one"
    root.mkdir()
    (root / "a.edf").write_bytes(edf)
    return root


@meets
def EdfError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    return refused(cli, one_edf(folder, b"0" * 300), "--labels", "none")


@meets
def MontageError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    return refused(cli, one_edf(folder, File([noise("EEG FP1-REF", seconds=8)]).bytes()), "--labels", "none")


@meets
def AnnotationError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    label = next(corpus.rglob("*.csv_bi"))
    label.write_text("nonsense\n")
    return refused(cli, corpus)


@meets
def NotReproducibleError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    """A record that names another content than the EDF gives, as a build of another machine would."""

    cli("ingest", corpus, "--workers", 1)
    store = Store.open(folder / "store")
    record = next(store.records())
    overwrite(store.layout.record(record.key), models.to_checksummed({**record.to_json(), "content": "f" * 64}))
    said = cli("ingest", corpus, "--workers", 1, "--json")
    [failure] = said.json["failed"]
    return said.code, failure["error"]


@meets
def CollisionError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    """Two recordings of one key, as a forger of XXH3 would make them: the second is refused, never 'reused'."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("store.records", "store.store", "ingest.build", "ingest.reuse"):
            patch.setattr(import_module(f"brainbrr.{module}"), "key_of", lambda **_: "c" * 32)
        said = cli("ingest", corpus, "--workers", 1, "--json")
    assert said.json["new"] == 1 and said.json["reused"] == 0
    [kind] = {failure["error"] for failure in said.json["failed"]}
    assert all("is also the key of source" in failure["reason"] for failure in said.json["failed"])
    return said.code, kind


@meets
def AccessError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    """A store that was opened to more people than may read the corpus."""
    cli("ingest", corpus, "--workers", 1)
    corpus.chmod(0o700)
    (folder / "store").chmod(0o755)
    said = cli("ingest", corpus, "--workers", 1, "--json")
    return said.code, said.json["error"]


@meets
def ExecutorError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    with ProcessPoolExecutor(1, initializer=os._exit, initargs=(1,)) as pool:
        try:
            brainbrr.ingest(corpus, store=folder / "store", executor=pool)
        except errors.BrainbrrError as error:
            return error.exit_code, type(error).__name__
    raise AssertionError("an executor without a worker did the work")


@meets
def UsageError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    return told(cli, "ingest", folder / "nowhere")


@meets
def ConfigError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    (folder / "odd.toml").write_text("rate_hz = 'fast'\n")
    return told(cli, "ingest", corpus, "--recipe", folder / "odd.toml")


@meets
def FormatError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    cli("ingest", corpus, "--workers", 1, "--profile", "smoke")
    overwrite(folder / "store" / "format.json", b'{"format":99,"kind":"brainbrr store"}')
    return told(cli, "view")


@meets
def ViewNotReadyError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    cli("ingest", corpus, "--workers", 1, "--profile", "smoke")
    return told(cli, "train", "--profile", "full")


@meets
def IntegrityError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    cli("ingest", corpus, "--workers", 1)
    overwrite(next((folder / "store" / "catalog" / "demo").glob("*.jsonl")), b"rotten")
    return told(cli, "view")


@meets
def LeakError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    """One recording in two splits stops an evaluation; here, the gate."""
    train = next(file.edf for file in scan_of(corpus) if file.split == "train")
    dev = next(file.edf for file in scan_of(corpus) if file.split == "dev")
    dev.write_bytes(train.read_bytes())
    cli("ingest", corpus, "--workers", 1)
    return cli("check", "--require", "no-leaks").code, "LeakError"


@meets
def DuplicateError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    import shutil

    cli("ingest", corpus, "--workers", 1, "--profile", "smoke")
    store = Store.open(folder / "store")
    content = next(store.contents())
    shutil.copytree(store.layout.object(content), store.layout.object(content).with_name(content[:2] + "f" * 62))
    return cli("check", "--require", "no-duplicates").code, "DuplicateError"


@meets
def SpaceError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    cli("ingest", corpus, "--workers", 1)
    return told(cli, "train", "--stage", folder / "scratch", "--stage-bytes", "1")


@meets
def DependencyError(cli: Cli, corpus: Path, folder: Path) -> tuple[int, str]:
    cli("ingest", corpus, "--workers", 1)
    (folder / "gpu.toml").write_text(TINY.replace('device = "cpu"', 'device = "cuda"'))
    return told(cli, "train", "--config", folder / "gpu.toml")


def scan_of(root: Path):  # type: ignore[no-untyped-def]
    from brainbrr.eeg.corpus.tree import locate

    return scan(locate(root, name=None))


NO_RAISER: dict[str, str] = {}
BASES = {"BrainbrrError", "RecordingError"}


def is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, errors.BrainbrrError)


def test_every_exception_type_is_met_or_has_a_reason() -> None:
    types = {name for name, value in vars(errors).items() if is_error(value)} - BASES
    assert MEETINGS.keys() | NO_RAISER.keys() == types
    sources = "".join(path.read_text() for path in (ROOT / "brainbrr").rglob("*.py"))
    for name in NO_RAISER:
        assert not re.search(rf"raise {name}\(", sources), f"{name} can be met now"


@pytest.mark.parametrize("name", MEETINGS)
def test_each_exception_ends_with_its_exit_code(cli: Cli, corpus: Path, tmp_path: Path, name: str) -> None:
    code, kind = MEETINGS[name](cli, corpus, tmp_path)
    assert (kind, code) == (name, getattr(errors, name).exit_code)


def test_every_exit_code_belongs_to_an_exception_or_to_an_end(cli: Cli, corpus: Path) -> None:
    codes = {value.exit_code for value in vars(errors).values() if is_error(value)}
    assert codes | {0, 130, 141} == EXIT_CODES.keys()
    assert cli("ingest", corpus, "--workers", 1).code == 0


def test_each_exception_has_a_code_of_its_own_that_never_changes() -> None:
    codes = {name: value.code for name, value in vars(errors).items() if is_error(value)}
    assert codes == {
        "BrainbrrError": "failed",
        "RecordingError": "recording-refused",
        "EdfError": "edf-refused",
        "MontageError": "montage-refused",
        "AnnotationError": "annotation-refused",
        "NotReproducibleError": "not-reproducible",
        "CollisionError": "collision",
        "ExecutorError": "executor-failed",
        "UsageError": "usage",
        "ConfigError": "config",
        "FormatError": "store-format",
        "ViewNotReadyError": "view-not-ready",
        "IntegrityError": "damaged",
        "DuplicateError": "duplicate",
        "LeakError": "leak",
        "AccessError": "access-forbidden",
        "SpaceError": "no-space",
        "DependencyError": "dependency-missing",
    }


def test_frequent_mistakes_have_codes(cli: Cli, corpus: Path) -> None:
    assert cli("verify", "--json").json["code"] == "no-store"
    assert cli("evaluate", "nothing", "--json").json["code"] == "no-such-run"
    assert cli("ingest", corpus, "--workers", 1, "--profile", "smoke").code == 0
    assert cli("view", "--corpus", "nothing", "--json").json["code"] == "no-such-corpus"
    assert cli("train", "--profile", "full", "--json").json["code"] == "view-not-ready"


def test_an_interrupted_command_ends_with_130(corpus: Path, tmp_path: Path) -> None:
    from brainbrr.eeg.synthetic.corpus import write_corpus

    write_corpus(tmp_path / "long", n_recordings=6, seconds=(600, 600))
    command = [
        sys.executable,
        "-m",
        "brainbrr",
        "ingest",
        tmp_path / "long",
        "--store",
        tmp_path / "s",
        "--workers",
        "1",
    ]
    running = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert running.stderr is not None
    for line in running.stderr:
        if "Building" in line:
            running.send_signal(signal.SIGINT)
            break
    running.communicate(timeout=120)
    assert running.returncode == 130
