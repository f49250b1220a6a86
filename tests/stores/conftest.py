import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from authgate.stores import Store
from authgate.stores.memory import MemoryStore
from authgate.stores.sqlite import SqliteStore
from tests.clock import MovableClock

NOBODY = 65534


class Run(Protocol):
    """Runs a scenario with one store object for each of its workers, all of them on the same records."""

    def __call__(self, scenario: Callable[..., Awaitable[None]], workers: int = 1) -> None: ...


@dataclass(frozen=True)
class RunWith:
    make: Callable[[], Store]

    def __call__(self, scenario: Callable[..., Awaitable[None]], workers: int = 1) -> None:
        async def main() -> None:
            stores = [self.make() for _ in range(workers)]
            try:
                await scenario(*stores)
            finally:
                for store in stores:
                    await store.aclose()

        asyncio.run(main())


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture(params=["memory", "sqlite"])
def run(request: pytest.FixtureRequest, tmp_path: Path, clock: MovableClock) -> Run:
    if request.param == "memory":
        store = MemoryStore(clock)
        return RunWith(lambda: store)
    return RunWith(lambda: SqliteStore(tmp_path / "authgate.db", clock))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "authgate.db"


@pytest.fixture
def run_sqlite(path: Path, clock: MovableClock) -> Run:
    return RunWith(lambda: SqliteStore(path, clock))


@pytest.fixture
def guarded_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which file modes count: for root they do not, so root becomes nobody meanwhile."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)
