"""Whether the crystal that is read from a CIF is the one that the file means: `python -m benchmarks.cif`."""
