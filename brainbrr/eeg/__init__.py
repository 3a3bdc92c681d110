"""Files to arrays: EDF, labels, corpora, recipes. Does not know the store."""
