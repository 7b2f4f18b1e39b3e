"""Everything of the path over a GPU, measured by one command: `python -m benchmarks.gpu`."""
