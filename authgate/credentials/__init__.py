"""Who asks is decided by the first credential that is present: ``Authorization``, then the session cookie.

If it is bad, the subject is anonymous and nothing further is looked at: a browser that sends both must not become, by
a typing mistake in one of them, whoever the other one names.
"""

from typing import NamedTuple

from authgate import cookies
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.session import BAD, Sessions
from authgate.model import NOBODY, Identity, Site


class Presented(NamedTuple):
    """The headers of a request that may prove who asks, decoded as Latin-1; empty when they were not sent."""

    cookie: str
    authorization: str


class Credentials:
    """Every kind of credential, in order."""

    def __init__(self, sessions: Sessions, basic: BasicVerifier) -> None:
        self._sessions = sessions
        self._basic = basic

    def peek(self, presented: Presented, site: Site) -> Identity | None:
        """Answer from memory, without waiting; None when only `verify` can tell."""
        if presented.authorization:
            return self._basic.peek(presented.authorization)
        found = cookies.values(presented.cookie, site.session_cookie)
        if not found:
            return NOBODY
        return self._sessions.peek(found[0], site) if len(found) == 1 else BAD

    async def verify(self, presented: Presented, site: Site) -> Identity:
        """Answer, after a look into the store or a hash where memory does not do."""
        if presented.authorization:
            return await self._basic.verify(presented.authorization)
        found = cookies.values(presented.cookie, site.session_cookie)
        if not found:
            return NOBODY
        return await self._sessions.verify(found[0], site) if len(found) == 1 else BAD
