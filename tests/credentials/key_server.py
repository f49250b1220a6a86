"""A little server of keys that can misbehave."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class KeyServer:
    """What one address answers.

    Args:
        answer: writes it; the connection is closed afterwards.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.port = 0
        self.hold: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[object] | None] = set()

    def url(self, scheme: str = "http") -> str:
        """Return the address of the keys."""
        host = "localhost" if scheme == "https" else "127.0.0.1"
        return f"{scheme}://{host}:{self.port}/keys?a=b"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self._tasks.add(asyncio.current_task())
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                if self.hold is not None:
                    await self.hold.wait()
                await self.answer(writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def stop(self) -> None:
        """Hang up on everybody."""
        tasks = [task for task in self._tasks if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        # A transport is closed in the next round of the loop.
        await asyncio.sleep(0)


def saying(body: bytes, head: str = "Content-Type: application/json\r\n", status: str = "200 OK") -> Answer:
    """Return an answer."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return answer


def writing(content: bytes) -> Answer:
    """Return an answer of these bytes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(content)

    return answer


@asynccontextmanager
async def serving(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[KeyServer]:
    """Run a server."""
    server = KeyServer(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.stop()
