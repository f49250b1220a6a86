"""``/check``: the subrequest of nginx's ``auth_request``, as a raw ASGI application.

Rules of this module:
1. Facts come only from ``X-Authgate-*`` and the few fields of the client's that are named here. The subrequest's own
   request line and ``Host`` say nothing about the client's request.
2. A field sent twice is refused: two programs would read two different requests.
3. The answer is 200, 401 or 403 with an empty body. nginx makes 500 of every other status, and closes the upstream
   connection after an answer with a body.
4. No cookie is ever set here.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from authgate.credentials import Presented
from authgate.credentials.certificate import ClientCertificate, sent_certificate
from authgate.model import ANONYMOUS, AccessRequest, CredentialKind, Outcome, Reason, Subject
from authgate.networks import Address, parse_address, parse_host
from authgate.paths import from_wire, is_plain_target
from authgate.pdp import Answer, Pdp
from authgate.redirects import login_location
from authgate.stores import Clock

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Fields = Mapping[bytes, bytes]

# Every field that is looked at; all others are not seen.
_FIELDS = frozenset({
    b"x-authgate-path", b"x-authgate-self", b"x-authgate-method", b"x-authgate-host", b"x-authgate-scheme",
    b"x-authgate-client", b"x-authgate-uri", b"x-authgate-query", b"x-authgate-target", b"x-authgate-user", b"cookie",
    b"x-authgate-certificate-verify", b"x-authgate-certificate-subject", b"x-authgate-certificate",
    b"authorization", b"accept", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"x-requested-with",
    b"origin", b"access-control-request-method", b"user-agent", b"referer",
})  # fmt: skip

CLIENTS_FIELDS = frozenset(name for name in _FIELDS if not name.startswith(b"x-authgate-"))
_DOUBLED = b""  # no field has this name
_SAFE_IN_HEADERS = " @+/"  # beside letters, digits and _.-~
_MAX_GROUPS = 1024
MAX_METHOD = 32
# As rules write them; what no rule can name would match those that name none.
_METHOD = re.compile(rb"[A-Z][A-Z0-9_-]*")
MAX_HOST = 300  # a name of 253 bytes (RFC 1035), a final dot, a port
EMPTY_BODY = {"type": "http.response.body", "body": b""}


def create_check(pdp: Pdp, realm: str, clock: Clock, version: str = "", forward: Asgi | None = None) -> Asgi:
    """Return the application for the listener ``check``.

    Args:
        version: of the configuration, shown in every answer but those that allow: each header costs as much as a rule.
        forward: answers ``/forward``.
    """
    always = ((b"cache-control", b"no-store"), (b"content-length", b"0"))
    policy = (b"x-authgate-policy", version.encode())
    challenge = f'Basic realm="{realm}", charset="UTF-8"'.encode()

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/check":
            if forward is not None and scope["path"] == "/forward":
                await forward(scope, receive, send)
            else:
                await _send(send, 404, (policy, *always))
            return
        fields = read_fields(scope["headers"])
        request = access_request(fields, clock())
        # Only an application behind the web server is told who asks, and its include alone sends the raw target.
        target = fields.get(b"x-authgate-target")
        if isinstance(request, Reason):
            given = pdp.refuse(request)
        elif target is not None and not is_plain_target(target.decode("latin-1")):
            given = pdp.refuse(Reason.AMBIGUOUS_PATH, request)
        else:
            shown = presented(fields, request.address)
            wanted = target is not None
            given = pdp.evaluate_at_once(request, shown, identity_wanted=wanted) or await pdp.evaluate(
                request, shown, identity_wanted=wanted
            )
        headers = answer_headers(given, pdp.policy.groups)
        if given.decision.outcome is not Outcome.ALLOW:
            headers.append(policy)
        if given.decision.outcome is Outcome.LOGIN and isinstance(request, AccessRequest):
            headers += login_headers(fields, pdp, request, challenge)
        headers += always
        # Written out, as every answer comes this way: see `_send`.
        await send({"type": "http.response.start", "status": given.decision.outcome, "headers": headers})
        await send(EMPTY_BODY)

    return check


def read_fields(headers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Return the fields by lower-case name, and `_DOUBLED` when one that counts was sent twice."""
    fields = dict(headers)
    if len(fields) != len(headers):
        names = [name for name, _ in headers if name in _FIELDS]
        if len(names) != len(set(names)):
            fields[_DOUBLED] = b""
    return fields


