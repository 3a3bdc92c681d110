"""`doctor`: what this machine, its libraries and a folder can do for brainbrr, each line fine or with its fix.

The folder itself is tried in `trials`.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from brainbrr.core.access import owner_name
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import BrainbrrError, UsageError
from brainbrr.look.trials import Line, run, tried
from brainbrr.settings import Settings
from brainbrr.store.create import find
from brainbrr.store.store import Store

TESTED = {
    "numpy": "2.4.6",
    "zarr": "3.1.6",
    "pydantic": "2.14.3",
    "click": "8.5.1",
    "scipy": "1.17.1",
    "numba": "0.68.1",
    "torch": "2.13.0",
    "mne": "1.13.2",
    "matplotlib": "3.11.2",
}
"""The versions of constraints.txt that results depend on most."""

_EXTRAS = {
    "numba": "pip install 'brainbrr[fast]' compiles reading and filtering",
    "torch": "pip install 'brainbrr[train]' adds training",
    "mne": "pip install 'brainbrr[mne]' adds View.to_mne",
    "matplotlib": "pip install 'brainbrr[look]' adds show",
    "scipy": "pip install scipy adds the recipe `upstream`",
}
_PYTHONS = ((3, 11), (3, 13))


@dataclass(frozen=True)
class Diagnosis:
    """All lines, and the folder that was tried."""

    folder: Path
    lines: tuple[Line, ...]

    @property
    def exit_code(self) -> int:
        """1 where something is wrong."""
        return int(any(line.state == "wrong" for line in self.lines))

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {"ok": not self.exit_code, "folder": str(self.folder), "lines": [vars(line) for line in self.lines]}


def doctor(
    folder: Path | None,
    settings: Settings,
    *,
    peer: str | None = None,
    thorough: bool = False,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> Diagnosis:
    """Look at this machine and try a folder; None: where the store is, or would be.

    `peer`: a host that ssh reaches without a password and that should see the folder. `thorough`: kill an ingest into
    the folder 200 times. Raises UsageError where the folder cannot be written.
    """
    place = _existing(folder or settings.store.value)
    lines = [*_machine(), *_libraries(), *_kernels(), *_gpu(), *_store(settings)]
    try:
        with tempfile.TemporaryDirectory(prefix=".brainbrr-doctor-", dir=place) as trial:
            lines += tried(place, Path(trial), peer=peer, thorough=thorough, progress=progress)
    except PermissionError:
        raise UsageError("nothing can be tried in a folder that you cannot write", where=place) from None
    return Diagnosis(place, tuple(lines))


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest parent that exists; a store's own folders stay as they are."""
    place = folder.expanduser().absolute()
    inside = place.parent if _is_store(place) else place
    return next(each for each in (inside, *inside.parents) if each.is_dir())


def _is_store(place: Path) -> bool:
    """Say whether a folder is a store."""
    try:
        return find(place)
    except BrainbrrError:
        return False


def _machine() -> Iterator[Line]:
    here = sys.version_info[:2]
    tested = _PYTHONS[0] <= here <= _PYTHONS[1]
    first, last = (".".join(map(str, each)) for each in _PYTHONS)
    name = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Line("brainbrr", "fine", version("brainbrr"))
    yield Line("python", "fine" if tested else "note", name, None if tested else f"tested with {first} to {last}")
    if platform.system() != "Linux":
        yield Line("system", "note", platform.system(), "tested on Linux; on Windows use WSL2")


def _libraries() -> Iterator[Line]:
    for name, tested in TESTED.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Line(name, "note", "not installed", _EXTRAS.get(name, f"pip install {name}"))
            continue
        same = found.split(".")[:2] == tested.split(".")[:2]
        yield Line(name, "fine", found if same else f"{found}; tested with {tested}")


def _kernels() -> Iterator[Line]:
    if find_spec("numba") is None:
        yield Line("kernels", "note", "numpy: right, and several times slower", "pip install 'brainbrr[fast]'")
        return
    from brainbrr.loading.kernels import kernels

    try:
        yield Line("kernels", "fine", f"compiled: {type(kernels(compiled=True)).__name__}")
    except Exception as error:  # noqa: BLE001  # whatever a compiler says, it is what is to be shown
        yield Line(
            "kernels", "wrong", f"numba is installed and does not compile: {error}", "reinstall numba and llvmlite"
        )


def _gpu() -> Iterator[Line]:
    """Look at the GPU by its driver, and at torch in a process of its own: importing it takes seconds and memory."""
    if find_spec("torch") is None:
        yield Line("cuda", "note", "torch is not installed", _EXTRAS["torch"])
        return
    code = "import torch; print(torch.version.cuda, torch.cuda.is_available() and torch.cuda.get_device_name())"
    done = run([sys.executable, "-c", code], capture_output=True)
    built, _, device = done.stdout.strip().partition(" ")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        yield Line("cuda", "wrong", f"torch cannot be imported: {last}", "install torch again")
    elif device != "False":
        yield Line("cuda", "fine", f"{device}, CUDA {built}")
        if find_spec("mamba_ssm") is None:
            yield Line("mamba-ssm", "note", "not installed: scans run in torch", "pip install 'brainbrr[cuda]'")
    elif shutil.which("nvidia-smi"):
        yield Line("cuda", "wrong", f"torch does not see the GPU (CUDA {built})", "make setup TORCH=cuda")
    else:
        yield Line("cuda", "note", "no GPU: training runs on the CPU", "fine for the config smoke")


def _store(settings: Settings) -> Iterator[Line]:
    place, origin = settings.store.value, settings.store.origin
    try:
        store = Store.open_if_there(place)
    except (BrainbrrError, OSError) as error:
        what = error.what if isinstance(error, BrainbrrError) else str(error)
        yield Line("store", "wrong", f"{place} ({origin}): {what}", getattr(error, "fix", None))
        return
    if store is None:
        yield Line("store", "note", f"{place} ({origin}): nothing yet", "brainbrr ingest ROOT creates it")
        return
    yield Line(
        "store", "fine", f"{place} ({origin}), codec {store.codec}, corpora: {', '.join(store.corpora()) or 'none'}"
    )
    writable = os.access(place, os.W_OK)
    mode = place.stat().st_mode & 0o777
    fix = None if writable else "name --runs and BRAINBRR_JOBS elsewhere, or ask its owner for `init --group`"
    yield Line("permissions", "fine" if writable else "note", f"mode {mode:04o}, owner {owner_name(place)}", fix)
    if left := store.stale_tmp():
        yield Line(
            "leftovers",
            "note",
            f"{len(left)} of killed writers in tmp/",
            "harmless; delete them with `brainbrr gc --yes`",
        )
