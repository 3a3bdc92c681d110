"""Feeding a model: what a view holds as flat arrays, which windows come when, and their bytes. Imports no torch."""
