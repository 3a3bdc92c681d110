"""Giving data to others: files of other tools."""
