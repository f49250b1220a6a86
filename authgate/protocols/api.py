"""The listener ``api``: figures and health for programs of the operator. It answers three GETs and nothing else.

Rules of this module:
1. It says how the service is, and nothing of who asked for what.
2. Who scrapes must not slow down whoever waits for a decision: figures are written in a thread, one at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from authgate.observe.board import Board

_NO_STORE = {"cache-control": "no-store"}


class Readiness(NamedTuple):
    """Whether a worker can do its work.

    Args:
        problems: everything that is not as it should be; not each of them keeps it from its work.
    """

    ready: bool
    problems: Sequence[str] = ()


def create_api(board: Board | None, version: Callable[[], str], readiness: Callable[[], Readiness]) -> ASGIApp:
    """Build the application of the `api` listener.

    Args:
        board: None: nothing is counted here.
        version: of the configuration in force.
    """
    application = Starlette(
        routes=[
            Route("/metrics", _metrics(board, version)),
            Route("/healthz", _healthz),
            Route("/readyz", _readyz(readiness)),
        ],
        exception_handlers={HTTPException: _plain, Exception: _broken},
    )
    application.router.redirect_slashes = False
    return application


def _metrics(board: Board | None, version: Callable[[], str]) -> Callable[[Request], Awaitable[Response]]:
    alone = asyncio.Lock()

    async def metrics(request: Request) -> Response:
        if board is None:
            return PlainTextResponse("503 this worker counts nothing\n", 503, _NO_STORE)
        async with alone:
            accept = ",".join(request.headers.getlist("accept"))
            body, media_type = await asyncio.to_thread(_expose, board, version, accept)
        return Response(body, headers={**_NO_STORE, "content-type": media_type})

    return metrics


def _expose(board: Board, version: Callable[[], str], accept: str) -> tuple[bytes, str]:
    # Some megabytes and a tenth of a second that only a worker needs that is asked.
    from authgate.observe.exposition import expose  # noqa: PLC0415

    return expose(board, version, accept)


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n", headers=_NO_STORE)


def _readyz(readiness: Callable[[], Readiness]) -> Callable[[Request], Awaitable[Response]]:
    async def readyz(_: Request) -> Response:
        ready, problems = readiness()
        return JSONResponse({"ready": ready, "problems": list(problems)}, 200 if ready else 503, _NO_STORE)

    return readyz


async def _plain(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return PlainTextResponse(
        f"{error.status_code} {error.detail}\n", error.status_code, {**_NO_STORE, **(error.headers or {})}
    )


async def _broken(_request: Request, _error: Exception) -> Response:
    # Starlette raises the error again once this is sent, and the server logs the traceback.
    return PlainTextResponse("500 something went wrong here; the log of authgate says what\n", 500, _NO_STORE)
