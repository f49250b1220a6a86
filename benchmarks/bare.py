"""The reference: an application that only answers 200, in uvicorn as authgate runs it."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from authgate.server.draining import Server

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
BODY = {"type": "http.response.body", "body": b""}


async def only_200(
    _scope: MutableMapping[str, Any],
    _receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Answer 200 with an empty body, whatever is asked."""
    await send(START)
    await send(BODY)


def file_application(path: Path) -> Starlette:
    """Return an application that sends one file itself."""

    async def send_file(_: Request) -> FileResponse:
        return FileResponse(path)

    return Starlette(routes=[Route("/{name}", send_file)])


def main(listen: str, file: str | None = None) -> None:
    """Serve on a unix socket until SIGTERM: the bare application, or one that sends a file."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(listen)
    Path(listen).chmod(0o666)
    listener.listen(512)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Server(file_application(Path(file)) if file else only_200).serve([listener]))


if __name__ == "__main__":
    main(*sys.argv[1:])
