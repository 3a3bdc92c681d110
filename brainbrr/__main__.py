"""`python -m brainbrr`."""

from __future__ import annotations

from brainbrr.cli.main import main

main()
