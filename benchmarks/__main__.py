"""`python -m benchmarks`: run all of them."""

import runpy
import sys

if __name__ == "__main__":
    codes = []
    for name in ("cif", "refresh", "rowstore", "describe", "paraphrase", "embed", "encoders", "loader", "predict"):
        try:
            runpy.run_module(f"benchmarks.{name}", run_name="__main__")
        except SystemExit as end:
            codes.append(end.code)
    sys.exit(int(any(codes)))
