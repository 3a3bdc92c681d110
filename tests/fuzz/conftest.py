"""One folder for all: what is read is overwritten each time, and nothing else may be touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.targets import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.make(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="session")
def folder(place: Place) -> Path:
    return place.folder
