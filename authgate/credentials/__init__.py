"""Who asks is decided by the first credential that is present.

The order: the web server's own login, ``Authorization``, a client certificate, the session cookie, the cookies of
others as they are configured.

If it is bad, the subject is anonymous and nothing further is looked at: a browser that sends both must not become, by
a typing mistake in one of them, whoever the other one names. The cookies of others are an exception: browsers send
them long after they mean anything, so one that proves nothing is as good as absent.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from authgate import cookies
from authgate.credentials.basic import BAD as BAD_BASIC
from authgate.credentials.basic import BasicVerifier, parse
from authgate.credentials.certificate import Certificates, ClientCertificate
from authgate.credentials.jwt import BAD as BAD_BEARER
from authgate.credentials.jwt import JwtVerifier
from authgate.credentials.server import ServerLogin
from authgate.credentials.session import BAD, Sessions
from authgate.credentials.tokens import BAD as BAD_TOKEN
from authgate.credentials.tokens import PREFIX, Tokens
from authgate.model import NOBODY, Identity, Site
from authgate.networks import Address

# RFC 6750 section 2.1; the scheme's case does not matter (RFC 9110 section 11.1).
_BEARER = "bearer "


class Presented(NamedTuple):
    """What a request brings that may prove who asks, decoded as Latin-1; empty when it was not sent.

    Args:
        user: the web server's own login.
        address: the client's, for counting wrong passwords; None when it is unknown.
        certificate: what the web server says of the client's certificate; None when there was none.
    """

    cookie: str
    authorization: str
    user: str = ""
    address: Address | None = None
    certificate: ClientCertificate | None = None


class ForeignCookie(Protocol):
    """A cookie of somebody else's, whose word counts: an application's session, an issuer's token."""

    @property
    def name(self) -> str:
        """The cookie's name."""

    def peek(self, value: str) -> Identity | None:
        """Answer from memory or by a quick computation; NOBODY when it proves nothing, None: `verify` has to do it."""

    async def verify(self, value: str) -> Identity:
        """Answer; NOBODY when it proves nothing."""


class Credentials:
    """Every kind of credential, in order.

    Args:
        basic: None: a Basic header proves nothing here. It knows by itself of tokens that are passwords.
        server: None: the web server's own login proves nothing here.
        bearer: None: a Bearer token proves nothing here.
        certificates: None: client certificates prove nothing here.
        foreign: in the order in which they are looked at.
        tokens: None: an access token as Bearer proves nothing here.
    """

    def __init__(
        self,
        sessions: Sessions,
        basic: BasicVerifier | None,
        server: ServerLogin | None = None,
        bearer: JwtVerifier | None = None,
        certificates: Certificates | None = None,
        foreign: Sequence[ForeignCookie] = (),
        tokens: Tokens | None = None,
    ) -> None:
        self._sessions = sessions
        self._basic = basic
        self._server = server
        self._bearer = bearer
        self._certificates = certificates
        self._foreign = tuple(foreign)
        self._tokens = tokens

    def peek(self, presented: Presented, site: Site) -> Identity | None:
        """Answer from memory, without waiting; None when only `verify` can tell."""
        if presented.user and self._server is not None:
            return self._server.peek(presented.user)
        if presented.authorization:
            token = _bearer_token(presented.authorization)
            if token is None:
                return self._basic.peek(presented.authorization, presented.address) if self._basic else BAD_BASIC
            if token.startswith(PREFIX):
                return self._tokens.peek(token, presented.address) if self._tokens is not None else BAD_TOKEN
            return self._bearer.peek(token) if self._bearer is not None else BAD_BEARER
        if presented.certificate is not None and self._certificates is not None:
            return self._certificates.identify(presented.certificate)
        found = cookies.values(presented.cookie, site.session_cookie)
        if found:
            return self._sessions.peek(found[0], site) if len(found) == 1 else BAD
        for cookie, value in self._of_others(presented.cookie):
            identity = cookie.peek(value)
            if identity is not NOBODY:
                return identity
        return NOBODY

    async def verify(self, presented: Presented, site: Site) -> Identity:
        """Answer, after a look into the store, a hash or a question to the site where memory does not do."""
        if presented.user and self._server is not None:
            return await self._server.verify(presented.user)
        if presented.authorization:
            token = _bearer_token(presented.authorization)
            if token is None:
                basic = self._basic
                return await basic.verify(presented.authorization, presented.address) if basic else BAD_BASIC
            if token.startswith(PREFIX):
                return await self._tokens.verify(token, presented.address) if self._tokens is not None else BAD_TOKEN
            return await self._bearer.verify(token) if self._bearer is not None else BAD_BEARER
        if presented.certificate is not None and self._certificates is not None:
            return self._certificates.identify(presented.certificate)
        found = cookies.values(presented.cookie, site.session_cookie)
        if found:
            return await self._sessions.verify(found[0], site) if len(found) == 1 else BAD
        for cookie, value in self._of_others(presented.cookie):
            identity = await cookie.verify(value)
            if identity is not NOBODY:
                return identity
        return NOBODY

    def _of_others(self, header: str) -> list[tuple[ForeignCookie, str]]:
        """Return the cookies that others have set, each with its value; one sent twice is none."""
        found = []
        for cookie in self._foreign:
            values = cookies.values(header, cookie.name)
            if len(values) == 1:
                found.append((cookie, values[0]))
        return found


def access_token(header: str) -> str | None:
    """Return the access token of an ``Authorization`` field, Bearer or the password of Basic; None for all else."""
    token = _bearer_token(header)
    if token is None:
        parsed = parse(header)
        token = parsed[1] if parsed else ""
    return token if token.startswith(PREFIX) else None


def _bearer_token(header: str) -> str | None:
    """Return the token of a Bearer header; None when it is of another scheme."""
    return header[len(_BEARER) :].strip(" ") if header[: len(_BEARER)].lower() == _BEARER else None
