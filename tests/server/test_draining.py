"""How a server ends, on a real socket: what was accepted is answered, what is quiet is closed."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from authgate.server.draining import Server

QUESTION = b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class House:
    """A server whose application answers when the test lets it."""

    def __init__(self, path: Path, *, keep_alive: bool = True) -> None:
        self.path = path
        self.asked = asyncio.Semaphore(0)
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.listening = asyncio.Event()
        self.server = Server(self._answer, self.listening.set, keep_alive=keep_alive)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(path))
        self.socket.listen(8)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.release()
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def start(self) -> "asyncio.Task[None]":
        # The parent's copy stays open, as it does beside the workers.
        serving = asyncio.create_task(self.server.serve([self.socket.dup()]))
        await self.listening.wait()
        return serving

    async def connect(self) -> Stream:
        return await asyncio.open_unix_connection(str(self.path))


async def ask(stream: Stream) -> str:
    reader, writer = stream
    writer.write(QUESTION)
    return (await reader.readuntil(b"\r\n\r\n")).decode().lower()


async def is_closed(stream: Stream) -> bool:
    return await stream[0].read() == b""


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    def run(story: Callable[[House], Awaitable[None]], *, keep_alive: bool = True) -> None:
        async def tell() -> None:
            house = House(tmp_path / "socket", keep_alive=keep_alive)
            with closing(house.socket):
                await asyncio.wait_for(story(house), 20)

        asyncio.run(tell())

    return run


@contextmanager
def closing(listener: socket.socket) -> Iterator[None]:
    try:
        yield
    finally:
        listener.close()


def test_quiet_connection_is_closed(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        serving = await house.start()
        kept = await house.connect()
        assert "connection: close" not in await ask(kept)

        house.server.leave()
        await serving

        assert await is_closed(kept)
        kept[1].close()

    run(story)


def test_connection_in_use_ends_with_its_next_answer(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        serving = await house.start()
        kept = await house.connect()
        await ask(kept)

        house.server.leave()
        await asyncio.sleep(0)
        answer = await ask(kept)

        assert answer.startswith("http/1.1 200 ")
        assert "connection: close\r\n" in answer
        assert await is_closed(kept)
        await serving
        kept[1].close()

    run(story)


def test_running_request_is_answered_and_nothing_is_accepted_meanwhile(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        serving = await house.start()
        house.may_answer.clear()
        running = await house.connect()
        answer = asyncio.create_task(ask(running))
        await house.asked.acquire()

        house.server.leave()
        await until(lambda: not house.server.servers[0].is_serving())
        later = await house.connect()
        later[1].write(QUESTION)
        await asyncio.sleep(0.2)
        assert not serving.done()
        house.may_answer.set()

        assert "connection: close\r\n" in await answer
        await serving
        # It waits in the queue for whoever accepts next.
        assert house.asked.locked()
        running[1].close()
        later[1].close()

    run(story)


def test_connection_that_was_accepted_and_not_yet_read_is_answered(run: Callable[..., None]) -> None:
    """uvicorn closes it: to nginx that is an error of a connection it has just made, and not to be tried again."""

    async def story(house: House) -> None:
        serving = await house.start()
        fresh = await house.connect()
        await until(lambda: bool(house.server.server_state.connections))

        house.server.leave()
        await asyncio.sleep(0.3)
        answer = await ask(fresh)

        assert answer.startswith("http/1.1 200 ")
        assert "connection: close\r\n" in answer
        await serving
        fresh[1].close()

    run(story)


def test_connection_that_never_asks_does_not_hold_up_the_end(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        serving = await house.start()
        silent = await house.connect()
        await until(lambda: bool(house.server.server_state.connections))

        house.server.leave()
        await asyncio.wait_for(serving, 3)

        assert await is_closed(silent)
        silent[1].close()

    run(story)


def test_request_that_never_ends_is_cut_off(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authgate.server.draining.DRAIN", 0.1)

    async def story(house: House) -> None:
        serving = await house.start()
        house.may_answer.clear()
        running = await house.connect()
        running[1].write(QUESTION)
        await house.asked.acquire()

        house.server.leave()
        await asyncio.wait_for(serving, 3)

        running[1].close()

    run(story)


def test_listener_for_pages_keeps_no_connection(run: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        serving = await house.start()
        once = await house.connect()
        answer = await ask(once)

        assert answer.count("connection: close\r\n") == 1
        assert await is_closed(once)
        house.server.leave()
        await serving
        once[1].close()

    run(story, keep_alive=False)
