"""The thinking of a cycle: what a model is told, what its answer may say, and what stands in."""
