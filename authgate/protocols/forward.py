"""``/forward``: the question of Caddy's ``forward_auth`` and Traefik's ``ForwardAuth``, as a raw ASGI application.

Rules of this module:
1. What is asked is in ``X-Forwarded-*`` alone. A question that names it in ``X-Authgate-*`` as well is refused: whoever
   sends both chooses which of two requests is decided.
2. These servers hand on every other field of the client, and a target as the client wrote it. One that two programs
   could read differently is refused, and never repaired; any other is decoded once.
3. A field sent twice is refused, but X-Forwarded-For, which is a list.
4. The answer goes to the client as it is: 200, 302 to the login for whoever navigates, 401 or 403, with an empty body.
   What is no 2xx is a no to these servers.
"""

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from authgate.model import AccessRequest, Outcome, Reason
from authgate.networks import Address, client_address
from authgate.paths import from_wire, is_plain_target
from authgate.pdp import Pdp
from authgate.protocols.peers import OVER_UNIX_SOCKET, PREFIX, SECRET_FIELD, Peers
from authgate.protocols.subrequest import (
    CLIENTS_FIELDS,
    EMPTY_BODY,
    MAX_HOST,
    MAX_METHOD,
    Asgi,
    ClientFields,
    Fields,
    Receive,
    Scope,
    Send,
    answer_headers,
    is_preflight,
    login_headers,
    presented,
    read_naming,
)
from authgate.stores import Clock

# The names of `/check` stand for the same here, so that what is made of the fields is made in one place.
_NAMING = {
    b"x-forwarded-method": b"x-authgate-method",
    b"x-forwarded-host": b"x-authgate-host",
    b"x-forwarded-proto": b"x-authgate-scheme",
    b"x-forwarded-uri": b"x-authgate-uri",
    b"x-forwarded-original-uri": b"x-forwarded-original-uri",
}
_FOR = b"x-forwarded-for"
_READ = {**_NAMING, **{name: name for name in CLIENTS_FIELDS}}

# A refusal may reach the client as it is: the name of a rule would tell a stranger what to try next.
_NOT_FOR_CLIENTS = frozenset({b"x-authgate-rule", b"x-authgate-user"})

# A WebSocket is opened by a request of http (RFC 6455 section 4.1); Traefik names it by its own scheme.
_SCHEMES = {b"wss": b"https", b"ws": b"http"}

# What one program takes for text and another refuses, or reads as far as it can.
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def create_forward(pdp: Pdp, realm: str, clock: Clock, peers: Peers = OVER_UNIX_SOCKET) -> Asgi:
    """Return the application for ``/forward`` on the listener ``check``.

    Args:
        peers: whose word counts.
    """
    always = ((b"cache-control", b"no-store"), (b"content-length", b"0"))
    challenge = f'Basic realm="{realm}", charset="UTF-8"'.encode()

    async def forward(scope: Scope, _: Receive, send: Send) -> None:
        fields: Fields = {}
        request: AccessRequest | Reason = Reason.UNTRUSTED_PEER
        if peers.may_forward(scope):
            fields, request = _asked(scope, peers, clock())
        if isinstance(request, Reason):
            given = pdp.refuse(request)
        elif not _is_plain(fields):
            given = pdp.refuse(Reason.AMBIGUOUS_PATH, request)
        else:
            shown = presented(fields, request.address)
            given = pdp.evaluate_at_once(request, shown, identity_wanted=True) or await pdp.evaluate(
                request, shown, identity_wanted=True
            )
        status, headers = int(given.decision.outcome), [*answer_headers(given, pdp.policy.groups), *always]
        if given.decision.outcome is not Outcome.ALLOW:
            headers = [header for header in headers if header[0] not in _NOT_FOR_CLIENTS]
        if given.decision.outcome is Outcome.LOGIN and isinstance(request, AccessRequest):
            leading = dict(login_headers(fields, pdp, request, challenge))
            location = leading.get(b"location")
            status = status if location is None else 302
            headers += leading.items() if location is None else [(b"location", location)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(EMPTY_BODY)

    return forward


def _asked(scope: Scope, peers: Peers, now: float) -> tuple[Fields, AccessRequest | Reason]:
    """Return the fields that count, under the names of ``/check``, and the client's request or why there is none."""
    fields, hops = _read(scope["headers"])
    if fields is None:
        return {}, Reason.CONFLICTING_HEADERS
    address = client_address(peers.address_of(scope), hops, peers.trusted)
    return fields, _access_request(fields, address, now)


def _read(headers: Sequence[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes] | None, list[str]]:
    """Return the fields that count and all of X-Forwarded-For; None for fields that contradict each other."""
    fields: dict[bytes, bytes] = {}
    hops: list[str] = []
    for name, value in headers:
        if name == _FOR:
            hops.append(value.decode("latin-1"))
            continue
        known = _READ.get(name)
        if known in fields or (known is None and name.startswith(PREFIX) and name != SECRET_FIELD):
            return None, hops
        if known is not None:
            fields[known] = value
    return fields, hops


def _access_request(fields: Fields, address: Address | None, now: float) -> AccessRequest | Reason:
    target = fields.get(b"x-authgate-uri")
    if not target:
        return Reason.MISSING_PATH
    # deploy/caddy sends both: a path that was rewritten before the question is not the one that the client asked for.
    path, _, query = target.partition(b"?")
    original, _, _ = fields.get(b"x-forwarded-original-uri", path).partition(b"?")
    decoded = unquote_to_bytes(path)
    if unquote_to_bytes(original) != decoded:
        return Reason.AMBIGUOUS_PATH
    method, host = fields.get(b"x-authgate-method", b""), fields.get(b"x-authgate-host", b"")
    # Before anything is kept: a client chooses both, and thousands of long ones would fill the memory.
    if len(method) > MAX_METHOD or len(host) > MAX_HOST:
        return Reason.CONFLICTING_HEADERS
    scheme = fields.get(b"x-authgate-scheme", b"")
    read = read_naming(method, host, _SCHEMES.get(scheme, scheme), b"")
    if isinstance(read, Reason):
        return read
    verb, site, protocol, _ = read
    forwarded = ClientFields(fields)
    wanted = from_wire(decoded)
    request = AccessRequest(verb, site, wanted, protocol, address, now, query.decode("latin-1"), forwarded)
    return request._replace(preflight=is_preflight(fields)) if verb == "OPTIONS" else request


def _is_plain(fields: Fields) -> bool:
    target = fields[b"x-authgate-uri"].decode("latin-1")
    return is_plain_target(target) and _BROKEN_ESCAPE.search(target.partition("?")[0]) is None
