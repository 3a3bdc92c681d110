"""One build: an EDF that cannot be read is a refused recording, a store that cannot be written is not."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from brainbrr.core.digest import key_of, source_digest
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import EdfError
from brainbrr.ingest.build import Task, build, compile_kernels
from brainbrr.store.store import Store

RECIPE = Recipe()


def failing(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def task(generated: Path) -> Task:
    edf = next(generated.rglob("*.edf"))
    source = source_digest(edf)
    return Task(edf.name, edf, source, edf.stat().st_size, key_of(source=source, recipe=RECIPE.digest))


def test_a_disk_error_of_the_store_is_not_the_recordings_fault(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Store.create(tmp_path / "store").location
    for call in ("write", "fsync", "rename"):
        with monkeypatch.context() as broken, pytest.raises(OSError, match="Input/output error"):
            broken.setattr(os, call, failing)
            build(location, task, RECIPE)
    assert build(location, task, RECIPE).is_new


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES, errno.ENOSPC])
def test_a_disk_error_of_the_edf_is_a_refusal_that_names_it(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def unreadable(*_: Any) -> NoReturn:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "preadv", unreadable)
    with pytest.raises(EdfError, match=f"cannot be read: {os.strerror(error)}") as raised:
        build(Store.create(tmp_path / "store").location, task, RECIPE)
    assert raised.value.where == str(task.edf)


@pytest.mark.parametrize(("takes_s", "said"), [(0.0, 0), (0.3, 1)])
def test_compiling_kernels_is_said_where_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, takes_s: float, said: int
) -> None:
    words: list[str] = []
    monkeypatch.setitem(compile_kernels.__globals__, "_LONG_S", 0.1)
    monkeypatch.setitem(compile_kernels.__globals__, "prove", lambda: time.sleep(takes_s))
    compile_kernels(words.append)
    assert len(words) == said and all("once" in each for each in words)
