"""`python -m brainbrr`."""

from brainbrr.cli.main import main

main()
