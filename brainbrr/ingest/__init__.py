"""From a corpus on disk to objects, records and one catalog generation; and repair from the same sources."""
