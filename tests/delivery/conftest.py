"""The two web servers, one site each."""

from collections.abc import Iterator

import pytest

from tests.delivery.site import Running, served
from tests.servers import open_folder


@pytest.fixture(scope="session")
def through_nginx() -> Iterator[Running]:
    with open_folder() as folder, served("nginx", folder) as running:
        yield running


@pytest.fixture(scope="session")
def through_apache() -> Iterator[Running]:
    with open_folder() as folder, served("apache", folder) as running:
        yield running


@pytest.fixture(params=["nginx", "apache"])
def through(request: pytest.FixtureRequest) -> Running:
    running = request.getfixturevalue(f"through_{request.param}")
    assert isinstance(running, Running)
    return running
