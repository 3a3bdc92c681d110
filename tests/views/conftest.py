"""A store for the tests of staging, and a scratch disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def store(stored_at: Path, tmp_path: Path) -> Path:
    """The store as a test's own copy."""
    return Path(shutil.copytree(stored_at, tmp_path / "source"))


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "scratch"
