"""`python -m benchmarks.refresh`: a refresh after 1 % of the crystals have changed, against a rebuild from nothing."""
