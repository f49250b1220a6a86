"""`python -m benchmarks`: every figure, some minutes."""

from benchmarks import checking, deciding, loading, reloading

deciding.main()
checking.main()
loading.main()
reloading.main()
