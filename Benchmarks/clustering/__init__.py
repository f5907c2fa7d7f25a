"""The benchmark of clusters; see Benchmarks/cluster."""
