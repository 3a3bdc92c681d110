"""Arrays by key, each kept once. Knows nothing of EEG; the format is in store/README.md."""
