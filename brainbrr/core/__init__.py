"""What every room builds on: digests, files, settings' formats, progress. Knows no EEG and no store."""
