"""Files to arrays: EDF, labels, corpora, recipes. A stranger to the store."""
