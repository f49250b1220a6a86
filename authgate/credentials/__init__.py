"""Who asks is decided by the first credential that is present: the server's own login, ``Authorization``, the cookie.

If it is bad, the subject is anonymous and nothing further is looked at: a browser that sends both must not become, by
a typing mistake in one of them, whoever the other one names.
"""

from typing import NamedTuple

from authgate import cookies
from authgate.credentials.basic import BAD as BAD_BASIC
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.server import ServerLogin
from authgate.credentials.session import BAD, Sessions
from authgate.model import NOBODY, Identity, Site
from authgate.networks import Address


class Presented(NamedTuple):
    """What a request brings that may prove who asks, decoded as Latin-1; empty when it was not sent.

    Args:
        user: the web server's own login.
        address: the client's, for counting wrong passwords; None when it is unknown.
    """

    cookie: str
    authorization: str
    user: str = ""
    address: Address | None = None


class Credentials:
    """Every kind of credential, in order.

    Args:
        basic: None: whatever ``Authorization`` says proves nothing here.
        server: None: the web server's own login proves nothing here.
    """

    def __init__(self, sessions: Sessions, basic: BasicVerifier | None, server: ServerLogin | None = None) -> None:
        self._sessions = sessions
        self._basic = basic
        self._server = server

    def peek(self, presented: Presented, site: Site) -> Identity | None:
        """Answer from memory, without waiting; None when only `verify` can tell."""
        if presented.user and self._server is not None:
            return self._server.peek(presented.user)
        if presented.authorization:
            return self._basic.peek(presented.authorization, presented.address) if self._basic else BAD_BASIC
        found = cookies.values(presented.cookie, site.session_cookie)
        if not found:
            return NOBODY
        return self._sessions.peek(found[0], site) if len(found) == 1 else BAD

    async def verify(self, presented: Presented, site: Site) -> Identity:
        """Answer, after a look into the store, a hash or a question to the site where memory does not do."""
        if presented.user and self._server is not None:
            return await self._server.verify(presented.user)
        if presented.authorization:
            return await self._basic.verify(presented.authorization, presented.address) if self._basic else BAD_BASIC
        found = cookies.values(presented.cookie, site.session_cookie)
        if not found:
            return NOBODY
        return await self._sessions.verify(found[0], site) if len(found) == 1 else BAD
