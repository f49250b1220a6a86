"""The vocabulary: who asks (subject), what is asked (access request), what is answered (decision).

Words follow OpenID AuthZEN 1.0 where it has one. Every value is immutable; nothing here reads a clock, a file or the
network. What is made anew for each request is a NamedTuple, which costs half of a frozen dataclass to make.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import NamedTuple, Protocol


class Outcome(IntEnum):
    """What the web server shall do. The values are the only statuses nginx's auth_request understands."""

    __hash__ = int.__hash__

    ALLOW = 200
    LOGIN = 401
    REFUSE = 403


class Reason(StrEnum):
    """Why a decision fell as it did: one closed list for headers, logs, metrics, pages and documents."""

    # Enum's own is written in Python; these are looked up for each request.
    __hash__ = str.__hash__

    ALLOWED = "allowed"
    NO_RULE = "no_rule"
    DENIED_BY_RULE = "denied_by_rule"
    NOT_ADMITTED = "not_admitted"
    LOGIN_REQUIRED = "login_required"
    SECOND_FACTOR_REQUIRED = "second_factor_required"
    BAD_CREDENTIAL = "bad_credential"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SCOPE_EXCEEDED = "scope_exceeded"
    LIMIT_REACHED = "limit_reached"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    BUSY = "busy"
    HANDLER_ERROR = "handler_error"
    MISSING_PATH = "missing_path"
    AMBIGUOUS_PATH = "ambiguous_path"
    UNKNOWN_HOST = "unknown_host"
    CONFLICTING_HEADERS = "conflicting_headers"
    UNTRUSTED_PEER = "untrusted_peer"
    STORE_UNAVAILABLE = "store_unavailable"


class Subject(NamedTuple):
    """Who asks. Anonymous is a subject too.

    Args:
        source: where the name comes from; empty for the local source (htpasswd, group file).
        name: the name within that source; empty for anonymous.
        groups: names within that source; None when the source maps no groups at all, so that membership is unknown.
        claims: name and value of what the source says about the subject; several values are several pairs.
    """

    source: str
    name: str
    groups: frozenset[str] | None = frozenset()
    claims: frozenset[tuple[str, str]] = frozenset()

    @property
    def is_anonymous(self) -> bool:
        """True when nobody has said who they are."""
        return not self.name

    @property
    def id(self) -> str:
        """The name as rules and ``Remote-User`` write it: ``alice``, ``partner/alice``; empty for anonymous."""
        return f"{self.source}/{self.name}" if self.source else self.name


ANONYMOUS = Subject("", "")


class CredentialKind(StrEnum):
    """What proved who asks, as ``X-Authgate-Credential`` and the atom ``via`` name it."""

    __hash__ = str.__hash__

    NONE = "none"
    SESSION = "session"
    BASIC = "basic"
    SERVER = "server"
    JWT = "jwt"
    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    CERTIFICATE = "certificate"
    APPLICATION = "application"


class Identity(NamedTuple):
    """The outcome of looking at a client's credentials.

    Args:
        subject: who asks; None when that cannot be known now (`failure` is then busy or store_unavailable), so that
            every question about identity is unknown rather than answered for anonymous.
        credential: the kind that was looked at.
        failure: why the credential did not prove anything; None when it did, or when none was sent.
        second_factor: the credential says that a second factor was used.
        session: what the application's session holds, where its cookie is the credential; for handlers only.
        scope: what the credential may be used for; None: for everything.
    """

    subject: Subject | None
    credential: CredentialKind
    failure: Reason | None = None
    second_factor: bool = False
    session: Mapping[str, object] = MappingProxyType({})
    scope: "Scope | None" = None


NOBODY = Identity(ANONYMOUS, CredentialKind.NONE)


class AccessRequest(NamedTuple):
    """One request to a web server, as that server itself will serve it.

    Args:
        method: the client's method, for example ``GET``.
        host: lower case, without port and final dot.
        path: decoded once by the web server; `paths.is_canonical` is checked by `decide`, not by doors.
        scheme: ``http`` or ``https``.
        address: the client's; None when it is missing or unreadable.
        instant: seconds since the epoch, UTC.
        query: raw, without ``?``; for handlers only, no rule looks at it.
        headers: the client's fields that doors read, by lower-case name; for handlers only.
        subject: who asks; only handlers find it here.
        session: what the application's session holds; only handlers find it here, and it is read-only.
        rule: name of the rule that asks; only handlers find it here, like `captures` and `options`.
        captures: what ``{name}`` segments of the rule's path stand for.
        options: the rule's own ``options`` table.
        preflight: a browser asks whether a script of another origin may send the real request (CORS).
    """

    method: str
    host: str
    path: str
    scheme: str
    address: IPv4Address | IPv6Address | None
    instant: float
    query: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    subject: Subject = ANONYMOUS
    rule: str = ""
    captures: Mapping[str, str] = MappingProxyType({})
    options: Mapping[str, object] = MappingProxyType({})
    preflight: bool = False
    session: Mapping[str, object] = MappingProxyType({})