def access_request(fields: Fields, now: float) -> AccessRequest | Reason:
    """Return the client's request as the web server named it, or why there is none to decide."""
    if _DOUBLED in fields:
        return Reason.CONFLICTING_HEADERS
    raw_path = fields.get(b"x-authgate-path")
    if not raw_path:
        return Reason.MISSING_PATH
    # A `set` at server level runs again in the subrequest and would make every decision one about the check location.
    if raw_path == fields.get(b"x-authgate-self"):
        return Reason.AMBIGUOUS_PATH
    method, host = fields.get(b"x-authgate-method", b""), fields.get(b"x-authgate-host", b"")
    # Before anything is kept: a client chooses both, and thousands of long ones would fill the memory.
    if len(method) > MAX_METHOD or len(host) > MAX_HOST:
        return Reason.CONFLICTING_HEADERS
    named = read_naming(
        method,
        host,
        fields.get(b"x-authgate-scheme", b""),
        fields.get(b"x-authgate-client", b""),
    )
    if isinstance(named, Reason):
        return named
    query = fields.get(b"x-authgate-query", b"").decode("latin-1")
    verb, site, scheme, address = named
    request = AccessRequest(verb, site, from_wire(raw_path), scheme, address, now, query, ClientFields(fields))
    return request._replace(preflight=is_preflight(fields)) if verb == "OPTIONS" else request


def is_preflight(fields: Fields) -> bool:
    """Tell whether a browser asks what a script of another origin may do (Fetch Standard, "CORS-preflight request")."""
    return bool(fields.get(b"origin") and fields.get(b"access-control-request-method"))


@lru_cache(maxsize=4096)
def read_naming(
    method: bytes, host: bytes, scheme: bytes, client: bytes
) -> tuple[str, str, str, Address | None] | Reason:
    """Read what many requests of one client have in common."""
    if not host:
        return Reason.UNKNOWN_HOST
    if scheme not in {b"https", b"http"} or _METHOD.fullmatch(method) is None:
        return Reason.CONFLICTING_HEADERS
    address = parse_address(client.decode("latin-1"))
    return method.decode("ascii"), parse_host(host.decode("latin-1")), scheme.decode("ascii"), address


class ClientFields(Mapping[str, str]):
    """What handlers see of the client's fields, by lower-case name; decoded as Latin-1 when somebody looks."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        """Return one field."""
        raw = name.encode()
        if raw not in CLIENTS_FIELDS:
            raise KeyError(name)
        return self._fields[raw].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        """Name all fields."""
        return (name.decode() for name in self._fields if name in CLIENTS_FIELDS)

    def __len__(self) -> int:
        """Count the fields."""
        return sum(1 for _ in self)


def presented(fields: Fields, address: Address | None) -> Presented:
    """Return what may prove who asks."""
    return Presented(
        fields.get(b"cookie", b"").decode("latin-1"),
        fields.get(b"authorization", b"").decode("latin-1"),
        fields.get(b"x-authgate-user", b"").decode("latin-1"),
        address,
        certificate(fields),
    )


def certificate(fields: Fields) -> ClientCertificate | None:
    """Return what the web server says of the client's certificate; None when there was none."""
    verified = fields.get(b"x-authgate-certificate-verify")
    if not verified:
        return None
    return sent_certificate(
        verified.decode("latin-1"),
        fields.get(b"x-authgate-certificate-subject", b"").decode("latin-1"),
        fields.get(b"x-authgate-certificate", b"").decode("latin-1"),
    )


