"""`python -m benchmarks.store`: the feature store at size, measured."""
