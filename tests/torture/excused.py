"""Mutants that no test can catch, each with the reason."""

EXCUSED: dict[str, str] = {}
