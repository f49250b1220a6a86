"""What a web server asked and what was answered, for whoever sets one up: `authgate serve --log-requests`.

Rules of this module:
1. What is not known to be harmless is masked: a web server that hands on everything hands on secrets too.
2. Of a query the names stay and the values go: one of them may be a link that admits whoever reads the log.
3. A link may stand in a path as well, and goes from there too.
4. A client cannot write a line, or what a terminal obeys.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from authgate.redirects import hide_link

log = logging.getLogger("authgate")

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

MASK = "***"

# What says nothing secret. Of others only the name is shown.
_PLAIN = frozenset({
    "x-authgate-path", "x-authgate-self", "x-authgate-method", "x-authgate-host", "x-authgate-scheme",
    "x-authgate-client", "x-authgate-user", "x-authgate-certificate-verify", "x-authgate-certificate-subject",
    "x-forwarded-method", "x-forwarded-host", "x-forwarded-proto",
    "x-forwarded-for", "host", "connection", "accept", "sec-fetch-site", "sec-fetch-mode",
    "sec-fetch-dest", "x-requested-with", "origin", "user-agent", "access-control-request-method", "content-length",
    "x-authgate-decision", "x-authgate-rule", "x-authgate-reason", "x-authgate-credential", "x-authgate-cache",
    "x-authgate-policy", "x-authgate-groups", "cache-control", "www-authenticate",
    "remote-user", "remote-groups", "remote-name", "remote-email",
})  # fmt: skip
_ADDRESSES = frozenset({
    "x-authgate-uri", "x-authgate-target", "x-forwarded-uri", "x-forwarded-original-uri", "referer", "location",
})  # fmt: skip

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,19}) +.+", re.DOTALL)
_COOKIE_NAME = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]{1,100}")

# A value is not longer than this in the log.
_MOST = 1000


def log_arrivals(app: Asgi) -> Asgi:
    """Return an application that answers as `app` does and logs each question with its answer."""

    async def logged(scope: _Scope, receive: _Receive, send: _Send) -> None:
        lines = [f"asked: {scope['method']} {_visible(scope['path'])}", *_fields(scope["headers"])]

        async def heard(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = list(message["headers"])
                lines.append(f"answered: {int(message['status'])}")
                lines.extend(_fields(message["headers"]))
            await send(message)

        try:
            await app(scope, receive, heard)
        finally:
            log.info("%s", "\n".join(lines))

    return logged


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    return [f"  {_visible(_text(name).title())}: {masked(_text(name), _text(value))}" for name, value in headers]


def masked(name: str, value: str) -> str:
    """Return the value of a field without what is secret in it, in printable characters."""
    shown = hide_link(_masked(name.lower(), value))
    return _visible(shown if len(shown) <= _MOST else f"{shown[:_MOST]}...")


def _masked(name: str, value: str) -> str:
    if name in _PLAIN or not value:
        return value
    if name == "cookie":
        return "; ".join(_masked_cookie(pair) for pair in value.split(";"))
    if name == "authorization":
        found = _SCHEME.fullmatch(value)
        return f"{found[1]} {MASK}" if found else MASK
    if name == "x-authgate-query":
        return _masked_query(value)
    return _masked_address(value) if name in _ADDRESSES else f"{MASK} (not shown; authgate does not look at it)"


def _masked_cookie(pair: str) -> str:
    name, equals, _ = pair.strip().partition("=")
    # A cookie without a name is all value.
    return f"{name}={MASK}" if equals and _COOKIE_NAME.fullmatch(name) else MASK


def _masked_query(query: str) -> str:
    pairs = (pair.partition("=") for pair in query.split("&"))
    return "&".join(f"{name}={MASK}" if equals else MASK for name, equals, _ in pairs)


def _masked_address(address: str) -> str:
    rest, hash_, _ = address.partition("#")
    path, mark, query = rest.partition("?")
    scheme, slashes, behind = path.partition("://")
    authority, slash, target = behind.partition("/")
    if slashes and "@" in authority:
        path = f"{scheme}://{MASK}@{authority.rpartition('@')[2]}{slash}{target}"
    return path + (f"?{_masked_query(query)}" if mark else "") + (f"#{MASK}" if hash_ else "")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _visible(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
