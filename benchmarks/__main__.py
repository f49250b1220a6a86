"""`python -m benchmarks`: every figure, some minutes."""

from benchmarks import checking, deciding

deciding.main()
checking.main()
