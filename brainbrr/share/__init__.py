"""Giving data to others: remotes, transfers between stores, access terms, files of other tools."""
