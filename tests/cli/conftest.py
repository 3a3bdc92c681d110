from __future__ import annotations

from pathlib import Path

import pytest
from helpers.computing import computed_once
from helpers.support import TINY, Cli


@pytest.fixture
def tiny(cli: Cli, corpus: Path, tmp_path: Path) -> Path:
    """A training of a few steps, and the store that it reads."""
    with computed_once():
        assert cli("ingest", corpus, "--workers", 1).code == 0
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return file
