"""A generated corpus: signal model, EDF files and labels."""
