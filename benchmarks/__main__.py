"""`python -m benchmarks`: run all of them."""

from benchmarks import describe, refresh

if __name__ == "__main__":
    refresh.main()
    describe.main()
