"""One house, and one with all examples, for all tests that do not break it."""

from collections.abc import Iterator

import pytest

from tests.deploy.examples import Examples, standing
from tests.deploy.house import House, Running, inhabited
from tests.servers import open_folder


@pytest.fixture(scope="session")
def site() -> Iterator[Running]:
    with open_folder() as folder:
        house = House(folder)
        house.build()
        with inhabited(house) as running:
            yield running


@pytest.fixture(scope="session")
def examples() -> Iterator[Examples]:
    with open_folder() as folder, standing(folder) as all_of_them:
        yield all_of_them
