"""`python -m benchmarks`: every figure, some minutes."""

from benchmarks import checking, deciding, deliver, fastcgi, loading, operating, reloading, rewritemap

for benchmark in (deciding, checking, loading, reloading, operating, fastcgi, rewritemap, deliver):
    benchmark.main()
