"""Compiled checksums are CRC-32C, with the processor's instruction for it and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

CODE = """
import google_crc32c, numpy as np
from brainbrr.core.crc_compiled import crc_of, is_fast, joining
data = np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8)
for n in (0, 1, 7, 8, 23, 24, 25, 100, 2048, 2995):
    for first in (0, 3):
        expected = google_crc32c.value(data[first : first + n].tobytes())
        assert crc_of(data.ctypes.data + first, n, joining(n)) == expected, (n, first)
print(is_fast())
"""


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["generic", "haswell"])
def test_a_compiled_checksum_is_crc32c(processor: str, tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", CODE], check=True, env=environment, capture_output=True, text=True)
    if processor == "generic":
        assert done.stdout == "False\n"
