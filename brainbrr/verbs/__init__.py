"""One verb, one file, one function: (store, ..., progress) -> Report."""
