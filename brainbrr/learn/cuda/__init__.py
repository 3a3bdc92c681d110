"""Batches on a GPU: a ring of pinned buffers, resident recordings, gathering kernels."""