def answer_headers(given: Answer, named_groups: frozenset[str]) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer: the decision, and on allow the identity for the application behind."""
    decision = given.decision
    credential = decision.identity.credential
    headers = [
        (b"x-authgate-decision", given.id.encode()),
        *_decision_headers(decision.rule, decision.reason, credential, decision.cache),
    ]
    subject = decision.identity.subject or ANONYMOUS
    if decision.outcome is Outcome.ALLOW:
        headers += identity_headers(subject, named_groups)
    else:
        headers.append(user_header(subject))
    return headers


@lru_cache(maxsize=4096)
def _decision_headers(
    rule: str, reason: Reason, credential: CredentialKind, cache: str
) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-authgate-rule", rule.encode()),
        (b"x-authgate-reason", reason.encode()),
        (b"x-authgate-credential", credential.encode()),
        (b"x-authgate-cache", cache.encode()),
    )


@lru_cache(maxsize=4096)
def user_header(subject: Subject) -> tuple[bytes, bytes]:
    """Return who asked, for the web server's log."""
    # `Remote-User` on a refusal could be taken for a yes by what reads answers of others.
    return b"x-authgate-user", quote(subject.id, _SAFE_IN_HEADERS).encode()


@lru_cache(maxsize=4096)
def identity_headers(subject: Subject, named_groups: frozenset[str]) -> tuple[tuple[bytes, bytes], ...]:
    """Return ``Remote-*``: all four always, empty when unknown, so that none that a client sent can stand in.

    Args:
        subject: its claims ``name`` and ``email`` become ``Remote-Name`` and ``Remote-Email``.
        named_groups: the groups that rules name; others are nobody's business behind the web server.
    """
    prefix = f"{subject.source}/" if subject.source else ""
    groups = sorted(named_groups.intersection(prefix + group for group in subject.groups or ()))
    written = ",".join(quote(group, _SAFE_IN_HEADERS) for group in groups)
    overflow = len(written) > _MAX_GROUPS
    headers = [
        (b"remote-user", quote(subject.id, _SAFE_IN_HEADERS).encode()),
        (b"remote-groups", b"" if overflow else written.encode()),
        (b"remote-name", _claim(subject, "name")),
        (b"remote-email", _claim(subject, "email")),
    ]
    return (*headers, (b"x-authgate-groups", b"overflow")) if overflow else tuple(headers)


def _claim(subject: Subject, name: str) -> bytes:
    """Return what OpenID Connect Core section 5.1 calls by this name, when the source says it once."""
    values = [value for claim, value in subject.claims if claim == name]
    return quote(values[0], _SAFE_IN_HEADERS).encode() if len(values) == 1 else b""


def login_headers(fields: Fields, pdp: Pdp, request: AccessRequest, challenge: bytes) -> list[tuple[bytes, bytes]]:
    """Return what leads to a login: an address for navigations, a challenge for programs."""
    scripted = b"x-requested-with" in fields or any(name.startswith(b"sec-fetch-") for name in fields)
    # A browser would answer a Basic challenge to a script with its own password window.
    headers = [(b"www-authenticate", b"Authgate" if scripted else challenge)]
    if request.method in {"GET", "HEAD"} and _is_navigation(fields):
        target = fields.get(b"x-authgate-uri", b"").decode("latin-1")
        headers.append((b"location", login_location(pdp.sites[request.host], target).encode("ascii")))
    return headers


def _is_navigation(fields: Fields) -> bool:
    """Tell whether a person would see the answer as a page (Fetch Metadata, else Accept)."""
    mode = fields.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate" and fields.get(b"sec-fetch-dest", b"document") == b"document"
    return b"x-requested-with" not in fields and b"text/html" in fields.get(b"accept", b"").lower()


async def _send(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send(EMPTY_BODY)
