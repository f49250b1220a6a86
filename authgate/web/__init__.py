"""The `web` listener: login, logout, whoami and the refusal page. All below ``/authgate/``, no JavaScript.

Nothing here decides about access. GET never changes state; each POST is checked in `forms`.
"""

import logging
from collections.abc import Awaitable, Callable
from math import ceil

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from authgate.config import Settings
from authgate.credentials import Credentials
from authgate.credentials.logins import Logins
from authgate.credentials.session import Sessions
from authgate.errors import Busy, SiteFunctionFailed, StoreUnavailable, TooManyAttempts
from authgate.model import Reason
from authgate.observe.audit import Audit
from authgate.stores import Clock
from authgate.web.forms import FormRefused
from authgate.web.login import Login
from authgate.web.refused import Refused
from authgate.web.rendering import STYLE, Hardened, json_answer, page, text_answer
from authgate.web.visit import Visit, visit_of
from authgate.web.whoami import Whoami
from authgate.web.wording import LOGIN_TROUBLES, REFUSALS, RETRY_AFTER, TEMPORARY

Show = Callable[[Visit], Awaitable[Response]]

_log = logging.getLogger("authgate")


def create_web(
    settings: Settings,
    credentials: Credentials,
    sessions: Sessions,
    logins: Logins,
    clock: Clock,
    audit: Audit | None = None,
) -> ASGIApp:
    """Build the application of the `web` listener.

    Args:
        audit: None: logins and logouts are not written down.
    """
    login = Login(settings, credentials, sessions, logins, audit)
    pages: list[tuple[str, list[str] | None, Show]] = [
        ("login", ["GET", "POST"], login.answer),
        ("logout", ["POST"], login.leave),
        ("whoami", ["GET"], Whoami(settings, credentials, sessions).show),
        # error_page hands the refused request on with its own method, whichever that was.
        ("refused", None, Refused(settings, credentials, clock).show),
        ("style.css", ["GET"], _style),
    ]
    application = Starlette(
        routes=[Route(f"/authgate/{name}", _Page(settings, show), methods=methods) for name, methods, show in pages],
        exception_handlers={HTTPException: _plain, ClientDisconnect: _gone, Exception: _broken},
    )
    application.router.redirect_slashes = False
    return Hardened(application)


class _Page:
    """One address as an ASGI application: finds the site, and turns what goes wrong into a page."""

    def __init__(self, settings: Settings, show: Show) -> None:
        self._settings = settings
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = visit_of(Request(scope, receive), self._settings)
        try:
            response = await self._show(visit)
        except FormRefused as error:
            response = self._problem(visit, error.status, error.title, str(error))
        except TooManyAttempts as error:
            response = self._trouble(visit, 429, Reason.TOO_MANY_ATTEMPTS, error.seconds)
        except Busy:
            response = self._trouble(visit, 503, Reason.BUSY)
        except SiteFunctionFailed:
            response = self._trouble(visit, 503, Reason.HANDLER_ERROR)
        except StoreUnavailable:
            response = self._trouble(visit, 503, Reason.STORE_UNAVAILABLE)
        await response(scope, receive, send)

    def _trouble(self, visit: Visit, status: int, reason: Reason, seconds: float = 0.0) -> Response:
        response = self._problem(visit, status, "Not possible just now", LOGIN_TROUBLES.get(reason, REFUSALS[reason]))
        response.headers["retry-after"] = str(ceil(seconds) or TEMPORARY.get(reason, RETRY_AFTER))
        return response

    def _problem(self, visit: Visit, status: int, title: str, words: str) -> Response:
        if visit.wants == "html":
            return page("problem.html", visit, realm=self._settings.realm, status=status, heading=title, words=words)
        if visit.wants == "json":
            return json_answer({"error": title, "message": words}, status=status)
        return text_answer(f"{status} {words}", status=status)


async def _style(_visit: Visit) -> Response:
    return Response(STYLE, media_type="text/css")


async def _plain(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return text_answer(f"{error.status_code} {error.detail}", status=error.status_code, headers=error.headers)


async def _gone(_request: Request, _error: Exception) -> Response:
    return text_answer("400 the request ended early", status=400)


async def _broken(request: Request, _error: Exception) -> Response:
    # Starlette raises the error again once this is sent, and the server logs the traceback.
    _log.error("%s %s failed", request.method, request.url.path)
    return text_answer("500 something went wrong here; the log of authgate says what", status=500)
