"""Templates and the header fields that every answer of the pages carries."""

import json
from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authgate.web.visit import Visit

HEADERS = {
    # No script, no frame, nothing from elsewhere. `data:` is the empty icon that keeps browsers from asking for one.
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Not no-referrer: with it browsers send `Origin: null` with our own forms, which the forms have to refuse
    # (Fetch standard, "append a request Origin header").
    "referrer-policy": "same-origin",
    # Pages hold tokens and names, and after a logout the back button must not show them.
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}

STYLE = files("authgate.web").joinpath("style.css").read_bytes()

_TEMPLATES = Environment(
    loader=PackageLoader("authgate.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


class Hardened:
    """ASGI middleware that puts `HEADERS` on every answer, errors of the framework included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_hardened)


def page(template: str, visit: Visit, *, realm: str, status: int = 200, **values: object) -> Response:
    """Render a template for a person."""
    text = _TEMPLATES.get_template(template).render(site=visit.site, realm=realm, status=status, **values)
    return Response(text, status, media_type="text/html")


def json_answer(value: Mapping[str, object], *, status: int = 200) -> Response:
    """Render a value for a program."""
    return Response(json.dumps(value, separators=(",", ":")) + "\n", status, media_type="application/json")


def text_answer(line: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Render one line for a terminal."""
    return Response(line + "\n", status, headers, media_type="text/plain")
