"""The listener ``api``: figures and health for programs of the operator. It answers three GETs and nothing else.

Rules of this module:
1. It says how the service is, and nothing of who asked for what.
2. Who scrapes must not slow down whoever waits for a decision: figures are written in a thread, one at a time.
3. Whoever sends `Authorization` is judged by it: an access token whose scope has the address. Without it the socket's
   permissions are the login for the figures, and of health there is the bare answer.
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

from authgate.credentials import access_token
from authgate.credentials.token_record import APIS, ApiScope, TokenScope
from authgate.credentials.tokens import Tokens
from authgate.model import Reason
from authgate.observe.board import Board

_NO_STORE = {"cache-control": "no-store"}

# What is no fault of the token's.
_NOT_NOW = {Reason.TOO_MANY_ATTEMPTS: 429, Reason.BUSY: 503, Reason.HANDLER_ERROR: 503, Reason.STORE_UNAVAILABLE: 503}


class Readiness(NamedTuple):
    """Whether a worker can do its work.

    Args:
        problems: everything that is not as it should be; not each of them keeps it from its work.
    """

    ready: bool
    problems: Sequence[str] = ()


def create_api(
    board: Board | None,
    version: Callable[[], str],
    readiness: Callable[[], Readiness],
    tokens: Tokens | None = None,
) -> ASGIApp:
    """Build the application of the `api` listener.

    Args:
        board: None: nothing is counted here.
        version: of the configuration in force.
        tokens: None: no token is good here.
    """
    application = Starlette(
        routes=[
            Route("/metrics", _metrics(board, version, tokens)),
            Route("/healthz", _healthz),
            Route("/readyz", _readyz(readiness, tokens)),
        ],
        exception_handlers={HTTPException: _plain, Exception: _broken},
    )
    application.router.redirect_slashes = False
    return application


async def _judge(request: Request, tokens: Tokens | None, scopes: Sequence[str]) -> bool:
    """Tell whether the request brings a token with one of these scopes; False: it brings nothing.

    Raises:
        HTTPException: it brings something else.
    """
    sent = request.headers.getlist("authorization")
    if not sent:
        return False
    # Two are not one credential: joined they are none.
    token = access_token(", ".join(sent))
    if token is None or tokens is None:
        raise _unauthorized()
    identity = await tokens.verify(token, None)
    if identity.failure in _NOT_NOW:
        raise HTTPException(_NOT_NOW[identity.failure], "this token cannot be verified now")
    if identity.failure is not None:
        raise _unauthorized()
    if not isinstance(identity.scope, TokenScope | ApiScope) or identity.scope.api.isdisjoint(scopes):
        raise HTTPException(403, "this token is not for this")
    return True


def _unauthorized() -> HTTPException:
    # RFC 9110 section 15.5.2: a 401 says how to log in.
    return HTTPException(401, "no valid access token", {"www-authenticate": "Bearer"})


def _metrics(
    board: Board | None, version: Callable[[], str], tokens: Tokens | None
) -> Callable[[Request], Awaitable[Response]]:
    alone = asyncio.Lock()

    async def metrics(request: Request) -> Response:
        await _judge(request, tokens, ("metrics",))
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


def _readyz(readiness: Callable[[], Readiness], tokens: Tokens | None) -> Callable[[Request], Awaitable[Response]]:
    async def readyz(request: Request) -> Response:
        try:
            details = await _judge(request, tokens, APIS)
        except HTTPException as error:
            # Whoever asks whether the service is ready gets that answer also while no token can be verified.
            if error.status_code != 503:
                raise
            details = False
        ready, problems = readiness()
        said = {"ready": ready, **({"problems": list(problems)} if details else {})}
        return JSONResponse(said, 200 if ready else 503, _NO_STORE)

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
