"""Who may ask on a listener: on a unix socket whoever can open it, on a port whoever knows the secret or is trusted."""

import hmac
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Receive, Send

from authgate.model import Reason
from authgate.networks import NetworkSet, client_address, parse_address
from authgate.pdp import Pdp

Scope = MutableMapping[str, Any]
_Header = tuple[bytes, bytes]

SECRET_FIELD = b"x-authgate-secret"
PREFIX = b"x-authgate-"

# What a trusted proxy says about a request, under the names that the pages read.
_SAID = {b"x-forwarded-host": b"x-authgate-host", b"x-forwarded-proto": b"x-authgate-scheme"}
_FORWARDED = b"x-forwarded-"
_FOR = b"x-forwarded-for"


@dataclass(frozen=True, slots=True)
class Peers:
    """Whose word counts on a listener.

    Args:
        on_port: it is a TCP port, which every user of this machine, or of others, can connect to.
        secret: empty: there is none.
        trusted: proxies whose X-Forwarded-* is believed.
    """

    on_port: bool = False
    secret: bytes = b""
    trusted: NetworkSet = field(default_factory=lambda: NetworkSet(()))

    def know_the_secret(self, scope: Scope) -> bool:
        """Tell whether a question carries the secret, once."""
        sent = [value for name, value in scope["headers"] if name == SECRET_FIELD]
        return bool(self.secret) and len(sent) == 1 and hmac.compare_digest(sent[0], self.secret)

    def may_forward(self, scope: Scope) -> bool:
        """Tell whether X-Forwarded-* of a question counts."""
        if not self.on_port:
            return True
        peer = parse_address(self.address_of(scope) or "")
        return peer is not None and peer in self.trusted and (not self.secret or self.know_the_secret(scope))

    def address_of(self, scope: Scope) -> str | None:
        """Return the address that a question came from; None: over a unix socket."""
        if not self.on_port:
            return None
        client = scope["client"]
        return str(client[0]) if client else ""


OVER_UNIX_SOCKET = Peers()


def guarded_check(check: ASGIApp, peers: Peers, pdp: Pdp) -> ASGIApp:
    """Return the application of the listener ``check`` on a port: ``/check`` is for those who know the secret."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        # /forward looks for itself.
        if scope["path"] == "/check" and not peers.know_the_secret(scope):
            await _refuse(pdp, send)
        else:
            await check(scope, receive, send)

    return guarded


def guarded_web(web: ASGIApp, peers: Peers, pdp: Pdp) -> ASGIApp:
    """Return the pages on a port: for a web server that knows the secret, or for a trusted proxy."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        headers = _told(scope, peers)
        if headers is None:
            await _refuse(pdp, send)
        else:
            await web({**scope, "headers": headers}, receive, send)

    return guarded


def _told(scope: Scope, peers: Peers) -> list[_Header] | None:
    """Return the fields as they come over a unix socket; None when nobody's word counts, or two are given."""
    headers: list[_Header] = scope["headers"]
    forwarded = any(name.startswith(_FORWARDED) for name, _ in headers)
    named = any(name.startswith(PREFIX) and name != SECRET_FIELD for name, _ in headers)
    if named:
        # Whoever sends both chooses between two clients.
        return headers if not forwarded and peers.know_the_secret(scope) else None
    if not peers.may_forward(scope):
        return None
    hops = [value.decode("latin-1") for name, value in headers if name == _FOR]
    address = client_address(peers.address_of(scope), hops, peers.trusted)
    said = [(_SAID.get(name, name), value) for name, value in headers if not _is_dropped(name)]
    return [*said, *([(b"x-authgate-client", str(address).encode())] if address else [])]


def _is_dropped(name: bytes) -> bool:
    return name == SECRET_FIELD or (name.startswith(_FORWARDED) and name not in _SAID)


async def _refuse(pdp: Pdp, send: Send) -> None:
    given = pdp.refuse(Reason.UNTRUSTED_PEER)
    headers: Iterable[_Header] = [
        (b"x-authgate-decision", given.id.encode()),
        (b"x-authgate-reason", given.decision.reason.encode()),
        (b"cache-control", b"no-store"),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": int(given.decision.outcome), "headers": headers})
    await send({"type": "http.response.body", "body": b""})
