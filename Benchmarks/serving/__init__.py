"""The benchmark of a single node; see Benchmarks/run."""
