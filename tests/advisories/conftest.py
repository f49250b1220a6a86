"""The web servers for all tests of this package."""

from collections.abc import Iterator

import pytest

from tests.advisories.fronts import Front, behind_apache, behind_caddy, behind_nginx


@pytest.fixture(scope="session")
def nginx() -> Iterator[Front]:
    with behind_nginx() as front:
        yield front


@pytest.fixture(scope="session")
def fastcgi() -> Iterator[Front]:
    with behind_apache("fastcgi") as front:
        yield front


@pytest.fixture(scope="session")
def rewritemap() -> Iterator[Front]:
    with behind_apache("rewritemap") as front:
        yield front


@pytest.fixture(scope="session")
def caddy() -> Iterator[Front]:
    with behind_caddy() as front:
        yield front


@pytest.fixture(params=["nginx", "fastcgi", "rewritemap", "caddy"])
def front(request: pytest.FixtureRequest) -> Front:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Front)
    return found


@pytest.fixture(params=["nginx", "fastcgi", "caddy"])
def service(request: pytest.FixtureRequest) -> Front:
    """Give a web server that asks the service: with passwords, and with applications behind it."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Front)
    return found
