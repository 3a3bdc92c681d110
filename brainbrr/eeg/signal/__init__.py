"""From EDF samples to the array that a recipe describes."""
