"""Data contracts: what the plan expects of the sources, and whether a producer's contract promises it."""
