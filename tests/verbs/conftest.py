"""A store for the tests of staging, and a scratch disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import brainbrr


@pytest.fixture(scope="module")
def stored(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store that holds the generated corpus. Read only."""
    folder = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "host"))
        brainbrr.ingest(generated, store=folder / "store", workers=1)
        yield folder / "store"


@pytest.fixture
def store(stored: Path, tmp_path: Path) -> Path:
    """The store as a test's own copy."""
    return Path(shutil.copytree(stored, tmp_path / "source"))


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "scratch"
