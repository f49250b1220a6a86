"""One house for all tests that do not break it."""

from collections.abc import Iterator

import pytest

from tests.deploy_apache.house import Running, house_of
from tests.servers import open_folder


@pytest.fixture(scope="session")
def fastcgi() -> Iterator[Running]:
    with open_folder() as folder, house_of(folder) as running:
        yield running


@pytest.fixture(scope="session")
def rewritemap() -> Iterator[Running]:
    with open_folder() as folder, house_of(folder, wiring="rewritemap") as running:
        yield running


@pytest.fixture(params=["fastcgi", "rewritemap"])
def through(request: pytest.FixtureRequest) -> Running:
    running = request.getfixturevalue(request.param)
    assert isinstance(running, Running)
    return running
