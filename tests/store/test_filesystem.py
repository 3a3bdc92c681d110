"""A file system that lacks something a store needs is refused by `init`, with the reason, and left as it was."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brainbrr.core import files
from brainbrr.errors import UsageError
from brainbrr.store.filesystem import probe
from brainbrr.store.store import Store

INIT = [sys.executable, "-m", "brainbrr", "init", "--json", "--store"]
LACKS = {
    "link": "it has no hard links (Operation not permitted)",
    "link copies": "it has no hard links (tried",
    "link replaces": "it links over a file",
    "rename": "it cannot rename folders",
    "rename replaces": "it renames a folder over one",
    "fsync": "it cannot flush folders",
    "file mode": "it does not keep the mode of files",
    "folder mode": "it does not keep the mode 2775 of folders",
    "exclusive": "it creates a file that is there",
}


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler to pretend a poor file system")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).parent / "shim.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def init(store: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*INIT, str(store), *options],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        umask=0o077,
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", LACKS)
def test_what_a_file_system_lacks_is_named(shim: Path, tmp_path: Path, what: str) -> None:
    options = ("--group", str(os.getgid()), "--public") if what == "folder mode" else ()
    told = init(tmp_path / "a" / "store", *options, LD_PRELOAD=str(shim), BREAK=what)
    assert told.returncode == 2, told.stderr
    said = json.loads(told.stdout)
    assert f"this file system cannot hold a store: {LACKS[what]}" in said["what"]
    assert said["where"].startswith(str(tmp_path / "a" / "store")) and "POSIX" in said["fix"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_whole_file_system_is_taken_also_through_the_shim(shim: Path, tmp_path: Path) -> None:
    assert init(tmp_path / "store", LD_PRELOAD=str(shim), BREAK="nothing").returncode == 0
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    Store.open(tmp_path / "store")


@pytest.mark.slow
def test_an_existing_folder_with_a_readme_stays(shim: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    assert init(tmp_path, LD_PRELOAD=str(shim), BREAK="link").returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.slow
def test_a_real_file_system_whose_files_cannot_be_written_is_refused(tmp_path: Path) -> None:
    def mounted(*command: str) -> subprocess.CompletedProcess[str]:
        script = f'mount -t hugetlbfs none {tmp_path} && exec "$@"'
        whole = ["unshare", "-m", "sh", "-c", script, "sh", *command]
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    if sys.platform != "linux" or mounted("true").returncode:
        pytest.skip("hugetlbfs cannot be mounted here")
    told = mounted(*INIT, f"{tmp_path}/store")
    assert told.returncode == 2, told.stderr
    assert "it cannot write and flush small files (Invalid argument)" in json.loads(told.stdout)["what"]


def test_a_probe_leaves_nothing_and_other_trouble_is_no_lack(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    probe(tmp_path / "probe", folder_mode=0o755)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "gone" / "probe", folder_mode=0o755)


@pytest.mark.parametrize("n", [1, 2])
def test_trouble_that_is_no_lack_is_not_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    calls, real = [0], os.link

    def full(*names: Path) -> None:
        calls[0] += 1
        if calls[0] == n:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*names)

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        probe(tmp_path / "probe", folder_mode=0o755)
    assert not (tmp_path / "probe").exists()


def test_a_file_that_reads_back_as_something_else_is_a_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "read", lambda path: b"brainbrs")
    with pytest.raises(UsageError, match="cannot write and flush small files"):
        probe(tmp_path / "probe", folder_mode=0o755)