class Scope(Protocol):
    """What a credential may be used for, which may be less than what its owner may do."""

    def covers(self, request: AccessRequest) -> bool:
        """Tell whether the request is within it."""


class Link(NamedTuple):
    """The signed link that a request carries: a fact, not an identity.

    Args:
        id: names it in the audit; empty when it could not be read.
        failure: why it does not cover this request; None when it does.
        uses: how often it may be used; None: as often as one likes.
    """

    id: str
    failure: Reason | None = None
    uses: int | None = None


class Use(Enum):
    """What became of the question whether a counted link may be used once more."""

    GRANTED = "granted"
    USED_UP = "used up"
    UNKNOWN = "unknown"


class HandlerCall(NamedTuple):
    """A handler as one rule asks it: the same handler in another rule has other options."""

    handler: str
    rule: str


class Facts(NamedTuple):
    """What a rule may need that is not in the request.

    Args:
        identity: who asks; None when nobody has looked yet.
        answers: what handlers said; a handler that is not in it was not asked yet.
        link: None when there is none.
        use: of a counted link; None when nobody has asked yet.
    """

    identity: Identity | None = None
    answers: Mapping[HandlerCall, "Decision | None"] = MappingProxyType({})
    link: Link | None = None
    use: Use | None = None


class Need(NamedTuple):
    """A fact the deciding rules need; fetch it and call `decide` again.

    Args:
        call: the handler to ask, with what it will find in its request.
        use: a use of the request's link is needed. When it is not this and no `call`, it is the identity.
    """

    call: HandlerCall | None = None
    captures: Mapping[str, str] = MappingProxyType({})
    options: Mapping[str, object] = MappingProxyType({})
    use: bool = False


class Decision(NamedTuple):
    """The answer to one access request. A denial is a value, never an exception.

    Args:
        rule: name of the rule that decided; empty when none did.
        identity: who asked, as far as a rule looked; NOBODY when no rule did.
        cache: ``Cache-Control`` the web server shall send with what is served.
        captures: what ``{name}`` segments of the deciding rule's path stood for.
        detail: what a handler said for the log; never shown to the client.
    """

    outcome: Outcome
    reason: Reason
    rule: str = ""
    identity: Identity = NOBODY
    cache: str = "no-store"
    captures: Mapping[str, str] = MappingProxyType({})
    detail: str = ""

    @property
    def allowed(self) -> bool:
        """True only for `Outcome.ALLOW`."""
        return self.outcome is Outcome.ALLOW


def allow() -> Decision:
    """A handler's yes: its atom holds. It does not override any other part of the rule."""
    return Decision(Outcome.ALLOW, Reason.ALLOWED)


def deny(reason: str = "") -> Decision:
    """A handler's no: the request is refused, whatever other terms say.

    Args:
        reason: for the log and `authgate explain`; the client does not see it.
    """
    return Decision(Outcome.REFUSE, Reason.DENIED_BY_RULE, detail=reason)


def login() -> Decision:
    """A handler's "not like this": the client has to log in, or to log in as somebody else."""
    return Decision(Outcome.LOGIN, Reason.LOGIN_REQUIRED)


def user(name: str, groups: Iterable[str] | None = None, claims: Mapping[str, str] = MappingProxyType({})) -> Subject:
    """What a site's ``verify`` or ``lookup`` returns: who somebody is.

    Args:
        name: as rules write it, without ``/``.
        groups: None: those of the group file.
        claims: for the atom ``claim:NAME=VALUE``; ``name`` and ``email`` are also told to applications.

    Raises:
        TypeError: `groups` is one text, which would make a group of each letter.
    """
    if isinstance(groups, str):
        raise TypeError(f'groups is a text; write ["{groups}"]')
    return Subject("", name, None if groups is None else frozenset(groups), frozenset(claims.items()))


@dataclass(frozen=True)  # without slots, which cached_property cannot have
class Site:
    """One origin that browsers use.

    Args:
        scheme: ``http`` or ``https``.
        host: lower case, without port.
        port: None when it is the scheme's own.
        cookie_domain: sites with the same value share one login; empty: this site has its own.
    """

    scheme: str
    host: str
    port: int | None = None
    cookie_domain: str = ""

    @property
    def origin(self) -> str:
        """As browsers write it: ``https://files.example.com`` (RFC 6454 section 6.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port else "")

    @cached_property
    def scope(self) -> str:
        """What a session is bound to: it is bad at every site with another scope."""
        return f"domain:{self.cookie_domain}" if self.cookie_domain else f"host:{self.host}"

    @cached_property
    def session_cookie(self) -> str:
        """Name of the session cookie here (prefixes: RFC 6265bis section 4.1.3)."""
        if self.scheme != "https":
            return "authgate"
        return "__Secure-authgate" if self.cookie_domain else "__Host-authgate"
