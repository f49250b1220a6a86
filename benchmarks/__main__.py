"""`python -m benchmarks`: every figure, some minutes."""

from benchmarks import checking, deciding, deliver, fastcgi, jwt, loading, operating, reloading, rewritemap

for benchmark in (deciding, checking, loading, reloading, operating, fastcgi, rewritemap, deliver, jwt):
    benchmark.main()
