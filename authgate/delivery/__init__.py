"""The listener ``deliver``: the web server hands on whole requests, and is told which file to send.

Rules of this module:
1. Method and path come from the request line; host, scheme, client and user from ``X-Authgate-*`` alone. Which file is
   sent follows from the path that was decided about and from nothing else: there is no second reading of it.
2. Nobody learns whether a file is there who may not have it: the file system is looked at after the decision.
3. A folder's index page is a path of its own, and decided about like one.
4. Only GET and HEAD are delivered. Range, If-* and the rest of HEAD are the web server's.
"""

from collections.abc import MutableMapping
from urllib.parse import unquote_to_bytes

from starlette.responses import Response

from authgate.config import Settings
from authgate.credentials import Credentials
from authgate.delivery.desk import Desk
from authgate.model import AccessRequest, Reason
from authgate.pdp import Pdp
from authgate.protocols.subrequest import Asgi, Fields, Receive, Scope, Send, access_request, read_fields
from authgate.stores import Clock
from authgate.web.rendering import Hardened

__all__ = ["create_deliver"]

_NO_BODY = {"type": "http.response.body", "body": b""}


def create_deliver(settings: Settings, pdp: Pdp, credentials: Credentials, clock: Clock) -> Asgi:
    """Return the application for the listener ``deliver``."""
    desk = Desk(settings, pdp, credentials, clock)

    async def deliver(scope: Scope, receive: Receive, send: Send) -> None:
        fields = _fields(scope)
        answer = await desk.answer(_request(fields, clock()), fields)
        if isinstance(answer, Response):
            await Hardened(answer)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": answer})
        await send(_NO_BODY)

    return deliver


def _fields(scope: Scope) -> Fields:
    """Return the fields as `/check` has them; what the request line says stands in place of a client's own."""
    path, query = scope["raw_path"], scope["query_string"]
    target = path + b"?" + query if query else path
    fields: MutableMapping[bytes, bytes] = {
        **read_fields(scope["headers"]),
        b"x-authgate-path": unquote_to_bytes(path),
        b"x-authgate-method": scope["method"].encode(),
        b"x-authgate-query": query,
        b"x-authgate-uri": target,
    }
    for name in (b"x-authgate-self", b"x-authgate-target"):
        fields.pop(name, None)
    return fields


def _request(fields: Fields, now: float) -> AccessRequest | Reason:
    # Apache leaves out every field that the client's `Connection` names, and without an address all clients that do
    # this would be one to the brakes.
    if not fields.get(b"x-authgate-client"):
        return Reason.CONFLICTING_HEADERS
    return access_request(fields, now)
