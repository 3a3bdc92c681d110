"""How long to fuzz: a few seconds for `make test`, thousands of examples where BRAINBRR_TORTURE is set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from brainbrr.store.records import Record
from brainbrr.store.store import Store
from store.making import arguments, catalog_of, meta_of, row_of, samples_of

ALL = dict(deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("fuzz", max_examples=60, derandomize=True, database=None, **ALL)
settings.register_profile("torture", max_examples=5000, database=None, **ALL)

META = meta_of(2, 400, absent=(1,))


@pytest.fixture(autouse=True, scope="package")
def profile() -> object:
    before = settings.get_current_profile_name()
    settings.load_profile("torture" if os.environ.get("BRAINBRR_TORTURE") else "fuzz")
    yield
    settings.load_profile(before)
