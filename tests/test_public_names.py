"""The public names of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

ROOMS = ["brainbrr.api", "brainbrr.ingest.ingest", "brainbrr.cli.main"]


@pytest.mark.parametrize("first", ROOMS)
def test_brainbrr_ingest_is_the_function_whatever_was_imported_before(first: str) -> None:
    code = f"""
import brainbrr
import {first}
assert callable(brainbrr.ingest)
from brainbrr.ingest import scan
assert scan.__name__ == "brainbrr.ingest.scan" and callable(brainbrr.ingest)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
