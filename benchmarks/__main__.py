"""`python -m benchmarks`: run all of them."""

from benchmarks import refresh

if __name__ == "__main__":
    refresh.main()
