"""Tasks of the generated corpus, and the proof that a store is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainbrr.core.digest import key_of, source_digest
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.ingest.build import Builder, Task
from brainbrr.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture(scope="session")
def all_tasks(generated: Path) -> list[Task]:
    recipe = Recipe().digest
    tasks = []
    for edf in sorted(generated.rglob("*.edf")):
        source = source_digest(edf)
        key = key_of(source=source, recipe=recipe)
        tasks.append(Task(edf.name, edf, source, edf.stat().st_size, key))
    return tasks


@pytest.fixture
def tasks(all_tasks: list[Task]) -> list[Task]:
    return all_tasks[:6]


@pytest.fixture
def builder(store: Store, generated: Path) -> Builder:
    return Builder.for_ingest(store.location, generated, Recipe())
