"""`python -m benchmarks`: every figure, some minutes."""

from benchmarks import checking, deciding, loading, operating, reloading

deciding.main()
checking.main()
loading.main()
operating.main()
reloading.main()
operating.main()
