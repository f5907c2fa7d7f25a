"""What the three benchmarks share: processes and their processor time, nodes, load, figures, and an earlier build."""
