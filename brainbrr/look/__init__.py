"""Looking at how a store performs: benchmarks."""
