"""What runs beside the applications of a worker: it does its work, and its end is never silent."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from authgate.app import Worker, create_worker, examine
from authgate.config import Settings, parse
from authgate.credentials.session import KIND, decode
from authgate.errors import ConfigError, StoreUnavailable
from authgate.stores import Record
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from authgate.stores.sqlite import SqliteStore
from tests.credentials.people import sha, write

DEADLINE = 10.0


class FaultyStore(MemoryStore):
    """A store with one fault."""

    def __init__(self, *, follow: Exception | None = None, purge: Exception | None = None) -> None:
        super().__init__(time.time)
        self._faults = {"follow": follow, "purge": purge}

    async def follow(self, on_deleted: Callable[[str, str], None], on_lost: Callable[[], None]) -> None:
        if fault := self._faults["follow"]:
            raise fault

    async def purge(self, now: float, limit: int) -> int:
        if fault := self._faults["purge"]:
            raise fault
        return await super().purge(now, limit)


class SteadyStore(FaultyStore):
    """A store that can be followed for ever."""

    async def follow(self, on_deleted: Callable[[str, str], None], on_lost: Callable[[], None]) -> None:
        await asyncio.Event().wait()


def worker_on(store: MemoryStore, folder: Path) -> Worker:
    write(folder / "users.htpasswd", "")
    write(folder / "groups", "")
    return replace(create_worker(settings(folder)), store=store, sessions=CachedRecords(store, KIND, decode, 1))


def settings(folder: Path) -> Settings:
    document = {
        "sites": [{"origin": "https://files.example.com"}],
        "users": {"htpasswd": "users.htpasswd", "groups": "groups"},
        "rules": [{"name": "staff", "paths": ["/**"], "allow": ["group:staff"]}],
    }
    return parse(document, folder / "authgate.toml")


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not true():  # noqa: ASYNC110 - files, logs and threads set no event
            await asyncio.sleep(0.01)


async def running(worker: Worker, meanwhile: Callable[[], object]) -> None:
    """Run the worker's background until `meanwhile` holds."""
    beside = asyncio.create_task(worker.run())
    try:
        await until(meanwhile)
        assert not beside.done()
    finally:
        beside.cancel()
        await asyncio.wait([beside])
        await worker.aclose()


def test_background_task_that_fails_ends_the_worker_with_its_error(tmp_path: Path) -> None:
    async def run() -> None:
        async with asyncio.timeout(DEADLINE):
            await worker_on(FaultyStore(follow=ValueError("torn")), tmp_path).run()

    with pytest.raises(ValueError, match="torn"):
        asyncio.run(run())


def test_background_task_that_just_ends_ends_the_worker_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with asyncio.timeout(DEADLINE):
            await worker_on(FaultyStore(), tmp_path).run()

    asyncio.run(run())

    assert "following the store ended by itself" in caplog.text


def test_store_that_is_away_is_logged_and_does_not_end_the_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def run() -> None:
        store = SteadyStore(purge=StoreUnavailable("away"))
        await running(worker_on(store, tmp_path), lambda: "expired records stay for now: away" in caplog.text)

    asyncio.run(run())


def test_expired_records_are_removed(tmp_path: Path) -> None:
    async def run() -> None:
        write(tmp_path / "users.htpasswd", "")
        write(tmp_path / "groups", "")
        store = SqliteStore(tmp_path / "state" / "authgate.db", time.time)
        await store.put(KIND, Record("old", b"", "alice", time.time() - 1))
        await store.put(KIND, Record("new", b"", "alice", time.time() + 1000))
        beside = asyncio.create_task(running(create_worker(settings(tmp_path)), stop.is_set))
        keys: list[str] = []
        async with asyncio.timeout(DEADLINE):
            while keys != ["new"]:
                keys = [record.key for record in await store.scan(KIND)]
        stop.set()
        await beside
        await store.aclose()

    stop = asyncio.Event()
    asyncio.run(run())


def test_changed_users_are_noticed(tmp_path: Path) -> None:
    write(tmp_path / "users.htpasswd", f"alice:{sha('a')}\n")
    write(tmp_path / "groups", "")

    async def run() -> None:
        worker = create_worker(settings(tmp_path))
        users = worker.users
        write(tmp_path / "users.htpasswd", f"bob:{sha('b')}\n")
        await running(worker, lambda: users.find("bob") is not None and users.find("alice") is None)

    asyncio.run(run())


def test_worker_has_an_application_for_each_listener(tmp_path: Path) -> None:
    write(tmp_path / "users.htpasswd", "")
    write(tmp_path / "groups", "")

    worker = create_worker(settings(tmp_path))

    assert set(worker.applications) == {"check", "web", "deliver"}
    asyncio.run(worker.aclose())


def test_wrong_files_are_found_before_the_start(tmp_path: Path) -> None:
    write(tmp_path / "users.htpasswd", "alice:plain\n")
    write(tmp_path / "groups", "no colon\n")

    with pytest.raises(ConfigError) as caught:
        examine(settings(tmp_path))

    assert len(caught.value.problems) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"users.htpasswd", "groups"}


def test_an_application_that_does_not_answer_keeps_nobody_from_the_login_page(tmp_path: Path) -> None:
    (tmp_path / "shop_that_is_away.py").write_text("def session(value):\n    raise ConnectionError\n")
    document = {
        "sites": [{"origin": "https://files.example.com"}],
        "applications": [
            {
                "source": "shop",
                "kind": "function",
                "function": "shop_that_is_away::session",
                "cookie": "sid",
                "user": "name",
            }
        ],
    }

    async def ask() -> httpx.Response:
        worker = create_worker(parse(document, tmp_path / "authgate.toml"))
        try:
            web = httpx.AsyncClient(
                transport=httpx.ASGITransport(worker.applications["web"]), base_url="http://authgate"
            )
            named = {"X-Authgate-Host": "files.example.com", "X-Authgate-Scheme": "https", "Cookie": "sid=1"}
            async with web:
                return await web.get("/authgate/login", headers=named)
        finally:
            await worker.aclose()

    answer = asyncio.run(ask())

    assert answer.status_code == 200
    assert 'name="password"' in answer.text
