"""The demonstration where nginx is missing, for development only: asks the same check, and serves files by Python."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authgate.app import Worker, create_worker
from authgate.config import Settings
from authgate.server.draining import Server

Headers = list[tuple[bytes, bytes]]


def serve_files(settings: Settings, site: Path, port: int, ready: Callable[[], None]) -> None:
    """Serve the demonstration on 127.0.0.1 until KeyboardInterrupt, or until its worker fails."""
    asyncio.run(_serve(settings, site, port, ready))


async def _serve(settings: Settings, site: Path, port: int, ready: Callable[[], None]) -> None:
    worker = create_worker(settings)
    with socket.create_server(("127.0.0.1", port)) as listener:
        serving = asyncio.create_task(Server(gate(worker, site), ready).serve([listener]))
        beside = asyncio.create_task(worker.run())
        try:
            done, _ = await asyncio.wait([serving, beside], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await worker.aclose()


def gate(worker: Worker, site: Path) -> ASGIApp:
    """Stand in for nginx and its includes."""
    check, web = worker.applications["check"], worker.applications["web"]
    files = StaticFiles(directory=site, html=True)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        path, facts = scope["path"], _facts(scope)
        if path.startswith("/authgate/") and path != "/authgate/refused":
            await web(_asking(scope, path, facts), receive, send)
            return
        status, answer = await _ask(check, _asking(scope, "/check", facts), receive)
        if status == 200:
            await files(scope, receive, _with_cache_control(send, answer[b"x-authgate-cache"]))
        elif status == 401:
            headers = {
                name.decode(): answer[name].decode() for name in (b"location", b"www-authenticate") if name in answer
            }
            await Response(status_code=302 if "location" in headers else 401, headers=headers)(scope, receive, send)
        else:
            facts += [(name, value) for name, value in answer.items() if name.startswith(b"x-authgate-")]
            await web(_asking(scope, "/authgate/refused", facts), receive, send)

    return application


def _facts(scope: Scope) -> Headers:
    values = {
        "path": scope["path"],
        "method": scope["method"],
        "host": next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), ""),
        "scheme": scope["scheme"],
        "client": scope["client"][0],
        "uri": scope["raw_path"].decode("latin-1"),
    }
    return [(f"x-authgate-{name}".encode(), value.encode()) for name, value in values.items()]


def _asking(scope: Scope, path: str, facts: Headers) -> Scope:
    """Return the scope of a question: the client's headers, but for those that only a web server may send."""
    own = [(name, value) for name, value in scope["headers"] if not name.startswith(b"x-authgate-")]
    return {**scope, "path": path, "raw_path": path.encode(), "headers": [*own, *facts]}


async def _ask(check: ASGIApp, scope: Scope, receive: Receive) -> tuple[int, dict[bytes, bytes]]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await check(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


def _with_cache_control(send: Send, value: bytes) -> Send:
    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"cache-control", value)]
        await send(message)

    return send_with
