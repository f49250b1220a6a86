"""`python -m benchmarks`: every figure, some minutes."""

from benchmarks import (
    checking,
    deciding,
    deliver,
    fastcgi,
    jwt,
    links,
    loading,
    operating,
    reloading,
    rewritemap,
    tokens,
)

_ALL = (deciding, checking, loading, reloading, operating, fastcgi, rewritemap, deliver, jwt, tokens, links)

for benchmark in _ALL:
    benchmark.main()
