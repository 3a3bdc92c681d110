"""Scores of events: SzCORE, NEDC, curves, intervals. Needs no torch and no store."""
